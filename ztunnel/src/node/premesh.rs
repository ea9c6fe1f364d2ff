//! Connections that a pod had open before it was enrolled: left alone, and reported until they end.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use ambit_net::diag;
use ambit_net::netns::NetNs;

/// Both ends of a TCP connection, the namespace's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    /// The namespace's end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
}

/// The connections open now in `netns` that leave the pod.
///
/// # Errors
/// When the namespace cannot be entered or the kernel does not tell of its sockets.
pub(crate) fn open_connections(netns: &NetNs) -> io::Result<BTreeSet<Pair>> {
    let within: BTreeSet<IpAddr> = netns.addresses()?.into_iter().collect();
    let leaves = |pair: &Pair| !pair.remote.ip().is_loopback() && !within.contains(&pair.remote.ip());
    let open = diag::connections(netns)?.into_iter().filter(|connection| connection.is_open);
    let pairs = open.map(|connection| Pair { local: connection.local, remote: connection.remote });
    Ok(pairs.filter(leaves).collect())
}
