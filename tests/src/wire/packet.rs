//! What a captured frame is: a TCP segment, or something else with a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// Anything else, by the name of its protocol.
    Other(&'static str),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) payload: &'a [u8],
}

const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;

/// Reads an Ethernet frame.
pub(super) fn parse(frame: &[u8]) -> Packet<'_> {
    let packet = match (word(frame, 12), frame.get(14..)) {
        (Some(0x0800), Some(packet)) => v4(packet),
        (Some(0x86dd), Some(packet)) => v6(packet),
        (Some(0x0806), Some(_)) => return Packet::Other("ARP"),
        _ => return Packet::Other("unknown"),
    };
    packet.unwrap_or(Packet::Other("malformed"))
}

fn v4(packet: &[u8]) -> Option<Packet<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let length = usize::from(word(packet, 2)?);
    let packet = packet.get(..length).unwrap_or(packet);
    let address = |at: usize| Some(IpAddr::from(Ipv4Addr::from(packet.get(at..at + 4)?.first_chunk::<4>().copied()?)));
    // A later fragment has no TCP header: nothing here sends fragments of TCP, so one is worth a name of its own.
    let fragment = word(packet, 6)? & 0x1fff != 0;
    match *packet.get(9)? {
        TCP if fragment => Some(Packet::Other("fragment")),
        TCP => tcp(address(12)?, address(16)?, packet.get(header..)?),
        protocol => Some(Packet::Other(name(protocol))),
    }
}

fn v6(packet: &[u8]) -> Option<Packet<'_>> {
    let length = usize::from(word(packet, 4)?) + 40;
    let packet = packet.get(..length).unwrap_or(packet);
    let address =
        |at: usize| Some(IpAddr::from(Ipv6Addr::from(packet.get(at..at + 16)?.first_chunk::<16>().copied()?)));
    // Hop-by-hop options come first where there are any, as in what a host says of its multicast groups.
    let (protocol, start) = match *packet.get(6)? {
        HOP_BY_HOP => (*packet.get(40)?, 40 + 8 * (usize::from(*packet.get(41)?) + 1)),
        protocol => (protocol, 40),
    };
    match protocol {
        TCP => tcp(address(8)?, address(24)?, packet.get(start..)?),
        protocol => Some(Packet::Other(name(protocol))),
    }
}

fn tcp(from: IpAddr, to: IpAddr, segment: &[u8]) -> Option<Packet<'_>> {
    let header = usize::from(segment.get(12)? >> 4) * 4;
    let flags = *segment.get(13)?;
    Some(Packet::Tcp(Segment {
        from: SocketAddr::new(from, word(segment, 0)?),
        to: SocketAddr::new(to, word(segment, 2)?),
        sequence: u32::from_be_bytes(segment.get(4..8)?.first_chunk::<4>().copied()?),
        syn: flags & 0x02 != 0,
        ack: flags & 0x10 != 0,
        payload: segment.get(header..)?,
    }))
}

fn name(protocol: u8) -> &'static str {
    match protocol {
        1 | 58 => "ICMP",
        17 => "UDP",
        _ => "other IP",
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.first_chunk::<2>().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_header(sequence: u32, flags: u8) -> Vec<u8> {
        let mut header = vec![0x1f, 0x90, 0x3a, 0xa0];
        header.extend(sequence.to_be_bytes());
        header.extend([0, 0, 0, 0, 5 << 4, flags, 0, 0, 0, 0, 0, 0]);
        header
    }

    #[test]
    fn reads_tcp_over_both_families_without_padding() {
        let mut v4 = vec![0; 12];
        v4.extend([0x08, 0x00, 0x45, 0, 0, 43, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        v4.extend(tcp_header(7, 0x12));
        v4.extend(b"abcPADDING");
        let expected = Segment {
            from: "10.0.0.1:8080".parse().unwrap(),
            to: "10.0.0.2:15008".parse().unwrap(),
            sequence: 7,
            syn: true,
            ack: true,
            payload: b"abc",
        };
        assert_eq!(parse(&v4), Packet::Tcp(expected.clone()));

        let mut v6 = vec![0; 12];
        v6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 23, 6, 64]);
        v6.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
        v6.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets());
        v6.extend(tcp_header(7, 0x12));
        v6.extend(b"abc");
        let (from, to) = ("[fd00::1]:8080".parse().unwrap(), "[fd00::2]:15008".parse().unwrap());
        assert_eq!(parse(&v6), Packet::Tcp(Segment { from, to, ..expected }));
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 43, 0, 0, 0, 0, 64, 6]);
        assert_eq!(parse(&frame), Packet::Other("malformed"));
        assert_eq!(parse(&[]), Packet::Other("unknown"));
    }
}
