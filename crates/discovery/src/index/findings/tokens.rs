//! VirtualServices that ask for claims of tokens where nobody verifies any.

use ambit_api::{FieldError, Kind, ObjectRef, Severity};
use ambit_model::Snapshot;
use ambit_model::policy::{RequestAuthentication, Scope, TargetKind, TargetRef, WAYPOINT_CLASSES};
use ambit_model::route::{Gateway, VirtualService};

use super::Finding;

/// The matches by claims that no request can have, since no RequestAuthentication is there that could be for their place.
pub(super) fn unverified(snapshot: &Snapshot) -> Vec<Finding> {
    let services = snapshot.routes.virtual_services();
    services.filter_map(|service| unheard(snapshot, service)).collect()
}

fn unheard(snapshot: &Snapshot, service: &VirtualService) -> Option<Finding> {
    let (path, consequence) = first_claim(service)?;
    let at_gateways = service.gateways.iter().any(|gateway| *gateway != Gateway::Mesh) || service.hosts.is_empty();
    let in_mesh = service.gateways.is_empty() || service.gateways.contains(&Gateway::Mesh);
    let heard = |policy: &&std::sync::Arc<RequestAuthentication>| {
        (at_gateways && is_for(&policy.scope, at_gateway)) || (in_mesh && is_for(&policy.scope, at_waypoint))
    };
    if snapshot.policies.authentications().any(|policy| heard(&policy)) {
        return None;
    }
    let message = format!(
        "asks what a token says, and no RequestAuthentication has one verified there (IST0149), so that it {consequence}: \
         write one for the gateway's pods, or with targetRefs for the waypoint or the service"
    );
    Some(Finding {
        object: ObjectRef::new(Kind::VirtualService, &service.key.namespace, &service.key.name),
        field: FieldError { path, message },
        severity: Severity::Warning,
        code: None,
    })
}

/// The path of the first match by a claim, and what it comes to where nobody has one.
fn first_claim(service: &VirtualService) -> Option<(String, &'static str)> {
    service.http.iter().enumerate().find_map(|(route, rule)| {
        let mut blocks = rule.matches.iter().enumerate();
        blocks.find_map(|(block, matched)| {
            let (field, claims, consequence) = match matched.claims.is_empty() {
                true => ("withoutHeaders", &matched.without_claims, "keeps nobody out"),
                false => ("headers", &matched.claims, "never matches"),
            };
            let (claim, _) = claims.first_key_value()?;
            Some((format!("spec.http[{route}].match[{block}].{field}[@request.auth.claims{claim}]"), consequence))
        })
    })
}

/// True if `targets` takes one of the targets of `scope`, or no target where `scope` is of pods.
fn is_for(scope: &Scope, targets: fn(Option<&TargetRef>) -> bool) -> bool {
    match scope {
        Scope::Targets(all) => all.iter().any(|target| targets(Some(target))),
        Scope::Mesh | Scope::Namespace(_) | Scope::Selector(..) => targets(None),
    }
}

fn at_gateway(target: Option<&TargetRef>) -> bool {
    target.is_none()
}

fn at_waypoint(target: Option<&TargetRef>) -> bool {
    target.is_some_and(|target| match target.kind {
        TargetKind::GatewayClass => WAYPOINT_CLASSES.contains(&&*target.name),
        TargetKind::Gateway | TargetKind::Service | TargetKind::ServiceEntry => true,
    })
}
