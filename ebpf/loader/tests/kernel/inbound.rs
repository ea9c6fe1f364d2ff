//! What becomes of the connections that reach a pod.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
};

use ambit_ebpf_abi::Counter;
use ambit_ebpf_loader::Capture;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::Domain;

use crate::world::{
    FAR_V4, Listeners, OUTSIDE_V4, OUTSIDE_V6, POD_SECOND, POD_V4, POD_V6, World, accept, canonical, idle, refused,
};

#[test]
fn a_connection_is_steered_to_the_proxy_with_the_address_that_was_dialled() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let server = world.pod.listen(8080);
    for to in [IpAddr::V4(POD_V4), IpAddr::V6(POD_V6), IpAddr::V4(POD_SECOND)] {
        let to = SocketAddr::new(to, 8080);
        let client = world.dial_in(to).unwrap();
        let (proxy, source) = accept(&listeners.inbound);
        assert_eq!(canonical(proxy.local_addr().unwrap()), to);
        assert_eq!(source, client.local_addr().unwrap());
    }
    assert!(idle(&server), "the application was not reached");
    assert_eq!(capture.counters().unwrap().of(Counter::Steered), 3);
}

#[test]
fn the_hbone_port_is_left_alone() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let hbone = world.pod.listen(15008);
    for to in [IpAddr::V4(POD_V4), IpAddr::V6(POD_V6)] {
        let _client = world.dial_in((to, 15008)).unwrap();
        accept(&hbone);
    }
    assert!(idle(&listeners.inbound));
}

#[test]
fn the_proxys_connection_reaches_the_application_and_shows_the_clients_address() {
    let world = World::new();
    relay(&world);
}

/// The last packet of a handshake under SYN cookies is looked up like a SYN, by when the connection is established.
#[test]
fn everything_arrives_under_syn_cookies() {
    let world = World::new();
    world.pod.set("ipv4/tcp_syncookies", "2");
    let capture = relay(&world);
    let listeners = Listeners::open(&world.pod);
    let mut capture = capture;
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    for _ in 0..8 {
        let _client = world.dial_in((POD_V4, 8080)).unwrap();
        accept(&listeners.inbound);
        let _application = world.dial((FAR_V4, 8080)).unwrap();
        let (_proxy, source) = accept(&listeners.outbound);
        let wanted = capture.original_destinations().take(world.pod.cookie, source).unwrap();
        assert_eq!(wanted, Some((FAR_V4, 8080).into()));
    }
}

/// Dials the application as the proxy does, with the client's address.
fn relay(world: &World) -> Capture {
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    mark_mode(world);
    let server = world.pod.listen(8080);
    for (client, to) in [(IpAddr::V4(OUTSIDE_V4), IpAddr::V4(POD_V4)), (OUTSIDE_V6.into(), POD_V6.into())] {
        let (from, to) = (SocketAddr::new(client, 0), SocketAddr::new(to, 8080));
        let socket = world.pod.socket(Domain::for_address(to));
        socket.set_mark(0x111).unwrap();
        // Takes effect on a socket of either family.
        setsockopt(&socket, sockopt::IpTransparent, &true).unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect_timeout(&to.into(), std::time::Duration::from_secs(5)).unwrap();
        let (mut application, peer) = accept(&server);
        assert_eq!(peer.ip(), client);
        application.write_all(b"pong").unwrap();
        let mut heard = [0; 4];
        std::net::TcpStream::from(socket).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"pong");
    }
    assert!(idle(&listeners.inbound), "not steered back to the proxy");
    assert!(capture.counters().unwrap().of(Counter::Relayed) >= 2);
    capture
}

#[test]
fn listeners_of_a_reuseport_group_share_the_connections() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let sibling = world.pod.listen(crate::world::INBOUND);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let clients: Vec<_> = (0..32_u16).map(|port| world.dial_in((POD_V4, 9000 + port)).unwrap()).collect();
    let shares = [&listeners.inbound, &sibling].map(|listener| {
        let mut share = 0;
        while !idle(listener) {
            accept(listener);
            share += 1;
        }
        share
    });
    assert_eq!(shares.iter().sum::<usize>(), clients.len());
    assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
}

#[test]
fn without_a_listener_a_connection_is_refused() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let server = world.pod.listen(8080);
    drop(listeners);
    for to in [IpAddr::V4(POD_V4), IpAddr::V6(POD_V6)] {
        assert!(refused(world.dial_in((to, 8080))), "{to}");
    }
    assert!(idle(&server), "the application was not reached");
    assert_eq!(capture.counters().unwrap().of(Counter::NoListener), 2);
}

/// What the agent sets up so that the application's replies to a foreign address come back to its own sockets.
fn mark_mode(world: &World) {
    world.pod.set("ipv4/tcp_fwmark_accept", "1");
    for family in ["-4", "-6"] {
        world.pod.ip(&format!("{family} rule add fwmark 0x111/0xfff lookup 100"));
        world.pod.ip(&format!("{family} route add local default dev lo table 100"));
    }
}
