//! What becomes of the rules that ask for what cannot be seen where their policy is enforced: at pods what only HTTP
//! shows, at waypoints what only Envoy does.

use ambit_model::policy::{Action, Rule, Scope, Term};

use crate::field::{Findings, Severity};

/// Remarks on each of the `rules` of a policy for `scope` that asks for such.
pub(super) fn remark(rules: &[Rule], action: Action, scope: &Scope, findings: &mut Findings) {
    let at_pods = !matches!(scope, Scope::Targets(_));
    for (place, rule) in rules.iter().enumerate() {
        let terms = || rule.from.iter().chain(&rule.to).flatten().chain(&rule.when);
        let unseen = terms().filter(|term| at_pods || matches!(term, Term::Beyond(_)));
        let unseen: Vec<_> = unseen.filter_map(Term::beyond_layer_4).collect();
        if !unseen.is_empty() {
            let effect = match action {
                Action::Allow => "so the rule admits nobody",
                Action::Audit => "so the rule matches nothing",
                Action::Deny | Action::Custom => "so the rule refuses whatever the rest of it matches",
            };
            let whence = if at_pods { "at layer 4" } else { "at a waypoint" };
            let message = format!("{} cannot be seen {whence}, {effect}", unseen.join(", "));
            findings.remark(Severity::Warning, format_args!("spec.rules[{place}]"), message);
        }
    }
}
