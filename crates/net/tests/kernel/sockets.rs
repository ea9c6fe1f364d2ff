//! Listening and connecting inside a namespace.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ambit_net::NetNs;
use ambit_net::socket::{ConnectError, ConnectOptions, Keepalive, ListenOptions, OUR_MARK, connect, listen, turn_away};
use ambit_net::stream::{ByteSink, ByteSource};
use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;
use std::os::fd::AsFd;

use crate::place::{OWN, at, bare, block_on, pod, run};

/// Accepts the connection that a non-blocking listener is about to have.
fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(5000_u16)).unwrap(), 1, "nobody connects");
    listener.accept().unwrap()
}

fn plain() -> ConnectOptions {
    ConnectOptions::outward()
}

#[test]
fn both_families_listen_and_connect_inside_a_namespace() {
    let pod = pod();
    for address in ["127.0.0.1", "::1", OWN[0], OWN[1]] {
        let listener = listen(&pod, at(address, 15001), &ListenOptions::default()).unwrap();
        let stream = block_on(connect(&pod, at(address, 15001), &plain())).unwrap();
        let (accepted, peer) = accept(&listener);
        assert_eq!(peer, stream.local_addr().unwrap());
        assert_eq!(accepted.local_addr().unwrap(), at(address, 15001));
        // The listener is the pod's, not this thread's.
        assert_eq!(TcpStream::connect(at("127.0.0.1", 15001)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn the_wildcards_of_both_families_share_a_port() {
    let pod = pod();
    let v4 = listen(&pod, at("0.0.0.0", 15008), &ListenOptions::default()).unwrap();
    let v6 = listen(&pod, at("::", 15008), &ListenOptions::default()).unwrap();
    for (listener, own) in [(&v4, OWN[0]), (&v6, OWN[1])] {
        block_on(connect(&pod, at(own, 15008), &plain())).unwrap();
        assert_eq!(accept(listener).1.ip(), own.parse::<IpAddr>().unwrap());
    }
}

#[test]
fn a_mapped_address_is_its_ipv4_address() {
    let pod = pod();
    let listener = listen(&pod, at(OWN[0], 80), &ListenOptions::default()).unwrap();
    let stream = block_on(connect(&pod, at("::ffff:10.99.0.2", 80), &plain())).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), at(OWN[0], 80));
    accept(&listener);
}

#[test]
fn a_listener_that_turns_away_keeps_what_has_arrived_and_lets_nobody_in() {
    let pod = pod();
    for address in OWN {
        let target = at(address, 15001);
        let leaving = listen(&pod, target, &ListenOptions::default()).unwrap();
        let mut early = block_on(async { connect(&pod, target, &plain()).await.unwrap().into_std() }).unwrap();
        early.set_nonblocking(false).unwrap();
        early.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        turn_away(&leaving).unwrap();
        let soon = ConnectOptions { timeout: Duration::from_millis(100), ..plain() };
        assert!(matches!(block_on(connect(&pod, target, &soon)), Err(ConnectError::TimedOut(_))));
        let (mut accepted, _) = accept(&leaving);
        accepted.write_all(b"hello").unwrap();
        let mut greeting = [0; 5];
        early.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"hello");
        assert_eq!(leaving.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        // Who asks in the meantime is served by the next listener when asking again.
        let patient = ConnectOptions { timeout: Duration::from_secs(5), ..plain() };
        let next = block_on(async {
            let asking = connect(&pod, target, &patient);
            let handing_over = async {
                let next = listen(&pod, target, &ListenOptions::default()).unwrap();
                drop(leaving);
                next
            };
            let (asked, next) = tokio::join!(asking, handing_over);
            asked.unwrap();
            next
        });
        accept(&next);
    }
}

#[test]
fn workers_share_a_port() {
    let pod = pod();
    let workers = [(); 4].map(|()| listen(&pod, at("127.0.0.1", 15001), &ListenOptions::default()).unwrap());
    let streams: Vec<_> =
        (0..200).map(|_| block_on(connect(&pod, at("127.0.0.1", 15001), &plain())).unwrap()).collect();
    let accepted = workers.map(|worker| std::iter::from_fn(|| worker.accept().ok()).count());
    assert_eq!(accepted.iter().sum::<usize>(), streams.len());
    assert!(accepted.iter().all(|count| *count > 10), "{accepted:?}");
}

#[test]
fn listening_where_the_namespace_has_no_address_must_be_asked_for() {
    let pod = pod();
    for elsewhere in [at("10.7.7.7", 80), at("fd07::7", 80)] {
        let refused = listen(&pod, elsewhere, &ListenOptions::default()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrNotAvailable);
        listen(&pod, elsewhere, &ListenOptions { freebind: true, ..ListenOptions::default() }).unwrap();
        listen(&pod, elsewhere, &ListenOptions { transparent: true, ..ListenOptions::default() }).unwrap();
    }
}

/// What `socket` would do about a silent peer, its Nagle setting and its mark.
fn settings(socket: impl AsFd) -> io::Result<(Option<Keepalive>, bool, u32)> {
    let fd = socket.as_fd();
    let socket = SockRef::from(&fd);
    let keepalive = Keepalive {
        time: socket.tcp_keepalive_time()?,
        interval: socket.tcp_keepalive_interval()?,
        probes: socket.tcp_keepalive_retries()?,
        user_timeout: socket.tcp_user_timeout()?.filter(|timeout| !timeout.is_zero()),
    };
    Ok((socket.keepalive()?.then_some(keepalive), socket.tcp_nodelay()?, socket.mark()?))
}

#[test]
fn both_ends_have_the_keepalive_and_mark_asked_for() {
    let pod = pod();
    let (time, interval) = (Duration::from_secs(7), Duration::from_secs(3));
    let other = Keepalive { time, interval, probes: 4, user_timeout: Some(Duration::from_millis(12_345)) };
    let default =
        Keepalive { time: Duration::from_secs(180), interval: Duration::from_secs(180), probes: 9, user_timeout: None };
    assert_eq!(Keepalive::default(), default);
    for (keepalive, mark) in [(Some(default), OUR_MARK), (Some(other), 0x77), (None, 0)] {
        let options = ListenOptions { keepalive: keepalive.clone(), mark, ..ListenOptions::default() };
        let listener = listen(&pod, at("127.0.0.1", 15001), &options).unwrap();
        let options = ConnectOptions { keepalive: keepalive.clone(), mark, ..plain() };
        let stream = block_on(connect(&pod, at("127.0.0.1", 15001), &options)).unwrap();
        let (accepted, _) = accept(&listener);
        assert_eq!(settings(&stream).unwrap(), (keepalive.clone(), true, mark));
        assert_eq!(settings(&accepted).unwrap(), (keepalive, true, mark));
    }
}

#[test]
fn a_closed_port_refuses() {
    let pod = pod();
    for own in OWN {
        let error = block_on(connect(&pod, at(own, 81), &plain())).unwrap_err();
        assert!(matches!(error, ConnectError::Refused(target) if target == at(own, 81)), "{error:?}");
    }
}

#[test]
fn a_silent_target_times_out() {
    let pod = pod();
    // Nobody has that address, which no ARP request is left to find out.
    run(&pod, "ip neighbour add 10.99.0.9 lladdr 02:00:00:00:00:09 dev eth0");
    let options = ConnectOptions { timeout: Duration::from_millis(50), ..plain() };
    let started = Instant::now();
    let error = block_on(connect(&pod, at("10.99.0.9", 80), &options)).unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(target) if target == at("10.99.0.9", 80)), "{error:?}");
    assert!((50..1000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[test]
fn no_route_is_told_from_no_answer() {
    let (bare, pod) = (bare(), pod());
    run(&pod, "ip route add unreachable 10.66.0.0/16");
    run(&pod, "ip route add unreachable fd66::/16");
    let places: [(&NetNs, &str); 3] = [(&bare, "10.1.2.3"), (&pod, "10.66.0.1"), (&pod, "fd66::1")];
    for (namespace, target) in places {
        let error = block_on(connect(namespace, at(target, 80), &plain())).unwrap_err();
        assert!(matches!(error, ConnectError::NoRoute(found) if found == at(target, 80)), "{error:?}");
    }
}

#[test]
fn what_arrived_ahead_of_an_abort_is_read_though_a_write_was_first_to_learn_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = accept(&listener).0;
    ours.set_nonblocking(true).unwrap();
    block_on(async {
        let (mut source, mut sink) = ambit_net::tcp::split(tokio::net::TcpStream::from_std(ours).unwrap());
        peer.write_all(b"first").unwrap();
        assert_eq!(poll_fn(|cx| source.poll_receive(cx)).await.unwrap().unwrap(), "first");
        poll_fn(|cx| sink.poll_send(cx, &mut Bytes::from_static(b"!"))).await.unwrap();
        // From here on the reactor gets no turn: what it knows is that there is nothing to read and room to write.
        peer.write_all(b"last").unwrap();
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let sent = sink.poll_send(&mut Context::from_waker(Waker::noop()), &mut Bytes::from_static(b"?"));
        assert!(matches!(sent, Poll::Ready(Err(error)) if error.kind() == ErrorKind::ConnectionReset));
        let mut receive = || source.poll_receive(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(receive(), Poll::Ready(Ok(Some(chunk))) if chunk == "last"));
        assert!(matches!(receive(), Poll::Ready(Err(error)) if error.kind() == ErrorKind::ConnectionReset));
    });
}
