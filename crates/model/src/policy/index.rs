//! The policies of a mesh, found by the workload that they are for. Copies share their structure.

use std::sync::Arc;

use imbl::OrdMap;

use super::peer::{Mtls, PeerAuthentication};
use super::rule::Policy;
use super::{PolicyKey, Scope};
use crate::workload::Workload;

/// Every policy of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    authorization: Scoped<Policy>,
    peer: Scoped<PeerAuthentication>,
}

impl Policies {
    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.authorization.all.is_empty() && self.peer.all.is_empty()
    }

    /// True if `other` is a copy of these, neither having been changed since. Costs nothing; false may be an error.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.authorization.all.ptr_eq(&other.authorization.all) && self.peer.all.ptr_eq(&other.peer.all)
    }

    /// Adds, replaces or removes the AuthorizationPolicy `key`. False if that changes nothing.
    pub fn set_authorization(&mut self, key: &PolicyKey, policy: Option<Arc<Policy>>) -> bool {
        self.authorization.set(key, policy, |policy| &policy.scope)
    }

    /// Adds, replaces or removes the PeerAuthentication `key`. False if that changes nothing.
    pub fn set_peer(&mut self, key: &PolicyKey, policy: Option<Arc<PeerAuthentication>>) -> bool {
        self.peer.set(key, policy, |policy| &policy.scope)
    }

    /// Every AuthorizationPolicy, ascending by key.
    pub fn authorizations(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.authorization.all.values()
    }

    /// Every PeerAuthentication, ascending by key.
    pub fn peers(&self) -> impl Iterator<Item = &Arc<PeerAuthentication>> {
        self.peer.all.values()
    }

    /// The AuthorizationPolicies for `workload`: the mesh's, its namespace's and those that select it, each ascending.
    pub fn authorizing(&self, workload: &Workload) -> impl Iterator<Item = &Arc<Policy>> {
        self.authorization.covering(workload, |policy| &policy.scope)
    }

    /// Whether `port` of `workload` takes connections in clear, and which PeerAuthentication says so. The narrowest
    /// level that says anything counts: the workload's (its port's before its own), the namespace's, the mesh's.
    #[must_use]
    pub fn mtls(&self, workload: &Workload, port: u16) -> (Mtls, Option<&PolicyKey>) {
        // By level, narrowest last: what counts there.
        let mut levels: [Option<&Arc<PeerAuthentication>>; 3] = [None; 3];
        for policy in self.peer.covering(workload, |policy| &policy.scope) {
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
/// anywhere. A selector stands at the first of its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Mesh,
    Namespace(Arc<str>),
    Label(Option<Arc<str>>, Arc<str>, Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Scoped<T> {
    all: OrdMap<PolicyKey, Arc<T>>,
    placed: OrdMap<Place, Vec<PolicyKey>>,
}

impl<T> Default for Scoped<T> {
    fn default() -> Self {
        Self { all: OrdMap::new(), placed: OrdMap::new() }
    }
}

impl<T: PartialEq> Scoped<T> {
    fn set(&mut self, key: &PolicyKey, policy: Option<Arc<T>>, scope: fn(&T) -> &Scope) -> bool {
        if self.all.get(key) == policy.as_ref() {
            return false;
        }
        if let Some(place) = self.all.remove(key).and_then(|old| place(scope(&old)))
            && let Some(mut keys) = self.placed.remove(&place)
        {
            keys.retain(|held| held != key);
            if !keys.is_empty() {
                self.placed.insert(place, keys);
            }
        }
        let Some(policy) = policy else { return true };
        if let Some(place) = place(scope(&policy)) {
            let keys = self.placed.entry(place).or_default();
            if let Err(position) = keys.binary_search(key) {
                keys.insert(position, key.clone());
            }
        }
        self.all.insert(key.clone(), policy);
        true
    }

    fn covering(&self, workload: &Workload, scope: fn(&T) -> &Scope) -> impl Iterator<Item = &Arc<T>> {
        let labelled = [Some(workload.namespace.clone()), None].into_iter().flat_map(|namespace| {
            let labels = workload.labels.iter();
            labels.map(move |(key, value)| Place::Label(namespace.clone(), key.clone(), value.clone()))
        });
        let places = [Place::Mesh, Place::Namespace(workload.namespace.clone())].into_iter().chain(labelled);
        let keys = places.filter_map(|place| self.placed.get(&place)).flatten();
        keys.filter_map(|key| self.all.get(key)).filter(move |policy| scope(policy).covers(workload))
    }
}

fn place(scope: &Scope) -> Option<Place> {
    match scope {
        Scope::Mesh => Some(Place::Mesh),
        Scope::Namespace(namespace) => Some(Place::Namespace(namespace.clone())),
        Scope::Selector(namespace, labels) => {
            let (key, value) = labels.first_key_value()?;
            Some(Place::Label(namespace.clone(), key.clone(), value.clone()))
        }
        Scope::Targets(_) => None,
    }
}
