//! Who wants to reach whom: the part of a connection that policy is about, and what of it a rule can ask for.

use std::net::{IpAddr, SocketAddr};
use std::slice::from_ref;
use std::sync::Arc;

use crate::connection::Connection;
use crate::decide::Upstream;
use crate::identity::Identity;
use crate::snapshot::Snapshot;
use crate::workload::{Workload, WorkloadUid};

use super::rule::Attribute;

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
    /// A pod at its node's address, this: nothing vouches for it either, and it is no kubelet.
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
            Connection::InboundPlaintext { peer, host_pod: true, .. } => Client::HostPod(peer.ip().to_canonical()),
            Connection::InboundPlaintext { peer, .. } => Client::Stranger(peer.ip().to_canonical()),
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
            Self::Stranger(_) | Self::HostPod(_) => None,
        }
    }
}

/// What rules can ask of an access, in one snapshot.
pub(super) struct Seen<'a> {
    /// Where it comes from, if that is known.
    pub(super) source: Option<IpAddr>,
    /// The pod's address and port.
    pub(super) destination: SocketAddr,
    identity: Option<&'a Identity>,
    workload: Option<&'a Workload>,
    /// The identity, and again in the mesh's own trust domain where it is of an alias of that.
    principals: Vec<Arc<str>>,
    account: Option<Arc<str>>,
    trust_domain: Option<Arc<str>>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, access: &'a Access) -> Self {
        let workload = access.client.workload(snapshot);
        let (source, identity) = match &access.client {
            Client::Pod(_) => {
                (workload.and_then(|w| address_towards(w, access.address)), workload.map(|w| &w.identity))
            }
            Client::Proven(address, identity) => (Some(*address), Some(identity)),
            Client::Stranger(address) | Client::HostPod(address) => (Some(*address), None),
        };
        let trust = &snapshot.mesh.trust_domains;
        let mut principals = Vec::new();
        if let Some(Identity { trust_domain, namespace, service_account }) = identity {
            let alias = trust.accepts(trust_domain) && *trust_domain != trust.own;
            for domain in std::iter::once(trust_domain).chain(alias.then_some(&trust.own)) {
                principals.push(format!("{domain}/ns/{namespace}/sa/{service_account}").into());
            }
        }
        let account = identity.map(|id| format!("{}/{}", id.namespace, id.service_account).into());
        let trust_domain = identity.map(|identity| identity.trust_domain.as_str().into());
        Self { source, destination: access.address, identity, workload, principals, account, trust_domain }
    }

    /// True for somebody proven whom the snapshot does not show (yet): his labels cannot be told.
    pub(super) fn is_unknown(&self) -> bool {
        self.identity.is_some() && self.workload.is_none()
    }

    /// The keys of the labels that are known.
    pub(super) fn labels(&self) -> impl Iterator<Item = &'a Arc<str>> {
        self.workload.into_iter().flat_map(|workload| workload.labels.keys())
    }

    /// What `attribute` is: none of it for a stranger, who has no identity and no labels. `None` where it cannot be told.
    pub(super) fn texts(&self, attribute: &Attribute) -> Option<&[Arc<str>]> {
        Some(match attribute {
            Attribute::Principal => &self.principals,
            Attribute::Namespace => self.identity.map_or(&[], |identity| from_ref(&identity.namespace)),
            Attribute::ServiceAccount => self.account.as_slice(),
            Attribute::TrustDomain => self.trust_domain.as_slice(),
            Attribute::Label(_) if self.is_unknown() => return None,
            Attribute::Label(key) => self.workload.and_then(|workload| workload.labels.get(key)).map_or(&[], from_ref),
        })
    }
}

/// The address from which `workload` would dial `destination`: its first of that family.
fn address_towards(workload: &Workload, destination: SocketAddr) -> Option<IpAddr> {
    let own = workload.addresses.iter().map(IpAddr::to_canonical);
    own.into_iter().find(|address| address.is_ipv4() == destination.is_ipv4())
}
