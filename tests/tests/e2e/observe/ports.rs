//! Which ports are open where (E-16).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ambit_tests::{Netns, http, netns};

use super::at;
use crate::world::World;

/// The addresses that are listened on in a namespace, as the kernel lists them.
fn listening(namespace: &Netns) -> BTreeSet<SocketAddr> {
    sockets(namespace, ["tcp", "tcp6"], "0A")
}

/// The addresses that take datagrams in a namespace; their state is that of a TCP socket that is closed.
fn receiving(namespace: &Netns) -> BTreeSet<SocketAddr> {
    sockets(namespace, ["udp", "udp6"], "07")
}

fn sockets(namespace: &Netns, tables: [&str; 2], state: &str) -> BTreeSet<SocketAddr> {
    let read = |table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
    let tables = namespace.run(|| tables.map(read)).unwrap();
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| local(line, state)).collect()
}

/// The local address on a line of /proc/net/tcp or udp with this state: 32-bit words in host order, and the port.
fn local(line: &str, state: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, found) = (fields[1], fields[3]);
    let (address, port) = local.split_once(':').unwrap();
    let words = (0..address.len() / 8).map(|word| u32::from_str_radix(&address[word * 8..word * 8 + 8], 16).unwrap());
    let octets: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
    let ip = match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(octets.as_slice()).unwrap()),
    };
    (state == found).then(|| at(ip, u16::from_str_radix(port, 16).unwrap()))
}

#[test]
fn a_pod_and_a_node_have_the_meshs_ports_and_no_others() {
    let world = World::new();
    let everywhere = |port: u16| at(Ipv6Addr::UNSPECIFIED, port);
    for pod in ["client", "near", "far"] {
        assert_eq!(
            listening(&world.pod(pod).netns),
            [15001, 15006, 15008, 15053, 15080].map(everywhere).into(),
            "{pod}"
        );
        let own = world.pod(pod).addresses().map(|ip| at(ip, 15053));
        assert_eq!(receiving(&world.pod(pod).netns), own.into(), "{pod}");
    }
    for pod in ["outsider-a", "outsider-b"] {
        assert_eq!(listening(&world.pod(pod).netns), BTreeSet::new(), "{pod}");
    }
    for node in ["a", "b"] {
        let expected = [at(Ipv4Addr::LOCALHOST, 15000), everywhere(15020), everywhere(15021)];
        assert_eq!(listening(&world.topology.node(node).unwrap().netns), expected.into(), "{node}");
    }
}

#[test]
fn the_admin_interface_answers_on_the_node_alone_and_metrics_and_readiness_from_everywhere() {
    let world = World::new();
    let node = world.topology.node("a").unwrap();
    let status = |port: u16, path: &str| {
        let from = world.pod("outsider-a").netns.path();
        [IpAddr::from(node.v4), node.v6.into()]
            .map(|address| http::get(&from, at(address, port), path).ok().map(|answer| answer.status))
    };
    assert_eq!(status(15000, "/"), [None; 2]);
    assert_eq!(status(15020, "/metrics"), [Some(200); 2]);
    assert_eq!(status(15021, "/healthz/ready"), [Some(200); 2]);
    assert_eq!(world.agent("a").get(15000, "/").unwrap().status, 200);
    netns::run_in(&node.netns.path(), || std::net::TcpStream::connect(at(node.v4, 15000)).unwrap_err()).unwrap();
}
