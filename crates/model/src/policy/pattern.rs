//! How a policy writes texts and addresses: `exact`, `prefix*`, `*suffix`, `*`, and CIDR blocks of either family.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What a text has to be. `*` is presence: any text but none and the empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(Arc<str>),
    /// A text that begins with this one.
    Prefix(Arc<str>),
    /// A text that ends with this one.
    Suffix(Arc<str>),
    /// Any text.
    Present,
}

impl Pattern {
    /// True if `text` is what the pattern describes.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == &**exact,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Present => !text.is_empty(),
        }
    }
}

/// The text is no pattern: empty, or with a `*` that is neither its first nor its last character alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a text, or one with a single * at its beginning or its end, or * alone")]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = |rest: &str| if rest.contains('*') { Err(PatternError) } else { Ok(Arc::from(rest)) };
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("", _, _) => Err(PatternError),
            ("*", _, _) => Ok(Self::Present),
            (_, Some(rest), _) => bare(rest).map(Self::Suffix),
            (_, None, Some(rest)) => bare(rest).map(Self::Prefix),
            (_, None, None) => bare(text).map(Self::Exact),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Present => f.write_str("*"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A block of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpBlock {
    network: IpAddr,
    prefix: u8,
}

impl IpBlock {
    /// True if `address` is of the block's family and in it; a v4 address written as a v6 one is v4.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && {
            let host_bits = width(address).saturating_sub(self.prefix);
            high(address, host_bits) == high(self.network, host_bits)
        }
    }
}

/// The text is neither an address nor a block such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write an address or a CIDR block such as 10.0.0.0/8 or fd00::/8")]
pub struct IpBlockError;

impl FromStr for IpBlock {
    type Err = IpBlockError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(ip, prefix)| (ip, Some(prefix)));
        let network: IpAddr = address.parse().map_err(|_| IpBlockError)?;
        if network != network.to_canonical() {
            return Err(IpBlockError);
        }
        let digits = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let prefix = match prefix {
            None => width(network),
            Some(text) => Some(text).filter(digits).and_then(|text| text.parse().ok()).ok_or(IpBlockError)?,
        };
        if prefix > width(network) { Err(IpBlockError) } else { Ok(Self { network, prefix }) }
    }
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl Serialize for IpBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How many bits an address of this family has.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of `address` without the `host_bits` lowest.
fn high(address: IpAddr, host_bits: u8) -> u128 {
    let bits = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    bits.checked_shr(u32::from(host_bits)).unwrap_or_default()
}
