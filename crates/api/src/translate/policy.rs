//! PeerAuthentication, AuthorizationPolicy and RequestAuthentication: whom they are for and what they say. What is not understood is an
//! error, so that a policy is in force as it was meant or not at all.

mod beyond;
mod custom;
mod rule;
mod target;
pub(super) mod token;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ambit_model::Mesh;
use ambit_model::policy::{self as model, Action, Mtls, Policy, PolicyKey, Scope};

use super::shared;
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object::policy::{AuthorizationPolicy, PeerAuthentication, Selector, TargetRef, Unknown};
use crate::resource::Resource;

pub(super) fn peer_authentication(
    policy: &PeerAuthentication,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Resource {
    let spec = &policy.spec;
    refuse_unknown("spec", &spec.unknown, "selector, mtls, portLevelMtls", findings);
    let scope = scope(spec.selector.as_ref(), id, mesh, findings);
    let whole = spec.mtls.as_ref().and_then(|mtls| mode("spec.mtls", &mtls.mode, &mtls.unknown, findings));
    match &spec.port_level_mtls {
        Some(ports) if ports.is_empty() => {
            findings.error("spec.portLevelMtls", "is empty: write what holds for a port, or remove it");
        }
        Some(_) if !matches!(scope, Scope::Selector(..)) => {
            let message = "takes a selector: ports are those of the pods that it selects";
            findings.error("spec.portLevelMtls", message);
        }
        _ => {}
    }
    let mut ports = BTreeMap::new();
    for (text, mtls) in spec.port_level_mtls.iter().flatten() {
        let path = format!("spec.portLevelMtls[{text}]");
        let port = findings.take(&path, value::port(text));
        if let (Some(port), Some(mode)) = (port, mode(&path, &mtls.mode, &mtls.unknown, findings)) {
            ports.insert(port, mode);
        }
    }
    let created = policy.metadata.creation_timestamp.as_deref().map(Arc::from);
    Resource::PeerAuthentication(Arc::new(model::PeerAuthentication {
        key: key(id),
        scope,
        created,
        mode: whole,
        ports,
    }))
}

pub(super) fn authorization(
    policy: &AuthorizationPolicy,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Resource {
    let spec = &policy.spec;
    let known = "selector, targetRef, targetRefs, action, rules, provider";
    refuse_unknown("spec", &spec.unknown, known, findings);
    let action = match spec.action.as_str() {
        "" | "ALLOW" => Action::Allow,
        "DENY" => Action::Deny,
        "AUDIT" => Action::Audit,
        "CUSTOM" => Action::Custom,
        other => {
            findings.error("spec.action", format!("{other:?} is none of ALLOW, DENY, AUDIT, CUSTOM"));
            Action::Deny
        }
    };
    if action != Action::Allow && spec.rules.is_empty() {
        let message = "is missing: without a rule the policy does nothing; write [{}] to match everything";
        findings.error("spec.rules", message);
    }
    match &spec.provider {
        Some(_) if action != Action::Custom => {
            findings.error("spec.provider", "is for the action CUSTOM only: remove it");
        }
        provider => {
            provider.iter().for_each(|one| refuse_unknown("spec.provider", &one.unknown, "name", findings));
            let is_named = provider.as_ref().is_some_and(|provider| !provider.name.is_empty());
            if action == Action::Custom && !spec.rules.is_empty() && !is_named {
                findings.error(
                    "spec.provider.name",
                    "is missing: write who is asked, by its name in the mesh's configuration",
                );
            }
        }
    }
    let written = (spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs[..]);
    let scope = pods_or_targets(written, id, mesh, findings);
    remark_on_action(action, findings);
    let rules = spec.rules.iter().enumerate();
    let rules = rules.map(|(place, rule)| rule::rule(rule, &format!("spec.rules[{place}]"), id, findings));
    let rules: Vec<_> = rules.collect();
    beyond::remark(&rules, action, &scope, findings);
    if action == Action::Custom {
        custom::refuse_what_is_not_asked(&spec.rules, findings);
    }
    let dry_run = dry_run(policy, action, findings);
    Resource::AuthorizationPolicy(Arc::new(Policy { key: key(id), scope, action, dry_run, rules }))
}

fn key(id: &ObjectRef) -> PolicyKey {
    PolicyKey { namespace: id.namespace.clone(), name: id.name.clone() }
}

/// The pods that are selected, the namespace, or of the root namespace the mesh.
fn scope(selector: Option<&Selector>, id: &ObjectRef, mesh: &Mesh, findings: &mut Findings) -> Scope {
    let root = *id.namespace == *mesh.root_namespace;
    if selector.is_some_and(|selector| selector.match_labels.is_empty() && selector.unknown.is_empty()) {
        let message = "is empty: it selects every pod, as if there were none";
        findings.remark(Severity::Warning, "spec.selector", message);
    }
    let Some(selector) = selector.filter(|selector| !selector.match_labels.is_empty() || !selector.unknown.is_empty())
    else {
        return if root { Scope::Mesh } else { Scope::Namespace(id.namespace.clone()) };
    };
    refuse_unknown("spec.selector", &selector.unknown, "matchLabels", findings);
    for (key, value) in &selector.match_labels {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("spec.selector.matchLabels[{key}]"), checked);
    }
    Scope::Selector((!root).then(|| id.namespace.clone()), shared(&selector.match_labels))
}

/// Pods, or what `targetRefs` name instead.
fn pods_or_targets(
    (selector, target_ref, target_refs): (Option<&Selector>, Option<&TargetRef>, &[TargetRef]),
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Scope {
    let targets: Vec<(String, &TargetRef)> = match target_ref {
        Some(single) => vec![("spec.targetRef".to_owned(), single)],
        None => {
            let each = target_refs.iter().enumerate();
            each.map(|(place, target)| (format!("spec.targetRefs[{place}]"), target)).collect()
        }
    };
    if targets.is_empty() {
        return scope(selector, id, mesh, findings);
    }
    if target_ref.is_some() && !target_refs.is_empty() {
        findings.error("spec.targetRef", "stands beside targetRefs: write targetRefs alone");
    }
    if selector.is_some() {
        findings.error("spec.selector", "stands beside targetRefs: a policy is for pods or for targets, write one");
    }
    Scope::Targets(targets.iter().filter_map(|(path, target)| target::read(target, path, id, mesh, findings)).collect())
}

fn remark_on_action(action: Action, findings: &mut Findings) {
    match action {
        Action::Allow | Action::Deny => {}
        Action::Audit => findings.remark(
            Severity::Notice,
            "spec.action",
            "AUDIT has no effect but a line of the log for each connection or request that it matches",
        ),
        Action::Custom => findings.remark(
            Severity::Warning,
            "spec.action",
            "CUSTOM asks somebody whom this version cannot ask: what its rules match is refused",
        ),
    }
}

/// What the annotation says, in any of the ways in which Go writes truth (`strconv.ParseBool`, by which Istio reads it).
fn dry_run(policy: &AuthorizationPolicy, action: Action, findings: &mut Findings) -> bool {
    let path = format!("metadata.annotations[{}]", labels::DRY_RUN);
    let Some(text) = policy.metadata.annotations.get(labels::DRY_RUN) else { return false };
    if !matches!(action, Action::Allow | Action::Deny) {
        findings.error(path, "is for the actions ALLOW and DENY: remove it");
        return false;
    }
    match text.as_str() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
        "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
        other => {
            findings.error(path, format!("{:?} is neither true nor false", name::shortened(other)));
            false
        }
    }
}

/// `PERMISSIVE` or `STRICT`; nothing for what inherits.
fn mode(path: &str, text: &str, unknown: &Unknown, findings: &mut Findings) -> Option<Mtls> {
    refuse_unknown(path, unknown, "mode", findings);
    match text {
        "" | "UNSET" => None,
        "PERMISSIVE" => Some(Mtls::Permissive),
        "STRICT" => Some(Mtls::Strict),
        "DISABLE" => {
            let message = "DISABLE cannot turn mutual TLS off between pods of the mesh: it is taken as PERMISSIVE";
            findings.remark(Severity::Warning, format_args!("{path}.mode"), message);
            Some(Mtls::Permissive)
        }
        other => {
            let message = format!("{other:?} is none of UNSET, DISABLE, PERMISSIVE, STRICT");
            findings.error(format_args!("{path}.mode"), message);
            None
        }
    }
}

/// An error for each of the fields at `path` that are none of the `known` ones.
fn refuse_unknown(path: impl fmt::Display, unknown: &Unknown, known: &str, findings: &mut Findings) {
    for field in unknown.keys() {
        findings.error(format_args!("{path}.{field}"), format!("is no field of this: write one of {known}"));
    }
}
