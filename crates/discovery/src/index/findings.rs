//! What is wrong between objects: labels that ask for a waypoint that cannot serve, rules for traffic that nobody applies, and
//! Gateways that nobody serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_api::{FieldError, Kind, ObjectRef, Severity, labels};
use ambit_model::policy::PolicyKey;
use ambit_model::route::{Gateway, Host, VirtualService};
use ambit_model::waypoint::{Bound, of_service};
use ambit_model::{Snapshot, WaypointKey};

use super::selections::Selections;

mod gateways;
mod routes;
mod tokens;

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

/// Everything that is wrong, given who asks for which waypoint by labels of his own, and for which pods there are Gateways.
pub(super) fn all(
    snapshot: &Snapshot,
    asking: &BTreeMap<ObjectRef, WaypointKey>,
    selections: &Selections,
) -> Vec<Finding> {
    let labels = asking.iter().filter_map(|(object, key)| label(snapshot, object, key));
    let rules = unapplied(snapshot).into_iter().chain(routes::all(snapshot));
    labels.chain(rules).chain(tokens::unverified(snapshot)).chain(gateways::unserved(snapshot, selections)).collect()
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

/// The VirtualServices and DestinationRules that nobody applies, since no service of their hosts is reached by a waypoint and no
/// Gateway lets anything in for them.
fn unapplied(snapshot: &Snapshot) -> Vec<Finding> {
    let served = served(snapshot);
    let (mut findings, mut admitted) = (Vec::new(), Vec::new());
    let services = || snapshot.routes.virtual_services();
    for service in services().filter(|service| !service.hosts.is_empty()) {
        let at_gateways = gateways::standing(snapshot, service);
        findings.extend(at_gateways.findings);
        findings.extend(within(snapshot, service, &served, at_gateways.admitted));
        if at_gateways.admitted {
            admitted.push(&**service);
        }
    }
    let led = gateways::led(snapshot, &admitted);
    for delegate in services().filter(|service| service.hosts.is_empty()) {
        if served.is_empty() && !led.delegates.contains(&delegate.key) {
            findings.push(finding(Kind::VirtualService, &delegate.key, NOBODY));
        }
    }
    for rule in snapshot.destinations.rules() {
        let is_led_to = led.hosts.iter().any(|host| rule.host.covers(host.as_str()));
        if !is_led_to && !reached(&served, std::slice::from_ref(&rule.host)) {
            findings.push(finding(Kind::DestinationRule, &rule.key, NOBODY));
        }
    }
    findings
}

/// What is wrong with `service` within the mesh, if it is for that, whether it is `admitted` at a Gateway or not.
fn within(
    snapshot: &Snapshot,
    service: &VirtualService,
    served: &BTreeSet<Arc<str>>,
    admitted: bool,
) -> Option<Finding> {
    if !service.gateways.is_empty() && !service.gateways.contains(&Gateway::Mesh) {
        return None;
    }
    let message = match reached(served, &service.hosts) {
        false if admitted => NOBODY_WITHIN,
        false => NOBODY,
        true if service.hosts.iter().all(|host| is_foreign(snapshot, service, host)) => FOREIGN,
        true => return None,
    };
    let found = finding(Kind::VirtualService, &service.key, message);
    Some(Finding { code: found.code.filter(|_| !admitted), ..found })
}

/// True if one of `hosts` is one of those that are `served`.
fn reached(served: &BTreeSet<Arc<str>>, hosts: &[Host]) -> bool {
    hosts.iter().any(|host| match host.is_wildcard() {
        true => served.iter().any(|hostname| host.covers(hostname)),
        false => {
            served.contains(host.as_str()) || served.iter().any(|name| name.starts_with('*') && covers(name, host))
        }
    })
}

const NOBODY: &str = "is for a waypoint, and no service of its hosts has one: traffic goes as if it were not there. Label \
                      the service or its namespace istio.io/use-waypoint";

const NOBODY_WITHIN: &str = "is for the mesh as well, where no service of its hosts has a waypoint: within the mesh traffic goes \
                             as if it were not there. Label the service or its namespace istio.io/use-waypoint, or take \
                             mesh from the gateways";

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
