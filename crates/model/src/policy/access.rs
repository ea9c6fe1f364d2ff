//! Who wants to reach whom: the part of a connection that policy is about.

use std::net::{IpAddr, SocketAddr};

use crate::connection::{Connection, Opener};
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
    /// Something of the node that delivers it, at this address of that node's own.
    Node(IpAddr),
    /// A pod, or somebody whom the node forwards, at its node's address, this: nothing vouches for it either, and it is no kubelet.
    HostPod(IpAddr),
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
            Connection::InboundPlaintext { peer, opener, .. } => {
                let address = peer.ip().to_canonical();
                match opener {
                    Opener::Unknown => Client::Stranger(address),
                    Opener::Node => Client::Node(address),
                    Opener::HostPod => Client::HostPod(address),
                }
            }
        };
        Some(Self { client, pod, address: upstream.address })
    }
}

impl Client {
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
            Self::Stranger(_) | Self::Node(_) | Self::HostPod(_) => None,
        }
    }
}
