//! Connections that a pod had open before it was enrolled: left alone, and reported until they end.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ambit_net::netns::NetNs;

use super::sockets::{self, Pair, State};

/// The connections open now in `netns` that leave the pod.
///
/// # Errors
/// When the namespace cannot be entered or its socket table not be read.
pub(crate) fn open_connections(netns: &NetNs) -> io::Result<BTreeSet<Pair>> {
    let within: BTreeSet<IpAddr> = netns.addresses()?.into_iter().collect();
    let leaves = |pair: &Pair| !pair.remote.ip().is_loopback() && !within.contains(&pair.remote.ip());
    let open = sockets::list(netns)?.into_iter().filter(|(_, state)| *state == State::Open).map(|(pair, _)| pair);
    Ok(open.filter(leaves).collect())
}
