//! Connections delivered to an application in its client's name.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use ambit_net::NetNs;
use ambit_net::routes::{allow_spoofed_delivery, undo};
use ambit_net::socket::{ConnectError, ConnectOptions, connect};

use crate::place::{OWN, at, bare, block_on, pod, run};

const CLIENTS: [&str; 2] = ["10.7.7.7", "fd07::7"];

/// Where sysctls are written.
fn proc() -> &'static Path {
    Path::new("/proc")
}

/// The address that an application of `pod` at `own` sees, having answered a connection in the name of `client`.
fn seen_by_application(pod: &NetNs, own: &str, client: &str) -> Result<IpAddr, ConnectError> {
    let application = pod.run(|| TcpListener::bind(at(own, 0))).unwrap().unwrap();
    let target = application.local_addr().unwrap();
    let stream = block_on(connect(pod, target, &ConnectOptions::delivery(client.parse().unwrap())))?;
    let mut stream = stream_of(stream);
    let (mut accepted, peer) = application.accept().unwrap();
    accepted.write_all(b"banner").unwrap();
    let mut banner = [0; 6];
    stream.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"banner");
    assert_eq!(peer, accepted.peer_addr().unwrap());
    assert_eq!(peer, stream.local_addr().unwrap());
    Ok(peer.ip())
}

/// A tokio stream as a blocking one, its runtime gone.
fn stream_of(stream: tokio::net::TcpStream) -> std::net::TcpStream {
    let duplicate: OwnedFd = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned().unwrap();
    let stream = std::net::TcpStream::from(duplicate);
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn the_application_sees_the_client() {
    let pod = pod();
    allow_spoofed_delivery(&pod, proc()).unwrap();
    for (own, client) in OWN.into_iter().zip(CLIENTS) {
        assert_eq!(seen_by_application(&pod, own, client).unwrap(), client.parse::<IpAddr>().unwrap());
        // A client in the pod itself, and in the pod's own subnet.
        assert_eq!(seen_by_application(&pod, own, own).unwrap(), own.parse::<IpAddr>().unwrap());
    }
    assert_eq!(seen_by_application(&pod, OWN[0], "10.99.0.77").unwrap(), "10.99.0.77".parse::<IpAddr>().unwrap());
}

#[test]
fn a_closed_port_refuses_the_client_at_once() {
    let pod = pod();
    allow_spoofed_delivery(&pod, proc()).unwrap();
    for (own, client) in OWN.into_iter().zip(CLIENTS) {
        let options = ConnectOptions::delivery(client.parse().unwrap());
        let error = block_on(connect(&pod, at(own, 81), &options)).unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");
    }
}

#[test]
fn preparing_twice_changes_nothing_and_undoing_restores() {
    let pod = pod();
    let state = || {
        let sysctls = "sysctl net.ipv4.tcp_fwmark_accept net.ipv4.fwmark_reflect net.ipv6.fwmark_reflect";
        let commands =
            ["ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all", sysctls];
        commands.map(|command| run(&pod, command))
    };
    let before = state();
    allow_spoofed_delivery(&pod, proc()).unwrap();
    let prepared = state();
    assert_ne!(prepared, before);
    allow_spoofed_delivery(&pod, proc()).unwrap();
    assert_eq!(state(), prepared);
    undo(&pod, proc()).unwrap();
    assert_eq!(state(), before);
    undo(&pod, proc()).unwrap();
    assert_eq!(state(), before);
}

#[test]
fn loopback_is_brought_up() {
    let bare = bare();
    allow_spoofed_delivery(&bare, proc()).unwrap();
    assert!(run(&bare, "ip link show lo").contains(",UP"));
}

#[test]
fn ipv4_is_prepared_where_there_is_no_ipv6() {
    let pod = pod();
    run(&pod, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=1");
    allow_spoofed_delivery(&pod, proc()).unwrap();
    assert_eq!(seen_by_application(&pod, OWN[0], CLIENTS[0]).unwrap(), CLIENTS[0].parse::<IpAddr>().unwrap());
    undo(&pod, proc()).unwrap();
}

#[test]
fn a_table_that_another_claims_is_reported() {
    let pod = pod();
    run(&pod, "ip route add default via 10.99.0.1 table 100");
    let error = allow_spoofed_delivery(&pod, proc()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("table 100"), "{error}");
}

#[test]
fn a_client_of_the_other_family_cannot_be_named() {
    let pod = pod();
    for (own, client) in [(OWN[0], CLIENTS[1]), (OWN[1], CLIENTS[0])] {
        let options = ConnectOptions::delivery(client.parse().unwrap());
        let error = block_on(connect(&pod, at(own, 80), &options)).unwrap_err();
        assert!(matches!(error, ConnectError::Source { .. }), "{error:?}");
    }
}
