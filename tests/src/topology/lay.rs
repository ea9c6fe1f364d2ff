//! Lays a topology into the kernel: cgroups, links, addresses, routes. A pod has a /32 (/128) address and reaches
//! everything through its node, which answers on every pod's link as 169.254.1.1 and fe80::1.

use std::fs;

use super::{Node, Pod, Topology};
use crate::ip::Batch;
use crate::netns::Netns;

pub(super) fn cgroups(topology: &Topology) -> anyhow::Result<()> {
    for node in &topology.nodes {
        for place in [node.agent_place(), node.place(), node.pod_place()] {
            fs::create_dir_all(place.cgroup)?;
        }
    }
    for pod in &topology.pods {
        fs::create_dir_all(&pod.cgroup)?;
    }
    Ok(())
}

pub(super) fn network(topology: &Topology) -> anyhow::Result<()> {
    for netns in topology.namespaces() {
        settings(netns)?;
    }
    for (place, node) in topology.nodes.iter().enumerate() {
        let mut batch = Batch::default();
        batch.add("link set lo up");
        for other in topology.nodes.iter().skip(place + 1) {
            let (near, far) = (node.link_to(other.number), other.link_to(node.number));
            batch.add(format!("link add {near} type veth peer name {far} netns {}", other.netns.name()));
        }
        for pod in topology.pods.iter().filter(|pod| pod.node == node.name) {
            add_link(&mut batch, pod);
        }
        batch.run(&node.netns)?;
    }
    for node in &topology.nodes {
        node_side(topology, node).run(&node.netns)?;
    }
    for pod in &topology.pods {
        pod_side(pod).run(&pod.netns)?;
    }
    Ok(())
}

/// Lays one more pod.
pub(super) fn pod(pod: &Pod, node: &Node) -> anyhow::Result<()> {
    settings(&pod.netns)?;
    let mut batch = Batch::default();
    add_link(&mut batch, pod);
    gateway(&mut batch, node, pod);
    batch.run(&node.netns)?;
    pod_side(pod).run(&pod.netns)
}

fn settings(netns: &Netns) -> anyhow::Result<()> {
    let set = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        // An address is usable at once, not after a second of duplicate detection.
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        // «No route» is answered every time, not once a second.
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ];
    netns.run(|| set.iter().try_for_each(|(name, value)| fs::write(format!("/proc/sys/{name}"), value)))??;
    Ok(())
}

fn add_link(batch: &mut Batch, pod: &Pod) {
    batch.add(format!("link add {} type veth peer name eth0 netns {}", link(pod), pod.netns.name()));
}

fn node_side(topology: &Topology, node: &Node) -> Batch {
    let mut batch = Batch::default();
    for other in topology.nodes.iter().filter(|other| other.number != node.number) {
        let (near, number) = (node.link_to(other.number), other.number);
        batch.add(format!("addr add {} peer {}/32 dev {near}", node.v4, other.v4));
        batch.add(format!("addr add {}/128 dev {near} nodad", node.v6));
        batch.add(format!("link set {near} up"));
        // Of IPv6, the address of a peer brings no route to it while the link has no carrier.
        batch.add(format!("route add {}/128 dev {near}", other.v6));
        // The kernel learns with a delay that the other end is up; until then only «onlink» lets a route be added.
        batch.add(format!("route add 10.244.{number}.0/24 via {} dev {near} onlink", other.v4));
        batch.add(format!("route add fd00:244:{number}::/64 via {} dev {near} onlink", other.v6));
    }
    if topology.nodes.len() == 1 {
        batch.add(format!("addr add {}/32 dev lo", node.v4));
        batch.add(format!("addr add {}/128 dev lo nodad", node.v6));
    }
    for pod in topology.pods.iter().filter(|pod| pod.node == node.name) {
        gateway(&mut batch, node, pod);
    }
    batch
}

/// The node reaches its pods from its own address, as a kubelet does.
fn gateway(batch: &mut Batch, node: &Node, pod: &Pod) {
    let link = link(pod);
    batch.add(format!("addr add 169.254.1.1/32 dev {link}"));
    batch.add(format!("addr add fe80::1/64 dev {link} nodad"));
    batch.add(format!("link set {link} up"));
    batch.add(format!("route add {}/32 dev {link} src {}", pod.v4, node.v4));
    batch.add(format!("route add {}/128 dev {link} src {}", pod.v6, node.v6));
}

fn pod_side(pod: &Pod) -> Batch {
    let mut batch = Batch::default();
    batch.add("link set lo up");
    batch.add(format!("addr add {}/32 dev eth0", pod.v4));
    batch.add(format!("addr add {}/128 dev eth0 nodad", pod.v6));
    batch.add("link set eth0 up");
    batch.add("route add 169.254.1.1/32 dev eth0 scope link");
    batch.add(format!("route add default via 169.254.1.1 dev eth0 src {}", pod.v4));
    batch.add("route add default via fe80::1 dev eth0");
    batch
}

/// The node's end of the pod's link: named by the pod's number on its node, since names end after 15 characters.
fn link(pod: &Pod) -> String {
    format!("pod{}", pod.v4.octets()[3])
}
