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
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.policy)?;
        if let Some(rule) = self.rule {
            write!(f, ", rule {rule}")?;
        }
        if self.partial {
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
        let policy = policy.clone();
        let kind = "PeerAuthentication";
        return Err(Denial { reason: Reason::MtlsRequired, kind, policy, rule: None, partial: false });
    }
    let applying: Vec<_> = policies.authorizing(destination).filter(|policy| !policy.dry_run).collect();
    if applying.is_empty() {
        return Ok(());
    }
    authorize(&applying, &Seen::new(snapshot, access))
}

/// The policies on trial, AUDIT or dry run, that have something to say of `access`: each with the rule that matches
/// for sure, none being an ALLOW that no rule of it admits.
pub fn rehearse(snapshot: &Snapshot, destination: &Workload, access: &Access) -> Vec<(Arc<Policy>, Option<usize>)> {
    if snapshot.policies.is_empty() {
        return Vec::new();
    }
    let trials = snapshot.policies.authorizing(destination);
    let trials: Vec<_> = trials.filter(|policy| policy.dry_run || policy.action == Action::Audit).collect();
    if trials.is_empty() || is_probe(snapshot, destination, &access.client) {
        return Vec::new();
    }
    let seen = Seen::new(snapshot, access);
    let said = trials.into_iter().filter_map(|policy| {
        let matched = policy.rules.iter().position(|rule| rule.matches(&seen) == Truth::True);
        (matched.is_some() || policy.action == Action::Allow).then(|| (policy.clone(), matched))
    });
    said.collect()
}

/// DENY comes first; then, without an ALLOW everything passes, and with one it takes a rule that matches.
fn authorize(policies: &[&Arc<Policy>], seen: &Seen<'_>) -> Result<(), Denial> {
    let refusal = |policy: &Policy, reason, rule, partial| {
        Err(Denial { reason, kind: "AuthorizationPolicy", policy: policy.key.clone(), rule, partial })
    };
    let of = |wanted: &'static [Action]| policies.iter().filter(move |policy| wanted.contains(&policy.action));
    // Whom CUSTOM would have asked is not asked here: it might have refused.
    for policy in of(&[Action::Deny, Action::Custom]) {
        for (place, rule) in policy.rules.iter().enumerate() {
            let truth = rule.matches(seen);
            if truth != Truth::False {
                let partial = truth == Truth::Unknown || policy.action == Action::Custom;
                return refusal(policy, Reason::PolicyDenied, Some(place), partial);
            }
        }
    }
    let mut unevaluated = false;
    for policy in of(&[Action::Allow]) {
        for rule in &policy.rules {
            match rule.matches(seen) {
                Truth::True => return Ok(()),
                truth => unevaluated |= truth == Truth::Unknown,
            }
        }
    }
    match of(&[Action::Allow]).next() {
        Some(first) => refusal(first, Reason::NoPolicyMatched, None, unevaluated),
        None => Ok(()),
    }
}

/// The kubelet asks from its node's own address, in clear and without an identity, and must get its answer whatever
/// the policy. Who comes from the address of another node is not asked by this pod's kubelet, and a pod that shares its
/// node's address is no kubelet.
fn is_probe(snapshot: &Snapshot, destination: &Workload, client: &Client) -> bool {
    let Client::Stranger(address) = client else { return false };
    let node = snapshot.node(&destination.node);
    node.is_some_and(|node| node.addresses.iter().any(|own| own.to_canonical() == address.to_canonical()))
}

#[cfg(test)]
mod tests;
