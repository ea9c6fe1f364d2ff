//! Ports of the mesh that an application dials: nothing goes in circles, nobody gets behind the proxy (C-09).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Watch;
use crate::world::World;

const RECURSIVE: &str = "attempted recursive call to ourselves";

#[test]
fn a_pod_that_dials_the_meshs_ports_is_refused() {
    let world = World::new();
    let agent = world.agent("a");
    for family in [0, 1] {
        let address = |pod: &str| world.topology.pod(pod).unwrap().addresses()[family];
        for pod in ["near", "far"] {
            for port in [15001, 15006, 15008, 15053, 15080] {
                let watch = Watch::new(agent);
                let to = SocketAddr::new(address(pod), port);
                refused(&world, "client", to);
                // Of a connection within the node both ends are recorded, but this one is decided before it has two.
                assert!(watch.expect(&to.to_string(), "recursive-call").field("error").contains(RECURSIVE));
            }
        }
        // Its own address is not captured, and the kernel lets nothing to 15001 that is not.
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let listeners = [
            (address("client"), 15006, "recursive-call"),
            (address("client"), 15008, "tls-failure"),
            (loopback, 15006, "authority-mismatch"),
            (loopback, 15008, "tls-failure"),
        ];
        for (ip, port, reason) in listeners {
            let watch = Watch::new(agent);
            let to = SocketAddr::new(ip, port);
            refused(&world, "client", to);
            watch.expect(&format!("own {to}"), reason);
        }
        refused_by_the_kernel(&world, "client", SocketAddr::new(address("client"), 15001));
    }
}

#[test]
fn a_stranger_that_dials_the_meshs_ports_in_clear_is_refused() {
    let world = World::new();
    let agent = world.agent("a");
    for ip in world.pod("near").addresses() {
        for (port, reason) in [(15006, "recursive-call"), (15080, "recursive-call"), (15008, "tls-failure")] {
            let watch = Watch::new(agent);
            let to = SocketAddr::new(ip, port);
            refused(&world, "outsider-b", to);
            let line = watch.expect(&to.to_string(), reason);
            assert!(reason != "recursive-call" || line.field("error").contains(RECURSIVE), "{line:?}");
        }
        refused_by_the_kernel(&world, "outsider-b", SocketAddr::new(ip, 15001));
    }
}

/// The connection ends within two seconds, and not by an answer: at most by a TLS alert (7 bytes).
fn refused(world: &World, pod: &str, to: SocketAddr) {
    let seen = world.dialled(pod, to, "send:50,observe:2000");
    let alert = to.port() == 15008 && (seen.contains(r#""bytes":7"#) || seen.contains(r#""event":"eof""#));
    assert!(alert || seen.contains(r#""error":"reset""#), "{pod} -> {to}: {seen}");
}

/// Nobody listens, as far as `pod` can tell.
fn refused_by_the_kernel(world: &World, pod: &str, to: SocketAddr) {
    let seen = world.dialled(pod, to, "observe:2000");
    assert!(seen.contains(r#""error":"refused""#), "{pod} -> {to}: {seen}");
}
