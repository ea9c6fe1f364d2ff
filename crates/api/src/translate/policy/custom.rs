//! What rules of the action CUSTOM cannot ask for: whom they match is asked of somebody else, before it is known who the
//! client is (Istio's `ValidateAuthorizationPolicy`).

use crate::field::Findings;
use crate::object::policy::Rule;

/// Keys of sources, each with or without `not` before it.
const SOURCES: [&str; 5] = ["principals", "requestPrincipals", "namespaces", "serviceAccounts", "trustDomains"];

/// Attributes of conditions.
const ATTRIBUTES: [&str; 4] = ["source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal"];

/// An error for each key of `rules` that CUSTOM does not have.
pub(super) fn refuse_what_is_not_asked(rules: &[Rule], findings: &mut Findings) {
    let message = "is none of what CUSTOM can ask for: remove it, or have a policy of its own refuse by it";
    for (place, rule) in rules.iter().enumerate() {
        for (from, clause) in rule.from.iter().flatten().enumerate() {
            for (key, _) in clause.source.iter().filter(|(key, values)| is_of_client(key) && !values.is_empty()) {
                findings.error(format_args!("spec.rules[{place}].from[{from}].source.{key}"), message);
            }
        }
        for (when, condition) in rule.when.iter().enumerate() {
            let key = condition.key.as_str();
            if ATTRIBUTES.contains(&key) || key.starts_with("request.auth.") {
                findings.error(format_args!("spec.rules[{place}].when[{when}].key"), message);
            }
        }
    }
}

fn is_of_client(key: &str) -> bool {
    let plain = key.strip_prefix("not").unwrap_or(key);
    SOURCES.iter().any(|source| source.eq_ignore_ascii_case(plain))
}
