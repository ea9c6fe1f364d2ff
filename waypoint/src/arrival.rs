//! A client's connection as it arrived, by a tunnel or at a gateway: who it is from and what it is for. Knows nothing of what
//! is spoken on it.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_hbone::ConnectRequest;
use ambit_identity::termination::Client;
use ambit_model::gateway::{Listener, Protocol, Served};
use ambit_model::policy::{self, PolicyKey};
use ambit_model::route::{self, Destination, Gateway, Host};
use ambit_model::waypoint::{self, Asked, WaypointKey};
use ambit_model::{Authority, Identity, Reason, Service, ServiceKey, ServicePort, Snapshot, Workload};

use crate::gateway::Listening;

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The client's address: the pod's, from which its agent has carried it.
    pub(crate) client: SocketAddr,
    /// Whom the client has proved to be; nobody comes to a gateway with an identity of the mesh.
    pub(crate) identity: Option<Identity>,
    /// Its pod, if the mesh knows it.
    pub(crate) workload: Option<Arc<Workload>>,
    /// What it dialled, as the CONNECT says; none at a gateway.
    pub(crate) authority: Option<Authority>,
    /// What that is.
    pub(crate) addressed: Addressed,
    /// That again, as routes name where things go; none at a gateway, where only routes say.
    pub(crate) destination: Option<Destination>,
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
    /// A port of a gateway: each request says what it is for.
    Gateway(Door),
}

/// A port of a gateway, as one connection came through it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// The port, with the servers there.
    pub(crate) listener: Arc<Listener>,
    /// Where the connection is one of TLS: what that says.
    pub(crate) secured: Option<Secured>,
}

/// What a TLS client has said.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// The name that it asked for.
    pub(crate) name: Option<Arc<str>>,
    /// The server of that name.
    pub(crate) served: Served,
    /// Whom it has proved to be, in the words of its certificate.
    pub(crate) client: Option<Arc<Client>>,
}

impl Door {
    /// The servers that what comes through it may be for.
    pub(crate) fn servers(&self) -> &[Served] {
        match &self.secured {
            Some(secured) => std::slice::from_ref(&secured.served),
            None => &self.listener.servers,
        }
    }

    /// The name that a TLS client asks for whose TLS goes on as it is.
    pub(crate) fn passed_on(&self) -> Option<&str> {
        let Secured { name, served, .. } = self.secured.as_ref()?;
        name.as_deref().filter(|_| served.server.protocol == Protocol::Passthrough)
    }

    /// The same door as it is now; none if nobody is behind it any more whom its client has come to.
    pub(crate) fn as_in(&self, listening: &Listening) -> Option<Self> {
        let listener = listening.now(&self.listener)?.clone();
        let secured = match &self.secured {
            Some(secured) => {
                let served = listener.by_name(secured.name.as_deref())?.clone();
                // What was asked of the client when he came is not what would be asked now.
                if served.server.protocol != secured.served.server.protocol {
                    return None;
                }
                Some(Secured { served, ..secured.clone() })
            }
            None => None,
        };
        Some(Self { listener, secured })
    }

    /// True if `host` is another server's than the one that its client has come to.
    pub(crate) fn is_elsewhere(&self, host: &str) -> bool {
        let secured = self.secured.as_ref();
        secured.is_some_and(|secured| self.listener.by_name(Some(host)).is_some_and(|served| *served != secured.served))
    }
}

impl Addressed {
    /// The service, if it is one or of one.
    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        match self {
            Self::Service(service, _) | Self::Workload(_, _, Some((service, _))) => Some(service),
            Self::Workload(_, _, None) | Self::Gateway(_) => None,
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
            Self::Gateway(door) => door.servers().first().map_or(door.listener.port, |served| served.server.port),
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
            Addressed::Workload(_, address, _) => {
                Destination { host: Host::literal(&address.ip().to_string()), subset: None, port: Some(address.port()) }
            }
            _ => Destination {
                host: Host::literal(addressed.service().map_or("", |service| &service.hostname)),
                subset: request.subset.as_deref().map(Arc::from),
                port: Some(addressed.port()),
            },
        };
        let gateway = PolicyKey { namespace: key.namespace.clone(), name: key.name.clone() };
        let service = addressed.key();
        let policed = policy::Addressed::new(&snapshot.mesh, &gateway, &policy::WAYPOINT_CLASSES, service);
        let proven = policy::Client::Proven(peer.ip(), identity.clone());
        let (identity, authority) = (Some(identity.clone()), Some(authority));
        let destination = Some(destination);
        Ok(Self { client, identity, workload, authority, addressed, destination, proven, policed, local })
    }

    /// What has come through `door` of the gateway whose pod is `pod`, from `client` to our address `local`.
    pub(crate) fn at_gateway(pod: &Arc<Workload>, door: Door, (client, local): (SocketAddr, SocketAddr)) -> Self {
        Self {
            client,
            identity: None,
            workload: None,
            authority: None,
            addressed: Addressed::Gateway(door),
            destination: None,
            proven: policy::Client::Stranger(client.ip()),
            policed: policy::Addressed::of_gateway(pod.clone()),
            local,
        }
    }

    /// The door of a gateway through which it came, if it did.
    pub(crate) fn door(&self) -> Option<&Door> {
        match &self.addressed {
            Addressed::Gateway(door) => Some(door),
            Addressed::Service(..) | Addressed::Workload(..) => None,
        }
    }

    /// The address that the client dialled, as far as it is known: a service may have been named in its place.
    pub(crate) fn dialled(&self) -> SocketAddr {
        match (&self.authority, &self.addressed) {
            (Some(Authority::Address(address)), _) | (_, Addressed::Workload(_, address, _)) => *address,
            (_, Addressed::Service(service, port)) => {
                let vip = service.vips.iter().find(|vip| vip.to_canonical().is_ipv4() == self.local.is_ipv4());
                vip.map_or(self.local, |vip| SocketAddr::new(vip.to_canonical(), *port))
            }
            (_, Addressed::Gateway(_)) => self.local,
        }
    }

    /// The name that its client has asked a gateway for by TLS.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.door()?.secured.as_ref()?.name.as_deref()
    }

    /// The scheme of its requests.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.door().is_some_and(|door| door.secured.is_some()) { "https" } else { "http" }
    }

    /// The arrival as routes look at it that are for the mesh.
    pub(crate) fn routed(&self) -> route::Arrival<'_> {
        self.routed_at(&Gateway::Mesh)
    }

    /// The arrival as routes look at it that are for the Gateway of `served`.
    pub(crate) fn routed_to<'a>(&'a self, served: &'a Served) -> route::Arrival<'a> {
        route::Arrival { port: served.server.port, ..self.routed_at(&served.gateway) }
    }

    fn routed_at<'a>(&'a self, gateway: &'a Gateway) -> route::Arrival<'a> {
        let namespace = self.identity.as_ref().map(|identity| &*identity.namespace);
        let client = self.workload.as_deref().map_or(route::Client { labels: None, namespace }, route::Client::from);
        route::Arrival { gateway, port: self.addressed.port(), client }
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
