//! Decides what to change in the kernel so that it has the pods that are wanted. Pure: it takes what is wanted and what
//! the kernel has, and knows no system call.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A pod that is to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its addresses that captured connections are redirected to.
    pub own: Own,
    /// All its addresses but loopback.
    pub addresses: BTreeSet<IpAddr>,
    /// Socket cookie of its plaintext listener.
    pub listener: u64,
}

/// How a pod is captured: its own address of each family, and whether its DNS is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// Whether its DNS queries are captured as well.
    pub dns: bool,
}

/// What the kernel has of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrolled {
    /// Its own addresses, if its connections are captured.
    pub captured: Option<Own>,
    /// The addresses that are known to be its.
    pub addresses: BTreeSet<IpAddr>,
    /// Socket cookie of its plaintext listener, if there is one.
    pub listener: Option<u64>,
    /// Whether connections to it are steered to that listener.
    pub steering: Steering,
}

/// Whether connections to a pod are steered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steering {
    /// They are not.
    #[default]
    Off,
    /// They are.
    On,
    /// They were, and the network namespace is gone; its pin is left.
    Dead,
}

/// One change in the kernel. The pod is named by the cookie of its network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Captures the pod's connections from now on, or changes where they are redirected to.
    Capture(u64, Own),
    /// Captures no more of them.
    Release(u64),
    /// Steers connections to the pod.
    Steer(u64),
    /// Steers them no more.
    Unsteer(u64),
    /// Makes an address known as the pod's, taking it from another.
    PutAddress(u64, IpAddr),
    /// Forgets that address.
    RemoveAddress(u64, IpAddr),
    /// Makes the pod's plaintext listener known.
    PutListener(u64),
    /// Forgets it.
    RemoveListener(u64),
}

impl Operation {
    /// The pod that it changes.
    #[must_use]
    pub const fn cookie(&self) -> u64 {
        match *self {
            Self::Capture(cookie, _)
            | Self::Release(cookie)
            | Self::Steer(cookie)
            | Self::Unsteer(cookie)
            | Self::PutAddress(cookie, _)
            | Self::RemoveAddress(cookie, _)
            | Self::PutListener(cookie)
            | Self::RemoveListener(cookie) => cookie,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(cookie, _) => write!(f, "capture {cookie}"),
            Self::Release(cookie) => write!(f, "release {cookie}"),
            Self::Steer(cookie) => write!(f, "steer {cookie}"),
            Self::Unsteer(cookie) => write!(f, "unsteer {cookie}"),
            Self::PutAddress(cookie, address) => write!(f, "put {address} of {cookie}"),
            Self::RemoveAddress(cookie, address) => write!(f, "remove {address} of {cookie}"),
            Self::PutListener(cookie) => write!(f, "put listener of {cookie}"),
            Self::RemoveListener(cookie) => write!(f, "remove listener of {cookie}"),
        }
    }
}

/// What to do, in this order, so that the kernel has what is wanted.
///
/// After every single operation: a pod whose connections are captured is steered, and one that is steered has a
/// listener, unless the kernel had it otherwise before. So nothing is refused that need not be, and an interruption
/// leaves nothing half captured.
///
/// An address that two wanted pods claim goes to the one with the greater cookie: the younger network namespace.
#[must_use]
pub fn diff(wanted: &BTreeMap<u64, Wanted>, kernel: &BTreeMap<u64, Enrolled>) -> Vec<Operation> {
    let owners: BTreeMap<IpAddr, u64> =
        wanted.iter().flat_map(|(&cookie, pod)| pod.addresses.iter().map(move |&address| (address, cookie))).collect();
    let mut operations = Vec::new();
    for (&cookie, has) in kernel.iter().filter(|(cookie, _)| !wanted.contains_key(cookie)) {
        withdraw(cookie, has, &mut operations);
        operations.extend(unclaimed(cookie, has, &owners));
        operations.extend(has.listener.map(|_| Operation::RemoveListener(cookie)));
    }
    let nothing = Enrolled::default();
    for (&cookie, wants) in wanted {
        let has = kernel.get(&cookie).unwrap_or(&nothing);
        let claims = wants.addresses.iter().filter(|address| owners.get(*address) == Some(&cookie)).copied();
        enrol(cookie, wants, has, &claims.collect(), &mut operations);
        operations.extend(unclaimed(cookie, has, &owners));
    }
    operations
}

fn enrol(cookie: u64, wants: &Wanted, has: &Enrolled, claims: &BTreeSet<IpAddr>, operations: &mut Vec<Operation>) {
    if has.listener != Some(wants.listener) {
        operations.push(Operation::PutListener(cookie));
    }
    operations.extend(claims.difference(&has.addresses).map(|&address| Operation::PutAddress(cookie, address)));
    if has.steering != Steering::On {
        operations.push(Operation::Steer(cookie));
    }
    if has.captured != Some(wants.own) {
        operations.push(Operation::Capture(cookie, wants.own));
    }
}

fn withdraw(cookie: u64, has: &Enrolled, operations: &mut Vec<Operation>) {
    if has.captured.is_some() {
        operations.push(Operation::Release(cookie));
    }
    if has.steering != Steering::Off {
        operations.push(Operation::Unsteer(cookie));
    }
}

/// Forgets the addresses that nobody claims any more; one that another pod claims is taken over by its `PutAddress`.
fn unclaimed(cookie: u64, has: &Enrolled, owners: &BTreeMap<IpAddr, u64>) -> impl Iterator<Item = Operation> {
    let unclaimed = has.addresses.iter().filter(|address| !owners.contains_key(*address));
    unclaimed.map(move |&address| Operation::RemoveAddress(cookie, address))
}

#[cfg(test)]
mod tests;
