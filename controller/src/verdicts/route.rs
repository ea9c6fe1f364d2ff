//! What is said of a route to each parent that is a service of the mesh or a waypoint, in the words of the Gateway API
//! (`RouteParentStatus`; GEP-1426): pure. Of other parents others speak, and what they say stays.

use ambit_api::Resource;
use ambit_api::resource::{BackendRef, ParentKind, ParentRef, Route, RouteAction};
use ambit_discovery::Report;
use ambit_model::{Service, ServiceKey, Snapshot, WaypointKey};
use serde_json::{Value, json};

use super::{Subject, View, effect};
use crate::json::at;
use crate::status::{Condition, conditions};
use crate::waypoints::CONTROLLER;

const OURS: [&str; 2] = ["Accepted", "ResolvedRefs"];

/// The status of `subject`, a route; none if it has no parent of ours, nor had.
pub(super) fn status(subject: &Subject<'_>, view: &View<'_>, now: &str) -> Option<Value> {
    let before = at(&subject.object.data, &["status", "parents"]).as_array().map_or(&[][..], Vec::as_slice);
    let is_ours = |entry: &&Value| entry["controllerName"] == CONTROLLER;
    let written = at(&subject.object.data, &["spec", "parentRefs"]).as_array().map_or(&[][..], Vec::as_slice);
    let generation = subject.object.metadata.generation.unwrap_or_default();
    let ours = written.iter().enumerate().filter_map(|(place, parent)| {
        let found = of_parent(subject, view, place, parent)?;
        let was = before.iter().filter(is_ours).find(|entry| entry["parentRef"] == *parent);
        let was = was.map_or(&Value::Null, |entry| &entry["conditions"]);
        let conditions = conditions(was, &OURS, &found, (generation, now));
        Some(json!({"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}))
    });
    let ours: Vec<Value> = ours.collect();
    if ours.is_empty() && !before.iter().any(|entry| is_ours(&entry)) {
        return None;
    }
    let theirs = before.iter().filter(|entry| !is_ours(entry)).cloned();
    Some(json!({"parents": theirs.chain(ours).collect::<Vec<_>>()}))
}

/// What is said to the parent `written` at `place` of the route's parents; none if it is nobody of ours.
fn of_parent(subject: &Subject<'_>, view: &View<'_>, place: usize, written: &Value) -> Option<[Condition; 2]> {
    let route = match subject.reading {
        Ok(translated) => match &translated.resource {
            Resource::Route(route) => route,
            _ => return None,
        },
        Err(errors) => {
            let accepted = Condition::no("Accepted", "UnsupportedValue", effect::refused(errors));
            return is_of_mesh(written).then(|| [accepted, Condition::yes("ResolvedRefs", "ResolvedRefs", "")]);
        }
    };
    let path = format!("spec.parentRefs[{place}]");
    let parent = route.parents.iter().find(|parent| parent.path == path)?;
    let findings: Vec<&Report> = view.findings(subject).collect();
    let accepted = match parent.kind {
        ParentKind::Gateway => {
            view.snapshot.waypoint(&WaypointKey::new(&parent.namespace, &parent.name))?;
            let message = "is a waypoint, whose listener takes no routes: name the Service";
            Condition::no("Accepted", "NotAllowedByListeners", message)
        }
        ParentKind::Service | ParentKind::ServiceEntry => accepted(parent, view.snapshot, &findings),
    };
    Some([accepted, resolved(route, subject, &findings)])
}

/// True if the parent `written` is a Service or a ServiceEntry.
fn is_of_mesh(written: &Value) -> bool {
    matches!(
        (written["group"].as_str(), written["kind"].as_str()),
        (Some("" | "core"), Some("Service")) | (Some("networking.istio.io"), Some("ServiceEntry"))
    )
}

fn accepted(parent: &ParentRef, snapshot: &Snapshot, findings: &[&Report]) -> Condition {
    let no = |reason, message: &str| Condition::no("Accepted", reason, message);
    let services: Vec<&Service> = match parent.kind {
        ParentKind::Service => {
            snapshot.service(&ServiceKey::new(&parent.namespace, &parent.name)).into_iter().map(|one| &**one).collect()
        }
        _ => {
            let is_it = |service: &&Service| {
                service.key.host.is_some()
                    && service.key.namespace == parent.namespace
                    && service.key.name == parent.name
            };
            snapshot.services().map(|one| &**one).filter(is_it).collect()
        }
    };
    if services.is_empty() {
        return no("NoMatchingParent", "there is no such parent: the route is attached to nothing of that name");
    }
    let has_port = |service: &&Service| {
        service.ports.iter().any(|port| {
            parent.port.is_none_or(|number| number == port.port)
                && parent.section.as_ref().is_none_or(|name| *name == port.name)
        })
    };
    let named = parent.port.is_some() || parent.section.is_some();
    if named && !services.iter().any(has_port) {
        return no("NoMatchingParent", "the parent has no such port: the route is not attached there");
    }
    let about = |report: &&&Report| {
        report.field == "spec.parentRefs" && services.iter().any(|one| is_about(&report.message, &one.hostname))
    };
    match findings.iter().find(about) {
        Some(report) if report.code == Some("Conflicted") => no("Conflicted", &report.message),
        // It is attached, and takes effect once there is a waypoint.
        Some(report) => Condition::yes("Accepted", "Accepted", report.message.clone()),
        None => Condition::yes("Accepted", "Accepted", ""),
    }
}

/// True if `message` begins with `hostname`, or that with a port.
fn is_about(message: &str, hostname: &str) -> bool {
    message.strip_prefix(hostname).is_some_and(|rest| rest.starts_with([' ', ':']))
}

/// Whether all that `route` leads to can be had.
fn resolved(route: &Route, subject: &Subject<'_>, findings: &[&Report]) -> Condition {
    let lost = findings.iter().find(|report| report.code.is_some_and(|code| code != "Conflicted"));
    if let Some(report) = lost {
        let message = format!("{}: {}", report.field, report.message);
        return Condition::no("ResolvedRefs", report.code.unwrap_or("BackendNotFound"), message);
    }
    let backends = route.rules.iter().flat_map(|rule| {
        let backends = match &rule.action {
            RouteAction::Backends(backends) => &backends[..],
            RouteAction::Settled(_) => &[],
        };
        let named = backends.iter().map(|backend| (&backend.path, &backend.to));
        named.chain(rule.mirrors.iter().map(|mirror| (&mirror.path, &mirror.to)))
    });
    let unusable: Vec<&String> =
        backends.filter(|(_, to)| matches!(to, BackendRef::Unusable)).map(|(path, _)| path).collect();
    if unusable.is_empty() {
        return Condition::yes("ResolvedRefs", "ResolvedRefs", "");
    }
    let remarks = subject.reading.as_ref().map_or(&[][..], |read| &read.remarks).iter().map(|remark| &remark.field);
    let said: Vec<_> =
        remarks.filter(|field| unusable.iter().any(|path| field.path.starts_with(path.as_str()))).collect();
    Condition::no("ResolvedRefs", "InvalidKind", effect::listed(&said))
}
