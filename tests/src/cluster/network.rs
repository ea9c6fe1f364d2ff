//! The addresses of a cluster and the links that carry them: a bridge in the control plane's network namespace, and a link
//! to it from each node's. Nothing of it is in the namespace of who starts the cluster.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::ip::Batch;
use crate::netns::Netns;

/// Where the control plane is.
pub(crate) const CONTROL_PLANE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));
/// The API server.
pub(crate) const API_SERVER: SocketAddr = SocketAddr::new(CONTROL_PLANE, 6443);
/// The addresses of Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The first of them, which is the API server's.
pub(crate) const API_SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
/// The one that pods ask for names, if somebody serves there.
pub(crate) const DNS_SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
/// The addresses of pods.
pub(crate) const PODS: &str = "10.244.0.0/16";

/// The address of the node numbered `number`, from 1.
pub(crate) fn node(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 10 + number)
}

/// The addresses of its pods.
pub(crate) fn pods(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

/// Lays the bridge.
pub(crate) fn lay_control_plane(netns: &Netns) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    batch.add("link set lo up");
    batch.add("link add nodes type bridge");
    batch.add(format!("addr add {CONTROL_PLANE}/24 dev nodes"));
    batch.add("link set nodes up");
    batch.run(netns)?;
    forward(netns)
}

/// Links the node numbered `number` of `nodes` to the bridge.
pub(crate) fn lay_node(control_plane: &Netns, netns: &Netns, number: u8, nodes: u8) -> anyhow::Result<()> {
    let (address, far) = (node(number), format!("node{number}"));
    let mut batch = Batch::default();
    batch.add(format!("link add {far} type veth peer name eth0 netns {}", netns.name()));
    batch.add(format!("link set {far} master nodes up"));
    batch.add(format!("route replace {} via {address}", pods(number)));
    batch.run(control_plane)?;
    let mut batch = Batch::default();
    batch.add("link set lo up");
    batch.add(format!("addr add {address}/24 dev eth0"));
    batch.add("link set eth0 up");
    batch.add(format!("route add default via {CONTROL_PLANE}"));
    for other in (1..=nodes).filter(|other| *other != number) {
        batch.add(format!("route add {} via {}", pods(other), node(other)));
    }
    batch.run(netns)?;
    forward(netns)?;
    // Services that a pod of the node asks for, and that answer from the same bridge, are translated back.
    netns.run(|| {
        // The kernel may have no such filter, and then bridged packets are nothing that could miss it.
        let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
    })
}

/// Takes away the link to the node numbered `number`.
pub(crate) fn unplug_node(control_plane: &Netns, number: u8) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    batch.add(format!("link del node{number}"));
    batch.run(control_plane)
}

fn forward(netns: &Netns) -> anyhow::Result<()> {
    netns.set_sysctl("net/ipv4/ip_forward", "1")
}
