//! Waypoints: what Gateways of our classes ask for is made, kept, and taken away again, and what has become of it is said in
//! their status. Level-triggered: whenever something changes, and every half a minute, what is wanted is compared with what
//! there is.
//!
//! | module | what it does |
//! |---|---|
//! | `gateway` | what a Gateway says (pure) |
//! | `plan` | what is deployed for it (pure) |
//! | `merge` | what its ConfigMap puts on that (pure) |
//! | `status` | what is said of it (pure) |
//! | `apply` | compares, writes, removes |
//! | `classes` | the GatewayClasses, and which Gateways are ours |
//! | `readers` | who may read the mesh's configuration |

mod apply;
mod classes;
mod gateway;
mod merge;
mod plan;
mod readers;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ambit_api::Kind;
use ambit_model::policy::WAYPOINT_CLASSES;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tracing::{info, warn};

use self::apply::Deployer;
pub(crate) use self::classes::CONTROLLER;
use self::gateway::Gateway;
pub(crate) use self::plan::Shape;
use crate::cluster::{Cluster, Why};
use crate::followed::Followed;
use crate::json::at;
use crate::lease::Lead;
use crate::status::{Statuses, now};

/// How often everything is looked at without a cause: parameters are not followed.
const LOOK: Duration = Duration::from_secs(30);
/// What changes within this is looked at together.
const QUIET: Duration = Duration::from_millis(100);
/// The same after a failure: what is refused again and again does not hold up others for long, and is not asked for at once.
const QUIET_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// After a failure, and twice as long after each further one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What holds for all waypoints, and the DNS suffix of their Services.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) shape: Shape,
    pub(crate) domain: String,
}

/// Runs waypoints whenever this controller is the one that writes.
pub(crate) async fn run(cluster: Cluster, lead: Lead, terms: Terms) {
    let (cluster, terms) = (&cluster, &terms);
    lead.whenever(|| write(cluster, terms)).await;
}

async fn write(cluster: &Cluster, terms: &Terms) {
    let mut said = false;
    let (gateways, classes) = loop {
        match served(cluster).await {
            Ok(Some(kinds)) => break kinds,
            Ok(None) if said => {}
            Ok(None) => {
                said = true;
                info!("Gateways are not served by this cluster: there are no waypoints until they are");
            }
            Err(error) => warn!("the Kubernetes API does not say whether Gateways are served: {}", Why(&error)),
        }
        tokio::time::sleep(LOOK).await;
    };
    let wake = Arc::new(Notify::new());
    let everything = watcher::Config::default;
    let followed = [&gateways, &classes].map(|kind| Followed::new(cluster.all(kind), kind, everything(), &wake));
    let mut deployer = loop {
        match Deployer::open(cluster, &terms.shape, &wake).await {
            Ok(deployer) => break deployer,
            Err(error) => warn!("the Kubernetes API does not say what it serves: {}", Why(&error)),
        }
        tokio::time::sleep(LOOK).await;
    };
    for one in &followed {
        one.known().await;
    }
    let [followed_gateways, followed_classes] = followed;
    let mut writer = Writer { cluster, domain: &terms.domain, gateways, classes, statuses: Statuses::new(cluster) };
    let mut retry = RETRY.0;
    loop {
        // What is noticed from here on is looked at again.
        let now = now();
        let done = async {
            let ours = writer.classes(&followed_classes.all(), &now).await?;
            writer.gateways(&mut deployer, &ours, &followed_gateways.all(), &now).await
        };
        let (wait, quiet) = match done.await {
            Ok(()) => {
                retry = RETRY.0;
                (LOOK, QUIET)
            }
            Err(error) => {
                warn!("waypoints are not as they should be yet: {}", Why(&error));
                let wait = retry;
                retry = (retry * 2).min(RETRY.1);
                (wait, wait.min(QUIET_AFTER_FAILURE))
            }
        };
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(quiet).await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The kinds Gateway and GatewayClass, in the version that is served; none where they are not.
async fn served(cluster: &Cluster) -> kube::Result<Option<(ApiResource, ApiResource)>> {
    let gateways = ambit_discovery::resource_of(&cluster.client, Kind::Gateway).await?;
    let classes = ambit_discovery::resource_of(&cluster.client, Kind::GatewayClass).await?;
    Ok(gateways.zip(classes))
}

struct Writer<'a> {
    cluster: &'a Cluster,
    domain: &'a str,
    gateways: ApiResource,
    classes: ApiResource,
    statuses: Statuses<'a>,
}

impl Writer<'_> {
    /// Makes the classes that are missing, and says of those that are ours that they are: their names.
    async fn classes(&mut self, known: &[Arc<DynamicObject>], now: &str) -> kube::Result<Vec<&'static str>> {
        let api = self.cluster.all(&self.classes);
        let mut ours = Vec::new();
        for name in WAYPOINT_CLASSES {
            let class = match known.iter().find(|class| class.name_any() == name) {
                Some(class) => class.clone(),
                None => Arc::new(classes::create(&api, &self.classes, name).await?),
            };
            if classes::is_ours(&class) {
                ours.push(name);
                let status =
                    status::class(class.metadata.generation.unwrap_or_default(), at(&class.data, &["status"]), now);
                self.statuses.say(&self.classes, &class, status).await?;
            }
        }
        Ok(ours)
    }

    /// Brings about what every Gateway asks for, and says what has become of it. The first failure is told when all have
    /// been looked at.
    async fn gateways(
        &mut self,
        deployer: &mut Deployer<'_>,
        ours: &[&str],
        known: &[Arc<DynamicObject>],
        now: &str,
    ) -> kube::Result<()> {
        let read = |object: &Arc<DynamicObject>| {
            let gateway = Gateway::read(object, &self.gateways.api_version)
                .filter(|gateway| ours.contains(&gateway.class.as_str()));
            gateway.filter(|_| object.metadata.deletion_timestamp.is_none()).map(|gateway| (gateway, object.clone()))
        };
        let gateways: Vec<(Gateway, Arc<DynamicObject>)> = known.iter().filter_map(read).collect();
        let mut first = Ok(());
        let mut accounts = BTreeSet::new();
        for (gateway, object) in &gateways {
            let (outcome, failure) = deployer.bring_about(gateway).await;
            if outcome.runs {
                accounts.insert((gateway.namespace.clone(), gateway.account().to_owned()));
            }
            let host = format!("{}.{}.svc.{}", gateway.deployment, gateway.namespace, self.domain);
            let status = status::gateway(gateway, &outcome, &host, at(&object.data, &["status"]), now);
            let said = self.statuses.say(&self.gateways, object, status).await;
            first = first.and(failure.map_or(Ok(()), Err)).and(said);
        }
        let living: BTreeMap<&str, &Gateway> = gateways.iter().map(|(one, _)| (one.uid.as_str(), one)).collect();
        first = first.and(deployer.take_away(ours, &living).await);
        first.and(readers::grant(self.cluster, &accounts).await)
    }
}

#[cfg(test)]
mod tests;
