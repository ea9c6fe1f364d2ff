//! What TCP sockets a network namespace has (sock_diag(7)): whether one with certain ends, by which what a process has opened is
//! told from what the namespace only forwards, or all those that are open. The kernel sorts them out by namespace and state:
//! reading `/proc/net/tcp` goes through the whole machine's table once for every page of what is found.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use nix::errno::Errno;
use nix::libc;

use crate::netns::NetNs;

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
const HEADER: usize = 16;
/// `struct inet_diag_req_v2` (linux/inet_diag.h).
const REQUEST: usize = 56;
/// Where a state is in an answer, `struct inet_diag_msg`: behind the header and the family.
const STATE: usize = HEADER + 1;
/// Of the states (net/tcp_states.h): `TCP_ESTABLISHED`, `TCP_CLOSE_WAIT`, `TCP_LISTEN`.
const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
const LISTENING: u8 = 10;
/// As a set: all but `TCP_TIME_WAIT` (6), `TCP_CLOSE` (7) and `TCP_LISTEN`.
const ALIVE: u32 = !(1 << 6 | 1 << 7 | 1 << LISTENING);

/// A TCP connection of a namespace, its own end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The namespace's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Both directions, or the way to the other end, are open (ESTABLISHED, CLOSE_WAIT); else it is being opened or closed.
    pub is_open: bool,
}

/// The TCP connections in `namespace` that are not over: listeners and what is remembered for a while (TIME_WAIT) aside.
///
/// # Errors
/// The namespace cannot be entered, or the kernel not be asked (CONFIG_INET_DIAG).
pub fn connections(namespace: &NetNs) -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut socket = namespace.run(|| Socket::new(NETLINK_SOCK_DIAG))??;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        socket.send(&request(family, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, ALIVE, &[0; 48]), 0)?;
        while take(&socket.recv_from_full()?.0, &mut found)? {}
    }
    Ok(found)
}

/// Takes the connections out of one datagram of a dump; false after the last.
fn take(mut datagram: &[u8], found: &mut Vec<Connection>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (word(datagram, 0), number(datagram, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let message = datagram.get(..length).filter(|_| length >= HEADER).ok_or(io::ErrorKind::InvalidData)?;
        match (kind, i32::from(kind)) {
            (BY_FAMILY, _) => found.extend(connection(message)),
            (_, libc::NLMSG_DONE) => return Ok(false),
            (_, libc::NLMSG_ERROR) => return Err(Errno::from_raw(-error(message)).into()),
            _ => {}
        }
        // Messages begin at multiples of four.
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// The connection of a `struct inet_diag_msg`: family and state, two bytes that do not matter, ports and addresses.
fn connection(message: &[u8]) -> Option<Connection> {
    let (family, state) = (*message.get(HEADER)?, *message.get(STATE)?);
    let port = |at: usize| Some(u16::from_be_bytes(message.get(HEADER + at..HEADER + at + 2)?.try_into().ok()?));
    let ip = |at: usize| {
        let bytes: [u8; 16] = message.get(HEADER + at..HEADER + at + 16)?.try_into().ok()?;
        let [a, b, c, d, ..] = bytes;
        Some(if i32::from(family) == libc::AF_INET { IpAddr::from([a, b, c, d]) } else { IpAddr::from(bytes) })
    };
    let end = |port_at: usize, ip_at: usize| Some(canonical(SocketAddr::new(ip(ip_at)?, port(port_at)?)));
    let is_open = matches!(state, ESTABLISHED | CLOSE_WAIT);
    Some(Connection { local: end(4, 8)?, remote: end(6, 24)?, is_open })
}

/// True if the calling thread's network namespace has a TCP socket of its own from `local` to `remote`, listeners aside. One
/// that has ended counts for as long as the kernel waits for its last packets.
///
/// # Errors
/// The kernel cannot be asked (CONFIG_INET_DIAG).
pub fn has_connection(local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    socket.send(&question(local, remote), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match number(&answer, 4) {
        Some(BY_FAMILY) => Ok(answer.get(STATE).is_some_and(|state| *state != LISTENING)),
        Some(kind) if i32::from(kind) == libc::NLMSG_ERROR => match error(&answer) {
            code if code == -libc::ENOENT => Ok(false),
            code => Err(Errno::from_raw(-code).into()),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// What the kernel says in an `NLMSG_ERROR`: a negative error number.
fn error(message: &[u8]) -> i32 {
    message.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes)
}

/// The request for the one socket with these ends.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let (local, remote) = (canonical(local), canonical(remote));
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut id = Vec::with_capacity(48);
    id.extend(local.port().to_be_bytes());
    id.extend(remote.port().to_be_bytes());
    for end in [local, remote] {
        match end.ip() {
            IpAddr::V4(v4) => {
                id.extend(v4.octets());
                id.extend([0; 12]);
            }
            IpAddr::V6(v6) => id.extend(v6.octets()),
        }
    }
    // Any interface; the cookie of none (INET_DIAG_NOCOOKIE).
    id.extend([0; 4]);
    id.extend([0xff; 8]);
    // Of one question to the kernel there is one answer.
    request(family, libc::NLM_F_REQUEST, u32::MAX, &id)
}

/// A `struct inet_diag_req_v2` for TCP sockets of `family` in any of `states`, with the `struct inet_diag_sockid` `id`.
fn request(family: i32, flags: i32, states: u32, id: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    let length = u32::try_from(HEADER + REQUEST).unwrap_or_default();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    // Sequence and port.
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(family).unwrap_or_default(), libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(id);
    bytes
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_request_is_as_long_as_the_kernel_has_it() {
        for ends in
            [("10.0.0.1:1", "10.0.0.2:2"), ("[fd00::1]:1", "[fd00::2]:2"), ("[::ffff:10.0.0.1]:1", "10.0.0.2:2")]
        {
            assert_eq!(question(ends.0.parse().unwrap(), ends.1.parse().unwrap()).len(), HEADER + REQUEST, "{ends:?}");
        }
    }

    #[test]
    fn connections_are_listed_with_how_far_they_are_and_listeners_are_none() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let at = listener.local_addr().unwrap();
            let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(at).unwrap()).collect();
            let (closed, _) = listener.accept().unwrap();
            drop(closed);
            let found = connections(&NetNs::current().unwrap()).unwrap();
            let ours: Vec<_> = found.iter().filter(|one| one.local == at || one.remote == at).collect();
            assert!(ours.iter().all(|one| one.local != one.remote && one.remote.port() != 0), "{address}");
            for client in &clients {
                let own = client.local_addr().unwrap();
                assert!(ours.iter().any(|one| one.local == own && one.remote == at && one.is_open), "{address} {own}");
            }
            // The one that was closed here waits for the other side.
            let closing = ours.iter().filter(|one| one.local == at && !one.is_open).count();
            assert_eq!(closing, 1, "{address}");
        }
    }

    #[test]
    fn a_connection_is_there_by_both_its_ends_and_a_listener_is_none() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let at = listener.local_addr().unwrap();
            let client = TcpStream::connect(at).unwrap();
            let from = client.local_addr().unwrap();
            assert!(has_connection(from, at).unwrap(), "{address}");
            assert!(has_connection(at, from).unwrap(), "{address}: the other end is here as well");
            let other = SocketAddr::new(at.ip(), at.port() ^ 1);
            assert!(!has_connection(from, other).unwrap(), "{address}: to another port");
            // Whoever listens there has no connection to a stranger.
            assert!(!has_connection(at, SocketAddr::new(at.ip(), 9)).unwrap(), "{address}: a listener");
        }
    }
}
