//! What becomes of the connections that an application opens.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
};

use ambit_ebpf_abi::Counter;
use socket2::{Domain, Type};

use crate::world::{
    FAR_V4, FAR_V6, Listeners, Netns, OUTBOUND, OUTSIDE_V4, OUTSIDE_V6, POD_SECOND, POD_V4, POD_V6, World, accept,
    canonical, eventually, idle, refused,
};

/// Destinations as an application may write them, with the address that its own end shall have.
const DIALLED: [(IpAddr, IpAddr); 3] = [
    (IpAddr::V4(FAR_V4), IpAddr::V4(POD_V4)),
    (IpAddr::V6(FAR_V6), IpAddr::V6(POD_V6)),
    (IpAddr::V6(FAR_V4.to_ipv6_mapped()), IpAddr::V6(POD_V4.to_ipv6_mapped())),
];

#[test]
fn a_connection_is_captured_and_the_application_does_not_notice() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let destinations = capture.original_destinations();
    for (far, own) in DIALLED {
        let to = SocketAddr::new(far, 8080);
        let mut application = world.dial(to).unwrap();
        let (mut proxy, source) = accept(&listeners.outbound);
        assert_eq!(destinations.take(world.pod.cookie, source).unwrap(), Some(canonical(to)), "{to}");
        assert_eq!(destinations.take(world.pod.cookie, source).unwrap(), None, "known once only");
        assert_eq!(application.peer_addr().unwrap(), to);
        assert_eq!(application.local_addr().unwrap().ip(), own);
        assert_eq!(canonical(application.local_addr().unwrap()), source);
        application.write_all(b"ping").unwrap();
        let mut heard = [0; 4];
        proxy.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"ping");
    }
    let counters = capture.counters().unwrap();
    assert_eq!(counters.of(Counter::Captured), 3, "{counters}");
    assert_eq!(counters.of(Counter::Stray), 0, "{counters}");
}

#[test]
fn a_pod_without_an_address_of_the_family_is_captured_over_loopback() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&ambit_ebpf_loader::Pod { v4: None, v6: None, ..listeners.pod(&world.pod) }).unwrap();
    for (far, _) in DIALLED {
        let to = SocketAddr::new(far, 8080);
        let application = world.dial(to).unwrap();
        let (_proxy, source) = accept(&listeners.outbound);
        assert!(source.ip().is_loopback(), "{source}");
        assert_eq!(capture.original_destinations().take(world.pod.cookie, source).unwrap(), Some(canonical(to)));
        assert_eq!(application.peer_addr().unwrap(), to);
    }
}

#[test]
fn what_stays_in_the_pod_is_not_captured() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let server = world.pod.listen(8080);
    let local: [IpAddr; 8] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 9, 9, 9).into(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        POD_V4.into(),
        POD_V6.into(),
        POD_SECOND.into(),
    ];
    for ip in local {
        let _application = world.dial((ip, 8080)).unwrap_or_else(|error| panic!("{ip}: {error}"));
        accept(&server);
    }
    assert!(idle(&listeners.outbound) && idle(&listeners.inbound));
    let counters = capture.counters().unwrap();
    assert_eq!((counters.of(Counter::Local), counters.of(Counter::Captured)), (8, 0), "{counters}");
}

#[test]
fn the_proxys_own_sockets_are_not_captured() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let server = world.outside.listen(8080);
    for (mark, to) in [(0x539, IpAddr::V4(OUTSIDE_V4)), (0x111, IpAddr::V6(OUTSIDE_V6))] {
        let to = SocketAddr::new(to, 8080);
        let socket = world.application(Domain::for_address(to));
        socket.set_mark(mark).unwrap();
        socket.connect(&to.into()).unwrap();
        accept(&server);
    }
    assert!(idle(&listeners.outbound));
    assert_eq!(capture.counters().unwrap().of(Counter::Proxy), 2);
}

#[test]
fn other_pods_and_other_protocols_are_left_alone() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let to = SocketAddr::from((OUTSIDE_V4, 8080));
    let datagram = world.application_in(&world.pod, Domain::IPV4, Type::DGRAM, 0);
    datagram.connect(&to.into()).unwrap();
    assert_eq!(datagram.peer_addr().unwrap().as_socket(), Some(to));
    let other = Netns::new();
    let server = other.listen(8080);
    let stranger = world.application_in(&other, Domain::IPV6, Type::STREAM, 0);
    stranger.connect(&SocketAddr::from((Ipv6Addr::LOCALHOST, 8080)).into()).unwrap();
    accept(&server);
    assert!(idle(&listeners.outbound));
    assert_eq!(capture.counters().unwrap().of(Counter::Captured), 0);
}

#[test]
fn multipath_tcp_is_captured_too() {
    const IPPROTO_MPTCP: i32 = 262;
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let to = SocketAddr::from((FAR_V4, 8080));
    let socket = world.application_in(&world.pod, Domain::IPV4, Type::STREAM, IPPROTO_MPTCP);
    socket.connect(&to.into()).unwrap();
    let (_proxy, source) = accept(&listeners.outbound);
    assert_eq!(capture.original_destinations().take(world.pod.cookie, source).unwrap(), Some(to));
}

#[test]
fn a_fast_open_is_captured_with_its_data() {
    use nix::sys::socket::{setsockopt, sockopt::TcpFastOpenConnect};
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    // 0x5: as a client, even without a cookie from the server; so that the SYN carries data.
    world.pod.set("ipv4/tcp_fastopen", "5");
    let to = SocketAddr::from((FAR_V4, 8080));
    let socket = world.application(Domain::IPV4);
    setsockopt(&socket, TcpFastOpenConnect, &true).unwrap();
    socket.connect(&to.into()).unwrap();
    assert!(idle(&listeners.outbound), "the SYN waits for data");
    let mut application = TcpStream::from(socket);
    application.write_all(b"ping").unwrap();
    let (mut proxy, source) = accept(&listeners.outbound);
    assert_eq!(capture.original_destinations().take(world.pod.cookie, source).unwrap(), Some(to));
    let mut heard = [0; 4];
    proxy.read_exact(&mut heard).unwrap();
    assert_eq!((&heard, application.peer_addr().unwrap()), (b"ping", to));
}

#[test]
fn many_connections_at_once_each_have_their_own_destination() {
    const PER_THREAD: u16 = 50;
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let (world, listeners) = (&world, &listeners);
    let dial = |thread: u16| {
        let dialled = |number| {
            let to = SocketAddr::from((FAR_V4, 1000 + thread * PER_THREAD + number));
            let stream = world.dial(to).unwrap();
            (stream.local_addr().unwrap(), to, stream)
        };
        (0..PER_THREAD).map(dialled).collect::<Vec<_>>()
    };
    let take = |destinations: ambit_ebpf_loader::OriginalDestinations| {
        let accepted = || {
            let (_proxy, source) = accept(&listeners.outbound);
            (source, destinations.take(world.pod.cookie, source).unwrap().unwrap())
        };
        (0..PER_THREAD).map(|_| accepted()).collect::<Vec<_>>()
    };
    let (mut dialled, mut taken) = std::thread::scope(|scope| {
        let dialling: Vec<_> = (0..4).map(|thread| scope.spawn(move || dial(thread))).collect();
        let taking: Vec<_> = (0..4)
            .map(|_| {
                let destinations = capture.original_destinations();
                scope.spawn(move || take(destinations))
            })
            .collect();
        let dialled: Vec<_> = dialling.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let taken: Vec<_> = taking.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (dialled, taken)
    });
    dialled.sort_by_key(|(source, _, _)| *source);
    taken.sort_unstable();
    let dialled: Vec<_> = dialled.iter().map(|(source, to, _)| (*source, *to)).collect();
    assert_eq!(taken, dialled);
    assert_eq!(flows(world), 0);
}

#[test]
fn a_socket_that_connects_again_has_its_true_peer() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let server = world.pod.listen(8080);
    let socket = world.application(Domain::IPV4);
    socket.connect(&SocketAddr::from((FAR_V4, 80)).into()).unwrap();
    accept(&listeners.outbound);
    disconnect(&socket);
    let local = SocketAddr::from((POD_V4, 8080));
    socket.connect(&local.into()).unwrap();
    accept(&server);
    assert_eq!(TcpStream::from(socket).peer_addr().unwrap(), local);
}

/// connect(2) with AF_UNSPEC: the socket can connect again.
fn disconnect(socket: &socket2::Socket) {
    use std::os::fd::AsRawFd as _;
    let unspecified = nix::libc::sockaddr { sa_family: nix::libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    let length = size_of_val(&unspecified) as u32;
    #[allow(unsafe_code, reason = "socket2 has no disconnect")]
    // SAFETY: the address has `length` bytes.
    let result = unsafe { nix::libc::connect(socket.as_raw_fd(), &raw const unspecified, length) };
    assert_eq!(result, 0);
}

#[test]
fn without_a_listener_a_connection_is_refused_and_nothing_is_left() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let direct = world.outside.listen(8080);
    drop(listeners);
    for to in [IpAddr::V4(OUTSIDE_V4), IpAddr::V6(OUTSIDE_V6)] {
        assert!(refused(world.dial((to, 8080))), "{to}");
    }
    assert!(idle(&direct), "nothing went out in clear");
    assert_eq!(flows(&world), 0, "a refused connection leaves no destination behind");
}

#[test]
fn an_unaccepted_connection_leaves_no_destination_behind() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let application = world.dial((FAR_V4, 8080)).unwrap();
    assert_eq!(flows(&world), 1);
    let application = socket2::Socket::from(application);
    application.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(application);
    assert_eq!(flows(&world), 0);
}

#[test]
fn what_an_application_said_before_it_left_still_has_its_destination() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    for (far, _) in DIALLED {
        let to = SocketAddr::new(far, 8080);
        let mut application = world.dial(to).unwrap();
        application.write_all(b"goodbye").unwrap();
        let ours = format!(":{:04X} ", application.local_addr().unwrap().port());
        drop(application);
        // The end of what was said has been acknowledged (FIN_WAIT2), and the application's socket is no more.
        assert!(eventually(|| sockets(&world.pod).lines().any(|line| line.contains(&ours) && line.contains(" 05 "))));
        let (mut proxy, source) = accept(&listeners.outbound);
        let wanted = capture.original_destinations().take(world.pod.cookie, source).unwrap();
        assert_eq!(wanted, Some(canonical(to)), "{to}");
        let mut heard = String::new();
        proxy.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "goodbye");
    }
    assert_eq!(flows(&world), 0);
}

#[test]
fn one_connection_too_many_is_refused_and_counted() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    fill_flows(&world);
    let direct = world.outside.listen(8080);
    assert!(refused(world.dial((OUTSIDE_V4, 8080))));
    assert!(idle(&listeners.outbound) && idle(&direct));
    let counters = capture.counters().unwrap();
    assert_eq!((counters.of(Counter::FlowsFull), counters.of(Counter::Stray)), (1, 1), "{counters}");
}

#[test]
fn only_captured_connections_reach_the_outbound_listener() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    assert!(refused(world.dial_in((POD_V4, OUTBOUND))), "from outside");
    assert!(refused(world.dial((POD_V4, OUTBOUND))), "from the pod itself");
    assert!(idle(&listeners.outbound) && idle(&listeners.inbound));
    assert_eq!(capture.counters().unwrap().of(Counter::Stray), 2);
}

#[test]
fn a_socket_bound_to_another_address_of_the_pod_is_captured() {
    let world = World::new();
    let listeners = Listeners::open(&world.pod);
    let mut capture = world.open();
    capture.enrol(&listeners.pod(&world.pod)).unwrap();
    let socket = world.application(Domain::IPV4);
    socket.bind(&SocketAddr::from((POD_SECOND, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from((FAR_V4, 8080)).into()).unwrap();
    let (_proxy, source) = accept(&listeners.outbound);
    assert_eq!(source.ip(), POD_SECOND);
    let wanted = capture.original_destinations().take(world.pod.cookie, source).unwrap();
    assert_eq!(wanted, Some((FAR_V4, 8080).into()));
}

/// The sockets of a namespace, with their states.
fn sockets(netns: &Netns) -> String {
    let table = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap();
    netns.within(|| table("tcp") + &table("tcp6"))
}

fn flows_map(world: &World) -> aya::maps::HashMap<aya::maps::MapData, [u8; 32], [u8; 20]> {
    let path = world.settings.pins.join(format!("v{}/maps/flows", ambit_ebpf_abi::VERSION));
    aya::maps::Map::from_map_data(aya::maps::MapData::from_pin(path).unwrap()).unwrap().try_into().unwrap()
}

fn flows(world: &World) -> usize {
    flows_map(world).keys().count()
}

fn fill_flows(world: &World) {
    let mut map = flows_map(world);
    for number in 0..ambit_ebpf_abi::MAX_FLOWS as u64 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_ne_bytes());
        map.insert(key, [0; 20], 0).unwrap();
    }
}
