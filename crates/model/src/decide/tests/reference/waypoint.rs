//! A second answer to who is reached by which waypoint, from the feature rows G-02 to G-04, F-14 and F-15 alone.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{distributed, is_v4, least, plain, pod_of, service_dialled, upstream};
use crate::fixtures::World;
use crate::policy::{Denial, PolicyKey};
use crate::waypoint::{Address, Allowed, Serves, UseWaypoint, Waypoint};
use crate::{Decision, Identity, Reason, Service, Target, Waypoints, Workload};

/// By what something is reached.
#[derive(Clone, Copy)]
pub(super) enum Reached<'a> {
    Freely,
    By(&'a Waypoint),
    ByNone,
}

fn gateway<'a>(world: &'a World, wish: &UseWaypoint) -> Option<&'a Waypoint> {
    world.waypoints.iter().find(|waypoint| waypoint.key == wish.key)
}

fn front<'a>(world: &'a World, waypoint: &Waypoint) -> Option<&'a Service> {
    match &waypoint.address {
        Address::Hostname(name) => least(world, |service| service.hostname == *name),
        Address::Ip(ip) => service_dialled(world, &waypoint.key.namespace, *ip),
    }
}

/// The endpoints of port 15008 of the Service in front of it that are pods which the mesh does not capture.
fn endpoints<'a>(
    world: &'a World,
    waypoint: &Waypoint,
    of: fn(&crate::ServicePort) -> &Vec<Target>,
) -> Vec<&'a Target> {
    let port = front(world, waypoint).and_then(|service| service.ports.iter().find(|port| port.port == 15008));
    let usable = |target: &&Target| pod_of(world, target).is_some_and(|pod| !pod.is_enrolled());
    port.map_or(vec![], |port| of(port).iter().filter(usable).collect())
}

fn lets_in(waypoint: &Waypoint, namespace: &str) -> bool {
    match &waypoint.allowed {
        Allowed::All => true,
        Allowed::Same => *waypoint.key.namespace == *namespace,
        Allowed::Selected(names) => names.iter().any(|name| **name == *namespace),
    }
}

pub(super) fn service<'a>(world: &'a World, service: &Service) -> Reached<'a> {
    let Some(wish) = &service.waypoint else { return Reached::Freely };
    let is_front = |waypoint: &&Waypoint| front(world, waypoint).is_some_and(|front| front.key == service.key);
    let own = |waypoint: &&Waypoint| {
        (&waypoint.key.namespace, &waypoint.key.name) == (&service.key.namespace, &service.key.name)
    };
    if world.waypoints.iter().filter(|waypoint| waypoint.key == wish.key || own(waypoint)).any(|w| is_front(&w)) {
        return Reached::Freely;
    }
    match gateway(world, wish) {
        None => Reached::ByNone,
        Some(waypoint) if !matches!(waypoint.serves, Serves::Services | Serves::All) => Reached::Freely,
        Some(waypoint) if !lets_in(waypoint, &service.key.namespace) => Reached::ByNone,
        Some(waypoint) => Reached::By(waypoint),
    }
}

fn pod<'a>(world: &'a World, pod: &Workload) -> Reached<'a> {
    let Some(wish) = &pod.waypoint else { return Reached::Freely };
    match gateway(world, wish) {
        None if wish.inherited => Reached::Freely,
        None => Reached::ByNone,
        Some(waypoint) if !matches!(waypoint.serves, Serves::Workloads | Serves::All) => Reached::Freely,
        Some(waypoint) if !lets_in(waypoint, &pod.namespace) => Reached::ByNone,
        Some(waypoint) => Reached::By(waypoint),
    }
}

/// The services that have `address` as an endpoint.
fn services_with(world: &World, address: SocketAddr) -> Vec<&Service> {
    let has = |service: &&Service| service.ports.iter().any(|port| port.members.iter().any(|m| m.address == address));
    let mut services: Vec<_> = world.services.iter().filter(has).collect();
    services.sort_by_key(|service| (service.key.host.clone(), service.key.namespace.clone(), service.key.name.clone()));
    services
}

/// F-14: the wishes of which one has to be fulfilled.
fn demands<'a>(world: &'a World, at: &'a Workload, address: SocketAddr) -> Vec<&'a UseWaypoint> {
    if world.mesh.waypoints == Waypoints::Preferred {
        return vec![];
    }
    let free = |reached| matches!(reached, Reached::Freely);
    let services = services_with(world, address);
    let own: Vec<_> = at.waypoint.iter().filter(|_| !free(pod(world, at))).collect();
    let bound = |one: &&&Service| !free(service(world, one));
    if own.is_empty() && !services.iter().all(|one| bound(&one)) {
        return vec![];
    }
    own.into_iter().chain(services.iter().filter(bound).filter_map(|service| service.waypoint.as_ref())).collect()
}

/// By what the pod's own address is reached: where it is free to choose, by the waypoint of a headless service.
pub(super) fn address<'a>(world: &'a World, at: &'a Workload, address: SocketAddr) -> Reached<'a> {
    let own = pod(world, at);
    if !matches!(own, Reached::Freely) || demands(world, at, address).is_empty() {
        return own;
    }
    let headless = services_with(world, address).into_iter().filter(|s| s.vips.is_empty() && s.ranges.is_empty());
    headless.map(|s| service(world, s)).find(|r| !matches!(r, Reached::Freely)).unwrap_or(Reached::Freely)
}

/// F-15: through the waypoint, or nowhere; or where that is wanted, around it.
pub(super) fn through(
    world: &World,
    (source, dialled, draw): (&Workload, SocketAddr, u64),
    reached: Reached<'_>,
    asked: (SocketAddr, Option<&Service>),
) -> Option<Decision> {
    let chosen = match reached {
        Reached::Freely => return None,
        Reached::By(waypoint) => {
            if endpoints(world, waypoint, |port| &port.members)
                .iter()
                .any(|t| pod_of(world, t).is_some_and(|p| p.uid == source.uid))
            {
                return None;
            }
            choice(world, waypoint, (source, dialled, draw)).map(|target| (waypoint, target))
        }
        Reached::ByNone => None,
    };
    match chosen {
        Some((waypoint, target)) => Some(Decision::Waypoint {
            waypoint: Arc::new(waypoint.clone()),
            upstream: upstream(target.address, pod_of(world, target), asked.1),
            authority: asked.0,
        }),
        None if world.mesh.waypoints == Waypoints::Preferred => None,
        None => Some(Decision::Refuse(Reason::WaypointUnavailable)),
    }
}

fn choice<'a>(
    world: &'a World,
    waypoint: &Waypoint,
    (source, dialled, draw): (&Workload, SocketAddr, u64),
) -> Option<&'a Target> {
    let front = front(world, waypoint)?;
    let port = front.ports.iter().find(|port| port.port == 15008)?;
    let ready = endpoints(world, waypoint, |port| &port.targets);
    let of_family = |v4: bool| move |target: &&Target| is_v4(target.address.ip()) == v4;
    let wanted = is_v4(dialled.ip());
    let families: std::collections::BTreeSet<bool> = front.vips.iter().map(|vip| is_v4(*vip)).collect();
    let other = !port.targets.iter().any(|target| of_family(wanted)(&target))
        && (families.len() < 2 || front.key.host.is_some());
    let family = if other { !wanted } else { wanted };
    let candidates = distributed(world, source, front, ready.into_iter().filter(of_family(family)).collect());
    let total: u64 = candidates.iter().map(|target| u64::from(target.weight.get())).sum();
    let mut upto = 0;
    candidates.into_iter().find(|target| {
        upto += u64::from(target.weight.get());
        draw.checked_rem(total).is_some_and(|drawn| drawn < upto)
    })
}

/// F-14: the refusal of whoever is no waypoint that is demanded.
pub(super) fn unpassed(
    world: &World,
    at: &Workload,
    to: SocketAddr,
    (identity, known): (Option<&Identity>, bool),
) -> Option<Denial> {
    let demands = demands(world, at, plain(to));
    let first = demands.first()?;
    let domains = &world.mesh.trust_domains;
    let ours = |domain: &crate::TrustDomain| *domain == domains.own || domains.aliases.contains(domain);
    let is = |identity: &Identity, pod: &Workload| {
        let one = pod.identity.trust_domain == identity.trust_domain
            || ours(&pod.identity.trust_domain) && ours(&identity.trust_domain);
        one && (&pod.identity.namespace, &pod.identity.service_account)
            == (&identity.namespace, &identity.service_account)
    };
    let fulfils = |wish: &&&UseWaypoint| {
        let targets = gateway(world, wish).map_or(vec![], |waypoint| endpoints(world, waypoint, |port| &port.members));
        targets
            .into_iter()
            .filter_map(|t| pod_of(world, t))
            .any(|pod| identity.is_some_and(|identity| is(identity, pod)))
    };
    if demands.iter().any(|wish| fulfils(&wish)) {
        return None;
    }
    let policy = PolicyKey { namespace: first.key.namespace.clone(), name: first.key.name.clone() };
    let early = identity.is_some() && !known;
    Some(Denial { reason: Reason::WaypointRequired, kind: "Gateway", policy, rule: None, partial: false, early })
}
