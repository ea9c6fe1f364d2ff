//! Routes that are attached to services: which of them nobody applies, and which VirtualServices have no effect beside them.

use ambit_api::{FieldError, Kind, ObjectRef, Severity};
use ambit_model::Snapshot;
use ambit_model::route::{Gateway, Parent, ServiceRoute, VirtualService};

use super::{Finding, served};

const UNREACHED: &str = "is for a waypoint, and the service has none: traffic goes as if the route were not there. Label the \
                         service or its namespace istio.io/use-waypoint";

/// Everything that is wrong with routes, and with VirtualServices in view of them.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Finding> {
    if snapshot.routes.service_routes().next().is_none() {
        return Vec::new();
    }
    let served = served(snapshot);
    let mut findings = Vec::new();
    for route in snapshot.routes.service_routes() {
        let object = ObjectRef::new(Kind::of_route(route.id.kind), &route.id.key.namespace, &route.id.key.name);
        for parent in &route.parents {
            let (message, code) = if !served.contains(&parent.host) {
                (UNREACHED.to_owned(), None)
            } else if let Some(other) = conflict(snapshot, route, parent) {
                let message =
                    format!("is not in effect beside {}, which is attached to the same port (Conflicted)", other.id);
                (message, Some("Conflicted"))
            } else {
                continue;
            };
            let port = parent.port.map(|port| format!(":{port}")).unwrap_or_default();
            let field =
                FieldError { path: "spec.parentRefs".to_owned(), message: format!("{}{port} {message}", parent.host) };
            findings.push(Finding { object: object.clone(), field, severity: Severity::Warning, code });
        }
    }
    for service in snapshot.routes.virtual_services() {
        for (place, host) in service.hosts.iter().enumerate() {
            let beaten =
                served.iter().filter(|name| host.covers(name)).filter_map(|name| beaten(snapshot, service, name));
            let path = format!("spec.hosts[{place}]");
            findings.extend(beaten.map(|message| overridden(service, path.clone(), message)));
        }
    }
    findings
}

/// A route of another kind that takes everything that `route` is attached to by `parent`.
fn conflict<'a>(snapshot: &'a Snapshot, route: &ServiceRoute, parent: &Parent) -> Option<&'a ServiceRoute> {
    let others = snapshot.routes.service_routes_of(&parent.host).filter(|other| other.id.kind < route.id.kind);
    others.map(|other| &**other).find(|other| other.parents.iter().any(|theirs| theirs.takes_all_of(parent)))
}

/// What becomes of the rules for requests to `host` that `service` has: they have no effect where routes are attached to it.
fn beaten(snapshot: &Snapshot, service: &VirtualService, host: &str) -> Option<String> {
    let in_mesh = service.gateways.is_empty() || service.gateways.contains(&Gateway::Mesh);
    if service.http.is_empty() || !in_mesh {
        return None;
    }
    let routes = snapshot.routes.service_routes_of(host);
    let for_everybody = routes.flat_map(|route| {
        let parents = route.parents.iter().filter(|parent| *parent.host == *host && parent.clients.is_none());
        parents.map(move |parent| (parent.port, route))
    });
    let (port, route) = for_everybody.min_by_key(|(port, route)| (port.is_some(), *port, route.id.clone()))?;
    let which = port.map_or_else(|| format!("requests to {host}"), |port| format!("requests to port {port} of {host}"));
    Some(format!("has no effect for {which}: {} is attached there, and holds in its place", route.id))
}

fn overridden(service: &VirtualService, path: String, message: String) -> Finding {
    let object = ObjectRef::new(Kind::VirtualService, &service.key.namespace, &service.key.name);
    Finding { object, field: FieldError { path, message }, severity: Severity::Warning, code: None }
}
