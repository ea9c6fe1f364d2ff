//! Who may talk to whom: mutual TLS as PeerAuthentication demands it, AuthorizationPolicy, and the tokens of end users
//! that RequestAuthentication asks for. [`evaluate`] judges a
//! connection to a pod as far as layer 4 can tell: by identity, namespace, address, port and the client's labels.
//! [`evaluate_request`] judges a request at a waypoint, by its head as well. Knows no bytes: what cannot be seen from where
//! it is judged is [`Truth::Unknown`], which refuses where a DENY asks for it and does not admit where an ALLOW does.

mod access;
mod case;
mod index;
mod path;
mod pattern;
mod peer;
mod request;
mod rule;
mod seen;
mod target;
pub mod token;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub use access::{Access, Client};
pub use index::Policies;
pub use path::{PathError, PathPattern, Template};
pub use pattern::{Pattern, PatternError};
pub use peer::{Mtls, PeerAuthentication};
pub use request::{
    DENIED_BODY, DENIED_GRPC_STATUS, DENIED_STATUS, Head, RequestAccess, evaluate_request, rehearse_request,
};
pub use rule::{Action, Attribute, Policy, Rule, Term, Values};
pub use target::{Addressed, TargetKind, TargetRef, WAYPOINT_CLASSES};
pub use token::{ClaimPath, Claims, RequestAuthentication, TokenAttribute, TokenRule};

use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::workload::Workload;
use case::Case;
use index::Effects;
use seen::Seen;

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

/// The workloads or other things that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// All of the mesh: a policy of the root namespace.
    Mesh,
    /// Those of this namespace.
    Namespace(Arc<str>),
    /// Those with these labels, at least one: of this namespace, or of any (a policy of the root namespace).
    Selector(Option<Arc<str>>, std::collections::BTreeMap<Arc<str>, Arc<str>>),
    /// None: it is attached to these, and enforced by the waypoint or gateway that serves them.
    Targets(Vec<TargetRef>),
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
    /// Nobody can tell here.
    Unknown,
    /// It holds.
    True,
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
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
    /// It refuses without having been evaluated in full: layer 4 cannot, or nobody can.
    pub partial: bool,
    /// It may only be early: somebody proven of whom the snapshot has no pod (yet) is refused for want of his labels.
    pub early: bool,
}

impl Denial {
    /// The policy and its rule, without how sure it is of it: `AuthorizationPolicy shop/deny, rule 0`.
    #[must_use]
    pub fn by(&self) -> String {
        let rule = self.rule.map_or_else(String::new, |rule| format!(", rule {rule}"));
        format!("{} {}{rule}", self.kind, self.policy)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.by())?;
        if self.early {
            f.write_str(", by labels of a client whose pod is not known")?;
        } else if self.partial {
            f.write_str(", which can be told in part only here")?;
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
    if policies.is_empty() || access.client.is_probe() {
        return Ok(());
    }
    let (mtls, demanded_by) = policies.mtls(destination, access.address.port());
    let in_clear = matches!(access.client, Client::Stranger(_) | Client::Node(_));
    if let (Mtls::Strict, true, Some(policy)) = (mtls, in_clear, demanded_by) {
        let (policy, kind) = (policy.clone(), "PeerAuthentication");
        return Err(Denial { reason: Reason::MtlsRequired, kind, policy, rule: None, partial: false, early: false });
    }
    let applying: Vec<_> = policies.authorizing(destination).map(|effects| (effects, Some(destination))).collect();
    if applying.is_empty() {
        return Ok(());
    }
    Case::new(applying, Seen::new(snapshot, access)).verdict()
}

/// The policies on trial, AUDIT or dry run, that have something to say of `access`: each with the rule that matches
/// for sure, none being an ALLOW that no rule of it admits.
pub fn rehearse(snapshot: &Snapshot, destination: &Workload, access: &Access) -> Vec<(Arc<Policy>, Option<usize>)> {
    let policies = &snapshot.policies;
    if policies.is_empty() {
        return Vec::new();
    }
    let on_trial = |effects: &&Effects| effects.on_trial.covering(Some(destination)).next().is_some();
    let applying = policies.authorizing(destination).filter(on_trial);
    let applying: Vec<_> = applying.map(|effects| (effects, Some(destination))).collect();
    if applying.is_empty() || access.client.is_probe() {
        return Vec::new();
    }
    Case::new(applying, Seen::new(snapshot, access)).rehearsal()
}

#[cfg(test)]
mod tests;
