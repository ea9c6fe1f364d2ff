//! Every VirtualService of the mesh, and every route that is attached to a service, found by the host that is addressed.
//! Copies share their structure.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::attached::{Attached, RouteId, ServiceRoute};
use super::draw::Draw;
use super::host::{Host, around};
use super::outcome::{Outcome, chosen, outcome};
use super::request::Request;
use super::table::Table;
use super::virtual_service::{Destination, Flow, Gateway, HttpAction, StreamRoute, VirtualService};
use super::{Fields, RuleKey, delegate};

/// Every VirtualService of the mesh, and every route that is attached to a service.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    all: OrdMap<RuleKey, Arc<VirtualService>>,
    /// What is looked up, of those that have hosts.
    compiled: OrdMap<RuleKey, Arc<Compiled>>,
    by_host: OrdMap<Host, OrdSet<Rank>>,
    /// Who delegates to whom: (delegate, root).
    roots: OrdSet<(RuleKey, RuleKey)>,
    attached: Attached,
}

/// A VirtualService before and behind others for the same host: the one that is meant for the viewer most closely, the
/// oldest, the first by namespace and name.
type Rank = (u8, Option<Arc<str>>, RuleKey);

fn rank(service: &VirtualService) -> Rank {
    (service.visibility.width(&service.key.namespace), service.created.clone(), service.key.clone())
}

#[derive(Debug)]
struct Compiled {
    source: Arc<VirtualService>,
    http: Table,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOutcome<'a> {
    /// No VirtualService says: where it was addressed to.
    Unrouted,
    /// There are routes and none matches: it is refused.
    NoRoute,
    /// There.
    To(&'a Destination),
}

/// Which service is addressed, and whose proxy asks.
#[derive(Clone, Copy, Debug)]
pub struct Addressed<'a> {
    /// The service's host, in lower case.
    pub host: &'a str,
    /// The namespace for which a VirtualService has to be visible.
    pub viewer: &'a str,
    /// The namespace of the service: then only VirtualServices of this one and of the viewer's count, and what others write
    /// for a service that is not theirs does not. None where everybody's count.
    pub owner: Option<&'a str>,
    /// The namespace whose VirtualServices count alone; none for those of all.
    pub from: Option<&'a str>,
}

impl PartialEq for Routes {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all && self.attached.all() == other.attached.all()
    }
}

impl Eq for Routes {}

impl Routes {
    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.attached.all().is_empty()
    }

    /// Every VirtualService, ascending by key.
    pub fn virtual_services(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.all.values()
    }

    /// Every route that is attached to a service, ascending.
    pub fn service_routes(&self) -> impl Iterator<Item = &Arc<ServiceRoute>> {
        self.attached.all().values()
    }

    /// The routes that are attached to the service `host`, ascending.
    pub fn service_routes_of<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Arc<ServiceRoute>> + use<'a> {
        self.attached.of(host)
    }

    /// Adds, replaces or removes the route `id` of a service. False if that changes nothing.
    pub fn set_service_route(&mut self, id: &RouteId, new: Option<Arc<ServiceRoute>>) -> bool {
        self.attached.set(id, new)
    }

    /// Adds, replaces or removes the VirtualService `key`. False if that changes nothing.
    pub fn set(&mut self, key: &RuleKey, new: Option<Arc<VirtualService>>) -> bool {
        if self.all.get(key) == new.as_ref() {
            return false;
        }
        if let Some(old) = self.all.remove(key) {
            for host in &old.hosts {
                let ranked = self.by_host.entry(host.clone()).or_default();
                ranked.remove(&rank(&old));
                if ranked.is_empty() {
                    self.by_host.remove(host);
                }
            }
            for delegate in delegates(&old) {
                self.roots.remove(&(delegate.clone(), key.clone()));
            }
        }
        if let Some(new) = new {
            for host in &new.hosts {
                self.by_host.entry(host.clone()).or_default().insert(rank(&new));
            }
            for delegate in delegates(&new) {
                self.roots.insert((delegate.clone(), key.clone()));
            }
            self.all.insert(key.clone(), new);
        }
        self.compile(key);
        let from = (key.clone(), RuleKey::new("", ""));
        let roots = self.roots.range(from..).take_while(|(delegate, _)| delegate == key);
        for root in roots.map(|(_, root)| root.clone()).collect::<Vec<_>>() {
            self.compile(&root);
        }
        true
    }

    /// What becomes of `request` to `addressed`: by the routes that are attached to it, where there are any for such a
    /// request; or else by those of all VirtualServices for its closest host, as if they were one list.
    #[must_use]
    pub fn http<'a, F: Fields + ?Sized>(
        &'a self,
        addressed: Addressed<'_>,
        request: &Request<'a, F>,
        draw: Draw,
    ) -> Outcome<'a> {
        if let Some(table) = self.attached.table(addressed.host, &request.arrival) {
            let found = table.find(request);
            return found.map_or(Outcome::NoRoute, |(route, block)| {
                let of = route.name.as_deref().unwrap_or_default();
                outcome((of, route), block, request, draw)
            });
        }
        let mut unrouted = true;
        for compiled in self.applying(addressed, request.arrival.gateway) {
            unrouted &= compiled.source.http.is_empty();
            if let Some((route, block)) = compiled.http.find(request) {
                return outcome((&compiled.source.key.name, route), block, request, draw);
            }
        }
        if unrouted { Outcome::Unrouted } else { Outcome::NoRoute }
    }

    /// Where `flow` to `addressed` goes: by the routes for TLS, if it says what it wants to reach, and then by those for
    /// TCP.
    #[must_use]
    pub fn stream<'a>(&'a self, addressed: Addressed<'_>, flow: &Flow<'_>, draw: Draw) -> StreamOutcome<'a> {
        stream(&self.applying(addressed, flow.arrival.gateway).collect::<Vec<_>>(), flow, draw)
    }

    /// Where `flow` goes that came to a gateway and says nothing of where it wants to: by the VirtualServices for whatever host
    /// that are bound to that gateway, and that it `admits`.
    #[must_use]
    pub fn stream_at<'a>(
        &'a self,
        viewer: &str,
        admits: impl Fn(&VirtualService) -> bool,
        flow: &Flow<'_>,
        draw: Draw,
    ) -> StreamOutcome<'a> {
        let counts = |one: &&Arc<Compiled>| {
            one.source.visibility.admits(viewer) && applies_at(&one.source, flow.arrival.gateway) && admits(&one.source)
        };
        let mut applying: Vec<_> = self.compiled.values().filter(counts).collect();
        applying.sort_by_cached_key(|one| rank(&one.source));
        stream(&applying, flow, draw)
    }

    /// The VirtualServices that count for `addressed` at `gateway`: those of the closest host that any is for. First the
    /// one that is meant for the viewer most closely, the oldest, the first by namespace and name.
    pub fn virtual_services_for<'a>(
        &'a self,
        addressed: Addressed<'a>,
        gateway: &'a Gateway,
    ) -> impl Iterator<Item = &'a Arc<VirtualService>> {
        self.applying(addressed, gateway).map(|compiled| &compiled.source)
    }

    /// The closest host that VirtualServices are for which count for `addressed` at `gateway`.
    #[must_use]
    pub fn closest<'a>(&'a self, addressed: Addressed<'_>, gateway: &Gateway) -> Option<&'a Host> {
        let first = self.applying(addressed, gateway).next()?;
        let covering = first.source.hosts.iter().filter(|host| host.covers(addressed.host));
        covering.max_by_key(|host| (!host.is_wildcard(), host.as_str().len()))
    }

    fn applying<'a, 'q>(
        &'a self,
        addressed: Addressed<'q>,
        gateway: &'q Gateway,
    ) -> impl Iterator<Item = &'a Arc<Compiled>> + use<'a, 'q> {
        let counts = move |one: &&Arc<Compiled>| {
            let VirtualService { key, visibility, .. } = &*one.source;
            let may = |owner: &str| *key.namespace == *owner || *key.namespace == *addressed.viewer;
            visibility.admits(addressed.viewer)
                && addressed.from.is_none_or(|from| *key.namespace == *from)
                && (*gateway != Gateway::Mesh || addressed.owner.is_none_or(may))
                && applies_at(&one.source, gateway)
        };
        let compiled = |(_, _, key): &Rank| self.compiled.get(key);
        let hosts = (!self.by_host.is_empty()).then(|| around(addressed.host)).into_iter().flatten();
        let mut ranked = hosts.filter_map(|host| self.by_host.get(&host));
        let closest = ranked.find(|ranked| ranked.iter().filter_map(compiled).any(|one| counts(&one)));
        closest.into_iter().flatten().filter_map(compiled).filter(counts)
    }

    /// Compiles the VirtualService `key` anew.
    fn compile(&mut self, key: &RuleKey) {
        let Some(source) = self.all.get(key).filter(|source| !source.hosts.is_empty()).cloned() else {
            self.compiled.remove(key);
            return;
        };
        let mut http = Vec::with_capacity(source.http.len());
        for route in &source.http {
            match &route.action {
                HttpAction::Delegate(to) => {
                    let visible =
                        |to: &&Arc<VirtualService>| to.hosts.is_empty() && to.visibility.admits(&key.namespace);
                    let to = self.all.get(to).filter(visible);
                    http.extend(to.into_iter().flat_map(|to| delegate::merged(route, &to.http)));
                }
                _ => http.push(route.clone()),
            }
        }
        let http = Table::new(&source.gateways, http);
        self.compiled.insert(key.clone(), Arc::new(Compiled { source, http }));
    }
}

/// Where `flow` goes as the VirtualServices `applying` say, in their order.
fn stream<'a>(applying: &[&'a Arc<Compiled>], flow: &Flow<'_>, draw: Draw) -> StreamOutcome<'a> {
    let by_tls = |source: &'a VirtualService| if flow.sni.is_some() { &source.tls[..] } else { &[] };
    let mut unrouted = true;
    for routes_of in [&by_tls as &dyn Fn(&'a VirtualService) -> &'a [StreamRoute], &|source| &source.tcp[..]] {
        for compiled in applying {
            let (gateways, routes) = (&compiled.source.gateways, routes_of(&compiled.source));
            unrouted &= routes.is_empty();
            let matches = |route: &&StreamRoute| match &route.matches[..] {
                [] => gateways.contains(flow.arrival.gateway),
                blocks => blocks.iter().any(|block| block.matches(gateways, flow)),
            };
            if let Some(route) = routes.iter().find(matches) {
                let chosen = chosen(&route.destinations, draw);
                return chosen.map_or(StreamOutcome::NoRoute, |chosen| StreamOutcome::To(&chosen.destination));
            }
        }
    }
    if unrouted { StreamOutcome::Unrouted } else { StreamOutcome::NoRoute }
}

/// Whom it delegates to.
fn delegates(service: &VirtualService) -> impl Iterator<Item = &RuleKey> {
    service.http.iter().filter_map(|route| match &route.action {
        HttpAction::Delegate(to) => Some(to),
        _ => None,
    })
}

/// True if any of its routes applies at `gateway`: by its own gateways, or by those that a match names instead.
fn applies_at(service: &VirtualService, gateway: &Gateway) -> bool {
    let http = service.http.iter().flat_map(|route| &route.matches).map(|block| &block.source);
    let streams = service.tls.iter().chain(&service.tcp).flat_map(|route| &route.matches).map(|block| &block.source);
    service.gateways.contains(gateway) || http.chain(streams).any(|source| source.gateways.contains(gateway))
}
