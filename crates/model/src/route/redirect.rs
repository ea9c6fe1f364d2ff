//! Where a client is told to go instead (Istio `HTTPRedirect`).

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::Fields;
use super::request::Request;
use super::rewrite::matched_length;
use super::virtual_service::HttpMatch;

/// A redirect. What it does not name stays as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// `uri` or `prefixRewrite`.
    pub path: Option<RedirectPath>,
    /// `authority`.
    pub authority: Option<Arc<str>>,
    /// `port` or `derivePort`.
    pub port: Option<RedirectPort>,
    /// `scheme`.
    pub scheme: Option<Scheme>,
    /// `redirectCode`: 301, 302, 303, 307 or 308.
    pub code: u16,
}

/// What becomes of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RedirectPath {
    /// `uri`: this takes the place of all of it; the query stays, unless this has one.
    Whole(Arc<str>),
    /// `prefixRewrite`: this takes the place of the prefix that matched.
    Prefix(Arc<str>),
}

/// What becomes of the port. The scheme's own is never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RedirectPort {
    /// `port`.
    Number(u16),
    /// `derivePort: FROM_PROTOCOL_DEFAULT`: the scheme's own.
    ProtocolDefault,
    /// `derivePort: FROM_REQUEST_PORT`: the one that was addressed.
    OfRequest,
}

/// A scheme that clients can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Redirect {
    /// The `location` for `request`, which matched `block`.
    #[must_use]
    pub fn location<F: Fields + ?Sized>(&self, request: &Request<'_, F>, block: Option<&HttpMatch>) -> String {
        let scheme = match self.scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) => "https",
            None => request.scheme,
        };
        format!("{scheme}://{}{}", self.authority(request, scheme), self.path(request, block))
    }

    fn authority<'a, F: ?Sized>(&'a self, request: &Request<'a, F>, scheme: &str) -> Cow<'a, str> {
        let (written, asked) = match &self.authority {
            Some(authority) => (&**authority, false),
            None => (request.authority, true),
        };
        let (host, port) = split_port(written);
        let port = match self.port {
            Some(RedirectPort::Number(port)) => port,
            Some(RedirectPort::OfRequest) => request.arrival.port,
            Some(RedirectPort::ProtocolDefault) => own_port(scheme),
            // The port that the client did not have to write is of the scheme that it leaves.
            None if asked && scheme != request.scheme && port == Some(own_port(request.scheme)) => own_port(scheme),
            None => return Cow::Borrowed(written),
        };
        if port == own_port(scheme) { Cow::Borrowed(host) } else { Cow::Owned(format!("{host}:{port}")) }
    }

    fn path<'a, F: Fields + ?Sized>(&'a self, request: &Request<'a, F>, block: Option<&HttpMatch>) -> Cow<'a, str> {
        match &self.path {
            None => Cow::Borrowed(request.path),
            Some(RedirectPath::Whole(path)) if path.contains('?') => Cow::Borrowed(path),
            Some(RedirectPath::Whole(path)) => Cow::Owned(format!("{path}{}", request.query())),
            Some(RedirectPath::Prefix(prefix)) => {
                let path = request.bare_path();
                let rest = path.get(matched_length(path, block)..).unwrap_or_default();
                let slash = if prefix.is_empty() && rest.is_empty() { "/" } else { "" };
                Cow::Owned(format!("{prefix}{rest}{slash}{}", request.query()))
            }
        }
    }
}

fn own_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// An authority's host and port (RFC 3986 section 3.2).
fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, port.parse().ok()),
        _ => (authority, None),
    }
}
