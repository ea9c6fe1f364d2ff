//! How a pod with the node's own network is told from the node's processes.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use ambit_ebpf_loader::{Capture, Settings};
use socket2::{Domain, Socket, Type};

use crate::world::{Listeners, Netns, POD_V4, POD_V6, World, accept, canonical};

const PATIENCE: Duration = Duration::from_secs(5);

/// As an application may write them.
fn dialled() -> [SocketAddr; 3] {
    [IpAddr::V4(POD_V4), IpAddr::V6(POD_V6), IpAddr::V6(POD_V4.to_ipv6_mapped())].map(|ip| SocketAddr::new(ip, 8080))
}

/// A connection of a process of the pods' cgroup in `netns`.
fn dial(world: &World, netns: &Netns, to: SocketAddr) -> TcpStream {
    let socket: Socket = world.application_in(netns, Domain::for_address(to), Type::STREAM, 0);
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    socket.into()
}

#[test]
fn what_a_pod_on_the_nodes_network_opens_is_known_once_and_nothing_else_is() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let host_pods = capture.host_pods();
    for to in dialled() {
        let _pod = dial(&world, &world.outside, to);
        let (_proxy, source) = accept(&listeners.inbound);
        let elsewhere = SocketAddr::new(to.ip().to_canonical(), 8081);
        assert!(!host_pods.take(source, elsewhere).unwrap(), "another connection from the same port");
        assert!(host_pods.take(source, canonical(to)).unwrap(), "{to}");
        assert!(!host_pods.take(source, canonical(to)).unwrap(), "known once only");
        // A process of the node, which is not below the cgroup.
        let _kubelet = world.dial_in(to).unwrap();
        let (_proxy, source) = accept(&listeners.inbound);
        assert!(!host_pods.take(source, canonical(to)).unwrap(), "{to}");
    }
}

#[test]
fn what_ends_before_it_is_accepted_is_known_all_the_same() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    for reset in [false, true] {
        for to in dialled() {
            let mut pod = dial(&world, &world.outside, to);
            pod.write_all(b"in haste").unwrap();
            if reset {
                socket2::SockRef::from(&pod).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(pod);
            let (_proxy, source) = accept(&listeners.inbound);
            assert!(capture.host_pods().take(source, canonical(to)).unwrap(), "{to}, reset: {reset}");
        }
    }
}

#[test]
fn a_pod_of_its_own_network_is_not_mistaken() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    // As if the node were elsewhere: what is outside is another pod then.
    let settings = Settings { host: world.outside.cookie + 1, ..world.settings.clone() };
    let mut capture = Capture::open(&settings).unwrap();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    for to in dialled() {
        let _pod = dial(&world, &world.outside, to);
        let (_proxy, source) = accept(&listeners.inbound);
        assert!(!capture.host_pods().take(source, canonical(to)).unwrap(), "{to}");
    }
}
