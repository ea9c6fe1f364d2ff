//! The header `forwarded` (RFC 7239): where a connection came from and which service it dialled.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a connection came from: `for="ip:port";host=<service hostname>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `for`: the client's address.
    pub client: Option<SocketAddr>,
    /// `host`: the hostname of the service that the client dialled.
    pub host: Option<String>,
}

impl Forwarded {
    /// Reads the values of all header lines called `forwarded`. The first element is the one that the client's own
    /// proxy wrote.
    #[must_use]
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut forwarded = Self::default();
        for value in values {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            let first = split_unquoted(value, ',').next().unwrap_or_default();
            for pair in split_unquoted(first, ';') {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let value = unquote(value.trim());
                match name.trim() {
                    name if name.eq_ignore_ascii_case("for") => {
                        forwarded.client = forwarded.client.or_else(|| address(&value));
                    }
                    name if name.eq_ignore_ascii_case("host") && !value.is_empty() => {
                        forwarded.host.get_or_insert(value);
                    }
                    _ => {}
                }
            }
        }
        (forwarded != Self::default()).then_some(forwarded)
    }
}

impl fmt::Display for Forwarded {
    /// The header's value. A host that is no hostname is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_host = |host: &&String| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*'))
        };
        match (self.client, self.host.as_ref().filter(is_host)) {
            (Some(client), Some(host)) => write!(f, "for=\"{client}\";host={host}"),
            (Some(client), None) => write!(f, "for=\"{client}\""),
            (None, Some(host)) => write!(f, "host={host}"),
            (None, None) => Ok(()),
        }
    }
}

/// `ip:port`, `[ip]:port`, or an address without a port, whose port is then 0.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    text.parse().ok().or_else(|| Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, 0)))
}

/// Splits where `separator` stands outside of quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let splits = !quoted && c == separator;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        splits
    })
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"') else { return text.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Forwarded> {
        Forwarded::parse([text.as_bytes()])
    }

    fn forwarded(client: &str, host: &str) -> Option<Forwarded> {
        Some(Forwarded { client: client.parse().ok(), host: (!host.is_empty()).then(|| host.to_owned()) })
    }

    #[test]
    fn is_written_as_istio_writes_it() {
        let of = |client: &str, host: &str| forwarded(client, host).unwrap().to_string();
        assert_eq!(of("127.0.0.1:80", ""), r#"for="127.0.0.1:80""#);
        assert_eq!(of("[::1]:80", ""), r#"for="[::1]:80""#);
        assert_eq!(
            of("10.0.0.7:41000", "web.shop.svc.cluster.local"),
            r#"for="10.0.0.7:41000";host=web.shop.svc.cluster.local"#
        );
        assert_eq!(of("10.0.0.7:1", "a;for=b"), r#"for="10.0.0.7:1""#);
    }

    #[test]
    fn is_read_as_rfc_7239_writes_it() {
        assert_eq!(parse(r#"For="[2001:db8::1]:47"; Proto=http;HOST="a.b""#), forwarded("[2001:db8::1]:47", "a.b"));
        assert_eq!(parse("for=192.0.2.43, for=198.51.100.17;host=other"), forwarded("192.0.2.43:0", ""));
        assert_eq!(parse(r#"for="[::1]";host=x"#), forwarded("[::1]:0", "x"));
        assert_eq!(parse(r#"by="a;host=no,\"host=no";host=yes"#), forwarded("", "yes"));
        assert_eq!(parse("for=_hidden;host="), None);
        assert_eq!(
            Forwarded::parse([b"host=a".as_slice(), b"for=1.2.3.4:5;host=b"]),
            forwarded("1.2.3.4:5", "a"),
            "several lines are one list, of which the first says most"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ip: IpAddr, port: u16, host in proptest::option::of("[a-z0-9.-]{1,80}")) {
            let forwarded = Forwarded { client: Some(SocketAddr::new(ip, port)), host };
            prop_assert_eq!(parse(&forwarded.to_string()), Some(forwarded));
        }
    }
}
