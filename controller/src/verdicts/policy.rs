//! What is said of an AuthorizationPolicy, by Istio's conditions and reasons: of one for pods whether the agents of nodes
//! enforce it (`ZtunnelAccepted`), of one with targets whether their waypoints do (`WaypointAccepted`). Pure.

use ambit_api::Resource;
use ambit_model::policy::{Action, Policy, Scope, TargetKind, TargetRef, WAYPOINT_CLASSES};
use ambit_model::{ServiceKey, Snapshot, WaypointKey};

use super::{Subject, bound, effect};
use crate::json::at;
use crate::status::Condition;

const ZTUNNEL: &str = "ZtunnelAccepted";
const WAYPOINT: &str = "WaypointAccepted";
/// The conditions.
pub(super) const OURS: [&str; 2] = [ZTUNNEL, WAYPOINT];

/// What is said of `subject`, an AuthorizationPolicy.
pub(super) fn condition(subject: &Subject<'_>, snapshot: &Snapshot) -> Option<Condition> {
    let translated = match subject.reading {
        Ok(translated) => translated,
        Err(errors) => {
            let spec = at(&subject.object.data, &["spec"]);
            let has_targets = !spec["targetRef"].is_null() || !spec["targetRefs"].is_null();
            let kind = if has_targets { WAYPOINT } else { ZTUNNEL };
            return Some(Condition::no(kind, "Invalid", effect::refused(errors)));
        }
    };
    let Resource::AuthorizationPolicy(policy) = &translated.resource else { return None };
    let remarks: Vec<_> = translated.remarks.iter().map(|remark| &remark.field).collect();
    Some(match &policy.scope {
        Scope::Targets(targets) => {
            let found: Vec<_> = targets.iter().map(|target| (target, of_target(target, snapshot))).collect();
            flattened(&found, policy, &effect::listed(&remarks))
        }
        _ => {
            let (holds, reason) = match policy.action {
                Action::Custom => (false, "UnsupportedValue"),
                Action::Audit => (true, "Accepted"),
                Action::Allow | Action::Deny if remarks.is_empty() => (true, "Accepted"),
                Action::Allow | Action::Deny => (true, "UnsupportedValue"),
            };
            let said = effect::listed(&remarks);
            let message = if said.is_empty() { "attached to ztunnel".to_owned() } else { said };
            Condition { kind: ZTUNNEL, holds, reason, message: on_trial(policy, message) }
        }
    })
}

/// Whether the policy holds where `target` is, why, and in words.
fn of_target(target: &TargetRef, snapshot: &Snapshot) -> (bool, &'static str, String) {
    let (name, key) = (target.kind.name(), format!("{}/{}", target.namespace, target.name));
    let missing = || (false, "TargetNotFound", format!("{name} {key} was not found"));
    match target.kind {
        // What a class has to be for, and where its policy has to be, is checked with the rest of the policy.
        TargetKind::GatewayClass if WAYPOINT_CLASSES.contains(&&*target.name) => {
            (true, "Accepted", format!("bound to {}", target.name))
        }
        TargetKind::GatewayClass => (false, "TargetNotFound", format!("{name} {} is of no waypoint", target.name)),
        TargetKind::Gateway => match snapshot.waypoint(&WaypointKey::new(&target.namespace, &target.name)) {
            Some(waypoint) => (true, "Accepted", format!("bound to {}", waypoint.key)),
            None => missing(),
        },
        TargetKind::Service | TargetKind::ServiceEntry => {
            let service = match target.kind {
                TargetKind::Service => snapshot.service(&ServiceKey::new(&target.namespace, &target.name)),
                _ => snapshot.services().find(|service| TargetRef::from(&service.key) == *target),
            };
            match service.map(|service| bound::waypoint(service, snapshot)) {
                None => missing(),
                Some(Ok(waypoint)) => (true, "Accepted", format!("bound to {waypoint}")),
                Some(Err(_)) => (false, "AncestorNotBound", format!("{name} {key} is not bound to a waypoint")),
            }
        }
    }
}

/// One condition of what was `found` of each target, as Istio has it until there is one for each.
fn flattened(found: &[(&TargetRef, (bool, &'static str, String))], policy: &Policy, remarks: &str) -> Condition {
    if let [(_, (holds, reason, message))] = found {
        let message = if remarks.is_empty() { message.clone() } else { format!("{message}; {remarks}") };
        return Condition { kind: WAYPOINT, holds: *holds, reason, message: on_trial(policy, message) };
    }
    let unbound: Vec<String> = found.iter().filter(|(_, found)| !found.0).map(|(target, _)| ancestor(target)).collect();
    let holds = unbound.len() < found.len();
    let reason = match (holds, unbound.is_empty()) {
        (true, true) => "Accepted",
        (true, false) => "PartiallyInvalid",
        (false, _) => "Invalid",
    };
    let invalid = (!unbound.is_empty()).then(|| format!("Invalid targetRefs: {}", unbound.join(", ")));
    let remarks = (!remarks.is_empty()).then(|| remarks.to_owned());
    let message = invalid.into_iter().chain(remarks).collect::<Vec<_>>().join("; ");
    Condition { kind: WAYPOINT, holds, reason, message: on_trial(policy, message) }
}

fn ancestor(target: &TargetRef) -> String {
    let group = if target.kind.group().is_empty() { "core" } else { target.kind.group() };
    format!("{}.{group}:{}/{}", target.kind.name(), target.namespace, target.name)
}

fn on_trial(policy: &Policy, message: String) -> String {
    if policy.dry_run { format!("{message} (on trial: it has no effect but to be noted)") } else { message }
}
