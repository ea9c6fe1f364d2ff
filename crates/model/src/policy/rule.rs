//! An AuthorizationPolicy: rules of terms, each a statement about one attribute of a connection or request. Reading them
//! from what users write, and saying what is wrong with it, is for `ambit_api`.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::path::PathPattern;
use super::pattern::Pattern;
use super::seen::{Seen, Told};
use super::token::TokenAttribute;
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
    /// Somebody else decides, who cannot be asked: it does not pass.
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
    /// Whether `is` holds for one of those asked for and for none of the others.
    fn hold<R: Into<Truth>>(&self, is: impl Fn(&T) -> R) -> Truth {
        let one_of = |values: &[T]| values.iter().map(|value| is(value).into()).max();
        one_of(&self.any).unwrap_or(Truth::True).min(!one_of(&self.none).unwrap_or(Truth::False))
    }
}

/// A text of a connection or request that patterns are for. Those of requests stand behind those of connections, and
/// labels behind both.
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
    /// The server name that the client asked for in its TLS (RFC 6066 section 3).
    Sni,
    /// The request's `:authority` or `Host` in lower case, with its port and without it.
    Host,
    /// The request's method.
    Method,
    /// The request's path, without the query.
    Path,
    /// The field of this name, in lower case, of the request.
    Header(Arc<str>),
    /// What the request's token says; a request without a token says nothing of it.
    Token(TokenAttribute),
    /// The value of this label of the client's pod.
    Label(Arc<str>),
}

/// A statement about one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Term {
    /// About a text; not about [`Attribute::Path`].
    Text(Attribute, Values<Pattern>),
    /// About the request's path, without the query.
    Path(Values<PathPattern>),
    /// About the address that the connection comes from.
    SourceIp(Values<Cidr>),
    /// About the address that the request was first sent from, whoever has passed it on since. At layer 4 nobody has.
    RemoteIp(Values<Cidr>),
    /// About the address that is reached: the pod's, and at a waypoint the service's.
    DestinationIp(Values<Cidr>),
    /// About the port of that.
    DestinationPort(Values<u16>),
    /// About what nobody here sees, such as `experimental.envoy.filters.network.mysql_proxy[a.b]`.
    Beyond(Arc<str>),
}

impl Term {
    fn holds(&self, seen: &Seen<'_>, untold: Truth) -> Truth {
        match self {
            Self::Text(attribute, values) => match seen.texts(attribute) {
                Told::Texts(texts) => values.hold(|pattern| texts.iter().any(|text| pattern.matches(text.as_bytes()))),
                Told::Claim(texts) => values.hold(|pattern| texts.iter().any(|text| pattern.matches(text.as_bytes()))),
                Told::List(list) => values.hold(|pattern| list.is(pattern)),
                Told::NotYet => untold,
                Told::Never => Truth::Unknown,
            },
            Self::Path(values) => match seen.texts(&Attribute::Path) {
                Told::Texts(texts) => values.hold(|pattern| texts.iter().any(|text| pattern.matches(text))),
                Told::Claim(_) | Told::List(_) | Told::NotYet | Told::Never => Truth::Unknown,
            },
            Self::SourceIp(values) => within(values, seen.source),
            Self::RemoteIp(values) => within(values, seen.remote),
            Self::DestinationIp(values) => within(values, Some(seen.destination.ip())),
            Self::DestinationPort(values) => values.hold(|port| *port == seen.destination.port()),
            Self::Beyond(_) => Truth::Unknown,
        }
    }

    /// The name of what it is about, as policies write it, if layer 4 does not see that.
    #[must_use]
    pub fn beyond_layer_4(&self) -> Option<Arc<str>> {
        let attribute = match self {
            Self::Text(attribute, _) => attribute,
            Self::Path(_) => &Attribute::Path,
            Self::Beyond(name) => return Some(name.clone()),
            Self::SourceIp(_) | Self::RemoteIp(_) | Self::DestinationIp(_) | Self::DestinationPort(_) => return None,
        };
        Some(match attribute {
            Attribute::Sni => "connection.sni".into(),
            Attribute::Host => "operation.hosts".into(),
            Attribute::Method => "operation.methods".into(),
            Attribute::Path => "operation.paths".into(),
            Attribute::Header(name) => format!("request.headers[{name}]").into(),
            Attribute::Token(attribute) => attribute.to_string().into(),
            Attribute::Principal
            | Attribute::Namespace
            | Attribute::ServiceAccount
            | Attribute::TrustDomain
            | Attribute::Label(_) => return None,
        })
    }
}

fn within(values: &Values<Cidr>, address: Option<IpAddr>) -> Truth {
    address.map_or(Truth::Unknown, |address| values.hold(|block| block.contains(address)))
}
