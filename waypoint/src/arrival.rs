//! A client's connection as it arrived: who it is from and what it is for. Knows nothing of what is spoken on it.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_hbone::ConnectRequest;
use ambit_model::policy::{self, PolicyKey};
use ambit_model::route::{self, Destination, Gateway, Host};
use ambit_model::waypoint::{self, Asked, WaypointKey};
use ambit_model::{Authority, Identity, Reason, Service, ServiceKey, ServicePort, Snapshot, Workload};

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The client's address: the pod's, from which its agent has carried it.
    pub(crate) client: SocketAddr,
    /// Whom the client has proved to be.
    pub(crate) identity: Identity,
    /// Its pod, if the mesh knows it.
    pub(crate) workload: Option<Arc<Workload>>,
    /// What it dialled, as the CONNECT says.
    pub(crate) authority: Authority,
    /// What that is.
    pub(crate) addressed: Addressed,
    /// That again, as routes name where things go.
    pub(crate) destination: Destination,
    /// The client as policies look at it.
    pub(crate) proven: policy::Client,
    /// What policies for what is asked for are attached to.
    pub(crate) policed: policy::Addressed,
    /// The address of ours that its agent dialled.
    local: SocketAddr,
}

/// What a connection is for.
#[derive(Clone, Debug)]
pub(crate) enum Addressed {
    /// A port of a service.
    Service(Arc<Service>, u16),
    /// A pod, at this address of its own; and the port of a service without addresses by which it is reached, if it is
    /// one of those (as a StatefulSet's pods are).
    Workload(Arc<Workload>, SocketAddr, Option<(Arc<Service>, u16)>),
}

impl Addressed {
    /// The service, if it is one or of one.
    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        match self {
            Self::Service(service, _) | Self::Workload(_, _, Some((service, _))) => Some(service),
            Self::Workload(_, _, None) => None,
        }
    }

    /// Which service, if it is one.
    pub(crate) fn key(&self) -> Option<&ServiceKey> {
        self.service().map(|service| &service.key)
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Service(_, port) | Self::Workload(_, _, Some((_, port))) => *port,
            Self::Workload(_, address, None) => address.port(),
        }
    }
}

impl Arrival {
    /// What the waypoint `key` is asked for by `request`, which `peer` has sent who is `identity`.
    ///
    /// # Errors
    /// The peer is not who is at its address, or asks for what this waypoint does not serve.
    pub(crate) fn new(
        snapshot: &Snapshot,
        key: &WaypointKey,
        (peer, identity): (SocketAddr, &Identity),
        request: &ConnectRequest,
        local: SocketAddr,
    ) -> Result<Self, Reason> {
        let authority: Authority = request.authority.parse().map_err(|_| Reason::BadRequest)?;
        ambit_model::decide::peer_is_whom_it_says(snapshot, peer, identity)?;
        let trust = &snapshot.mesh.trust_domains;
        let mut claimants = snapshot.claimants_of(peer.ip());
        let workload = claimants.find(|workload| trust.same(&workload.identity, identity)).cloned();
        let asked = waypoint::asked(snapshot, key, &identity.namespace, &authority);
        let addressed = match asked.ok_or(Reason::AuthorityMismatch)? {
            Asked::Service(service, port) => Addressed::Service(service.clone(), port),
            Asked::Workload(workload, address) => {
                Addressed::Workload(workload.clone(), address, headless(snapshot, key, address))
            }
        };
        // The port is the client's own where its agent tells it; the address is proved by the tunnel's.
        let told = request.forwarded.as_ref().and_then(|forwarded| forwarded.client);
        let client = told.filter(|told| told.ip().to_canonical() == peer.ip()).unwrap_or(peer);
        let destination = match &addressed {
            Addressed::Service(service, port) => {
                Destination { host: Host::literal(&service.hostname), subset: None, port: Some(*port) }
            }
            Addressed::Workload(_, address, _) => {
                Destination { host: Host::literal(&address.ip().to_string()), subset: None, port: Some(address.port()) }
            }
        };
        let gateway = PolicyKey { namespace: key.namespace.clone(), name: key.name.clone() };
        let service = addressed.key();
        let policed = policy::Addressed::new(&snapshot.mesh, &gateway, &policy::WAYPOINT_CLASSES, service);
        let proven = policy::Client::Proven(peer.ip(), identity.clone());
        let identity = identity.clone();
        Ok(Self { client, identity, workload, authority, addressed, destination, proven, policed, local })
    }

    /// The address that the client dialled, as far as it is known: a service may have been named in its place.
    pub(crate) fn dialled(&self) -> SocketAddr {
        match (&self.authority, &self.addressed) {
            (Authority::Address(address), _) | (Authority::Host(..), Addressed::Workload(_, address, _)) => *address,
            (Authority::Host(_, port), Addressed::Service(service, _)) => {
                let vip = service.vips.iter().find(|vip| vip.to_canonical().is_ipv4() == self.local.is_ipv4());
                vip.map_or(self.local, |vip| SocketAddr::new(vip.to_canonical(), *port))
            }
        }
    }

    /// The arrival as routes look at it.
    pub(crate) fn routed(&self) -> route::Arrival<'_> {
        let client = self.workload.as_deref().map_or_else(
            || route::Client { labels: None, namespace: Some(&self.identity.namespace) },
            route::Client::from,
        );
        route::Arrival { gateway: &Gateway::Mesh, port: self.addressed.port(), client }
    }
}

/// The port of a service without addresses, which `key` serves, that has `address` as an endpoint.
fn headless(snapshot: &Snapshot, key: &WaypointKey, address: SocketAddr) -> Option<(Arc<Service>, u16)> {
    let reached = |service: &&Arc<Service>| {
        service.vips.is_empty() && service.ranges.is_empty() && waypoint::serves(snapshot, key, service)
    };
    let service = snapshot.services_with(address).find(reached)?;
    let has = |port: &&ServicePort| port.members.iter().any(|target| target.address == address);
    let port = service.ports.iter().find(has)?;
    Some((service.clone(), port.port))
}
