//! Policies that are for the same workloads, or for workloads with a label in common, kept so that those which matter
//! for a connection are found without looking at the others.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use imbl::OrdMap;

use super::anchor::{self, Anchor, Anchored, Shown};
use crate::policy::peer::PeerAuthentication;
use crate::policy::rule::{Action, Policy, Rule};
use crate::policy::seen::Seen;
use crate::policy::token::RequestAuthentication;
use crate::policy::{PolicyKey, Scope};
use crate::workload::Workload;

/// Policies of one kind that share a place.
pub(super) trait Kept: Clone + Debug + Default + Eq {
    /// The kind.
    type Policy: Debug + Eq;

    /// Whom a policy is for.
    fn scope(policy: &Self::Policy) -> &Scope;
    /// Adds a policy, which must not be there.
    fn put(&mut self, policy: &Arc<Self::Policy>);
    /// Takes a policy out that was put in.
    fn take(&mut self, policy: &Arc<Self::Policy>);
}

/// PeerAuthentications, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seniors(OrdMap<(Option<Arc<str>>, PolicyKey), Arc<PeerAuthentication>>);

impl Seniors {
    /// The one that counts for `workload`.
    pub(super) fn oldest(&self, workload: &Workload) -> Option<&Arc<PeerAuthentication>> {
        self.0.values().find(|policy| policy.scope.covers(workload))
    }
}

impl Kept for Seniors {
    type Policy = PeerAuthentication;

    fn scope(policy: &PeerAuthentication) -> &Scope {
        &policy.scope
    }

    fn put(&mut self, policy: &Arc<PeerAuthentication>) {
        self.0.insert((policy.created.clone(), policy.key.clone()), policy.clone());
    }

    fn take(&mut self, policy: &Arc<PeerAuthentication>) {
        self.0.remove(&(policy.created.clone(), policy.key.clone()));
    }
}

/// RequestAuthentications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Authentications(OrdMap<PolicyKey, Arc<RequestAuthentication>>);

impl Authentications {
    /// Every one of them, ascending by key.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.0.values()
    }
}

impl Kept for Authentications {
    type Policy = RequestAuthentication;

    fn scope(policy: &RequestAuthentication) -> &Scope {
        &policy.scope
    }

    fn put(&mut self, policy: &Arc<RequestAuthentication>) {
        self.0.insert(policy.key.clone(), policy.clone());
    }

    fn take(&mut self, policy: &Arc<RequestAuthentication>) {
        self.0.remove(&policy.key);
    }
}

/// AuthorizationPolicies by what they bring about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// DENY and CUSTOM.
    pub(crate) refusing: Ruled,
    /// ALLOW.
    pub(crate) admitting: Ruled,
    /// Those that are only noted: AUDIT, and dry runs of all.
    pub(crate) on_trial: Ruled,
}

impl Effects {
    /// True if one of them may refuse.
    pub(crate) fn are_in_force(&self) -> bool {
        !(self.refusing.policies.is_empty() && self.admitting.policies.is_empty())
    }

    /// True if one of them is only noted.
    pub(crate) fn are_on_trial(&self) -> bool {
        !self.on_trial.policies.is_empty()
    }

    /// Every one of them, those that refuse first.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        [&self.refusing, &self.admitting, &self.on_trial].into_iter().flat_map(|ruled| &ruled.policies)
    }

    fn of(&mut self, policy: &Policy) -> &mut Ruled {
        match policy.action {
            _ if policy.dry_run => &mut self.on_trial,
            Action::Audit => &mut self.on_trial,
            Action::Allow => &mut self.admitting,
            Action::Deny | Action::Custom => &mut self.refusing,
        }
    }
}

impl Kept for Effects {
    type Policy = Policy;

    fn scope(policy: &Policy) -> &Scope {
        &policy.scope
    }

    fn put(&mut self, policy: &Arc<Policy>) {
        self.of(policy).put(policy);
    }

    fn take(&mut self, policy: &Arc<Policy>) {
        self.of(policy).take(policy);
    }
}

/// AuthorizationPolicies, and their rules by what a connection must show for them to matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruled {
    /// Ascending by key.
    policies: Vec<Arc<Policy>>,
    /// Ascending by the policy's key and the rule's number.
    rules: Anchored<Vec<(Arc<Policy>, usize)>>,
}

impl Ruled {
    /// The policies for `workload`, or all, ascending by key.
    pub(crate) fn covering(&self, workload: Option<&Workload>) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.iter().filter(move |policy| workload.is_none_or(|workload| policy.scope.covers(workload)))
    }

    /// The rules of the policies for `workload`, or of all, that may match who has `shown` this, ascending by key and
    /// number. Those left out do not match.
    pub(crate) fn candidates<'a>(
        &'a self,
        workload: Option<&Workload>,
        shown: &Shown,
        seen: &Seen<'_>,
    ) -> impl Iterator<Item = (&'a Arc<Policy>, usize, &'a Rule)> + use<'a> {
        let mut lists = shown.among(&self.rules, seen).into_iter();
        let mut found: Vec<&(Arc<Policy>, usize)> = lists.next().into_iter().flatten().collect();
        let first = found.len();
        found.extend(lists.flatten());
        // One list has an order of its own.
        if found.len() > first {
            found.sort_by(|a, b| place(a).cmp(&place(b)));
            found.dedup_by(|a, b| place(a) == place(b));
        }
        found.retain(|(policy, _)| workload.is_none_or(|workload| policy.scope.covers(workload)));
        found.into_iter().filter_map(|(policy, number)| Some((policy, *number, policy.rules.get(*number)?)))
    }

    fn put(&mut self, policy: &Arc<Policy>) {
        let at = self.policies.partition_point(|held| held.key < policy.key);
        self.policies.insert(at, policy.clone());
        for (number, rule) in policy.rules.iter().enumerate() {
            let entry = (policy.clone(), number);
            for anchor in anchor::of(rule, &policy.scope) {
                let rules = self.rules.at(anchor);
                let at = rules.partition_point(|held| place(held) < place(&entry));
                // A rule that says a thing twice stands there once.
                if rules.get(at).is_none_or(|held| place(held) != place(&entry)) {
                    rules.insert(at, entry.clone());
                }
            }
        }
    }

    fn take(&mut self, policy: &Arc<Policy>) {
        self.policies.retain(|held| held.key != policy.key);
        let anchors: BTreeSet<Anchor> = policy.rules.iter().flat_map(|rule| anchor::of(rule, &policy.scope)).collect();
        for anchor in anchors {
            self.rules.change(&anchor, |rules| {
                rules.retain(|(held, _)| held.key != policy.key);
                !rules.is_empty()
            });
        }
    }
}

fn place((policy, number): &(Arc<Policy>, usize)) -> (&PolicyKey, usize) {
    (&policy.key, *number)
}
