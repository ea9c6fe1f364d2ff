//! A range of addresses, as CIDR writes it (RFC 4632, RFC 4291 section 2.3). Knows nothing of who claims it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The addresses that begin as `network` does, for `length` bits. Ranges sort by length, then by network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    length: u8,
    network: IpAddr,
}

impl Cidr {
    /// The range of `length` bits that `address` is in; none if an address of its family has fewer bits. A v4-mapped v6
    /// address is its v4 address, if the range keeps to those.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (address, length) = match (address.to_canonical(), length.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(within)) if address.is_ipv6() => (v4, within),
            _ => (address, length),
        };
        let mask = u128::MAX.checked_shl(128_u32.checked_sub(length.into())?).unwrap_or(0);
        (length <= width(address)).then(|| Self { length, network: aligned_back(aligned(address) & mask, address) })
    }

    /// The range that is `address` alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { length: width(address), network: address }
    }

    /// Its first address.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// How many leading bits its addresses share.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The one address in it, if there is only one.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        (self.length == width(self.network)).then_some(self.network)
    }

    /// True if `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && Self::new(address, self.length).as_ref() == Some(self)
    }

    /// The range of `length` bits that `address` is in, or `address` alone where it has fewer.
    pub(crate) fn around(address: IpAddr, length: u8) -> Self {
        Self::new(address, length).unwrap_or_else(|| Self::host(address))
    }
}

/// How many bits an address of the family of `address` has.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of `address`, the first of them leftmost.
fn aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of the family of `like` with these bits.
fn aligned_back(bits: u128, like: IpAddr) -> IpAddr {
    let [a, b, c, d, ..] = bits.to_be_bytes();
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as 10.0.0.7 or a range such as 10.0.0.0/24 or fd00::/64")]
pub struct CidrError;

impl FromStr for Cidr {
    type Err = CidrError;

    /// Reads `address/length`, or an address, which is the range of itself. Bits after the length count as zero.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let Some((address, length)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| CidrError);
        };
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let length = length.parse().ok().filter(|_| digits).ok_or(CidrError)?;
        Self::new(address.parse().map_err(|_| CidrError)?, length).ok_or(CidrError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_holds_what_begins_as_it_does() {
        for (text, written, inside, outside) in [
            (
                "10.0.0.0/24",
                "10.0.0.0/24",
                &["10.0.0.0", "10.0.0.255", "::ffff:10.0.0.7"][..],
                &["10.0.1.0", "a00::"][..],
            ),
            ("10.0.0.77/28", "10.0.0.64/28", &["10.0.0.64", "10.0.0.79"], &["10.0.0.63", "10.0.0.80"]),
            ("10.0.0.7", "10.0.0.7/32", &["10.0.0.7"], &["10.0.0.6", "10.0.0.8"]),
            ("0.0.0.0/0", "0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "fd00::1"]),
            ("::/0", "::/0", &["::", "fd00::1"], &["10.0.0.7", "::ffff:10.0.0.7"]),
            ("fd00:1::7/32", "fd00:1::/32", &["fd00:1:ffff::1"], &["fd00:2::1"]),
            ("::ffff:10.0.0.0/120", "10.0.0.0/24", &["10.0.0.9"], &["10.0.1.9"]),
        ] {
            let range: Cidr = text.parse().unwrap();
            assert_eq!(range.to_string(), written, "{text}");
            assert!(inside.iter().all(|ip| range.contains(ip.parse().unwrap())), "{text}");
            assert!(outside.iter().all(|ip| !range.contains(ip.parse().unwrap())), "{text}");
        }
        assert_eq!("10.0.0.7/32".parse::<Cidr>().unwrap().single(), Some("10.0.0.7".parse().unwrap()));
        assert_eq!("10.0.0.7/31".parse::<Cidr>().unwrap().single(), None);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", "/", "10.0.0.0/", "10.0.0.0/33", "fd00::/129", "10.0.0/24", "10.0.0.0/+8", "a/8", "10.0.0.0/8/8"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
