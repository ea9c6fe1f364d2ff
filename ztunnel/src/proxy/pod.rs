//! A captured pod of this node, as the proxy needs it to act on its behalf.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use ambit_model::{Identity, WorkloadUid};
use ambit_net::netns::NetNs;

/// A captured pod of this node.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// Which workload it is.
    pub(crate) uid: WorkloadUid,
    /// Whom its certificate names.
    pub(crate) identity: Identity,
    /// Its network namespace: every connection on its behalf starts there.
    pub(crate) netns: NetNs,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where its network namespace was found; another there, or none, means that the pod is gone.
    pub(crate) path: PathBuf,
}

impl Pod {
    /// True if what serves this pod serves `other` just as well.
    pub(crate) fn is_served_as(&self, other: &Self) -> bool {
        let Self { uid, identity, netns, addresses, path: _ } = self;
        (uid, identity, netns, addresses) == (&other.uid, &other.identity, &other.netns, &other.addresses)
    }

    /// The address by which a connection to `destination` should be seen to come from `client`: the client's own, or
    /// where that is of the other family or a loopback address, the pod's own of that family.
    pub(crate) fn seen_as(&self, client: IpAddr, destination: IpAddr) -> Option<IpAddr> {
        let fits = |address: &IpAddr| address.is_ipv4() == destination.is_ipv4() && !address.is_loopback();
        let link_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if is_link_local(v6));
        let client = Some(client).filter(|address| fits(address) && !link_local(address));
        client.or_else(|| self.addresses.iter().copied().find(fits))
    }
}

/// A link-local address means something on one link only, so it cannot be a source elsewhere.
fn is_link_local(address: &Ipv6Addr) -> bool {
    address.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80)
}

#[cfg(test)]
mod tests;
