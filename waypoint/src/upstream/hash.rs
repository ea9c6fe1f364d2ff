//! What of a request is hashed, so that what has the same goes to the same endpoint, and the cookie that a client without
//! one is given (Istio `ConsistentHashLB`). Knows no endpoints.

use std::fmt::Write;
use std::net::IpAddr;

use ambit_model::destination::{Cookie, HashKey};
use ambit_model::route::{Fields, Request};

/// A cookie for a client that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenCookie {
    /// The value of `Set-Cookie`, for the answer.
    pub(crate) set_cookie: String,
    /// The hash of requests that bring it back, and of this one.
    pub(crate) hash: u64,
}

/// The hash of what `key` names in `request` from `source`; none if that is not there.
pub(crate) fn key_hash<F: Fields + ?Sized>(
    key: &HashKey,
    request: &Request<'_, F>,
    source: Option<IpAddr>,
) -> Option<u64> {
    match key {
        HashKey::Header(name) => request.field(name).map(|value| hash(&value)),
        HashKey::Cookie(cookie) => {
            let crumbs = request.field("cookie")?;
            let value = crumb(&crumbs, cookie.name.as_bytes())?;
            // An empty one is as good as none where there is one to give.
            (!value.is_empty() || cookie.ttl.is_none()).then(|| hash(value))
        }
        HashKey::Parameter(name) => request.parameter(name).map(|value| hash(value.as_bytes())),
        HashKey::SourceIp => source.map(|address| hash(address.to_canonical().to_string().as_bytes())),
    }
}

/// The cookie that a client is given whose request has no hash, `draw` being random; none if `key` gives none.
pub(crate) fn given_cookie(key: &HashKey, draw: u64) -> Option<GivenCookie> {
    let HashKey::Cookie(cookie @ Cookie { ttl: Some(_), .. }) = key else { return None };
    let value = format!("{draw:016x}");
    Some(GivenCookie { set_cookie: set_cookie(cookie, &value), hash: hash(value.as_bytes()) })
}

/// The value of the first cookie `name` in `crumbs` (RFC 6265 section 4.2.1), without quotes around it.
fn crumb<'a>(crumbs: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = crumbs.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = pair.split_at_checked(at)?;
        Some((key.trim_ascii(), value.get(1..)?.trim_ascii()))
    });
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

/// As Envoy writes it: a lifetime of 0 is that of the client's session.
fn set_cookie(cookie: &Cookie, value: &str) -> String {
    let mut text = format!("{}=\"{value}\"", cookie.name);
    // Writing to a string does not fail.
    if let Some(ttl) = cookie.ttl.filter(|ttl| !ttl.is_zero()) {
        let _ = write!(text, "; Max-Age={}", ttl.as_secs().max(1));
    }
    if let Some(path) = &cookie.path {
        let _ = write!(text, "; Path={path}");
    }
    for (name, value) in &cookie.attributes {
        let _ = match value {
            Some(value) => write!(text, "; {name}={value}"),
            None => write!(text, "; {name}"),
        };
    }
    text.push_str("; HttpOnly");
    text
}

/// The hash of `bytes`: FNV-1a, mixed. The same in every version and on every machine, since the replicas of a waypoint
/// have to send what has the same key to the same endpoint.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mix(fnv)
}

/// A number in which every bit depends on every bit of `number` (SplitMix64).
pub(super) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests;
