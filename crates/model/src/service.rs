//! A service with the endpoints it stands for, already joined: what a connection to its address needs. It is a Kubernetes
//! Service, or a host of a ServiceEntry (Istio `networking.istio.io`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::cidr::Cidr;
use crate::distribution::Distribution;
use crate::route::Visibility;
use crate::waypoint::UseWaypoint;
use crate::workload::WorkloadUid;

/// Which service: the namespace and name of a Service; those of a ServiceEntry and one of its hosts. Services sort before
/// hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The host of a ServiceEntry; none for a Service.
    pub host: Option<Arc<str>>,
    /// The object's namespace.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl ServiceKey {
    /// The key of the Service `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { host: None, namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        self.host.as_ref().map_or(Ok(()), |host| write!(f, "/{host}"))
    }
}

impl Serialize for ServiceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a connection to one of a service's addresses goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Resolution {
    /// To an endpoint of the port dialled.
    #[default]
    Endpoints,
    /// To the address and port that were dialled (Istio `resolution: NONE`).
    AsDialled,
}

/// A service joined with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Which it is.
    pub key: ServiceKey,
    /// `<name>.<namespace>.svc.<cluster domain>`; of a ServiceEntry the host, which may begin with `*.`.
    pub hostname: Arc<str>,
    /// `spec.clusterIPs`, empty for a headless service; of a ServiceEntry the single addresses that it has or was given.
    pub vips: Vec<IpAddr>,
    /// The ranges among the addresses of a ServiceEntry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Cidr>,
    /// Where connections to its addresses go.
    pub resolution: Resolution,
    /// `spec.externalName`: the DNS name that a Service without addresses is an alias of, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<Arc<str>>,
    /// Its TCP ports, ascending.
    pub ports: Vec<ServicePort>,
    /// Whose clients mean it by its addresses and its host (`exportTo`).
    #[serde(skip_serializing_if = "Visibility::is_public")]
    pub visibility: Visibility,
    /// Which endpoints of a port its clients go to.
    pub distribution: Distribution,
    /// The waypoint that its labels, or failing those its namespace's, ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<UseWaypoint>,
}

impl Service {
    /// The port numbered `port`, if the service has it.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }

    /// The endpoints of `port` that a connection to `vip` may go to: those of its address family. Where the port has none
    /// of that family, any, unless it is a Service with cluster IPs of both.
    #[must_use]
    pub fn targets<'a>(&self, port: &'a ServicePort, vip: IpAddr) -> &'a [Target] {
        let of_v4 = port.targets.partition_point(|target| target.address.is_ipv4());
        let (v4, v6) = port.targets.split_at(of_v4);
        let same_family = if vip.to_canonical().is_ipv4() { v4 } else { v6 };
        if same_family.is_empty() && !self.is_dual_stack() { &port.targets } else { same_family }
    }

    /// True if it is a Service with cluster IPs of both address families. The addresses of a ServiceEntry say nothing of
    /// its endpoints'.
    #[must_use]
    pub fn is_dual_stack(&self) -> bool {
        if self.key.host.is_some() {
            return false;
        }
        let v4 = |vip: &IpAddr| vip.to_canonical().is_ipv4();
        self.vips.iter().any(v4) && !self.vips.iter().all(v4)
    }
}

/// A port of a Service and the endpoints that a connection to it may go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    /// `ports[].port`.
    pub port: u16,
    /// `ports[].name`; empty where it has none.
    pub name: Arc<str>,
    /// `ports[].appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// Endpoints that take new connections, ascending by address (v4 before v6): the ready ones; with `publishNotReadyAddresses`
    /// all; with none ready, those that still serve while they terminate (as kube-proxy does).
    pub targets: Vec<Target>,
    /// Every endpoint of the port, whether it takes new connections or not: what a peer that names this service
    /// may be relayed to.
    pub members: Vec<Target>,
}

/// An endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Target {
    /// Where the application listens: the endpoint's address and its target port (named ones resolved per pod). A
    /// v4-mapped v6 address is written as v4.
    pub address: SocketAddr,
    /// The pod behind it, where it is one.
    pub workload: Option<WorkloadUid>,
    /// Where it is, if it names no pod that would tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<Arc<Topology>>,
    /// How many of the service's connections it takes, next to the other endpoints' weights.
    pub weight: NonZeroU32,
}

/// Where an EndpointSlice or a ServiceEntry says that an endpoint is. What it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Topology {
    /// The node.
    pub node: Arc<str>,
    /// The region.
    pub region: Arc<str>,
    /// The zone.
    pub zone: Arc<str>,
    /// The subzone.
    pub subzone: Arc<str>,
}
