//! Where does this connection go, and may it? The one place that decides: the proxies, the command line's `explain`
//! and the tests all call [`decide`].

mod choose;

pub use choose::place;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::connection::{Authority, Connection};
use crate::identity::Identity;
use crate::policy::{self, Access, Denial};
use crate::ports;
use crate::reason::Reason;
use crate::service::{Resolution, Service, Target};
use crate::snapshot::{SameNode, Snapshot, Waypoints};
use crate::waypoint::{self, Binding, Bound, Waypoint};
use crate::workload::{Workload, WorkloadUid};

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Deliver it to an enrolled pod of this node, from within that pod's network namespace.
    Local(Upstream),
    /// Carry it by HBONE to port 15008 of the upstream's address.
    Tunnel(Upstream),
    /// Carry it by HBONE to a waypoint, which decides the rest.
    Waypoint {
        /// The waypoint.
        waypoint: Arc<Waypoint>,
        /// One of its pods, at the address and port where that takes HBONE; and the service that was dialled.
        upstream: Upstream,
        /// What the waypoint is asked for: the address and port that were dialled, or of the pod that they stand for.
        authority: SocketAddr,
    },
    /// Connect to the upstream's address in clear: it is not in the mesh.
    Passthrough(Upstream),
    /// Refuse it.
    Refuse(Reason),
    /// Refuse it, since a policy of the pod that it would be delivered to does.
    Deny(Upstream, Denial),
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The application's address and port.
    pub address: SocketAddr,
    /// The pod there, where it is one that the mesh knows.
    pub workload: Option<Arc<Workload>>,
    /// The service by which it was reached, where that is known.
    pub service: Option<Arc<Service>>,
    /// What is announced there, before what the client says.
    pub announced: Option<Announced>,
}

/// What a connection was meant for, as a waypoint is told that takes no HBONE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The address that was dialled.
    pub address: SocketAddr,
    /// The host of the service that has it.
    pub host: Option<Arc<str>>,
}

impl Decision {
    /// What is to be known of it if nobody is there; none of a refusal.
    #[must_use]
    pub const fn tried(&self) -> Option<Tried> {
        let (way, upstream) = match self {
            Self::Local(upstream) | Self::Tunnel(upstream) => (Way::Mesh, upstream),
            Self::Waypoint { upstream, .. } => (Way::Waypoint, upstream),
            Self::Passthrough(upstream) => (Way::Clear, upstream),
            Self::Refuse(_) | Self::Deny(..) => return None,
        };
        Some(Tried { address: upstream.address, way })
    }
}

/// An endpoint where a connection has found nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Where.
    pub address: SocketAddr,
    /// How it was to go there.
    pub way: Way,
}

/// How a connection goes to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To a pod of the mesh.
    Mesh,
    /// To a waypoint's pod.
    Waypoint,
    /// To what is outside the mesh.
    Clear,
}

impl Upstream {
    /// The application at `address`, in `workload`, reached by `service`.
    #[must_use]
    pub const fn new(address: SocketAddr, workload: Option<Arc<Workload>>, service: Option<Arc<Service>>) -> Self {
        Self { address, workload, service, announced: None }
    }
}

/// Decides where `connection` goes. Total and deterministic: equal arguments give equal answers.
#[must_use]
pub fn decide(snapshot: &Snapshot, connection: &Connection) -> Decision {
    decide_among(snapshot, connection, &[])
}

/// Where `connection` goes if none of `tried` is asked again, the endpoints where it found nobody; none if there is nobody else
/// who may have it: one that dialled a pod and no service can only go there.
#[must_use]
pub fn decide_again(snapshot: &Snapshot, connection: &Connection, tried: &[Tried]) -> Option<Decision> {
    let decision = decide_among(snapshot, connection, tried);
    let next = decision.tried()?;
    // Whoever keeps a connection from the mesh must not bring it about that it goes in clear.
    let is_in_clear = next.way == Way::Clear && tried.iter().any(|tried| tried.way != Way::Clear);
    let is_another = tried.iter().all(|tried| tried.address != next.address);
    (is_another && !is_in_clear).then_some(decision)
}

fn decide_among(snapshot: &Snapshot, connection: &Connection, tried: &[Tried]) -> Decision {
    let decided = match connection {
        Connection::Outbound { source, destination, draw } => outbound(snapshot, source, *destination, *draw, tried),
        Connection::InboundHbone { pod, peer, identity, authority } => peer_is_whom_it_says(snapshot, *peer, identity)
            .and_then(|()| match for_waypoint(snapshot, pod, &identity.namespace, authority) {
                Some(upstream) => Ok(Decision::Local(upstream)),
                None => inbound(snapshot, pod, authority),
            }),
        // The node knows what it has given the pod before the API tells: its kubelet's probes are not to wait for that.
        Connection::InboundPlaintext { pod, destination, by_node: true, .. } => {
            snapshot.workload(pod).ok_or(Reason::UnknownWorkload).and_then(|pod| at_pod(snapshot, pod, *destination))
        }
        Connection::InboundPlaintext { pod, destination, .. } => {
            inbound(snapshot, pod, &Authority::Address(*destination))
        }
    };
    admit(snapshot, connection, decided.unwrap_or_else(Decision::Refuse))
}

/// What is delivered here passes the policies of the pod that it is delivered to.
fn admit(snapshot: &Snapshot, connection: &Connection, decided: Decision) -> Decision {
    let Decision::Local(upstream) = decided else { return decided };
    let Some(access) = Access::new(connection, &upstream) else { return Decision::Local(upstream) };
    let denied = upstream.workload.as_ref().and_then(|pod| judge(snapshot, pod, &access).err());
    match denied {
        Some(denial) => Decision::Deny(upstream, denial),
        None => Decision::Local(upstream),
    }
}

/// May `access` reach `destination`: has it passed the waypoint that it has to, and do the policies admit it?
///
/// # Errors
/// What refuses it.
pub fn judge(snapshot: &Snapshot, destination: &Workload, access: &Access) -> Result<(), Denial> {
    waypoint::passed(snapshot, destination, access)?;
    policy::evaluate(snapshot, destination, access)
}

fn outbound(
    snapshot: &Snapshot,
    source: &WorkloadUid,
    dialled: SocketAddr,
    draw: u64,
    tried: &[Tried],
) -> Result<Decision, Reason> {
    let source = snapshot.workload(source).ok_or(Reason::UnknownWorkload)?;
    let dialled = SocketAddr::new(dialled.ip().to_canonical(), dialled.port());
    // Linux takes the unspecified address for loopback.
    if (dialled.ip().is_loopback() || dialled.ip().is_unspecified()) && ports::is_own(dialled.port()) {
        return Err(Reason::RecursiveCall);
    }
    let call = Call { snapshot, source, dialled, draw, tried };
    let upstream = match snapshot.service_dialled(dialled.ip(), &source.namespace) {
        Some(service) => {
            let free = service.resolution == Resolution::AsDialled;
            if !free && service.port(dialled.port()).is_none() {
                return Err(Reason::NoSuchServicePort);
            }
            let bound = waypoint::of_service(snapshot, service);
            let asking = Upstream::new(dialled, None, Some(service.clone()));
            if let Some(through) = call.through(bound, &asking)? {
                return Ok(through);
            }
            if free {
                Upstream { service: asking.service, ..direct(snapshot, dialled) }
            } else {
                call.balance(service)?
            }
        }
        None => direct(snapshot, dialled),
    };
    if let Some(workload) = &upstream.workload {
        if workload.is_enrolled() && ports::is_own(upstream.address.port()) {
            return Err(Reason::RecursiveCall);
        }
        let bound = waypoint::of_address(snapshot, workload, upstream.address);
        if let Some(through) = call.through(bound, &upstream)? {
            return Ok(through);
        }
    }
    Ok(match &upstream.workload {
        Some(workload) if workload.speaks_hbone() => Decision::Tunnel(upstream),
        Some(workload) if workload.is_enrolled() => {
            let one_node = !source.node.is_empty() && source.node == workload.node;
            match snapshot.mesh.same_node {
                SameNode::Direct if one_node => Decision::Local(upstream),
                _ => Decision::Tunnel(upstream),
            }
        }
        _ => Decision::Passthrough(upstream),
    })
}

/// What a pod of this node has dialled.
#[derive(Clone, Copy)]
struct Call<'a> {
    snapshot: &'a Snapshot,
    source: &'a Workload,
    dialled: SocketAddr,
    draw: u64,
    /// Where nobody was.
    tried: &'a [Tried],
}

impl Call<'_> {
    /// One of the endpoints of the port dialled.
    fn balance(self, service: &Arc<Service>) -> Result<Upstream, Reason> {
        let Self { snapshot, source, dialled, draw, tried } = self;
        let port = service.port(dialled.port()).ok_or(Reason::NoSuchServicePort)?;
        let targets = service.targets(port, dialled.ip()).iter();
        let targets = targets.filter(|target| tried.iter().all(|tried| tried.address != target.address));
        let target = choose::choose(snapshot, source, service, targets, draw).ok_or(Reason::NoHealthyUpstream)?;
        let workload = behind(snapshot, target).cloned();
        Ok(Upstream::new(target.address, workload, Some(service.clone())))
    }

    /// By the waypoint that what was asked for is bound to; none if it is reached without, by the waypoint itself above all.
    fn through(self, bound: Bound<'_>, asked: &Upstream) -> Result<Option<Decision>, Reason> {
        let waypoint = match bound {
            Bound::None => return Ok(None),
            Bound::Waypoint(waypoint) if waypoint.pods(self.snapshot).any(|pod| pod.uid == self.source.uid) => {
                return Ok(None);
            }
            Bound::Waypoint(waypoint) => Some(waypoint),
            Bound::Unavailable(_) => None,
        };
        let reached = waypoint.and_then(|waypoint| Some((waypoint.clone(), self.waypoint_pod(waypoint)?)));
        match (reached, self.snapshot.mesh.waypoints) {
            (Some((waypoint, pod)), _) => {
                let upstream = Upstream { service: asked.service.clone(), ..pod };
                Ok(Some(Decision::Waypoint { waypoint, upstream, authority: asked.address }))
            }
            (None, Waypoints::Required) => Err(Reason::WaypointUnavailable),
            // A waypoint that has been asked is not gone around.
            (None, Waypoints::Preferred) if self.tried.iter().any(|tried| tried.way == Way::Waypoint) => {
                Err(Reason::WaypointUnavailable)
            }
            (None, Waypoints::Preferred) => Ok(None),
        }
    }

    /// One of the waypoint's pods that take new connections.
    fn waypoint_pod(self, waypoint: &Waypoint) -> Option<Upstream> {
        let Self { snapshot, source, dialled, draw, tried } = self;
        let service = waypoint.service(snapshot)?;
        let untried = waypoint
            .endpoints(snapshot, dialled.ip())
            .filter(|(at, ..)| tried.iter().all(|tried| tried.address != *at))
            .map(|(_, target, _)| target);
        let target = choose::choose(snapshot, source, service, untried, draw)?;
        Some(Upstream::new(waypoint.at(target), waypoint.pod(snapshot, target).cloned(), None))
    }
}

/// The pod behind an endpoint. Who has the address now is believed before whom the endpoint names, since the name may
/// be stale; but a stale name still counts, so that a pod of the mesh is never taken for a stranger and dialled in clear.
#[must_use]
pub fn behind<'a>(snapshot: &'a Snapshot, target: &Target) -> Option<&'a Arc<Workload>> {
    let ip = target.address.ip();
    let named = target.workload.as_ref().and_then(|uid| snapshot.workload(uid));
    let owner = named.filter(|workload| workload.owns(ip)).or_else(|| snapshot.workload_at(ip));
    owner.or(named)
}

/// The address dialled itself: a pod's, as headless services and StatefulSets are reached, or anything else's.
fn direct(snapshot: &Snapshot, dialled: SocketAddr) -> Upstream {
    let workload = snapshot.workload_at(dialled.ip()).cloned();
    let service = workload.as_ref().and_then(|_| sole_service(snapshot, dialled));
    Upstream::new(dialled, workload, service)
}

/// The service that an address can only have been reached by: the one Service that has it as an endpoint, or where there
/// is none, the one host of a ServiceEntry that has.
fn sole_service(snapshot: &Snapshot, address: SocketAddr) -> Option<Arc<Service>> {
    let mut services = snapshot.services_with(address);
    let first = services.next()?;
    let rival = services.next().is_some_and(|next| next.key.host.is_none() || first.key.host.is_some());
    (!rival).then(|| first.clone())
}

fn inbound(snapshot: &Snapshot, pod: &WorkloadUid, authority: &Authority) -> Result<Decision, Reason> {
    let workload = snapshot.workload(pod).ok_or(Reason::UnknownWorkload)?;
    match authority {
        Authority::Address(address) if workload.owns(address.ip()) => at_pod(snapshot, workload, *address),
        Authority::Address(_) => Err(Reason::AuthorityMismatch),
        Authority::Host(host, port) => {
            let service = snapshot.service_named(host).ok_or(Reason::AuthorityMismatch)?;
            // By address and not by the pod that an endpoint names: nothing may be relayed out of the pod.
            let own = |target: &&Target| workload.owns(target.address.ip());
            let target = service.port(*port).and_then(|port| port.members.iter().find(own));
            let address = target.ok_or(Reason::AuthorityMismatch)?.address;
            delivered(Upstream::new(address, Some(workload.clone()), Some(service.clone())))
        }
    }
}

/// To `workload`, at an address of its own.
fn at_pod(snapshot: &Snapshot, workload: &Arc<Workload>, address: SocketAddr) -> Result<Decision, Reason> {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    delivered(Upstream::new(address, Some(workload.clone()), sole_service(snapshot, address)))
}

fn delivered(upstream: Upstream) -> Result<Decision, Reason> {
    match ports::is_own(upstream.address.port()) {
        true => Err(Reason::RecursiveCall),
        false => Ok(Decision::Local(upstream)),
    }
}

/// What a client of `namespace` asks of `pod` by `authority`, if that is a pod of a waypoint which takes no HBONE itself, and
/// serves that.
fn for_waypoint(snapshot: &Snapshot, pod: &WorkloadUid, namespace: &str, authority: &Authority) -> Option<Upstream> {
    let (waypoint, workload) = waypoint::behind_agent(snapshot, pod)?;
    let (service, dialled) = match waypoint::asked(snapshot, &waypoint.key, namespace, authority)? {
        waypoint::Asked::Service(service, port) => {
            let vip = match authority {
                Authority::Address(address) => Some(address.ip().to_canonical()),
                Authority::Host(..) => service.vips.first().copied(),
            };
            (Some(service.clone()), SocketAddr::new(vip?, port))
        }
        waypoint::Asked::Workload(_, address) => (None, address),
    };
    let own = workload.addresses.iter().find(|own| own.is_ipv4() == dialled.is_ipv4()).or(workload.addresses.first());
    let port = match waypoint.binding {
        Binding::Proxy(port) | Binding::Raw(Some(port)) => port,
        Binding::Hbone | Binding::Raw(None) => dialled.port(),
    };
    let host = service.as_ref().map(|service| service.hostname.clone());
    let announced = matches!(waypoint.binding, Binding::Proxy(_)).then_some(Announced { address: dialled, host });
    Some(Upstream { announced, ..Upstream::new(SocketAddr::new(*own?, port), Some(workload.clone()), service) })
}

/// A peer's certificate must be of an accepted trust domain, and where its address is a pod's, that pod's own. While an
/// address changes hands it is enough to be one of those that claim it.
///
/// # Errors
/// Whose it is instead.
pub fn peer_is_whom_it_says(snapshot: &Snapshot, peer: SocketAddr, identity: &Identity) -> Result<(), Reason> {
    let trust = &snapshot.mesh.trust_domains;
    if !trust.accepts(&identity.trust_domain) {
        return Err(Reason::UntrustedDomain);
    }
    let mut claimants = snapshot.claimants_of(peer.ip()).peekable();
    if claimants.peek().is_none() || claimants.any(|workload| trust.same(&workload.identity, identity)) {
        return Ok(());
    }
    Err(Reason::PeerIdentityMismatch)
}

#[cfg(test)]
mod tests;
