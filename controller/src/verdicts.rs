//! What is said of the mesh's objects in their status: by which waypoint a service is reached, whether a policy is in force
//! and where, to what a route is attached, and what is wrong with the rest. Level-triggered: what is to be said is compared
//! with what is, whenever objects or the mesh change.
//!
//! | module | what it does |
//! |---|---|
//! | `reading` | what an object says, by the mesh's one validation (pure) |
//! | `bound` | what is said of a label that asks for a waypoint, and of what needs one (pure) |
//! | `policy` | what is said of an AuthorizationPolicy (pure) |
//! | `route` | what is said of a route to each of its parents (pure) |
//! | `effect` | what is said of any other object that is not, or not all, in effect (pure) |

mod bound;
mod effect;
mod policy;
mod reading;
mod route;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ambit_api::{Kind, ObjectRef, Severity};
use ambit_discovery::{Report, Reports, Snapshots};
use ambit_model::Snapshot;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tracing::{debug, warn};

use self::reading::{Reading, Readings};
use crate::cluster::{Cluster, Why};
use crate::followed::Followed;
use crate::json::at;
use crate::lease::Lead;
use crate::status::{Condition, Statuses, conditions, is_said, now};

/// The kinds that something is said of.
const KINDS: [Kind; 12] = [
    Kind::Namespace,
    Kind::Service,
    Kind::ServiceEntry,
    Kind::WorkloadEntry,
    Kind::AuthorizationPolicy,
    Kind::PeerAuthentication,
    Kind::RequestAuthentication,
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::IstioGateway,
    Kind::HttpRoute,
    Kind::GrpcRoute,
];
/// What changes within this is looked at together: in a large cluster something always changes.
const QUIET: Duration = Duration::from_secs(1);
/// How often it is asked for kinds that were not served.
const LOOK: Duration = Duration::from_secs(30);
/// After a failure, and twice as long after each further one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is known of the mesh, as discovery publishes it.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    /// What holds.
    pub(crate) snapshots: Snapshots,
    /// What is wrong.
    pub(crate) reports: Reports,
}

/// Says what becomes of objects, whenever this controller is the one that writes.
pub(crate) async fn run(cluster: Cluster, lead: Lead, mesh: Mesh) {
    let (cluster, mesh) = (&cluster, &mesh);
    lead.whenever(|| write(cluster, mesh.clone())).await;
}

async fn write(cluster: &Cluster, mut mesh: Mesh) {
    let wake = Arc::new(Notify::new());
    let mut writer = Writer { statuses: Statuses::new(cluster), readings: Readings::default() };
    let mut followed: BTreeMap<Kind, (ApiResource, Followed)> = BTreeMap::new();
    let mut retry = RETRY.0;
    // Before it has been read nothing is known of the mesh.
    if mesh.snapshots.changed().await.is_none() {
        return;
    }
    loop {
        follow(cluster, &wake, &mut followed).await;
        let wait = match writer.look(&followed, &mesh).await {
            Ok(()) => {
                retry = RETRY.0;
                LOOK
            }
            Err(_) => {
                let wait = retry;
                retry = (retry * 2).min(RETRY.1);
                // What is refused is not asked for again because something else has changed.
                tokio::time::sleep(wait).await;
                continue;
            }
        };
        tokio::select! {
            () = wake.notified() => {}
            Some(_) = mesh.snapshots.changed() => {}
            Some(_) = mesh.reports.changed() => {}
            () = tokio::time::sleep(wait) => continue,
        }
        tokio::time::sleep(QUIET).await;
    }
}

/// Follows the kinds that are served, and are not followed yet.
async fn follow(cluster: &Cluster, wake: &Arc<Notify>, followed: &mut BTreeMap<Kind, (ApiResource, Followed)>) {
    for kind in KINDS {
        if followed.contains_key(&kind) {
            continue;
        }
        match ambit_discovery::resource_of(&cluster.client, kind).await {
            Ok(Some(resource)) => {
                let api = cluster.all(&resource);
                // Of what is not known yet nothing is said; one is woken when it is.
                let one = Followed::trimmed(api, &resource, watcher::Config::default(), wake, trim(kind));
                followed.insert(kind, (resource, one));
            }
            Ok(None) => {}
            Err(error) => debug!(%kind, "the Kubernetes API does not say whether it is served: {}", Why(&error)),
        }
    }
}

/// What of the objects of `kind` is not needed here: of those of which there are many, most.
const fn trim(kind: Kind) -> fn(&mut DynamicObject) {
    match kind {
        Kind::Namespace | Kind::Service => |object| {
            let conditions = at(&object.data, &["status", "conditions"]).clone();
            object.data = json!({"status": {"conditions": conditions}});
            object.metadata.annotations = None;
        },
        _ => |_| {},
    }
}

struct Writer<'a> {
    statuses: Statuses<'a>,
    readings: Readings,
}

impl Writer<'_> {
    /// Looks at every object, and writes what is not said. The first failure is told when all have been looked at.
    async fn look(&mut self, followed: &BTreeMap<Kind, (ApiResource, Followed)>, mesh: &Mesh) -> kube::Result<()> {
        let (snapshot, reports, now) = (mesh.snapshots.load(), mesh.reports.load(), now());
        let view = View::new(&snapshot, &reports);
        let mut first = Ok(());
        for (kind, (resource, followed)) in followed {
            let mut unsaid = Vec::new();
            for object in followed.each() {
                let reading = self.readings.of(*kind, &object, &snapshot.mesh);
                let status = status(&Subject { kind: *kind, object: &object, reading: &reading }, &view, &now);
                if let Some(status) = status.filter(|status| !is_said(at(&object.data, &["status"]), status)) {
                    unsaid.push((object, status));
                }
            }
            unsaid.sort_by_cached_key(|(object, _)| (object.namespace(), object.name_any()));
            for (object, status) in unsaid {
                let said = self.statuses.say(resource, &object, status).await;
                let refused = said.as_ref().err().is_some_and(|error| !is_of_one(error));
                first = first.and(said);
                // What is not allowed for one is not for the others.
                if refused {
                    break;
                }
            }
        }
        self.readings.settle();
        if let Err(error) = &first {
            warn!("not all is said of the mesh's objects in their status: {}", Why(error));
        }
        first
    }
}

/// True if the API has something against one status, and not against whoever says it.
fn is_of_one(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 413 | 422))
}

/// What is known of the mesh, to look at objects by.
pub(crate) struct View<'a> {
    snapshot: &'a Snapshot,
    /// What is wrong with objects, by which they are; notices aside, of which there is nothing to do.
    reports: BTreeMap<&'a ObjectRef, Vec<&'a Report>>,
}

impl<'a> View<'a> {
    fn new(snapshot: &'a Snapshot, reports: &'a [Report]) -> Self {
        let mut by_object: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for report in reports.iter().filter(|report| report.severity == Severity::Warning) {
            if let Some(object) = &report.object {
                by_object.entry(object).or_default().push(report);
            }
        }
        Self { snapshot, reports: by_object }
    }

    /// What is wrong with `subject` in view of others.
    fn findings(&self, subject: &Subject<'_>) -> impl Iterator<Item = &'a Report> {
        let reference =
            ObjectRef::new(subject.kind, &subject.object.namespace().unwrap_or_default(), &subject.object.name_any());
        let own = subject.reading.as_ref().map_or(&[][..], |read| &read.remarks).to_vec();
        let reports = self.reports.get(&reference).cloned().unwrap_or_default().into_iter();
        reports.filter(move |report| {
            !own.iter().any(|remark| remark.field.path == report.field && remark.field.message == report.message)
        })
    }
}

/// An object that something is to be said of.
pub(crate) struct Subject<'a> {
    kind: Kind,
    object: &'a DynamicObject,
    reading: &'a Reading,
}

impl Subject<'_> {
    /// The fields of its status in which `found` is said, and of the types `ours` nothing else, at `now`.
    fn say(&self, ours: &[&str], found: &[Condition], now: &str) -> Value {
        let before = at(&self.object.data, &["status", "conditions"]);
        let list = conditions(before, ours, found, (self.object.metadata.generation.unwrap_or_default(), now));
        // The API leaves out a list that is empty.
        json!({"conditions": if list.is_empty() { Value::Null } else { list.into() }})
    }
}

/// What the status of `subject` is to say in `view`, at `now` (RFC 3339): its fields, null for those that are not to be
/// there; none if nothing is to be said, nor has been.
fn status(subject: &Subject<'_>, view: &View<'_>, now: &str) -> Option<Value> {
    match subject.kind {
        Kind::HttpRoute | Kind::GrpcRoute => route::status(subject, view, now),
        Kind::Namespace | Kind::Service => {
            let found = bound::condition(subject, view.snapshot);
            let before = at(&subject.object.data, &["status", "conditions"]).as_array();
            let was = before.is_some_and(|known| known.iter().any(|condition| condition["type"] == bound::BOUND));
            (found.is_some() || was).then(|| subject.say(&[bound::BOUND], found.as_slice(), now))
        }
        Kind::AuthorizationPolicy => {
            let found: Vec<Condition> = policy::condition(subject, view.snapshot).into_iter().collect();
            Some(effect::with_messages(subject, subject.say(&policy::OURS, &found, now)))
        }
        _ => {
            let bound = bound::condition(subject, view.snapshot).into_iter();
            let bound = bound.chain(bound::missing(subject, view.snapshot));
            let found: Vec<Condition> = bound.chain(effect::condition(subject, view)).collect();
            let ours = [bound::BOUND, bound::MISSING, effect::IN_EFFECT];
            Some(effect::with_messages(subject, subject.say(&ours, &found, now)))
        }
    }
}

#[cfg(test)]
mod tests;
