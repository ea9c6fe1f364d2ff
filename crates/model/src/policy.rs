//! Who may talk to whom, as far as layer 4 can tell: mutual TLS as PeerAuthentication demands it and AuthorizationPolicy
//! by identity, namespace, address, port and the client's labels. Knows no bytes: what only HTTP shows is
//! [`Truth::Unknown`], which refuses where a DENY asks for it and does not admit where an ALLOW does.

mod access;
mod index;
mod pattern;
mod peer;
mod rule;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub use access::{Access, Client};
pub use index::Policies;
pub use pattern::Pattern;
pub use peer::{Mtls, PeerAuthentication};
pub use rule::{Action, Attribute, Policy, Rule, Term, Values};

use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::workload::Workload;
use access::Seen;
use index::{Effects, Ruled, Shown};

/// Which policy: its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl PolicyKey {
    /// The policy `name` of `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for PolicyKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The workloads that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// All of the mesh: a policy of the root namespace.
    Mesh,
    /// Those of this namespace.
    Namespace(Arc<str>),
    /// Those with these labels, at least one: of this namespace, or of any (a policy of the root namespace).
    Selector(Option<Arc<str>>, std::collections::BTreeMap<Arc<str>, Arc<str>>),
    /// None here: what it targets (`Service reviews`) is served by a waypoint or gateway.
    Targets(Vec<Arc<str>>),
}

impl Scope {
    /// True if `workload` is one of those meant.
    #[must_use]
    pub fn covers(&self, workload: &Workload) -> bool {
        match self {
            Self::Mesh => true,
            Self::Namespace(namespace) => workload.namespace == *namespace,
            Self::Selector(namespace, labels) => {
                namespace.as_ref().is_none_or(|namespace| workload.namespace == *namespace)
                    && labels.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
            }
            Self::Targets(_) => false,
        }
    }
}

/// What is known of a statement. Ordered, so that AND is the least and OR the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not hold.
    False,
    /// Layer 4 cannot tell.
    Unknown,
    /// It holds.
    True,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Why policy refuses a connection, and which policy it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// [`Reason::PolicyDenied`], [`Reason::NoPolicyMatched`] or [`Reason::MtlsRequired`].
    pub reason: Reason,
    /// `AuthorizationPolicy` or `PeerAuthentication`.
    pub kind: &'static str,
    /// The policy that refuses; of several ALLOW policies the first.
    pub policy: PolicyKey,
    /// Its rule, from 0, where one refuses.
    pub rule: Option<usize>,
    /// It refuses without having been evaluated in full, since layer 4 cannot.
    pub partial: bool,
    /// It may only be early: somebody proven of whom the snapshot has no pod (yet) is refused for want of his labels.
    pub early: bool,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.policy)?;
        if let Some(rule) = self.rule {
            write!(f, ", rule {rule}")?;
        }
        if self.early {
            f.write_str(", by labels of a client whose pod is not known")?;
        } else if self.partial {
            f.write_str(", of which layer 4 can tell a part only")?;
        }
        Ok(())
    }
}

/// May `access` reach `destination`? Total and deterministic; at most one policy is named.
///
/// # Errors
/// The policy that refuses it.
pub fn evaluate(snapshot: &Snapshot, destination: &Workload, access: &Access) -> Result<(), Denial> {
    let policies = &snapshot.policies;
    if policies.is_empty() || is_probe(snapshot, destination, &access.client) {
        return Ok(());
    }
    let (mtls, demanded_by) = policies.mtls(destination, access.address.port());
    let in_clear = matches!(access.client, Client::Stranger(_) | Client::HostPod(_));
    if let (Mtls::Strict, true, Some(policy)) = (mtls, in_clear, demanded_by) {
        let (policy, kind) = (policy.clone(), "PeerAuthentication");
        return Err(Denial { reason: Reason::MtlsRequired, kind, policy, rule: None, partial: false, early: false });
    }
    let applying: Vec<&Effects> = policies.authorizing(destination).collect();
    if applying.is_empty() {
        return Ok(());
    }
    let seen = Seen::new(snapshot, access);
    let case = Case { applying, destination, shown: Shown::new(&seen), seen };
    case.authorize([Truth::Unknown; 2]).map_err(|denial| {
        // At best what is not known yet is nothing that a DENY is about, and all that an ALLOW asks for.
        let early = case.seen.is_unknown() && case.authorize([Truth::False, Truth::True]).is_ok();
        Denial { early, ..denial }
    })
}

/// The policies on trial, AUDIT or dry run, that have something to say of `access`: each with the rule that matches
/// for sure, none being an ALLOW that no rule of it admits.
pub fn rehearse(snapshot: &Snapshot, destination: &Workload, access: &Access) -> Vec<(Arc<Policy>, Option<usize>)> {
    let policies = &snapshot.policies;
    if policies.is_empty() {
        return Vec::new();
    }
    let shelves = policies.authorizing(destination).map(|effects| &effects.on_trial);
    let shelves: Vec<_> = shelves.filter(|trials| trials.covering(destination).next().is_some()).collect();
    if shelves.is_empty() || is_probe(snapshot, destination, &access.client) {
        return Vec::new();
    }
    let seen = Seen::new(snapshot, access);
    let shown = Shown::new(&seen);
    let mut said = Vec::new();
    for trials in shelves {
        let matching = trials.candidates(destination, &shown).filter(|(.., rule)| rule.is_sure_of(&seen));
        let mut matched: Vec<(&PolicyKey, usize)> = matching.map(|(policy, number, _)| (&policy.key, number)).collect();
        matched.dedup_by_key(|(key, _)| *key);
        for policy in trials.covering(destination) {
            let at = matched.binary_search_by_key(&&policy.key, |(key, _)| *key).ok();
            let rule = at.and_then(|at| matched.get(at)).map(|(_, number)| *number);
            if rule.is_some() || policy.action == Action::Allow {
                said.push((policy.clone(), rule));
            }
        }
    }
    said
}

/// A connection before the policies that are for its destination.
struct Case<'a> {
    applying: Vec<&'a Effects>,
    destination: &'a Workload,
    seen: Seen<'a>,
    shown: Shown,
}

impl Case<'_> {
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
        let mut allowing = self.applying.iter().flat_map(|effects| effects.admitting.covering(self.destination));
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
        self.applying.iter().flat_map(move |effects| of(effects).candidates(self.destination, &self.shown))
    }
}

/// The kubelet asks from its node's own address, in clear and without an identity, and must get its answer whatever
/// the policy. Who comes from the address of another node is not asked by this pod's kubelet, and a pod that shares its
/// node's address is no kubelet.
pub(crate) fn is_probe(snapshot: &Snapshot, destination: &Workload, client: &Client) -> bool {
    let Client::Stranger(address) = client else { return false };
    let node = snapshot.node(&destination.node);
    node.is_some_and(|node| node.addresses.iter().any(|own| own.to_canonical() == address.to_canonical()))
}

#[cfg(test)]
mod tests;
