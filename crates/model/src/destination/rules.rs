//! Every DestinationRule of the mesh, and which of them holds for a host. Copies share their structure.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;

use super::TrafficPolicy;
use crate::route::{Client, Host, RuleKey, Visibility, around};

/// A DestinationRule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DestinationRule {
    /// Its namespace and name.
    pub key: RuleKey,
    /// `metadata.creationTimestamp` (RFC 3339, UTC): of several for one host the older comes first, one without a date
    /// before all.
    pub created: Option<Arc<str>>,
    /// `host`
    pub host: Host,
    /// `trafficPolicy`
    pub policy: Option<TrafficPolicy>,
    /// `subsets`
    pub subsets: Vec<Subset>,
    /// `exportTo`
    pub visibility: Visibility,
    /// `workloadSelector`: the labels of the clients of its namespace that it is for; none for all clients.
    pub selector: Option<BTreeMap<Arc<str>, Arc<str>>>,
}

/// Some of a host's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subset {
    /// Its name.
    pub name: Arc<str>,
    /// The labels that its endpoints have.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// `trafficPolicy`
    pub policy: Option<TrafficPolicy>,
}

impl Subset {
    /// True if an endpoint with `labels` is one of them.
    #[must_use]
    pub fn covers(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// The rules of one namespace for one host, that are for the same clients, as one: the first that says something of the
/// host as a whole is the one that says it, and the first that has a subset has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What it was made of, the one that counts first.
    pub rules: Vec<Arc<DestinationRule>>,
    /// What holds for the host.
    pub policy: Option<TrafficPolicy>,
    /// Its subsets, by name.
    pub subsets: BTreeMap<Arc<str>, Subset>,
}

/// Who asks, and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host, in lower case.
    pub host: &'a str,
    /// The namespace of its service.
    pub service_namespace: &'a str,
    /// The namespace whose proxy asks.
    pub viewer: &'a str,
    /// The namespace whose rules are for the whole mesh.
    pub root_namespace: &'a str,
    /// Whose traffic it is.
    pub client: Client<'a>,
}

/// Every DestinationRule of the mesh.
#[derive(Clone, Debug, Default)]
pub struct DestinationRules {
    all: OrdMap<RuleKey, Arc<DestinationRule>>,
    /// By namespace and host, those with a selector first.
    merged: OrdMap<(Arc<str>, Host), Vec<Arc<Merged>>>,
}

impl PartialEq for DestinationRules {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for DestinationRules {}

impl DestinationRules {
    /// Every rule, ascending by key.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<DestinationRule>> {
        self.all.values()
    }

    /// Adds, replaces or removes the rule `key`. False if that changes nothing.
    pub fn set(&mut self, key: &RuleKey, new: Option<Arc<DestinationRule>>) -> bool {
        let old = self.all.get(key).cloned();
        if old == new {
            return false;
        }
        match &new {
            Some(new) => drop(self.all.insert(key.clone(), new.clone())),
            None => drop(self.all.remove(key)),
        }
        for host in [old, new].into_iter().flatten().map(|rule| rule.host.clone()) {
            self.merge(&key.namespace, host);
        }
        true
    }

    /// The rule that holds for `asked`: that of the viewer's namespace, or else one that the service's exports, or else
    /// one of the mesh's; in each the one for the closest host, and of those one that selects the client before others.
    #[must_use]
    pub fn find(&self, asked: Asked<'_>) -> Option<&Arc<Merged>> {
        if self.merged.is_empty() {
            return None;
        }
        // What the mesh has for all must not hide what a service has for itself.
        let own = (asked.viewer != asked.root_namespace).then_some(asked.viewer);
        let namespaces = [own, Some(asked.service_namespace), Some(asked.root_namespace)];
        namespaces.into_iter().flatten().find_map(|namespace| self.find_in(namespace, asked))
    }

    fn find_in(&self, namespace: &str, asked: Asked<'_>) -> Option<&Arc<Merged>> {
        let namespace: Arc<str> = Arc::from(namespace);
        around(asked.host).find_map(|host| {
            let candidates = self.merged.get(&(namespace.clone(), host))?;
            candidates.iter().find(|merged| merged.rules.first().is_some_and(|rule| rule.is_for(asked)))
        })
    }

    /// Merges the rules of `namespace` for `host` anew.
    fn merge(&mut self, namespace: &Arc<str>, host: Host) {
        let from = RuleKey { namespace: namespace.clone(), name: Arc::default() };
        let of_namespace = self.all.range(from..).take_while(|(key, _)| key.namespace == *namespace);
        let mut rules: Vec<_> = of_namespace.map(|(_, rule)| rule).filter(|rule| rule.host == host).cloned().collect();
        rules.sort_by(|a, b| (&a.created, &a.key).cmp(&(&b.created, &b.key)));
        let mut groups: Vec<Vec<Arc<DestinationRule>>> = Vec::new();
        for rule in rules {
            let alike = |group: &&mut Vec<Arc<DestinationRule>>| {
                group
                    .first()
                    .is_some_and(|first| first.visibility == rule.visibility && first.selector == rule.selector)
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.push(rule),
                None => groups.push(vec![rule]),
            }
        }
        groups.sort_by_key(|group| group.first().is_some_and(|rule| rule.selector.is_none()));
        let merged: Vec<_> = groups.into_iter().map(|group| Arc::new(Merged::new(group))).collect();
        if merged.is_empty() {
            self.merged.remove(&(namespace.clone(), host));
        } else {
            self.merged.insert((namespace.clone(), host), merged);
        }
    }
}

impl DestinationRule {
    fn is_for(&self, asked: Asked<'_>) -> bool {
        let selected = self.selector.as_ref().is_none_or(|selector| {
            let labelled = |(key, value)| asked.client.labels.and_then(|labels| labels.get(key)) == Some(value);
            asked.client.namespace == Some(&self.key.namespace) && selector.iter().all(labelled)
        });
        selected && self.visibility.admits(asked.viewer)
    }
}

impl Merged {
    fn new(rules: Vec<Arc<DestinationRule>>) -> Self {
        let mut subsets = BTreeMap::new();
        for subset in rules.iter().flat_map(|rule| &rule.subsets) {
            subsets.entry(subset.name.clone()).or_insert_with(|| subset.clone());
        }
        let policy = rules.iter().find_map(|rule| rule.policy.clone());
        Self { rules, policy, subsets }
    }

    /// What holds for `port` of the host, or of its `subset`, `mesh` being what holds where nothing is said. None if
    /// there is no such subset.
    #[must_use]
    pub fn effective(&self, mesh: Option<&TrafficPolicy>, subset: Option<&str>, port: u16) -> Option<TrafficPolicy> {
        let narrowest = match subset {
            Some(name) => self.subsets.get(name)?.policy.as_ref(),
            None => None,
        };
        let levels = [mesh, self.policy.as_ref(), narrowest].into_iter().flatten();
        Some(TrafficPolicy::effective(levels, port))
    }
}

#[cfg(test)]
mod tests;
