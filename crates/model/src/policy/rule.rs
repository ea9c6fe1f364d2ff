//! An AuthorizationPolicy: rules of terms, each a statement about one attribute of a connection. Reading them from
//! what users write, and saying what is wrong with it, is for `ambit_api`.

use std::sync::Arc;

use serde::Serialize;

use super::access::Seen;
use super::pattern::Pattern;
use super::{PolicyKey, Scope, Truth};
use crate::cidr::Cidr;

/// What becomes of a connection that a rule matches (Istio `AuthorizationPolicy.Action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// It passes; what no rule of any ALLOW policy matches does not.
    Allow,
    /// It does not pass, whatever ALLOW policies say.
    Deny,
    /// It is noted.
    Audit,
    /// Somebody else decides, who cannot be asked at layer 4: it does not pass.
    Custom,
}

/// An AuthorizationPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Its namespace and name.
    pub key: PolicyKey,
    /// Which workloads it is for.
    pub scope: Scope,
    /// What its rules bring about.
    pub action: Action,
    /// It has no effect but to be noted (annotation `istio.io/dry-run`).
    pub dry_run: bool,
    /// It matches what any of them does.
    pub rules: Vec<Rule>,
}

/// A rule: where, what and under which conditions. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// One of these holds: each is the terms of a source, all of which hold.
    pub from: Vec<Vec<Term>>,
    /// One of these holds: each is the terms of an operation, all of which hold.
    pub to: Vec<Vec<Term>>,
    /// All of these hold.
    pub when: Vec<Term>,
}

impl Rule {
    /// Does the rule match what is `seen`, what it says of labels that cannot be told being `untold`?
    pub(super) fn matches(&self, seen: &Seen<'_>, untold: Truth) -> Truth {
        let all = |terms: &[Term]| terms.iter().map(|term| term.holds(seen, untold)).min().unwrap_or(Truth::True);
        let any = |clauses: &[Vec<Term>]| clauses.iter().map(|terms| all(terms)).max().unwrap_or(Truth::True);
        any(&self.from).min(any(&self.to)).min(all(&self.when))
    }

    /// True if the rule matches what is `seen` without a doubt.
    pub(super) fn is_sure_of(&self, seen: &Seen<'_>) -> bool {
        self.matches(seen, Truth::Unknown) == Truth::True
    }
}

/// Values that an attribute has to be one of, and values that it must not be; an empty list asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Values<T> {
    /// One of these.
    pub any: Vec<T>,
    /// None of these.
    pub none: Vec<T>,
}

impl<T> Values<T> {
    /// True if `is` holds for one of those asked for and for none of the others.
    fn hold(&self, is: impl Fn(&T) -> bool) -> Truth {
        ((self.any.is_empty() || self.any.iter().any(&is)) && !self.none.iter().any(&is)).into()
    }
}

/// A text of a connection that patterns are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Attribute {
    /// The client's identity as `<trust domain>/ns/<namespace>/sa/<service account>`.
    Principal,
    /// The namespace of the client's identity.
    Namespace,
    /// The client's service account as `<namespace>/<service account>`.
    ServiceAccount,
    /// The trust domain of the client's identity.
    TrustDomain,
    /// The value of this label of the client's pod.
    Label(Arc<str>),
}

/// A statement about one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Term {
    /// About a text.
    Text(Attribute, Values<Pattern>),
    /// About the address that the connection comes from.
    SourceIp(Values<Cidr>),
    /// About the pod's address.
    DestinationIp(Values<Cidr>),
    /// About the pod's port.
    DestinationPort(Values<u16>),
    /// About what layer 4 does not see, such as `to.operation.methods`.
    BeyondLayer4(Arc<str>),
}

impl Term {
    fn holds(&self, seen: &Seen<'_>, untold: Truth) -> Truth {
        match self {
            Self::Text(attribute, values) => match seen.texts(attribute) {
                Some(texts) => values.hold(|pattern| texts.iter().any(|text| pattern.matches(text))),
                None => untold,
            },
            Self::SourceIp(values) => match seen.source {
                Some(source) => values.hold(|block| block.contains(source)),
                None => Truth::Unknown,
            },
            Self::DestinationIp(values) => values.hold(|block| block.contains(seen.destination.ip())),
            Self::DestinationPort(values) => values.hold(|port| *port == seen.destination.port()),
            Self::BeyondLayer4(_) => Truth::Unknown,
        }
    }
}
