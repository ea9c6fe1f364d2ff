//! The policies of a mesh, found by the workload that they are for or by what they are attached to. Copies share their structure.

mod anchor;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;

use super::peer::{Mtls, PeerAuthentication};
use super::rule::Policy;
use super::target::{Addressed, TargetRef};
use super::token::{RequestAuthentication, TokenRule};
use super::{PolicyKey, Scope};
use crate::workload::Workload;
pub(super) use anchor::Shown;
use shelf::{Authentications, Kept, Seniors};
pub(super) use shelf::{Effects, Ruled};

/// Every policy of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    authorization: Scoped<Effects>,
    peer: Scoped<Seniors>,
    authentication: Scoped<Authentications>,
}

impl Policies {
    /// True if there is none that refuses: neither an AuthorizationPolicy nor a PeerAuthentication.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.authorization.all.is_empty() && self.peer.all.is_empty()
    }

    /// True if `other` is a copy of these, neither having been changed since but for what tokens are asked for. Costs nothing;
    /// false may be an error.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.authorization.all.ptr_eq(&other.authorization.all) && self.peer.all.ptr_eq(&other.peer.all)
    }

    /// Adds, replaces or removes the AuthorizationPolicy `key`. False if that changes nothing.
    pub fn set_authorization(&mut self, key: &PolicyKey, policy: Option<Arc<Policy>>) -> bool {
        self.authorization.set(key, policy)
    }

    /// Adds, replaces or removes the PeerAuthentication `key`. False if that changes nothing.
    pub fn set_peer(&mut self, key: &PolicyKey, policy: Option<Arc<PeerAuthentication>>) -> bool {
        self.peer.set(key, policy)
    }

    /// Adds, replaces or removes the RequestAuthentication `key`. False if that changes nothing.
    pub fn set_authentication(&mut self, key: &PolicyKey, policy: Option<Arc<RequestAuthentication>>) -> bool {
        self.authentication.set(key, policy)
    }

    /// Every RequestAuthentication, ascending by key.
    pub fn authentications(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.authentication.all.values()
    }

    /// Which tokens are taken of requests that are `addressed` so, by their issuers: the rules of every RequestAuthentication
    /// that is attached to one of the targets or, at a gateway, for its own pod.
    #[must_use]
    pub fn tokens(&self, addressed: &Addressed) -> Vec<&Arc<TokenRule>> {
        if self.authentication.all.is_empty() {
            return Vec::new();
        }
        let targets = addressed.targets().iter();
        let attached = targets.filter_map(|target| self.authentication.placed.get(&Place::Target(target.clone())));
        let attached = attached.flat_map(Authentications::policies);
        let of_pod = addressed.pod().into_iter().flat_map(|pod| {
            let shelves = self.authentication.shelves(pod).flat_map(Authentications::policies);
            shelves.filter(|policy| policy.scope.covers(pod))
        });
        // A policy with two targets may apply twice.
        let all: BTreeMap<&PolicyKey, _> = attached.chain(of_pod).map(|policy| (&policy.key, policy)).collect();
        let mut rules: Vec<_> = all.values().flat_map(|policy| &policy.rules).collect();
        rules.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        rules
    }

    /// Every AuthorizationPolicy, ascending by key.
    pub fn authorizations(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.authorization.all.values()
    }

    /// Every PeerAuthentication, ascending by key.
    pub fn peers(&self) -> impl Iterator<Item = &Arc<PeerAuthentication>> {
        self.peer.all.values()
    }

    /// The AuthorizationPolicies that are attached to `target`.
    pub fn targeting(&self, target: &TargetRef) -> impl Iterator<Item = &Arc<Policy>> {
        let shelf = self.authorization.placed.get(&Place::Target(target.clone()));
        shelf.into_iter().flat_map(Effects::policies)
    }

    /// Everything that AuthorizationPolicies are attached to, with them: by kind, namespace and name, ascending.
    pub fn targeted(&self) -> impl Iterator<Item = (&TargetRef, &Arc<Policy>)> {
        let targets = self.authorization.placed.iter().filter_map(|(place, shelf)| match place {
            Place::Target(target) => Some((target, shelf)),
            Place::Mesh | Place::Namespace(_) | Place::Label(..) => None,
        });
        targets.flat_map(|(target, shelf)| shelf.policies().map(move |policy| (target, policy)))
    }

    /// Where the AuthorizationPolicies are that are attached to one of the targets of `addressed`, in their order.
    pub(super) fn attached(&self, addressed: &Addressed) -> impl Iterator<Item = &Effects> {
        let targets = addressed.targets().iter();
        targets.filter_map(|target| self.authorization.placed.get(&Place::Target(target.clone())))
    }

    /// Where the AuthorizationPolicies for `workload` are: with the mesh's, its namespace's and those that select it.
    /// Those that select may be for others only.
    pub(super) fn authorizing(&self, workload: &Workload) -> impl Iterator<Item = &Effects> {
        self.authorization.shelves(workload)
    }

    /// Whether `port` of `workload` takes connections in clear, and which PeerAuthentication says so. The narrowest
    /// level that says anything counts: the workload's (its port's before its own), the namespace's, the mesh's.
    #[must_use]
    pub fn mtls(&self, workload: &Workload, port: u16) -> (Mtls, Option<&PolicyKey>) {
        // By level, narrowest last: what counts there.
        let mut levels: [Option<&Arc<PeerAuthentication>>; 3] = [None; 3];
        for policy in self.peer.shelves(workload).filter_map(|shelf| shelf.oldest(workload)) {
            let [mesh, namespace, selected] = &mut levels;
            let level = match policy.scope {
                Scope::Mesh => mesh,
                Scope::Namespace(_) => namespace,
                Scope::Selector(..) | Scope::Targets(_) => selected,
            };
            if level.is_none_or(|held| policy.seniority() < held.seniority()) {
                *level = Some(policy);
            }
        }
        let said = levels.into_iter().rev().flatten().find_map(|policy| Some((policy.mode_of(port)?, &policy.key)));
        said.map_or((Mtls::default(), None), |(mode, key)| (mode, Some(key)))
    }
}

/// Where policies are looked up: a workload leads to the mesh, its namespace, and each of its labels there and
/// anywhere. A selector stands at the first of its labels, a policy with targets at each of them, where no workload leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Mesh,
    Namespace(Arc<str>),
    Label(Option<Arc<str>>, Arc<str>, Arc<str>),
    Target(TargetRef),
}

/// All policies of a kind, and shelves of those that share a place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scoped<S: Kept> {
    all: OrdMap<PolicyKey, Arc<S::Policy>>,
    placed: OrdMap<Place, S>,
}

impl<S: Kept> Default for Scoped<S> {
    fn default() -> Self {
        Self { all: OrdMap::new(), placed: OrdMap::new() }
    }
}

impl<S: Kept> Scoped<S> {
    fn set(&mut self, key: &PolicyKey, policy: Option<Arc<S::Policy>>) -> bool {
        if self.all.get(key) == policy.as_ref() {
            return false;
        }
        if let Some(old) = self.all.remove(key) {
            for place in places(S::scope(&old)) {
                let Some(shelf) = self.placed.get_mut(&place) else { continue };
                shelf.take(&old);
                if *shelf == S::default() {
                    self.placed.remove(&place);
                }
            }
        }
        let Some(policy) = policy else { return true };
        for place in places(S::scope(&policy)) {
            self.placed.entry(place).or_default().put(&policy);
        }
        self.all.insert(key.clone(), policy);
        true
    }

    fn shelves(&self, workload: &Workload) -> impl Iterator<Item = &S> {
        let labelled = [Some(workload.namespace.clone()), None].into_iter().flat_map(|namespace| {
            let labels = workload.labels.iter();
            labels.map(move |(key, value)| Place::Label(namespace.clone(), key.clone(), value.clone()))
        });
        let places = [Place::Mesh, Place::Namespace(workload.namespace.clone())].into_iter().chain(labelled);
        places.filter_map(|place| self.placed.get(&place))
    }
}

/// The places of a policy, each once.
fn places(scope: &Scope) -> Vec<Place> {
    match scope {
        Scope::Mesh => vec![Place::Mesh],
        Scope::Namespace(namespace) => vec![Place::Namespace(namespace.clone())],
        Scope::Selector(namespace, labels) => {
            let first = labels.first_key_value();
            first.map(|(key, value)| Place::Label(namespace.clone(), key.clone(), value.clone())).into_iter().collect()
        }
        Scope::Targets(targets) => {
            let each: BTreeSet<&TargetRef> = targets.iter().collect();
            each.into_iter().map(|target| Place::Target(target.clone())).collect()
        }
    }
}

#[cfg(test)]
mod tests;
