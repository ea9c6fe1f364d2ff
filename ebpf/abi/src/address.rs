//! Addresses of both families in one form: 128 bits in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A 128-bit address as the kernel's contexts hold it: four words, each in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u32; 4]);

/// The third word of every v4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// `::`, the value of an address that a pod does not have.
    pub const UNSPECIFIED: Self = Self([0; 4]);
    /// `::ffff:127.0.0.1`.
    pub const LOOPBACK_V4: Self = Self::mapped(0x7f00_0001_u32.to_be());
    /// `::1`.
    pub const LOOPBACK_V6: Self = Self([0, 0, 0, 1_u32.to_be()]);

    /// The v4-mapped form of an IPv4 address, given as a word in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn mapped(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// True for a v4-mapped address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let Self([a, b, c, _]) = *self;
        a == 0 && b == 0 && c == MAPPED
    }

    /// The last word, in network byte order: the whole address if it is v4-mapped.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(&self) -> u32 {
        let Self([_, _, _, word]) = *self;
        word
    }

    /// True for `::` and `0.0.0.0`, which a connect takes for the loopback address.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        let Self([a, b, c, d]) = *self;
        a == 0 && b == 0 && (c == 0 || c == MAPPED) && d == 0
    }

    /// True for `::1` and 127.0.0.0/8.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        let Self([a, b, c, d]) = *self;
        a == 0 && b == 0 && ((c == 0 && u32::from_be(d) == 1) || (c == MAPPED && u32::from_be(d) >> 24 == 127))
    }

    /// The 16 octets.
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        let Self([a, b, c, d]) = *self;
        let (hi, lo) = (u32::from_be(a) as u128, u32::from_be(b) as u128);
        (hi << 96 | lo << 64 | (u32::from_be(c) as u128) << 32 | u32::from_be(d) as u128).to_be_bytes()
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let bits = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let word = |shift: u32| ((bits >> shift) as u32).to_be();
        Self([word(96), word(64), word(32), word(0)])
    }
}

impl From<Address> for IpAddr {
    /// A v4-mapped address becomes an IPv4 address again.
    fn from(address: Address) -> Self {
        Self::V6(Ipv6Addr::from(address.octets())).to_canonical()
    }
}

/// An address and a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address, v4 mapped.
    pub address: Address,
    /// The port in host byte order, at most 65535.
    pub port: u32,
}

impl Endpoint {
    /// No endpoint: what fresh storage holds.
    pub const NONE: Self = Self { address: Address::UNSPECIFIED, port: 0 };
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip().into(), port: u32::from(address.port()) }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        // The kernel programs only ever store ports, which are 16 bits wide.
        Self::new(endpoint.address.into(), endpoint.port as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn addresses_of_both_families_come_back_as_they_were() {
        for text in ["10.1.2.3", "0.0.0.0", "255.255.255.255", "2001:db8:1:2:3:4:5:6", "::1", "::", "fe80::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(ip)), ip);
            let socket = SocketAddr::new(ip, 65535);
            assert_eq!(SocketAddr::from(Endpoint::from(socket)), socket);
        }
        assert_eq!(IpAddr::from(address("::ffff:10.1.2.3")), "10.1.2.3".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn octets_are_in_network_order() {
        assert_eq!(address("10.1.2.3").octets(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(address("10.1.2.3").v4_word().to_ne_bytes(), [10, 1, 2, 3]);
        assert_eq!(address("2001:db8::9").0[0].to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8]);
    }

    #[test]
    fn what_never_leaves_the_pod_is_told_apart() {
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(address(local).is_loopback(), "{local}");
        }
        for other in ["126.255.255.255", "128.0.0.1", "::2", "7f00::1", "10.0.0.127", "0.0.0.0", "::", "1::1"] {
            assert!(!address(other).is_loopback(), "{other}");
        }
        for unspecified in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert!(address(unspecified).is_unspecified(), "{unspecified}");
        }
        for other in ["0.0.0.1", "::1", "1::"] {
            assert!(!address(other).is_unspecified(), "{other}");
        }
        assert!(address("10.0.0.1").is_v4() && !address("::1").is_v4() && !address("::").is_v4());
        assert_eq!(address("127.0.0.1"), Address::LOOPBACK_V4);
        assert_eq!(address("::1"), Address::LOOPBACK_V6);
    }
}
