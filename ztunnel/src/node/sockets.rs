//! The TCP sockets of a network namespace, as the kernel lists them. Knows nothing of whose they are.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ambit_net::netns::NetNs;

/// Both ends of a TCP connection, the namespace's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    /// The namespace's end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Both directions, or the way to the other end, are open.
    Open,
    /// It waits for connections.
    Listening,
    /// It is being opened or closed.
    Passing,
    /// It is over, and remembered for a while.
    Over,
}

/// The TCP sockets in `netns` now.
///
/// # Errors
/// When the namespace cannot be entered or its socket table not be read.
pub(crate) fn list(netns: &NetNs) -> io::Result<Vec<(Pair, State)>> {
    let tables = netns.run(|| {
        ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].map(|table| match std::fs::read_to_string(table) {
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        })
    })?;
    let mut sockets = Vec::new();
    for table in tables {
        sockets.extend(table?.lines().filter_map(socket));
    }
    Ok(sockets)
}

/// The socket on a line of `/proc/net/tcp`. Of the states (`include/net/tcp_states.h`), 01 is ESTABLISHED, 06 TIME_WAIT,
/// 07 CLOSE, 08 CLOSE_WAIT and 0A LISTEN.
fn socket(line: &str) -> Option<(Pair, State)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let pair = Pair { local: socket_address(local)?, remote: socket_address(remote)? };
    let state = match state {
        "01" | "08" => State::Open,
        "0A" => State::Listening,
        "06" | "07" => State::Over,
        _ => State::Passing,
    };
    Some((pair, state))
}

/// `0100007F:1F90`: the address as 32-bit words in host order, in hexadecimal (proc(5)).
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |from: usize| u32::from_str_radix(address.get(from..from + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (place, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(place * 8)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_socket_table_are_read() {
        let v4 = "   0: 0701F40A:A1B2 0702F40A:2378 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1";
        let (pair, state) = socket(v4).unwrap();
        assert_eq!(pair.local, "10.244.1.7:41394".parse().unwrap());
        assert_eq!(pair.remote, "10.244.2.7:9080".parse().unwrap());
        assert_eq!(state, State::Open);
        let v6 = "   1: 000000FD00000000000000000700000:A1B2 x 01";
        assert_eq!(socket(v6), None);
        let v6 = "   1: 000000FD000000000000000007000000:0050 0000000000000000FFFF00000702F40A:2378 08 rest";
        let (pair, state) = socket(v6).unwrap();
        assert_eq!(pair.local, "[fd00::7]:80".parse().unwrap());
        assert_eq!(pair.remote, "10.244.2.7:9080".parse().unwrap());
        assert_eq!(state, State::Open);
        assert_eq!(socket("  sl  local_address rem_address   st tx_queue"), None);
        let state = |code: &str| socket(&v4.replace(" 01 ", code)).map(|(_, state)| state);
        assert_eq!(state(" 0A "), Some(State::Listening));
        assert_eq!(state(" 04 "), Some(State::Passing));
        assert_eq!(state(" 06 "), Some(State::Over));
    }
}
