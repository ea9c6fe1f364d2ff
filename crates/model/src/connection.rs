//! A connection as the decision sees it: what is known before a byte of it has been relayed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::identity::Identity;
use crate::workload::WorkloadUid;

/// A connection that wants to go somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// A captured pod of this node dialled `destination`.
    Outbound {
        /// The pod that dials.
        source: WorkloadUid,
        /// What it dialled: a service's address, a pod's or anything else's.
        destination: SocketAddr,
        /// A uniformly random number: which of the endpoints is taken.
        draw: u64,
    },
    /// A peer's HBONE tunnel asks a pod of this node to be connected.
    InboundHbone {
        /// The pod whose port 15008 was dialled.
        pod: WorkloadUid,
        /// The peer's address.
        peer: SocketAddr,
        /// The identity that its certificate proved.
        identity: Identity,
        /// What its CONNECT asked for.
        authority: Authority,
    },
    /// A connection in clear reached a captured pod of this node.
    InboundPlaintext {
        /// The pod that it reached.
        pod: WorkloadUid,
        /// The peer's address.
        peer: SocketAddr,
        /// The pod's address and port that the peer dialled.
        destination: SocketAddr,
        /// The pod's own node has opened it: not a pod that shares the node's address, and nobody whom the node forwards.
        by_node: bool,
    },
}

/// The `:authority` of a CONNECT request: `ip:port`, `[ip]:port` or `host:port` (RFC 9113 section 8.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authority {
    /// An address, as towards a workload.
    Address(SocketAddr),
    /// A service's hostname in lower case, and its service port.
    Host(Arc<str>, u16),
}

impl Authority {
    /// The port asked for.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Host(_, port) => *port,
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// The text is no `ip:port`, `[ip]:port` or `host:port` with a port of 1 to 65535.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no authority: expected ip:port, [ip]:port or host:port")]
pub struct AuthorityError(String);

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || AuthorityError(text.chars().take(300).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(malformed()) } else { Ok(Self::Address(address)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port: u16 = port.parse().ok().filter(|p| digits && *p != 0).ok_or_else(malformed)?;
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        let numeric_tld = name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > 253 || numeric_tld || !name.split('.').all(label) {
            return Err(malformed());
        }
        Ok(Self::Host(Arc::from(name.to_ascii_lowercase()), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_read_back_as_written() {
        for text in ["10.0.0.7:8080", "[fd00::7]:8080", "reviews.shop.svc.cluster.local:9080"] {
            assert_eq!(text.parse::<Authority>().unwrap().to_string(), text);
        }
        assert_eq!("Reviews.Shop.:80".parse(), Ok(Authority::Host("reviews.shop".into(), 80)));
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for text in [
            "",
            ":80",
            "10.0.0.7",
            "10.0.0.7:0",
            "10.0.0.7:65536",
            "fd00::7:80:",
            "host:+80",
            "a b:80",
            "-a:80",
            "10.0.0:80",
            "a..b:1",
            "a@b:80",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }
}
