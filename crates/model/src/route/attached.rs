//! Routes that are attached to services (Gateway API HTTPRoute and GRPCRoute with a Service for a parent, GEP-1426): which
//! of them count for a request, and in which order their matches do. What a match asks and what becomes of a request is as
//! with VirtualServices. Knows no backends: whether they can be had is settled by who hands the routes in.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Serialize, Serializer};

use super::RuleKey;
use super::request::Arrival;
use super::table::Table;
use super::text::Text;
use super::virtual_service::{Gateway, HttpMatch, HttpRoute};

/// The kind of a route. Of two for one port of a service the first counts, and the other does not (GEP-1426, "Route
/// types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// GRPCRoute
    Grpc,
    /// HTTPRoute
    Http,
}

/// Which route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId {
    /// Its kind.
    pub kind: RouteKind,
    /// Its namespace and name.
    pub key: RuleKey,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RouteKind::Grpc => "GRPCRoute",
            RouteKind::Http => "HTTPRoute",
        };
        write!(f, "{kind} {}", self.key)
    }
}

impl Serialize for RouteId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A route that is attached to services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRoute {
    /// Which it is.
    pub id: RouteId,
    /// `metadata.creationTimestamp` (RFC 3339, UTC); one without a date is older than all.
    pub created: Option<Arc<str>>,
    /// What it is attached to.
    pub parents: Vec<Parent>,
    /// What it says, match by match, in the order in which it is written.
    pub rules: Vec<ServiceRule>,
}

/// A service that a route is attached to (`parentRefs`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Parent {
    /// The service's host.
    pub host: Arc<str>,
    /// The service's port; none for all of them.
    pub port: Option<u16>,
    /// The namespace whose clients it is for: that of a route for a service of another one. None for everybody.
    pub clients: Option<Arc<str>>,
}

impl Parent {
    /// True if every request that is `other`'s is this one's, too.
    #[must_use]
    pub fn takes_all_of(&self, other: &Self) -> bool {
        self.host == other.host && self.clients == other.clients && (self.port.is_none() || self.port == other.port)
    }
}

/// One match of a rule, and what becomes of the requests that are so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceRule {
    /// Which of several counts.
    pub precedence: Precedence,
    /// The rule, with that match alone.
    pub route: Arc<HttpRoute>,
}

/// How closely a match describes requests: the greatest counts (Gateway API `HTTPRouteRule.matches`,
/// `GRPCRouteRule.matches`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Precedence([usize; 5]);

impl Precedence {
    /// That of a match of an HTTPRoute: an exact path, the longest prefix, an expression (of which the API says nothing:
    /// the longest, ahead of `/` alone); then a method, the number of header fields, and that of query parameters.
    #[must_use]
    pub fn http(block: &HttpMatch) -> Self {
        let (kind, length) = match &block.uri {
            Some(Text::Exact(path)) => (3, path.len()),
            Some(Text::Elements(prefix) | Text::Prefix(prefix)) if !prefix.is_empty() => (2, prefix.len()),
            Some(Text::Regex(regex)) => (1, regex.as_str().len()),
            _ => (0, 0),
        };
        Self([kind, length, block.method.is_some().into(), block.headers.len(), block.parameters.len()])
    }

    /// That of a match of a GRPCRoute, which asks for so many characters of a service, so many of a method, and so many
    /// header fields.
    #[must_use]
    pub const fn grpc(service: usize, method: usize, headers: usize) -> Self {
        Self([service, method, headers, 0, 0])
    }
}

/// Every attached route, found by the host that is addressed. Copies share their structure.
#[derive(Clone, Debug, Default)]
pub(super) struct Attached {
    all: OrdMap<RouteId, Arc<ServiceRoute>>,
    /// Whose parent is which host.
    children: OrdSet<(Arc<str>, RouteId)>,
    by_host: OrdMap<Arc<str>, Arc<Vec<Scope>>>,
}

/// Some of a service's requests, and the routes for them.
#[derive(Debug)]
struct Scope {
    clients: Option<Arc<str>>,
    port: Option<u16>,
    table: Table,
}

impl Scope {
    fn takes(&self, arrival: &Arrival<'_>) -> bool {
        let of_theirs = |clients: &Arc<str>| arrival.client.namespace == Some(clients);
        self.clients.as_ref().is_none_or(of_theirs) && self.port.is_none_or(|port| port == arrival.port)
    }
}

impl Attached {
    pub(super) fn all(&self) -> &OrdMap<RouteId, Arc<ServiceRoute>> {
        &self.all
    }

    /// Adds, replaces or removes the route `id`. False if that changes nothing.
    pub(super) fn set(&mut self, id: &RouteId, new: Option<Arc<ServiceRoute>>) -> bool {
        if self.all.get(id) == new.as_ref() {
            return false;
        }
        let mut hosts = OrdSet::new();
        if let Some(old) = self.all.remove(id) {
            for parent in &old.parents {
                self.children.remove(&(parent.host.clone(), id.clone()));
                hosts.insert(parent.host.clone());
            }
        }
        if let Some(new) = new {
            for parent in &new.parents {
                self.children.insert((parent.host.clone(), id.clone()));
                hosts.insert(parent.host.clone());
            }
            self.all.insert(id.clone(), new);
        }
        for host in hosts {
            self.compile(&host);
        }
        true
    }

    /// The routes whose parent is `host`, ascending.
    pub(super) fn of<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Arc<ServiceRoute>> + use<'a> {
        let host: Arc<str> = Arc::from(host);
        let first = RouteId { kind: RouteKind::Grpc, key: RuleKey::new("", "") };
        let children = self.children.range((host.clone(), first)..).take_while(move |(of, _)| *of == host);
        children.filter_map(|(_, id)| self.all.get(id))
    }

    /// The routes for what arrives at `host` so; none if nothing is attached there.
    pub(super) fn table(&self, host: &str, arrival: &Arrival<'_>) -> Option<&Table> {
        if *arrival.gateway != Gateway::Mesh {
            return None;
        }
        self.by_host.get(host)?.iter().find(|scope| scope.takes(arrival)).map(|scope| &scope.table)
    }

    fn compile(&mut self, host: &Arc<str>) {
        let routes: Vec<_> = self.of(host).cloned().collect();
        let parents = routes.iter().flat_map(|route| route.parents.iter().map(move |parent| (route, parent)));
        let attached: Vec<_> = parents.filter(|(_, parent)| parent.host == *host).collect();
        let mut scopes: Vec<&Parent> = attached.iter().map(|(_, parent)| *parent).collect();
        // Some clients before all of them, and one port before all: the first that takes a request has the routes for it.
        scopes
            .sort_unstable_by_key(|scope| (scope.clients.is_none(), scope.port.is_none(), &scope.clients, scope.port));
        scopes.dedup();
        let compiled: Vec<_> = scopes.into_iter().map(|scope| compiled(scope, &attached)).collect();
        match compiled.is_empty() {
            true => drop(self.by_host.remove(host)),
            false => drop(self.by_host.insert(host.clone(), Arc::new(compiled))),
        }
    }
}

/// What the routes of `attached` say together that are for the requests of `scope`.
fn compiled(scope: &Parent, attached: &[(&Arc<ServiceRoute>, &Parent)]) -> Scope {
    let mut routes: Vec<_> =
        attached.iter().filter(|(_, parent)| parent.takes_all_of(scope)).map(|(route, _)| *route).collect();
    let kind = routes.iter().map(|route| route.id.kind).min();
    routes.retain(|route| Some(route.id.kind) == kind);
    routes.sort_by_key(|route| (&route.created, &route.id));
    routes.dedup_by_key(|route| &route.id);
    let mut rules: Vec<&ServiceRule> = routes.into_iter().flat_map(|route| &route.rules).collect();
    // Stable: what ties stays in the order of the routes, and of the rules in them.
    rules.sort_by_key(|rule| Reverse(rule.precedence));
    let table = Table::new(&[Gateway::Mesh], rules.into_iter().map(|rule| rule.route.clone()).collect());
    Scope { clients: scope.clients.clone(), port: scope.port, table }
}
