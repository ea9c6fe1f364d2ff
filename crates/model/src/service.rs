//! A Kubernetes Service with the endpoints it stands for, already joined: what a connection to its address needs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Serialize, Serializer};

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
}

impl Service {
    /// The port numbered `port`, if the service has it.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
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
    /// Endpoints that take new connections, ascending by address: the ready ones; with `publishNotReadyAddresses`
    /// all; with none ready, those that still serve while they terminate (as kube-proxy does).
    pub targets: Vec<Target>,
    /// Every endpoint of the port, whether it takes new connections or not: what a peer that names this service
    /// may be relayed to.
    pub members: Vec<Target>,
}

/// An endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Target {
    /// Where the application listens: the endpoint's address and its target port (named ones resolved per pod).
    pub address: SocketAddr,
    /// The pod behind it, where it is one.
    pub workload: Option<WorkloadUid>,
}
