//! Connections that a pod had open before it was enrolled: left alone, and reported until they end.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ambit_net::netns::NetNs;

/// Both ends of a TCP connection, the pod's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    /// The pod's end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
}

/// The connections open now in `netns` that leave the pod.
///
/// # Errors
/// When the namespace cannot be entered or its socket table not be read.
pub(crate) fn open_connections(netns: &NetNs) -> io::Result<BTreeSet<Pair>> {
    let tables = netns.run(|| {
        ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].map(|table| match std::fs::read_to_string(table) {
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        })
    })?;
    let mut pairs = BTreeSet::new();
    for table in tables {
        pairs.extend(table?.lines().filter_map(established));
    }
    let within: BTreeSet<IpAddr> = netns.addresses()?.into_iter().collect();
    pairs.retain(|pair| !pair.remote.ip().is_loopback() && !within.contains(&pair.remote.ip()));
    Ok(pairs)
}

/// The pair on a line of `/proc/net/tcp` if its state is ESTABLISHED (01) or CLOSE_WAIT (08).
fn established(line: &str) -> Option<Pair> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if !matches!(state, "01" | "08") {
        return None;
    }
    Some(Pair { local: socket_address(local)?, remote: socket_address(remote)? })
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
        let pair = established(v4).unwrap();
        assert_eq!(pair.local, "10.244.1.7:41394".parse().unwrap());
        assert_eq!(pair.remote, "10.244.2.7:9080".parse().unwrap());
        let v6 = "   1: 000000FD00000000000000000700000:A1B2 x 01";
        assert_eq!(established(v6), None);
        let v6 = "   1: 000000FD000000000000000007000000:0050 0000000000000000FFFF00000702F40A:2378 08 rest";
        let pair = established(v6).unwrap();
        assert_eq!(pair.local, "[fd00::7]:80".parse().unwrap());
        assert_eq!(pair.remote, "10.244.2.7:9080".parse().unwrap());
        assert_eq!(established("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(established(&v4.replace(" 01 ", " 0A ")), None);
    }
}
