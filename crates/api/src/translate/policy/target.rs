//! What an AuthorizationPolicy is attached to instead of pods: `targetRefs`.

use ambit_model::Mesh;
use ambit_model::policy::{TargetKind, TargetRef};

use super::refuse_unknown;
use crate::field::Findings;
use crate::kind::ObjectRef;
use crate::name;
use crate::object::policy as written;

const KINDS: [TargetKind; 4] =
    [TargetKind::Service, TargetKind::Gateway, TargetKind::GatewayClass, TargetKind::ServiceEntry];

/// What `target`, standing at `path` of the policy `id`, means.
pub(super) fn read(
    target: &written::TargetRef,
    path: &str,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Option<TargetRef> {
    refuse_unknown(path, &target.unknown, "group, kind, name", findings);
    findings.take(format_args!("{path}.name"), name::subdomain(&target.name));
    let Some(kind) = KINDS.into_iter().find(|kind| kind.name() == target.kind) else {
        let message =
            format!("{:?} is none of Service, Gateway, GatewayClass, ServiceEntry", name::shortened(&target.kind));
        findings.error(format_args!("{path}.kind"), message);
        return None;
    };
    // The kind alone says it, so that the group may be missing.
    let core = kind.group().is_empty() && target.group == "core";
    if !target.group.is_empty() && target.group != kind.group() && !core {
        let message = format!("is {:?} for a {}: write that or nothing", kind.group(), kind.name());
        findings.error(format_args!("{path}.group"), message);
    }
    if !target.namespace.is_empty() && *target.namespace != *id.namespace {
        let message = "is another than the policy's own: remove it, and write the policy in the target's namespace";
        findings.error(format_args!("{path}.namespace"), message);
    }
    if kind == TargetKind::GatewayClass && *id.namespace != *mesh.root_namespace {
        let message = format!(
            "is GatewayClass, which is of the whole mesh: write the policy in {}, or target a Gateway",
            mesh.root_namespace
        );
        findings.error(format_args!("{path}.kind"), message);
    }
    Some(TargetRef::new(kind, &id.namespace, &target.name))
}
