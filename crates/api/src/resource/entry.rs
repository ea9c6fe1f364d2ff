//! What Istio's entries say after translation: endpoints that are no pods, and the hosts that have them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use ambit_model::Topology;

use super::{Port, Service, TargetPort};

/// A ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// A service for each of its hosts.
    pub hosts: Vec<Arc<Service>>,
}

/// A WorkloadEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What selectors match: its own labels and those of its `spec`.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Where it is.
    pub endpoint: Written,
}

/// An endpoint that somebody wrote down for a ServiceEntry, or as a WorkloadEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its address.
    pub address: IpAddr,
    /// Where it listens, by the names of the service's ports, if not where the service says.
    pub ports: BTreeMap<Arc<str>, u16>,
    /// Where it is, if it says so.
    pub topology: Option<Arc<Topology>>,
    /// How many of the connections it takes next to others.
    pub weight: NonZeroU32,
}

impl Written {
    /// Where it listens for `port` of a service; none if the service knows only a name that it has not got.
    #[must_use]
    pub fn port(&self, port: &Port) -> Option<u16> {
        let named = |name: &Arc<str>| self.ports.get(name).copied();
        match &port.target {
            TargetPort::Number(number) => Some(named(&port.name).unwrap_or(*number)),
            TargetPort::Name(target) => named(&port.name).or_else(|| named(target)),
        }
    }
}
