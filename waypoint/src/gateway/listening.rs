//! Where a gateway listens: the servers of the Gateways that select its pod, on the ports that the Services in front of it
//! lead to. Pure but for [`follow`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ambit_discovery::{Publisher, Snapshots};
use ambit_model::gateway::{self, Conflict, Listener, Protocol, Tls};
use ambit_model::{Snapshot, Workload, WorkloadUid};
use serde::Serialize;
use tracing::{info, warn};

/// Where a gateway listens, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Listening {
    /// Each of its ports, and the addresses at which that is reached.
    pub(crate) ports: Vec<(Arc<Listener>, Vec<SocketAddr>)>,
    /// What Gateways say that contradicts what older ones say.
    pub(crate) conflicts: Vec<Conflict>,
}

impl Listening {
    /// What `pod` listens for.
    pub(crate) fn new(snapshot: &Snapshot, pod: &Workload) -> Self {
        let selecting = snapshot.gateways.iter().filter(|gateway| gateway.selects(&pod.labels));
        let (listeners, conflicts) = gateway::listeners(selecting);
        let mut taken = BTreeSet::new();
        let mut ports = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let ip = listener.bind.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            let targets = targets(snapshot, pod, listener.port).into_iter().map(|port| SocketAddr::new(ip, port));
            // Two ports of a Service may lead to one of the pod: the first counts.
            let addresses = targets.filter(|address| taken.insert(*address)).collect();
            ports.push((Arc::new(listener), addresses));
        }
        Self { ports, conflicts }
    }

    /// What is served at `address`.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<&Arc<Listener>> {
        self.ports.iter().find(|(_, addresses)| addresses.contains(&address)).map(|(listener, _)| listener)
    }

    /// What is served on the port that Gateways call so.
    pub(crate) fn of(&self, port: u16, bind: Option<IpAddr>) -> Option<&Arc<Listener>> {
        let mut listeners = self.ports.iter().map(|(listener, _)| listener);
        listeners.find(|listener| (listener.port, listener.bind) == (port, bind))
    }

    /// How TLS is ended, wherever it is.
    pub(crate) fn tls(&self) -> Vec<Arc<Tls>> {
        let servers = self.ports.iter().flat_map(|(listener, _)| &listener.servers);
        let ended = servers.filter_map(|served| match &served.server.protocol {
            Protocol::Https(tls) | Protocol::Tls(tls) => Some(tls.clone()),
            Protocol::Http { .. } | Protocol::Passthrough | Protocol::Tcp => None,
        });
        ended.collect()
    }

    /// Every address that is listened at.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().flat_map(|(_, addresses)| addresses.iter().copied())
    }
}

/// The ports of `pod` that `port` of the Services in front of it leads to; the same, if it is no port of one.
fn targets(snapshot: &Snapshot, pod: &Workload, port: u16) -> BTreeSet<u16> {
    let near = snapshot.services().filter(|service| service.key.namespace == pod.namespace);
    let members = near.filter_map(|service| service.port(port)).flat_map(|port| &port.members);
    let own = members.map(|target| target.address).filter(|address| pod.owns(address.ip()));
    let own: BTreeSet<u16> = own.map(|address| address.port()).collect();
    if own.is_empty() { [port].into() } else { own }
}

/// Publishes where the pod `uid` listens as that changes, until nobody writes snapshots any more.
pub(crate) async fn follow(mut snapshots: Snapshots, uid: WorkloadUid, publisher: Publisher<Listening>) {
    let mut now = None;
    while let Some(snapshot) = snapshots.changed().await {
        let Some(pod) = snapshot.workload(&uid) else {
            // What it serves goes on: its object may be late, or gone before it.
            warn!(%uid, "the mesh does not know this gateway's own pod: is --pod its name, and --namespace its namespace?");
            continue;
        };
        let new = Listening::new(&snapshot, pod);
        if now.as_ref() == Some(&new) {
            continue;
        }
        let known = now.as_ref().map_or(&[][..], |now: &Listening| &now.conflicts);
        for conflict in new.conflicts.iter().filter(|conflict| !known.contains(conflict)) {
            warn!(gateway = %conflict.gateway, server = conflict.server, "{conflict}");
        }
        let ports: Vec<_> = new.ports.iter().map(|(listener, _)| listener.port).collect();
        info!(?ports, "this gateway's ports have changed");
        now = Some(new.clone());
        publisher.publish(new);
    }
}
