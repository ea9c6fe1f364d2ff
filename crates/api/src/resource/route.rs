//! Routes after translation, as far as each alone tells: their parents and backends are names still.

use std::sync::Arc;

use ambit_model::policy::PolicyKey;
use ambit_model::route::{
    DirectResponse, Headers, Host, HttpAction, HttpMatch, HttpRoute, Percent, Precedence, RouteId, RouteKind,
};

/// An HTTPRoute or GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which it is.
    pub id: RouteId,
    /// When it was made (RFC 3339, UTC).
    pub created: Option<Arc<str>>,
    /// What it is attached to.
    pub parents: Vec<ParentRef>,
    /// Its rules, in order.
    pub rules: Vec<RouteRule>,
}

/// A parent by name (`parentRefs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// The field that says so.
    pub path: String,
    /// What it is.
    pub kind: ParentKind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its port; none for all of them.
    pub port: Option<u16>,
    /// The name of its port (`sectionName`); none for all of them.
    pub section: Option<Arc<str>>,
}

/// What a route can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentKind {
    /// A Service.
    Service,
    /// Every host of a ServiceEntry.
    ServiceEntry,
    /// A Gateway.
    Gateway,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Its matches, any of which has to: each with how closely it describes requests.
    pub matches: Vec<(Precedence, HttpMatch)>,
    /// What becomes of the requests.
    pub action: RouteAction,
    /// Who gets copies.
    pub mirrors: Vec<Mirrored>,
    /// The rest of it, without matches and mirrors.
    pub rest: HttpRoute,
    /// What is answered for a backend that cannot be had.
    pub unavailable: DirectResponse,
}

/// What a rule does with requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// They go to these.
    Backends(Vec<Backend>),
    /// This, whatever there is elsewhere.
    Settled(HttpAction),
}

/// A backend and its share (`backendRefs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The field that says so.
    pub path: String,
    /// What it is.
    pub to: BackendRef,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// What is done to the header fields of what goes there.
    pub headers: Headers,
}

/// A backend by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendRef {
    /// A Service.
    Service {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its port.
        port: u16,
    },
    /// A host of a ServiceEntry (Istio `networking.istio.io` `Hostname`), and its port.
    Host(Host, u16),
    /// Nothing that can be had, as its translation remarks.
    Unusable,
}

/// A backend that gets copies (`RequestMirror`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The field that says so.
    pub path: String,
    /// What it is.
    pub to: BackendRef,
    /// Of how many requests.
    pub share: Percent,
}

/// A ReferenceGrant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// Its namespace, of which it lets things be named, and its name.
    pub key: PolicyKey,
    /// Who may, any of them.
    pub from: Vec<Grantee>,
    /// What.
    pub to: Vec<Granted>,
}

/// Who may name something: routes of a kind in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grantee {
    /// The kind.
    pub kind: RouteKind,
    /// The namespace.
    pub namespace: Arc<str>,
}

/// What may be named: a Service, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The Service's name; none for every one.
    pub name: Option<Arc<str>>,
}

impl ReferenceGrant {
    /// True if `route` may name the Service `name` of the grant's namespace.
    #[must_use]
    pub fn admits(&self, route: &RouteId, name: &str) -> bool {
        let from = |from: &Grantee| from.kind == route.kind && from.namespace == route.key.namespace;
        let to = |to: &Granted| to.name.as_ref().is_none_or(|granted| **granted == *name);
        self.from.iter().any(from) && self.to.iter().any(to)
    }
}
