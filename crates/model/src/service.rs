//! A Kubernetes Service with the endpoints it stands for, already joined: what a connection to its address needs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::distribution::Distribution;
use crate::workload::WorkloadUid;

/// A Service's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ServiceKey {
    /// The key of the Service `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for ServiceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A Service joined with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// `<name>.<namespace>.svc.<cluster domain>`.
    pub hostname: Arc<str>,
    /// `spec.clusterIPs`; empty for a headless service.
    pub vips: Vec<IpAddr>,
    /// Its TCP ports, ascending.
    pub ports: Vec<ServicePort>,
    /// Which endpoints of a port its clients go to.
    pub distribution: Distribution,
}

impl Service {
    /// The port numbered `port`, if the service has it.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }

    /// The endpoints of `port` that a connection to `vip` may go to: those of its address family. Where the service has
    /// cluster IPs of one family only, and the port no endpoint of that family, any.
    #[must_use]
    pub fn targets<'a>(&self, port: &'a ServicePort, vip: IpAddr) -> &'a [Target] {
        let of_v4 = port.targets.partition_point(|target| target.address.is_ipv4());
        let (v4, v6) = port.targets.split_at(of_v4);
        let same_family = if vip.to_canonical().is_ipv4() { v4 } else { v6 };
        if same_family.is_empty() && !self.is_dual_stack() { &port.targets } else { same_family }
    }

    /// True if the service has cluster IPs of both address families.
    #[must_use]
    pub fn is_dual_stack(&self) -> bool {
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
}

/// Where an EndpointSlice says that an endpoint is. What it does not say is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Topology {
    /// `endpoints[].nodeName`.
    pub node: Arc<str>,
    /// `endpoints[].zone`.
    pub zone: Arc<str>,
}
