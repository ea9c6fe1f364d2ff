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
    /// Its ports.
    pub(crate) listeners: Vec<Arc<Listener>>,
    /// What Gateways say that contradicts what older ones say.
    pub(crate) conflicts: Vec<Conflict>,
    /// The pod that it is: whom policies mean, and whom the mesh knows as a client.
    #[serde(skip)]
    pub(crate) pod: Option<Arc<Workload>>,
}

impl Listening {
    /// What `pod` listens for.
    pub(crate) fn new(snapshot: &Snapshot, pod: &Arc<Workload>) -> Self {
        let selecting = snapshot.gateways.iter().filter(|gateway| gateway.selects(&pod.labels));
        let (listeners, conflicts) = gateway::listeners(selecting, |port| targets(snapshot, pod, port));
        Self { listeners: listeners.into_iter().map(Arc::new).collect(), conflicts, pod: Some(pod.clone()) }
    }

    /// What is served at `address`.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| address_of(listener) == address)
    }

    /// What is served in the place of `listener` now.
    pub(crate) fn now(&self, listener: &Listener) -> Option<&Arc<Listener>> {
        let same =
            |now: &&Arc<Listener>| (now.port, now.bind, now.speaks) == (listener.port, listener.bind, listener.speaks);
        self.listeners.iter().find(same)
    }

    /// How TLS is ended, wherever it is.
    pub(crate) fn tls(&self) -> Vec<Arc<Tls>> {
        let servers = self.listeners.iter().flat_map(|listener| &listener.servers);
        let ended = servers.filter_map(|served| match &served.server.protocol {
            Protocol::Https(tls) | Protocol::Tls(tls) => Some(tls.clone()),
            Protocol::Http { .. } | Protocol::Passthrough | Protocol::Tcp => None,
        });
        ended.collect()
    }

    /// Every address that is listened at.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| address_of(listener))
    }
}

fn address_of(listener: &Listener) -> SocketAddr {
    SocketAddr::new(listener.bind.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), listener.port)
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
    let mut now: Option<Listening> = None;
    let mut missing = false;
    while let Some(snapshot) = snapshots.changed().await {
        let Some(pod) = snapshot.workload(&uid) else {
            // What it serves goes on: its object may be late, or gone before it.
            if !std::mem::replace(&mut missing, true) {
                warn!(%uid, "the mesh does not know this gateway's own pod: is --pod its name, and --namespace its namespace?");
            }
            continue;
        };
        missing = false;
        let new = Listening::new(&snapshot, pod);
        if now.as_ref() == Some(&new) {
            continue;
        }
        let known = now.as_ref().map_or(&[][..], |now| &now.conflicts);
        for conflict in new.conflicts.iter().filter(|conflict| !known.contains(conflict)) {
            warn!(gateway = %conflict.gateway, server = conflict.server, "{conflict}");
        }
        if now.as_ref().is_none_or(|now| now.listeners != new.listeners) {
            let ports: Vec<_> = new.listeners.iter().map(|listener| listener.port).collect();
            info!(?ports, "what this gateway listens for has changed");
        }
        now = Some(new.clone());
        publisher.publish(new);
    }
}
