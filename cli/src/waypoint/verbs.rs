//! The verbs of `waypoint`: asks the cluster and changes it. What is written and shown is decided next door.

use std::time::Duration;

use ambit_api::Kind;
use ambit_api::labels::{DATAPLANE_MODE, USE_WAYPOINT};
use ambit_discovery::resource;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{CLASSES, UNSAID, class, condition, gateway, is_programmed, is_waypoint};
use crate::cluster::Cluster;
use crate::error::{Error, is_forbidden, is_missing};
use crate::settings::Shape;

/// By this name the API knows which fields are ours.
const FIELD_MANAGER: &str = "ambit";
/// Who serves the classes.
const CONTROLLER: &str = "istio.io/mesh-controller";

/// How `apply` goes on once the Gateway is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Afterwards {
    /// Wait for it, so long.
    pub(crate) wait: Option<Duration>,
    /// Label the namespace.
    pub(crate) enroll: bool,
    /// Even if it has another waypoint.
    pub(crate) overwrite: bool,
}

/// What a verb tells while it works: lines of its result, and warnings.
pub(crate) trait Tell {
    /// Something is done.
    fn done(&self, line: &str);
    /// Something will not be as expected.
    fn warn(&self, line: &str);
}

/// Writes the Gateway of `shape`, and what follows.
///
/// # Errors
/// Where something that it needs is not there, the API refuses, or it does not come to take connections in time.
pub(crate) async fn apply(cluster: &Cluster, shape: &Shape, then: Afterwards, tell: &dyn Tell) -> Result<(), Error> {
    let kind = cluster.served(Kind::Gateway).await?;
    let namespace = &cluster.namespace;
    check_class(cluster, &shape.class, tell).await?;
    let home = namespace_of(cluster).await?;
    if then.enroll {
        let label = |name: &str| home.labels().get(name).map(String::as_str).unwrap_or_default();
        let other = Some(label(USE_WAYPOINT)).filter(|it| !it.is_empty() && *it != shape.name);
        if let Some(other) = other.filter(|_| !then.overwrite) {
            return Err(Error::Unmet(format!(
                "namespace {namespace} has the waypoint {other:?} already ({USE_WAYPOINT}): give --overwrite to give it {:?} \
                 instead; nothing was changed",
                shape.name
            )));
        }
        if label(DATAPLANE_MODE) != "ambient" {
            tell.warn(&format!(
                "namespace {namespace} is not in the mesh: `kubectl label namespace {namespace} {DATAPLANE_MODE}=ambient` \
                 takes its pods in"
            ));
        }
    }
    let api = cluster.within(namespace, &kind);
    let wanted = gateway(shape, &kind.api_version, Some(namespace));
    let how = PatchParams::apply(FIELD_MANAGER);
    let written = api.patch(&shape.name, &how, &Patch::Apply(&wanted)).await;
    let full = format!("{namespace}/{}", shape.name);
    written.map_err(|error| Error::api(format!("apply Gateway {full}"), &error))?;
    tell.done(&format!("waypoint {full} applied"));
    if let Some(patience) = then.wait {
        programmed(&api, &shape.name, &full, Instant::now() + patience).await?;
        tell.done(&format!("waypoint {full} is ready"));
    }
    if then.enroll {
        let labels = json!({"metadata": {"labels": {USE_WAYPOINT: shape.name}}});
        let namespaces = cluster.all(&namespaces());
        let labelled = namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(&labels)).await;
        labelled.map_err(|error| Error::api(format!("label namespace {namespace}"), &error))?;
        tell.done(&format!("namespace {namespace} labelled {USE_WAYPOINT}={}", shape.name));
    }
    Ok(())
}

/// The waypoints of the namespace, or of all; of this name only, if there is one.
///
/// # Errors
/// What the API says; or that there is none of this name.
pub(crate) async fn found(cluster: &Cluster, all: bool, name: Option<&str>) -> Result<Vec<DynamicObject>, Error> {
    let kind = cluster.served(Kind::Gateway).await?;
    let namespace = (!all).then_some(cluster.namespace.as_str());
    let mut gateways = cluster.list(namespace, &kind, &ListParams::default()).await?;
    gateways.retain(|gateway| is_waypoint(gateway) && name.is_none_or(|name| gateway.name_any() == name));
    match name {
        Some(name) if gateways.is_empty() => Err(missing(&cluster.namespace, name)),
        _ => Ok(gateways),
    }
}

/// Waits until each of `gateways` takes connections, for `patience` in all.
///
/// # Errors
/// Which does not, and what is the matter with it.
pub(crate) async fn wait(cluster: &Cluster, gateways: &[DynamicObject], patience: Duration) -> Result<(), Error> {
    let kind = cluster.served(Kind::Gateway).await?;
    let deadline = Instant::now() + patience;
    for gateway in gateways {
        let namespace = gateway.namespace().unwrap_or_default();
        let full = format!("{namespace}/{}", gateway.name_any());
        programmed(&cluster.within(&namespace, &kind), &gateway.name_any(), &full, deadline).await?;
    }
    Ok(())
}

/// Deletes the waypoints of these names; without a name all of the namespace, or those of `revision`.
///
/// # Errors
/// How many could not be deleted; of each it is told why.
pub(crate) async fn delete(
    cluster: &Cluster,
    names: &[String],
    revision: Option<&str>,
    tell: &dyn Tell,
) -> Result<(), Error> {
    let kind = cluster.served(Kind::Gateway).await?;
    let namespace = &cluster.namespace;
    let wanted = revision
        .map_or_else(ListParams::default, |it| ListParams::default().labels(&format!("{}={it}", super::REVISION)));
    let gateways = cluster.list(Some(namespace), &kind, &wanted).await?;
    let of_ours = gateways.iter().filter(|gateway| is_waypoint(gateway)).map(ResourceExt::name_any);
    let doomed = if names.is_empty() { of_ours.collect() } else { names.to_vec() };
    if doomed.is_empty() {
        tell.done(&format!("no waypoints in namespace {namespace}"));
    }
    let api = cluster.within(namespace, &kind);
    let mut failed = 0;
    let mut gone = Vec::new();
    for name in doomed {
        let deleted = match gateways.iter().find(|gateway| gateway.name_any() == name) {
            None => Err(missing(namespace, &name)),
            Some(gateway) if !is_waypoint(gateway) => Err(Error::Unmet(format!(
                "Gateway {namespace}/{name} is no waypoint: its class is {:?}, and not one of {}",
                class(gateway),
                CLASSES.join(", ")
            ))),
            Some(_) => match api.delete(&name, &DeleteParams::default()).await {
                Err(error) if !is_missing(&error) => {
                    Err(Error::api(format!("delete Gateway {namespace}/{name}"), &error))
                }
                _ => Ok(()),
            },
        };
        match deleted {
            Ok(()) => {
                tell.done(&format!("waypoint {namespace}/{name} deleted"));
                gone.push(name);
            }
            Err(error) => {
                failed += 1;
                tell.warn(&error.to_string());
            }
        }
    }
    // Who may delete a Gateway may still not see its namespace.
    if let Ok(home) = namespace_of(cluster).await
        && let Some(asked) = home.labels().get(USE_WAYPOINT).filter(|asked| gone.contains(asked))
    {
        tell.warn(&format!(
            "namespace {namespace} is still labelled {USE_WAYPOINT}={asked}: without that waypoint its services are refused; \
             `kubectl label namespace {namespace} {USE_WAYPOINT}-` has them reached directly"
        ));
    }
    if failed == 0 { Ok(()) } else { Err(Error::Several(failed)) }
}

fn missing(namespace: &str, name: &str) -> Error {
    Error::Unmet(format!("there is no waypoint {namespace}/{name}: `ambit waypoint list -A` lists all"))
}

fn namespaces() -> kube::core::ApiResource {
    resource("v1", "Namespace", "namespaces")
}

/// The namespace that is meant.
async fn namespace_of(cluster: &Cluster) -> Result<DynamicObject, Error> {
    let namespace = &cluster.namespace;
    match cluster.all(&namespaces()).get(namespace).await {
        Err(error) if is_missing(&error) => Err(Error::Unmet(format!(
            "there is no namespace {namespace}: `kubectl create namespace {namespace}` makes it, -n names another"
        ))),
        found => found.map_err(|error| Error::api(format!("get namespace {namespace}"), &error)),
    }
}

/// Makes sure that somebody runs waypoints of `name`, as far as this user may know.
async fn check_class(cluster: &Cluster, name: &str, tell: &dyn Tell) -> Result<(), Error> {
    let kind = cluster.served(Kind::GatewayClass).await?;
    let class = match cluster.all(&kind).get(name).await {
        Ok(class) => class,
        Err(error) if is_forbidden(&error) => return Ok(()),
        Err(error) if is_missing(&error) => {
            let home = &cluster.home;
            return Err(Error::Unmet(format!(
                "there is no GatewayClass {name}, so that nobody would run the waypoint: the controller makes the class when \
                 it runs; install the mesh (charts/ambit), or see `kubectl logs -n {home} deployment/ambit-controller`"
            )));
        }
        Err(error) => return Err(Error::api(format!("get GatewayClass {name}"), &error)),
    };
    let controller = class.data.pointer("/spec/controllerName").and_then(|name| name.as_str()).unwrap_or_default();
    if controller != CONTROLLER {
        tell.warn(&format!(
            "GatewayClass {name} is run by {controller:?}, and not by {CONTROLLER}: so is this waypoint"
        ));
    }
    Ok(())
}

/// Waits until the Gateway takes connections.
async fn programmed(api: &Api<DynamicObject>, name: &str, full: &str, deadline: Instant) -> Result<(), Error> {
    let is_ready = |gateway: Option<&DynamicObject>| gateway.is_some_and(is_programmed);
    match timeout_at(deadline, await_condition(api.clone(), name, is_ready)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::Api { what: format!("watch Gateway {full}"), why: crate::error::causes(&error) }),
        Err(_) => {
            let gateway = api.get(name).await.map_err(|error| Error::api(format!("get Gateway {full}"), &error))?;
            let matter = condition(&gateway).map_or_else(
                || UNSAID.to_owned(),
                |condition| {
                    format!("{} is {} ({}): {}", condition.kind, condition.status, condition.reason, condition.message)
                },
            );
            Err(Error::Unmet(format!("waypoint {full} does not take connections yet: {matter}")))
        }
    }
}
