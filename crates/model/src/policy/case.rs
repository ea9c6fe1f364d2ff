//! A connection or request before the policies that are for it: who refuses, and what those on trial would have done.

use std::sync::Arc;

use super::index::{Effects, Ruled, Shown};
use super::rule::{Action, Policy, Rule};
use super::seen::Seen;
use super::{Denial, PolicyKey, Truth};
use crate::reason::Reason;
use crate::workload::Workload;

/// A connection or request before the policies that are for it.
pub(super) struct Case<'a> {
    /// Policies, and whom they have to cover; none if all of them are for it.
    applying: Vec<(&'a Effects, Option<&'a Workload>)>,
    seen: Seen<'a>,
    shown: Shown,
}

impl<'a> Case<'a> {
    pub(super) fn new(applying: Vec<(&'a Effects, Option<&'a Workload>)>, seen: Seen<'a>) -> Self {
        let shown = Shown::new(&seen);
        Self { applying, seen, shown }
    }

    /// Which policy refuses, if one does.
    pub(super) fn verdict(&self) -> Result<(), Denial> {
        self.authorize([Truth::Unknown; 2]).map_err(|denial| {
            // At best what is not known yet is nothing that a DENY is about, and all that an ALLOW asks for.
            let early = self.seen.is_unknown() && self.authorize([Truth::False, Truth::True]).is_ok();
            Denial { early, ..denial }
        })
    }

    /// What the policies on trial have to say: each with the rule that matches for sure, none being an ALLOW that no rule
    /// of it admits.
    pub(super) fn rehearsal(&self) -> Vec<(Arc<Policy>, Option<usize>)> {
        let mut said: Vec<(Arc<Policy>, Option<usize>)> = Vec::new();
        for (effects, covered) in &self.applying {
            let trials = &effects.on_trial;
            let candidates = trials.candidates(*covered, &self.shown, &self.seen);
            let matching = candidates.filter(|(.., rule)| rule.is_sure_of(&self.seen));
            let mut matched: Vec<(&PolicyKey, usize)> =
                matching.map(|(policy, number, _)| (&policy.key, number)).collect();
            matched.dedup_by_key(|(key, _)| *key);
            let earlier = said.len();
            for policy in trials.covering(*covered) {
                let at = matched.binary_search_by_key(&&policy.key, |(key, _)| *key).ok();
                let rule = at.and_then(|at| matched.get(at)).map(|(_, number)| *number);
                // A policy with two targets may apply twice.
                let again = said.iter().take(earlier).any(|(held, _)| held.key == policy.key);
                if !again && (rule.is_some() || policy.action == Action::Allow) {
                    said.push((policy.clone(), rule));
                }
            }
        }
        said
    }

    /// DENY comes first; then, without an ALLOW everything passes, and with one it takes a rule that matches. What rules
    /// say of labels that cannot be told is `untold`: under those that refuse, and under those that admit.
    fn authorize(&self, untold: [Truth; 2]) -> Result<(), Denial> {
        let refusal = |policy: &Policy, reason, rule, partial| {
            let (kind, policy) = ("AuthorizationPolicy", policy.key.clone());
            Err(Denial { reason, kind, policy, rule, partial, early: false })
        };
        let [refusing, admitting] = untold;
        for (policy, number, rule) in self.candidates(|effects| &effects.refusing) {
            let truth = rule.matches(&self.seen, refusing);
            if truth != Truth::False {
                // Whom CUSTOM would have asked is not asked here: it might have refused.
                let partial = truth == Truth::Unknown || policy.action == Action::Custom;
                return refusal(policy, Reason::PolicyDenied, Some(number), partial);
            }
        }
        let mut allowing = self.applying.iter().flat_map(|(effects, covered)| effects.admitting.covering(*covered));
        let Some(first) = allowing.next() else { return Ok(()) };
        let mut unevaluated = false;
        for (.., rule) in self.candidates(|effects| &effects.admitting) {
            match rule.matches(&self.seen, admitting) {
                Truth::True => return Ok(()),
                truth => unevaluated |= truth == Truth::Unknown,
            }
        }
        refusal(first, Reason::NoPolicyMatched, None, unevaluated)
    }

    fn candidates(&self, of: fn(&Effects) -> &Ruled) -> impl Iterator<Item = (&Arc<Policy>, usize, &Rule)> {
        let candidates = move |(effects, covered): &(&'a Effects, Option<&'a Workload>)| {
            of(effects).candidates(*covered, &self.shown, &self.seen)
        };
        self.applying.iter().flat_map(candidates)
    }
}
