//! What is said of a label that asks for a waypoint, in Istio's words (`istio.io/WaypointBound`; its reasons): pure.

use ambit_api::resource::{Resource, WaypointWish};
use ambit_api::{Kind, labels};
use ambit_model::waypoint::{Bound, Unavailable, of_service};
use ambit_model::{Service, ServiceKey, Snapshot, Waypoint, WaypointKey};
use kube::ResourceExt;

use super::Subject;
use crate::status::Condition;

/// The condition.
pub(super) const BOUND: &str = "istio.io/WaypointBound";

/// The condition of a ServiceEntry whose hosts nobody can be told from, unless a waypoint does.
pub(super) const MISSING: &str = "istio.io/WaypointMissing";

/// What is said of `subject`, a namespace, a Service or a ServiceEntry, if anything.
pub(super) fn condition(subject: &Subject<'_>, snapshot: &Snapshot) -> Option<Condition> {
    if subject.kind == Kind::Service {
        let namespace = subject.object.namespace()?;
        let service = snapshot.service(&ServiceKey::new(&namespace, &subject.object.name_any()))?;
        return of(service, snapshot);
    }
    match &subject.reading.as_ref().ok()?.resource {
        Resource::Namespace(namespace) => {
            let key = namespace.waypoint.as_ref().and_then(WaypointWish::key)?;
            Some(of_namespace(&namespace.name, key, snapshot))
        }
        Resource::ServiceEntry(entry) => {
            entry.hosts.iter().find_map(|host| of(snapshot.service(&host.key())?, snapshot))
        }
        _ => None,
    }
}

/// What is said of `subject` if it is a ServiceEntry that takes a waypoint and has none: one of hosts with wildcards, which
/// agents cannot tell from one another. Where it has addresses as well, they go by those.
pub(super) fn missing(subject: &Subject<'_>, snapshot: &Snapshot) -> Option<Condition> {
    let Resource::ServiceEntry(entry) = &subject.reading.as_ref().ok()?.resource else { return None };
    let wild = entry.hosts.iter().filter(|host| host.hostname.starts_with('*'));
    let mut unknown = wild.filter(|host| host.vips.is_empty() && host.ranges.is_empty());
    let unbound =
        unknown.any(|host| snapshot.service(&host.key()).is_none_or(|known| waypoint(known, snapshot).is_err()));
    unbound.then(|| {
        let message =
            "ServiceEntry will not apply until it is bound to a valid waypoint: label it istio.io/use-waypoint";
        Condition::yes(MISSING, "NoWaypointForWildcardService", message)
    })
}

/// The waypoint that `service` is reached by.
///
/// # Errors
/// What is said if there is none: nothing, if none is asked for.
pub(super) fn waypoint<'a>(service: &'a Service, snapshot: &'a Snapshot) -> Result<&'a WaypointKey, Option<Condition>> {
    let Some(wanted) = &service.waypoint else { return Err(None) };
    let key = &wanted.key;
    match of_service(snapshot, service) {
        Bound::Waypoint(waypoint) if waypoint.service(snapshot).is_some() => Ok(key),
        Bound::Waypoint(_) | Bound::Unavailable(Unavailable::Missing) => Err(Some(not_ready(key, snapshot))),
        Bound::Unavailable(Unavailable::AttachmentDenied) => Err(Some(denied(key))),
        Bound::None => {
            let unsupported = snapshot.waypoint(key).is_some_and(|waypoint| !waypoint.serves.services());
            // A waypoint's own Service is reached by none.
            Err(unsupported.then(|| other_traffic(key, "service")))
        }
    }
}

fn of(service: &Service, snapshot: &Snapshot) -> Option<Condition> {
    match waypoint(service, snapshot) {
        Ok(key) => Some(attached(key)),
        Err(condition) => condition,
    }
}

fn of_namespace(namespace: &str, key: &WaypointKey, snapshot: &Snapshot) -> Condition {
    let serves = |waypoint: &Waypoint| waypoint.serves.services() || waypoint.serves.workloads();
    match snapshot.waypoint(key) {
        Some(waypoint) if !waypoint.allows(namespace) => denied(key),
        Some(waypoint) if !serves(waypoint) => other_traffic(key, "service"),
        Some(waypoint) if waypoint.service(snapshot).is_some() => attached(key),
        _ => not_ready(key, snapshot),
    }
}

fn attached(key: &WaypointKey) -> Condition {
    Condition::yes(BOUND, "WaypointAccepted", format!("Successfully attached to waypoint {key}"))
}

fn not_ready(key: &WaypointKey, snapshot: &Snapshot) -> Condition {
    let remedy = match snapshot.waypoint(key) {
        Some(_) => "it has no Service yet; see its Gateway's status",
        None => "write a Gateway of the class ambit-waypoint or istio-waypoint, or the name of one that there is",
    };
    let message = format!("waypoint \"{key}\" is not ready, and nothing reaches what asks for it: {remedy}");
    Condition::no(BOUND, "WaypointIsNotReady", message)
}

fn denied(key: &WaypointKey) -> Condition {
    let message = format!(
        "we are not permitted to attach to waypoint \"{key}\" (missing allowedRoutes?), and nothing reaches what asks for it"
    );
    Condition::no(BOUND, "AttachmentDenied", message)
}

fn other_traffic(key: &WaypointKey, traffic: &str) -> Condition {
    let message = format!(
        "attempting to bind to traffic type \"{traffic}\" which the waypoint \"{key}\" does not support (label {} of its \
         Gateway): it is reached without it",
        labels::WAYPOINT_FOR
    );
    Condition::no(BOUND, "UnsupportedTrafficType", message)
}
