//! The header of the PROXY protocol, version 2 (haproxy.org, "The PROXY protocol"): who connects to whom, told ahead of the
//! first byte. Knows nothing of who asks for it.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use ppp::v2::{Builder, Command, IPv4, IPv6, Protocol, Version};

/// The header of a TCP connection from `source` to `destination`, with these further values by their types, those that are
/// empty left out. Where only one of the two addresses is of IPv4 it is written as one of IPv6 (RFC 4291 section 2.5.5.2).
///
/// # Errors
/// They do not fit a header (64 KiB).
pub fn header(source: SocketAddr, destination: SocketAddr, values: &[(u8, &str)]) -> io::Result<Bytes> {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (version, protocol) = (Version::Two | Command::Proxy, Protocol::Stream);
    let mut header = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = IPv4::new(from, to, source.port(), destination.port());
            Builder::with_addresses(version, protocol, addresses)
        }
        (from, to) => {
            let addresses = IPv6::new(mapped(from), mapped(to), source.port(), destination.port());
            Builder::with_addresses(version, protocol, addresses)
        }
    };
    for (kind, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
        header = header.write_tlv(*kind, value.as_bytes())?;
    }
    Ok(header.build()?.into())
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(source: &str, destination: &str, values: &[(u8, &str)]) -> String {
        let header = header(source.parse().unwrap(), destination.parse().unwrap(), values).unwrap();
        header.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const SIGNATURE: &str = "0d0a0d0a000d0a515549540a";

    #[test]
    fn addresses_of_one_family_stand_as_they_are_and_values_behind_them() {
        let four = hex("10.0.0.1:40000", "10.96.0.1:80", &[(0xd0, "ab"), (0xd1, "")]);
        assert_eq!(four, format!("{SIGNATURE}21110011{}", "0a0000010a6000019c400050d000026162"));
        let six = hex("[fd00::1]:40000", "[fd00::2]:80", &[]);
        let addresses = "fd000000000000000000000000000001fd000000000000000000000000000002";
        assert_eq!(six, format!("{SIGNATURE}21210024{addresses}9c400050"));
    }

    #[test]
    fn addresses_of_two_families_are_both_written_as_the_longer() {
        let both = hex("10.0.0.1:1", "[fd00::2]:2", &[]);
        let addresses = "00000000000000000000ffff0a000001fd000000000000000000000000000002";
        assert_eq!(both, format!("{SIGNATURE}21210024{addresses}00010002"));
        // As a socket of both families writes one of IPv4.
        assert_eq!(hex("[::ffff:10.0.0.1]:1", "10.0.0.2:2", &[]), hex("10.0.0.1:1", "10.0.0.2:2", &[]));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let long = "x".repeat(70_000);
        let addresses = ["10.0.0.1:1", "10.0.0.2:2"].map(|address| address.parse().unwrap());
        assert!(header(addresses[0], addresses[1], &[(0xd0, &long)]).is_err());
    }
}
