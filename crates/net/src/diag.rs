//! Whether the kernel has a TCP socket with certain ends (sock_diag(7)): what a process of a namespace has opened is told
//! from what the namespace only forwards. One question, one answer; no table is read.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use nix::errno::Errno;
use nix::libc;

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
const HEADER: usize = 16;
/// `struct inet_diag_req_v2` (linux/inet_diag.h).
const REQUEST: usize = 56;
/// Where a state is in an answer, `struct inet_diag_msg`: behind the header and the family.
const STATE: usize = HEADER + 1;
/// `TCP_LISTEN` (net/tcp_states.h).
const LISTENING: u8 = 10;

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
        Some(kind) if i32::from(kind) == libc::NLMSG_ERROR => {
            let code =
                answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
            if code == -libc::ENOENT { Ok(false) } else { Err(Errno::from_raw(-code).into()) }
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The request for the one socket with these ends.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let (local, remote) = (canonical(local), canonical(remote));
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    let length = u32::try_from(HEADER + REQUEST).unwrap_or_default();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(u16::try_from(libc::NLM_F_REQUEST).unwrap_or_default().to_ne_bytes());
    // Sequence and port: of one question to the kernel there is one answer.
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(family).unwrap_or_default(), libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for end in [local, remote] {
        match end.ip() {
            IpAddr::V4(v4) => {
                bytes.extend(v4.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    // Any interface; the cookie of none (INET_DIAG_NOCOOKIE).
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
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
