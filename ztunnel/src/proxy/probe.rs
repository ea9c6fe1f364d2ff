//! Tells what may be a kubelet's probe from what a pod with its node's own network opens: both come from an address of the
//! node's.

use std::net::SocketAddr;

use ambit_ebpf_loader::{Error, HostPods};
use ambit_model::{Opener, Snapshot};
use ambit_net::diag;
use tracing::warn;

/// Who has opened the connection in clear from `peer` that reached a pod at `destination`. Asked twice of one connection, the
/// answer is worth nothing. The calling thread is in the node's network namespace.
pub(super) fn opener(snapshot: &Snapshot, host_pods: &HostPods, peer: SocketAddr, destination: SocketAddr) -> Opener {
    if snapshot.workload_at(peer.ip()).is_some() {
        // A pod's address is no node's.
        return Opener::Unknown;
    }
    // What the node opens has a socket there, from whatever address of its own; of what it forwards in its own name, as for
    // who comes by a port of the node, it has none.
    let own = diag::has_connection(peer, destination).unwrap_or_else(|error| {
        warn!(%peer, "it cannot be told whether the node has opened a connection, so that it has not: {error}");
        false
    });
    if !own && snapshot.node_at(peer.ip()).is_none() {
        return Opener::Unknown;
    }
    let known = |dialled: SocketAddr| host_pods.take(peer, dialled);
    match first(dialled(snapshot, destination), known) {
        Ok(false) if own => Opener::Node,
        Ok(_) => Opener::HostPod,
        Err(error) => {
            warn!(%peer, "it cannot be told whether a connection is a probe, so that it is taken for none: {error}");
            Opener::HostPod
        }
    }
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
