//! Who wants to reach whom: the part of a connection that policy is about.

use std::net::{IpAddr, SocketAddr};

use crate::connection::Connection;
use crate::decide::Upstream;
use crate::identity::Identity;
use crate::snapshot::Snapshot;
use crate::workload::{Workload, WorkloadUid};

/// Who wants to reach what; stays the same while the mesh changes, so that it can be judged again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who.
    pub client: Client,
    /// The pod.
    pub pod: WorkloadUid,
    /// The pod's address and port.
    pub address: SocketAddr,
}

/// Who wants to reach a pod, by what vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// A pod of this very node, whose connection was captured within it.
    Pod(WorkloadUid),
    /// Somebody at this address whose certificate proved this identity.
    Proven(IpAddr, Identity),
    /// Somebody at this address.
    Stranger(IpAddr),
    /// The pod's own node, at this address of its.
    Node(IpAddr),
}

impl Access {
    /// The access that `connection` asks for, being delivered to the pod of `upstream`; none where that is no pod.
    #[must_use]
    pub fn new(connection: &Connection, upstream: &Upstream) -> Option<Self> {
        let pod = upstream.workload.as_ref()?.uid.clone();
        let client = match connection {
            Connection::Outbound { source, .. } => Client::Pod(source.clone()),
            Connection::InboundHbone { peer, identity, .. } => {
                Client::Proven(peer.ip().to_canonical(), identity.clone())
            }
            Connection::InboundPlaintext { peer, by_node: true, .. } => Client::Node(peer.ip().to_canonical()),
            Connection::InboundPlaintext { peer, .. } => Client::Stranger(peer.ip().to_canonical()),
        };
        Some(Self { client, pod, address: upstream.address })
    }
}

impl Client {
    /// True if it may be the kubelet, which asks how a pod is in clear and without an identity, and must get its answer
    /// whatever the policy. Who comes from another node is not asked by this pod's kubelet.
    #[must_use]
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self, Self::Node(_))
    }

    /// The client's workload: the one captured, or the one that has both the address and the identity. An address alone
    /// makes nobody a workload.
    #[must_use]
    pub fn workload<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Workload> {
        match self {
            Self::Pod(uid) => snapshot.workload(uid).map(|workload| &**workload),
            Self::Proven(address, identity) => {
                let trust = &snapshot.mesh.trust_domains;
                let mut claimants = snapshot.claimants_of(*address);
                claimants.find(|workload| trust.same(&workload.identity, identity)).map(|workload| &**workload)
            }
            Self::Stranger(_) | Self::Node(_) => None,
        }
    }
}
