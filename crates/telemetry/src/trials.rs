//! What policies on trial (AUDIT, dry run) said of connections, and how that is exposed. Knows no rule.

use std::collections::BTreeMap;
use std::fmt;

use ambit_model::policy::{Action, Policy, PolicyKey};
use prometheus_client::encoding::DescriptorEncoder;

use crate::family::{Head, Value};

/// What one policy on trial says of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trial {
    policy: PolicyKey,
    /// As it is written in a policy, such as `DENY`.
    action: &'static str,
    matched: bool,
}

impl Trial {
    /// `policy` matches a connection, or does not: an ALLOW that does not would not have admitted it.
    #[must_use]
    pub fn new(policy: &Policy, matched: bool) -> Self {
        let action = match policy.action {
            Action::Allow => "ALLOW",
            Action::Deny => "DENY",
            Action::Audit => "AUDIT",
            Action::Custom => "CUSTOM",
        };
        Self { policy: policy.key.clone(), action, matched }
    }

    fn labels(&self) -> [(&'static str, &str); 4] {
        [
            ("policy_namespace", &self.policy.namespace),
            ("policy", &self.policy.name),
            ("action", self.action),
            ("matched", if self.matched { "true" } else { "false" }),
        ]
    }
}

/// How many connections policies on trial said a thing of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trials(BTreeMap<Trial, u64>);

impl Trials {
    /// Counts `count` more connections.
    pub(crate) fn count(&mut self, trial: Trial, count: u64) {
        let sum = self.0.entry(trial).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Adds what another worker counted.
    pub(crate) fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(trial, count)| self.count(trial, count));
    }

    /// Forgets the policies for which `lives` is false.
    pub(crate) fn retain(&mut self, lives: impl Fn(&PolicyKey) -> bool) {
        self.0.retain(|trial, _| lives(&trial.policy));
    }

    /// Encodes the family; without samples it is left out.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        TRIALS.encode(encoder, self.0.iter().map(|(trial, count)| (Some(trial.labels()), Value::Count(*count))))
    }
}

const TRIALS: Head = Head::counter(
    "ambit_policy_trials",
    "Admitted connections of which a policy on trial (AUDIT, or a dry run) has something to say",
);

#[cfg(test)]
mod tests {
    use ambit_model::Snapshot;
    use ambit_model::policy::Scope;

    use super::*;
    use crate::fixtures::{access_log, silent_meter};
    use crate::{Exposition, Living, Meter};

    fn policy(name: &str, action: Action) -> Policy {
        Policy { key: PolicyKey::new("shop", name), scope: Scope::Mesh, action, dry_run: true, rules: vec![] }
    }

    fn page(meters: &[Meter]) -> String {
        Exposition::new("ztunnel", "1", access_log("off").0).text(meters.iter().map(Meter::values))
    }

    #[test]
    fn what_policies_on_trial_said_is_exposed_until_they_are_gone() {
        let meters = [silent_meter(), silent_meter()];
        for meter in &meters {
            meter.on_trial(Trial::new(&policy("deny", Action::Deny), true));
            meter.on_trial(Trial::new(&policy("allow", Action::Allow), false));
        }
        meters[0].on_trial(Trial::new(&policy("allow", Action::Allow), true));
        let line = |name: &str, action: &str, matched: &str, count: u64| {
            let labels =
                format!("policy_namespace=\"shop\",policy=\"{name}\",action=\"{action}\",matched=\"{matched}\"");
            format!("ambit_policy_trials_total{{{labels}}} {count}")
        };
        let expected =
            [line("allow", "ALLOW", "false", 2), line("allow", "ALLOW", "true", 1), line("deny", "DENY", "true", 2)];
        let found = page(&meters);
        let found: Vec<&str> = found.lines().filter(|line| line.starts_with("ambit_policy_trials_total")).collect();
        assert_eq!(found, expected);
        let mut snapshot = Snapshot::default();
        let held = policy("deny", Action::Deny);
        snapshot.policies.set_authorization(&held.key.clone(), Some(held.into()));
        let living = Living::of(&snapshot);
        meters.iter().for_each(|meter| meter.forget_trials(&living));
        let left = page(&meters);
        assert!(left.contains(&expected[2]) && !left.contains("policy=\"allow\""), "{left}");
    }
}
