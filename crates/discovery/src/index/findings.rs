//! What is wrong between objects: labels that ask for a waypoint that cannot serve, and rules for traffic that nobody
//! applies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_api::{FieldError, Kind, ObjectRef, Severity, labels};
use ambit_model::policy::PolicyKey;
use ambit_model::route::{Gateway, Host, VirtualService};
use ambit_model::waypoint::{Bound, of_service};
use ambit_model::{Snapshot, WaypointKey};

mod routes;

/// What is wrong with an object in view of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub object: ObjectRef,
    /// Which field, and what.
    pub field: FieldError,
    /// How grave it is.
    pub severity: Severity,
    /// What is the matter in one word, as [`crate::Report::code`] has it.
    pub code: Option<&'static str>,
}

/// Everything that is wrong, given who asks for which waypoint by labels of his own.
pub(super) fn all(snapshot: &Snapshot, asking: &BTreeMap<ObjectRef, WaypointKey>) -> Vec<Finding> {
    let labels = asking.iter().filter_map(|(object, key)| label(snapshot, object, key));
    labels.chain(unapplied(snapshot)).chain(routes::all(snapshot)).collect()
}

/// What is wrong with the label of `object` that asks for the waypoint `key`.
fn label(snapshot: &Snapshot, object: &ObjectRef, key: &WaypointKey) -> Option<Finding> {
    let namespace = if object.kind == Kind::Namespace { &object.name } else { &object.namespace };
    let message = match snapshot.waypoint(key) {
        None => format!(
            "there is no waypoint {key}, so that nothing reaches what asks for it: write a Gateway of the class \
             ambit-waypoint, or the name of one that there is"
        ),
        Some(waypoint) => {
            let (serves, remedy) = match object.kind {
                Kind::Pod => (waypoint.serves.workloads(), "workload or all"),
                Kind::Namespace => {
                    (waypoint.serves.services() || waypoint.serves.workloads(), "service, workload or all")
                }
                _ => (waypoint.serves.services(), "service or all"),
            };
            if !serves {
                format!(
                    "the waypoint {key} does not serve a {} (UnsupportedTrafficType), which is reached without it: label \
                     the Gateway {}: {remedy}",
                    object.kind,
                    labels::WAYPOINT_FOR
                )
            } else if waypoint.allows(namespace) {
                return None;
            } else {
                format!(
                    "the waypoint {key} does not let namespace {namespace} in (AttachmentDenied), so that nothing reaches \
                     what asks for it: write allowedRoutes.namespaces of the Gateway's listener"
                )
            }
        }
    };
    let path = format!("metadata.labels[{}]", labels::USE_WAYPOINT);
    let field = FieldError { path, message };
    Some(Finding { object: object.clone(), field, severity: Severity::Warning, code: None })
}

/// The VirtualServices and DestinationRules for hosts of which none is reached by a waypoint.
fn unapplied(snapshot: &Snapshot) -> impl Iterator<Item = Finding> {
    let served = served(snapshot);
    let reached = move |hosts: &[Host]| match hosts {
        // Others delegate to it.
        [] => !served.is_empty(),
        hosts => hosts.iter().any(|host| match host.is_wildcard() {
            true => served.iter().any(|hostname| host.covers(hostname)),
            false => {
                served.contains(host.as_str()) || served.iter().any(|name| name.starts_with('*') && covers(name, host))
            }
        }),
    };
    let mut findings = Vec::new();
    for service in snapshot.routes.virtual_services() {
        let in_mesh = service.gateways.is_empty() || service.gateways.contains(&Gateway::Mesh);
        if !in_mesh {
            let message = "is for a gateway, which this version does not have: traffic goes as if it were not there";
            findings.push(finding(Kind::VirtualService, &service.key, message));
        } else if !reached(&service.hosts) {
            findings.push(finding(Kind::VirtualService, &service.key, NOBODY));
        } else if !service.hosts.is_empty() && service.hosts.iter().all(|host| is_foreign(snapshot, service, host)) {
            findings.push(finding(Kind::VirtualService, &service.key, FOREIGN));
        }
    }
    for rule in snapshot.destinations.rules() {
        if !reached(std::slice::from_ref(&rule.host)) {
            findings.push(finding(Kind::DestinationRule, &rule.key, NOBODY));
        }
    }
    findings.into_iter()
}

const NOBODY: &str = "is for a waypoint, and no service of its hosts has one: traffic goes as if it were not there. Label \
                      the service or its namespace istio.io/use-waypoint";

const FOREIGN: &str = "is for services of other namespaces, whose waypoints listen to their own namespace and to the \
                       services': traffic goes as if it were not there. Write it in the namespace of the service";

/// True if `host` is a service that neither its own waypoint nor it lets `rules` say anything of.
fn is_foreign(snapshot: &Snapshot, rules: &VirtualService, host: &Host) -> bool {
    let Some(service) = snapshot.service_named(host.as_str()) else { return false };
    let own = |namespace: &str| *rules.key.namespace == *namespace;
    match of_service(snapshot, service) {
        Bound::Waypoint(waypoint) => !own(&service.key.namespace) && !own(&waypoint.key.namespace),
        _ => false,
    }
}

fn finding(kind: Kind, key: &PolicyKey, message: &str) -> Finding {
    let field = FieldError { path: "spec".to_owned(), message: message.to_owned() };
    let object = ObjectRef::new(kind, &key.namespace, &key.name);
    Finding { object, field, severity: Severity::Warning, code: Some("NotInEffect") }
}

/// The hostnames of the services that are reached by a waypoint.
fn served(snapshot: &Snapshot) -> BTreeSet<Arc<str>> {
    let services = snapshot.binding_services();
    let reached = services.filter(|service| matches!(of_service(snapshot, service), Bound::Waypoint(_)));
    reached.map(|service| service.hostname.clone()).collect()
}

/// True if the wildcard `name` of a service stands for `host`.
fn covers(name: &str, host: &Host) -> bool {
    Host::literal(name).covers(host.as_str())
}
