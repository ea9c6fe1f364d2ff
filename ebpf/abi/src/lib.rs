//! What the kernel programs and userspace tell each other: the keys, values and names of the maps. It knows no hook
//! and no syscall. Every type is plain words without padding, so both sides see the same bytes.
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod counter;

pub use address::{Address, Endpoint};
pub use counter::Counter;

/// Version of the maps' layout and meaning. It is part of every pin path, so that programs and maps of different
/// versions never meet; raise it whenever a type, a map's size or the meaning of a value changes.
pub const VERSION: u32 = 2;

/// Port, in the pod's own network namespace, that captured connections are sent to (Istio's outbound port).
pub const OUTBOUND_PORT: u16 = 15001;
/// Port, in the pod's own network namespace, that captured DNS queries are sent to, by UDP and by TCP (Istio's DNS port).
pub const DNS_PORT: u16 = 15053;
/// Port that DNS servers listen on: queries to it are captured.
pub const QUERY_PORT: u16 = 53;
/// Port that is never steered, because the proxy listens to it directly (Istio's HBONE port).
pub const HBONE_PORT: u16 = 15008;

/// `SO_MARK` of the proxy's own sockets: never captured.
pub const MARK_PROXY: u32 = 0x539;
/// `SO_MARK` of the proxy's sockets towards applications of a pod: neither captured nor steered.
pub const MARK_APPLICATION: u32 = 0x111;

/// `SO_MARK` of a UDP socket by which the proxy asks where a captured query wanted to go: connecting it to the
/// application's socket connects it to what that socket sends its queries to, or is refused.
pub const MARK_ASK: u32 = 0x53a;

/// True for a port of the proxy's that takes captured connections and no others.
#[inline(always)]
#[must_use]
pub const fn takes_captured(port: u32) -> bool {
    port == OUTBOUND_PORT as u32 || port == DNS_PORT as u32
}

/// Names of the maps, which are also the names of their pins.
pub mod maps {
    /// Hash, netns cookie (`u64`) to [`Pod`](crate::Pod): whose connections are captured.
    pub const ENROLLED: &str = "enrolled";
    /// Hash, [`Address`](crate::Address) to netns cookie (`u64`): the non-loopback addresses of enrolled pods.
    pub const ADDRESSES: &str = "addresses";
    /// Hash, [`FlowKey`](crate::FlowKey) to [`Endpoint`](crate::Endpoint): where captured connections wanted to go.
    pub const FLOWS: &str = "flows";
    /// LRU hash, [`ConnectionKey`](crate::ConnectionKey) to `u32`: the proxy's own connections towards applications.
    pub const OWN: &str = "own";
    /// Socket hash, netns cookie (`u64`) to the pod's plaintext listener (`u64`: written as a file descriptor, read
    /// back as a socket cookie).
    pub const LISTENERS: &str = "listeners";
    /// LRU hash, [`ConnectionKey`](crate::ConnectionKey) to `u32`: what pods with the node's own network have opened, and
    /// the proxy has not met yet.
    pub const HOST_PODS: &str = "host_pods";
    /// Per-CPU array of `u64`, indexed by [`Counter`](crate::Counter).
    pub const COUNTERS: &str = "counters";
    /// Socket storage, [`Endpoint`](crate::Endpoint): where a captured socket wanted to go; of a UDP socket that is not
    /// connected, the last query.
    pub const DESTINATIONS: &str = "destinations";

    /// Every map.
    pub const ALL: [&str; 8] = [ENROLLED, ADDRESSES, FLOWS, OWN, LISTENERS, HOST_PODS, COUNTERS, DESTINATIONS];
}

/// Names of the constants that the loader gives the programs.
pub mod constants {
    /// `u64`: cookie of the node's own network namespace, if what is opened there below the cgroup is a pod's; else 0.
    pub const HOST_NETNS: &str = "HOST_NETNS";
}

/// Names of the programs, by the hook they run in.
pub mod programs {
    /// `cgroup/connect4`.
    pub const CONNECT4: &str = "ambit_connect4";
    /// `cgroup/connect6`.
    pub const CONNECT6: &str = "ambit_connect6";
    /// `cgroup/getpeername4`.
    pub const PEER4: &str = "ambit_peer4";
    /// `cgroup/getpeername6`.
    pub const PEER6: &str = "ambit_peer6";
    /// `cgroup/sendmsg4`.
    pub const SEND4: &str = "ambit_send4";
    /// `cgroup/sendmsg6`.
    pub const SEND6: &str = "ambit_send6";
    /// `cgroup/recvmsg4`.
    pub const RECEIVE4: &str = "ambit_receive4";
    /// `cgroup/recvmsg6`.
    pub const RECEIVE6: &str = "ambit_receive6";
    /// `sockops`.
    pub const PUBLISH: &str = "ambit_publish";
    /// `sk_lookup`.
    pub const STEER: &str = "ambit_steer";
}

/// Most pods that one node can enrol.
pub const MAX_PODS: usize = 4096;
/// Most addresses of enrolled pods on one node.
pub const MAX_ADDRESSES: usize = 16384;
/// Most captured connections that wait to be accepted by the proxy. One more is refused.
pub const MAX_FLOWS: usize = 65536;
/// Most connections of the proxy towards applications that are remembered. Only those still shaking hands matter, so
/// that the least recent one may be forgotten.
pub const MAX_OWN: usize = 16384;

/// Most connections of pods with the node's own network that are remembered; then the least recent is forgotten, and
/// is like any other from the node's address. Those count that the proxy is about to accept.
pub const MAX_HOST_PODS: usize = 16384;

/// An enrolled pod: the address of each family that its captured connections are redirected to; unspecified if the
/// pod has none of that family, which makes the loopback address take its place.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The pod's IPv4 address (v4 mapped), or unspecified.
    pub v4: Address,
    /// The pod's IPv6 address, or unspecified.
    pub v6: Address,
    /// 1 if the pod's DNS queries are captured as well, else 0.
    pub dns: u32,
}

/// A captured connection as its client end sees itself. The cookie tells apart the loopback addresses of pods.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Cookie of the client's network namespace.
    pub netns: u64,
    /// The client's address and port.
    pub source: Endpoint,
    /// Always 0: fills what the compiler would pad.
    pub reserved: u32,
}

impl FlowKey {
    /// The key of the connection from `source` inside the network namespace `netns`.
    #[inline(always)]
    #[must_use]
    pub const fn new(netns: u64, source: Endpoint) -> Self {
        Self { netns, source, reserved: 0 }
    }
}

/// A connection as it was opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionKey {
    /// Whom the connection comes from.
    pub source: Endpoint,
    /// What was dialled.
    pub destination: Endpoint,
}

const _: () = {
    assert!(size_of::<Address>() == 16 && align_of::<Address>() == 4);
    assert!(size_of::<Endpoint>() == 20 && align_of::<Endpoint>() == 4);
    assert!(size_of::<Pod>() == 36);
    assert!(size_of::<FlowKey>() == 8 + 20 + 4);
    assert!(size_of::<ConnectionKey>() == 40);
};
