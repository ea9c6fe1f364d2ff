//! What becomes of the DNS queries that an application sends.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use ambit_ebpf_abi::Counter;
use ambit_ebpf_loader::Pod;
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::{
    FAR_V4, FAR_V6, Listeners, Netns, OUTSIDE_V4, OUTSIDE_V6, POD_V4, POD_V6, World, accept, canonical, refused,
};

const DNS: u16 = 15053;
const ASK: u32 = 0x53a;

/// Servers as an application may write them, each with the address that the proxy answers at.
const SERVERS: [(IpAddr, IpAddr); 3] = [
    (IpAddr::V4(FAR_V4), IpAddr::V4(POD_V4)),
    (IpAddr::V6(FAR_V6), IpAddr::V6(POD_V6)),
    (IpAddr::V6(FAR_V4.to_ipv6_mapped()), IpAddr::V4(POD_V4)),
];

/// A UDP socket of this process, bound inside `netns`.
fn bound(netns: &Netns, address: SocketAddr) -> Socket {
    let domain = Domain::for_address(address);
    let socket = netns.within(|| Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap());
    socket.set_freebind_v4(true).unwrap();
    if domain == Domain::IPV6 {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// An application's UDP socket in the pod.
fn application(world: &World, to: SocketAddr) -> Socket {
    let socket = world.application_in(&world.pod, Domain::for_address(to), Type::DGRAM, 0);
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn receive(socket: &Socket) -> std::io::Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 64];
    let (length, from) = UdpSocket::from(socket.try_clone()?).recv_from(&mut buffer)?;
    Ok((buffer[..length].to_vec(), from))
}

/// What the socket at `client` sends its queries to, as the proxy asks for it.
fn asked(world: &World, client: SocketAddr) -> std::io::Result<SocketAddr> {
    let socket = world.pod.within(|| Socket::new(Domain::for_address(client), Type::DGRAM, None).unwrap());
    socket.set_mark(ASK)?;
    socket.connect(&client.into())?;
    Ok(socket.peer_addr()?.as_socket().unwrap())
}

#[test]
fn queries_reach_the_proxy_and_answers_come_from_whom_was_asked() {
    let world = World::new();
    world.pod.ip(&format!("route add default via {OUTSIDE_V4}"));
    world.pod.ip(&format!("route add default via {OUTSIDE_V6}"));
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let servers = [IpAddr::V4(POD_V4), IpAddr::V6(POD_V6)].map(|ip| bound(&world.pod, SocketAddr::new(ip, DNS)));
    for (far, own) in SERVERS {
        let to = SocketAddr::new(far, 53);
        let server = &servers[usize::from(own.is_ipv6())];
        for connected in [true, false] {
            let client = application(&world, to);
            if connected {
                client.connect(&to.into()).unwrap();
                assert_eq!(client.peer_addr().unwrap().as_socket(), Some(to));
                client.send(b"query").unwrap();
            } else {
                client.send_to(b"query", &to.into()).unwrap();
            }
            let (query, source) = receive(server).unwrap();
            assert_eq!((query.as_slice(), source.ip()), (&b"query"[..], own), "{to} {connected}");
            assert_eq!(asked(&world, source).unwrap(), canonical(to), "{to} {connected}");
            server.send_to(b"answer", &source.into()).unwrap();
            assert_eq!(receive(&client).unwrap(), (b"answer".to_vec(), to), "{to} {connected}");
        }
    }
    let counters = capture.counters().unwrap();
    assert_eq!((counters.of(Counter::Query), counters.of(Counter::Captured)), (6, 0), "{counters}");
}

#[test]
fn a_socket_that_asks_one_server_after_the_other_is_answered_by_each() {
    let world = World::new();
    world.pod.ip(&format!("route add default via {OUTSIDE_V4}"));
    world.pod.ip(&format!("route add default via {OUTSIDE_V6}"));
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let server = bound(&world.pod, (POD_V4, DNS).into());
    let client = application(&world, (FAR_V4, 53).into());
    for ip in [FAR_V4, OUTSIDE_V4, FAR_V4] {
        let to = SocketAddr::from((ip, 53));
        client.send_to(b"query", &to.into()).unwrap();
        let (_, source) = receive(&server).unwrap();
        assert_eq!(asked(&world, source).unwrap(), to);
        // Meanwhile it asks a resolver of its own pod, too.
        client.send_to(b"query", &SocketAddr::from((Ipv4Addr::LOCALHOST, 53)).into()).unwrap();
        server.send_to(b"answer", &source.into()).unwrap();
        assert_eq!(receive(&client).unwrap().1, to);
    }
    // And what it hears from others meanwhile comes from them.
    let other = bound(&world.outside, (OUTSIDE_V4, DNS).into());
    client.send_to(b"hello", &SocketAddr::from((OUTSIDE_V4, DNS)).into()).unwrap();
    let (_, source) = receive(&other).unwrap();
    other.send_to(b"hello", &source.into()).unwrap();
    assert_eq!(receive(&client).unwrap().1, SocketAddr::from((OUTSIDE_V4, DNS)));
}

#[test]
fn a_pod_that_opted_out_asks_the_server_itself_and_may_change_its_mind() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    let own = bound(&world.pod, (POD_V4, DNS).into());
    let real = bound(&world.outside, (OUTSIDE_V4, 53).into());
    let to = SocketAddr::from((OUTSIDE_V4, 53));
    for dns in [false, true, false] {
        capture.enrol(&Pod { dns, ..listeners.pod(&world.pod) }).unwrap();
        assert_eq!(capture.enrolled().unwrap()[&world.pod.cookie].captured.unwrap().dns, dns);
        let client = application(&world, to);
        client.send_to(b"query", &to.into()).unwrap();
        let (_, source) = receive(if dns { &own } else { &real }).unwrap();
        assert_eq!(source.ip(), IpAddr::V4(POD_V4), "{dns}");
    }
    // By TCP a server is then dialled like any other.
    let _client = world.dial(to).unwrap();
    let (_, source) = accept(&listeners.outbound);
    assert_eq!(capture.original_destinations().take(world.pod.cookie, source).unwrap(), Some(to));
}

#[test]
fn a_query_by_tcp_reaches_the_proxy_with_the_server_that_was_dialled() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let dns = world.pod.listen(DNS);
    for (far, _) in SERVERS {
        let to = SocketAddr::new(far, 53);
        let mut client = world.dial(to).unwrap();
        let (mut server, source) = accept(&dns);
        assert_eq!(capture.original_destinations().take(world.pod.cookie, source).unwrap(), Some(canonical(to)));
        assert_eq!(client.peer_addr().unwrap(), to);
        client.write_all(b"ask").unwrap();
        let mut heard = [0; 3];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"ask");
    }
}

#[test]
fn what_is_no_captured_query_is_left_alone() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let inside = [(Ipv4Addr::new(127, 0, 0, 53).into(), 53), (Ipv6Addr::LOCALHOST.into(), 53), (POD_V4.into(), 53)];
    let outside = [(IpAddr::V4(OUTSIDE_V4), 5353), (OUTSIDE_V6.into(), 54)];
    let places = inside.map(|to| (&world.pod, to)).into_iter().chain(outside.map(|to| (&world.outside, to)));
    for (netns, to) in places {
        let to = SocketAddr::from(to);
        let server = bound(netns, to);
        for connected in [true, false] {
            let client = application(&world, to);
            if connected {
                client.connect(&to.into()).unwrap();
                client.send(b"query").unwrap();
            } else {
                client.send_to(b"query", &to.into()).unwrap();
            }
            let (_, source) = receive(&server).unwrap();
            server.send_to(b"answer", &source.into()).unwrap();
            assert_eq!(receive(&client).unwrap().1, to, "{connected}");
        }
    }
    // The proxy's own, by its mark.
    let server = bound(&world.outside, (OUTSIDE_V4, 53).into());
    let to = SocketAddr::from((OUTSIDE_V4, 53));
    for connected in [true, false] {
        let client = application(&world, to);
        client.set_mark(0x539).unwrap();
        if connected {
            client.connect(&to.into()).unwrap();
            client.send(b"query").unwrap();
        } else {
            client.send_to(b"query", &to.into()).unwrap();
        }
        receive(&server).unwrap();
    }
    assert_eq!(capture.counters().unwrap().of(Counter::Query), 0);
}

#[test]
fn without_an_agent_queries_are_refused() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let _real = bound(&world.outside, (OUTSIDE_V4, 53).into());
    for ip in [IpAddr::V4(OUTSIDE_V4), OUTSIDE_V6.into()] {
        let to = SocketAddr::new(ip, 53);
        let client = application(&world, to);
        client.connect(&to.into()).unwrap();
        client.send(b"query").unwrap();
        assert!(refused(receive(&client)), "{to}");
        assert!(refused(world.dial(to)), "{to}");
    }
}

#[test]
fn strangers_are_not_answered() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let dns = world.pod.listen(DNS);
    for ip in [IpAddr::V4(POD_V4), POD_V6.into()] {
        let to = SocketAddr::new(ip, DNS);
        let _server = bound(&world.pod, to);
        let domain = Domain::for_address(to);
        // From outside.
        let client = world.outside.within(|| Socket::new(domain, Type::DGRAM, None).unwrap());
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.connect(&to.into()).unwrap();
        client.send(b"query").unwrap();
        assert!(refused(receive(&client)), "{to}");
        assert!(world.dial_in(to).is_err());
        // Within the pod: nobody who has asked for nothing wants to go anywhere.
        let own = bound(&world.pod, SocketAddr::new(ip, 0));
        let address = own.local_addr().unwrap().as_socket().unwrap();
        assert!(refused(asked(&world, address)), "{address}");
        let nobody = SocketAddr::new(ip, 1);
        assert!(refused(asked(&world, nobody)));
        let dialled: std::io::Result<TcpStream> = world.dial(to);
        assert!(dialled.is_err(), "not captured");
    }
    drop(dns);
}
