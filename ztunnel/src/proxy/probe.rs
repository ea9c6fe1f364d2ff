//! Tells what may be a kubelet's probe from what a pod with its node's own network opens: both come from an address of the
//! node's.

use std::io;
use std::net::SocketAddr;

use ambit_ebpf_loader::{Error, HostPods};
use ambit_model::Snapshot;
use ambit_net::diag;
use tracing::warn;

/// True if the node itself has opened the connection in clear from `peer` that reached a pod at `destination`: it has a socket
/// of it, from whatever address of its own, and no pod with the node's network is known to have opened it. Of what it only
/// forwards in its own name, as for who comes by a port of the node, it has none. Asked twice of one connection, the answer is
/// worth nothing. The calling thread is in the node's network namespace.
pub(super) fn is_by_node(snapshot: &Snapshot, host_pods: &HostPods, peer: SocketAddr, destination: SocketAddr) -> bool {
    // A pod's own address is no node's.
    if snapshot.workload_at(peer.ip()).is_some() {
        return false;
    }
    let by_node = || -> Result<bool, Unclear> {
        let known = |dialled: SocketAddr| host_pods.take(peer, dialled);
        Ok(!first(dialled(snapshot, destination), known)? && diag::has_connection(peer, destination)?)
    };
    by_node().unwrap_or_else(|error| {
        warn!(%peer, "it cannot be told whether a connection is a probe, so that it is taken for none: {error}");
        false
    })
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
enum Unclear {
    /// The kernel does not tell of its sockets.
    #[error("the kernel's sockets cannot be asked for: {0}")]
    Sockets(#[from] io::Error),
    /// The kernel does not tell what host pods opened.
    #[error(transparent)]
    HostPods(#[from] Error),
}

/// What may have been dialled by whoever has reached `endpoint`: that, or a port of a Service that leads there, whose
/// address somebody else has replaced since.
fn dialled(snapshot: &Snapshot, endpoint: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let services = snapshot.services_with(endpoint).flat_map(move |service| {
        let ports = service.ports.iter().filter(move |port| port.members.iter().any(|to| to.address == endpoint));
        ports.flat_map(|port| service.vips.iter().map(|vip| SocketAddr::new(vip.to_canonical(), port.port)))
    });
    std::iter::once(endpoint).chain(services)
}

fn first(
    dialled: impl Iterator<Item = SocketAddr>,
    known: impl Fn(SocketAddr) -> Result<bool, Error>,
) -> Result<bool, Error> {
    for address in dialled {
        if known(address)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use ambit_model::Mesh;

    use super::*;
    use crate::proxy::fixtures::service;

    #[test]
    fn a_service_that_leads_to_the_endpoint_may_have_been_dialled() {
        let mut snapshot = Snapshot::new(Mesh::default());
        let leads = |name: &str, endpoint: &str, vips: &[&str]| {
            let mut service = (*service(name, endpoint)).clone();
            service.vips = vips.iter().map(|vip| vip.parse().unwrap()).collect();
            service.into()
        };
        snapshot.insert_service(leads("db", "10.0.0.9:5432", &["10.96.0.1", "fd00:96::1"]));
        snapshot.insert_service(leads("web", "10.0.0.9:8080", &["10.96.0.2"]));
        let told = |endpoint: &str| -> Vec<_> {
            dialled(&snapshot, endpoint.parse().unwrap()).map(|address| address.to_string()).collect()
        };
        assert_eq!(told("10.0.0.9:5432"), ["10.0.0.9:5432", "10.96.0.1:80", "[fd00:96::1]:80"]);
        assert_eq!(told("10.0.0.9:1"), ["10.0.0.9:1"]);
    }

    #[test]
    fn one_that_is_known_is_enough_and_none_is_none() {
        let addresses = || ["10.0.0.9:80", "10.96.0.1:80"].map(|address| address.parse::<SocketAddr>().unwrap());
        assert!(first(addresses().into_iter(), |address| Ok(address == addresses()[1])).unwrap());
        assert!(!first(addresses().into_iter(), |_| Ok(false)).unwrap());
    }
}
