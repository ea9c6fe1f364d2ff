//! What Gateways say together to a pod that serves them: where it listens, which server a connection or request is for, and
//! what contradicts what. One port speaks one thing: where servers disagree the oldest Gateway's counts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::{Gateway, Protocol, Server, ServerHost};
use crate::route::{self, Addressed, Draw, Flow, Host, Routes, RuleKey, StreamOutcome, VirtualService};

/// A port that a pod listens on, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// The port that the pod listens on.
    pub port: u16,
    /// The address; none for all.
    pub bind: Option<IpAddr>,
    /// What is spoken.
    pub speaks: Speaks,
    /// The servers, of older Gateways first.
    pub servers: Vec<Served>,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Speaks {
    /// HTTP in clear.
    Http,
    /// TLS, whatever is within.
    Tls,
    /// Bytes.
    Tcp,
}

/// A server, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Served {
    /// The Gateway, as routes name it.
    pub gateway: route::Gateway,
    /// The same.
    pub key: RuleKey,
    /// The server.
    pub server: Arc<Server>,
}

/// Why a server is not, or not for all its hosts, in effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Conflict {
    /// The Gateway.
    pub gateway: RuleKey,
    /// The server's place in it.
    pub server: usize,
    /// What it has in common with another.
    pub over: Contested,
    /// The Gateway that counts.
    pub with: RuleKey,
}

/// What two servers contradict each other in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Contested {
    /// What is spoken on the port.
    Port(u16),
    /// The certificate for this host.
    Host(Host),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.over {
            Contested::Port(port) => write!(
                f,
                "port {port} speaks what the older Gateway {} says, which is something else: the server is not in effect",
                self.with
            ),
            Contested::Host(host) => {
                write!(
                    f,
                    "{host} is the older Gateway {}'s on this port: the server is not in effect for it",
                    self.with
                )
            }
        }
    }
}

/// To which servers a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    /// To `https`, whatever it asks for.
    Redirected,
    /// To the VirtualServices of these, the first that has a route for it: those of the named namespace alone, where there is
    /// one.
    Routed(Vec<(&'a Served, Option<&'a str>)>),
    /// To nobody.
    Unbound,
}

impl Protocol {
    /// What a port speaks that has such a server.
    #[must_use]
    pub const fn speaks(&self) -> Speaks {
        match self {
            Self::Http { .. } => Speaks::Http,
            Self::Https(_) | Self::Tls(_) | Self::Passthrough => Speaks::Tls,
            Self::Tcp => Speaks::Tcp,
        }
    }
}

/// How closely a host describes names.
type Closeness = (bool, usize);

fn closeness(host: &Host) -> Closeness {
    (!host.is_wildcard(), host.as_str().len())
}

/// Where a pod listens that serves `gateways`, by port and address, and what of them is not in effect. `targets` says which of
/// the pod's ports a port leads to that a server names: servers that name different ones may meet.
#[must_use]
pub fn listeners<'a>(
    gateways: impl IntoIterator<Item = &'a Arc<Gateway>>,
    targets: impl Fn(u16) -> BTreeSet<u16>,
) -> (Vec<Listener>, Vec<Conflict>) {
    let mut gateways: Vec<_> = gateways.into_iter().collect();
    gateways.sort_by_key(|gateway| (&gateway.created, &gateway.key));
    let mut listeners: BTreeMap<(u16, Option<IpAddr>), Listener> = BTreeMap::new();
    let mut conflicts: Vec<Conflict> = Vec::new();
    for gateway in gateways {
        let servers = gateway.servers.iter().enumerate();
        for (place, server, port) in
            servers.flat_map(|(place, server)| targets(server.port).into_iter().map(move |port| (place, server, port)))
        {
            let (bind, speaks) = (server.bind, server.protocol.speaks());
            let listener = listeners.entry((port, bind));
            let listener = listener.or_insert_with(|| Listener { port, bind, speaks, servers: Vec::new() });
            let conflict = |over, with: &Served| Conflict {
                gateway: gateway.key.clone(),
                server: place,
                over,
                with: with.key.clone(),
            };
            // Bytes say nothing of where they want to go.
            let full = speaks == Speaks::Tcp && !listener.servers.is_empty();
            if listener.speaks != speaks || full {
                let first = listener.servers.first();
                conflicts.extend(first.map(|first| conflict(Contested::Port(server.port), first)));
                continue;
            }
            if speaks == Speaks::Tls {
                let mut known = HashSet::new();
                for host in server.hosts.iter().map(|host| &host.host).filter(|host| known.insert(*host)) {
                    let holder = listener.servers.iter().find(|held| held.has(host));
                    conflicts.extend(holder.map(|holder| conflict(Contested::Host(host.clone()), holder)));
                }
            }
            let (key, server) = (gateway.key.clone(), server.clone());
            listener.servers.push(Served { gateway: route::Gateway::Named(key.clone()), key, server });
        }
    }
    // What leads to several ports of the pod contradicts in each.
    let mut told = HashSet::new();
    conflicts.retain(|conflict| told.insert(conflict.clone()));
    (listeners.into_values().collect(), conflicts)
}

impl ServerHost {
    /// True if `service` may be bound to it for its host `host`, or for some of the names that this stands for.
    #[must_use]
    pub fn admits(&self, service: &VirtualService, host: &Host) -> bool {
        let may = self.namespace.as_ref().is_none_or(|namespace| service.key.namespace == *namespace);
        may && (self.host.covers(host.as_str()) || host.covers(self.host.as_str()))
    }
}

impl Served {
    fn has(&self, host: &Host) -> bool {
        self.server.hosts.iter().any(|own| own.host == *host)
    }

    fn covering<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a ServerHost> + use<'a, 'n> {
        self.server.hosts.iter().filter(move |host| host.host.covers(name))
    }

    /// Where `flow` goes that came to it, at a pod of `viewer`, as the VirtualServices say that are bound to it: those for
    /// `name`, in lower case, or where nobody is asked for, all of them.
    #[must_use]
    pub fn stream<'a>(
        &self,
        routes: &'a Routes,
        (viewer, name): (&str, Option<&str>),
        flow: &Flow<'_>,
        draw: Draw,
    ) -> StreamOutcome<'a> {
        let Some(name) = name else {
            let hosts = &self.server.hosts;
            let admits = |service: &VirtualService| {
                let of = |own: &ServerHost| service.hosts.iter().any(|host| own.admits(service, host));
                hosts.iter().any(of)
            };
            return routes.stream_at(viewer, admits, flow, draw);
        };
        let Some(own) = self.covering(name).max_by_key(|own| closeness(&own.host)) else {
            return StreamOutcome::Unrouted;
        };
        let from = own.namespace.as_deref();
        routes.stream(Addressed { host: name, viewer, owner: None, from }, flow, draw)
    }
}

impl Listener {
    /// The server whose host is the closest to `name`, for which a TLS client asks; one that asks for nobody is served where
    /// every name is.
    #[must_use]
    pub fn by_name(&self, name: Option<&str>) -> Option<&Served> {
        let close = |served: &Served| match name {
            Some(name) => served.covering(name).map(|host| closeness(&host.host)).max(),
            None => served.has(&Host::literal("*")).then_some((false, 1)),
        };
        let closest = self.servers.iter().filter_map(|served| Some((close(served)?, served)));
        // Of several the first: `max_by_key` takes the last.
        closest.rev().max_by_key(|(close, _)| *close).map(|(_, served)| served)
    }
}

/// To which of `servers` a request for `host` (in lower case, without a port) goes, at a pod of `viewer`: those with the
/// VirtualServices whose hosts, as far as they are the server's too, are the closest.
#[must_use]
pub fn bound<'a>(
    servers: impl IntoIterator<Item = &'a Served>,
    routes: &Routes,
    viewer: &str,
    host: &str,
) -> Bound<'a> {
    let mut closest: Option<Closeness> = None;
    let mut bound = Bound::Unbound;
    for served in servers {
        let redirect = matches!(served.server.protocol, Protocol::Http { redirect: true });
        for own in served.covering(host) {
            let from = own.namespace.as_deref();
            let addressed = Addressed { host, viewer, owner: None, from };
            let theirs = routes.closest(addressed, &served.gateway);
            if theirs.is_none() && !redirect {
                continue;
            }
            let close = theirs.map(closeness).max(Some(closeness(&own.host)));
            if close > closest {
                closest = close;
                bound = Bound::Unbound;
            }
            if close == closest {
                match &mut bound {
                    Bound::Redirected => {}
                    _ if redirect => bound = Bound::Redirected,
                    Bound::Routed(all) if all.contains(&(served, from)) => {}
                    Bound::Routed(all) => all.push((served, from)),
                    Bound::Unbound => bound = Bound::Routed(vec![(served, from)]),
                }
            }
        }
    }
    bound
}
