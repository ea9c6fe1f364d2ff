//! A request as far as routing looks at it: its head, where it arrived and from whom. Knows no HTTP library: who has one
//! hands in its header fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::virtual_service::Gateway;
use crate::policy::Claims;
use crate::workload::Workload;

/// The header fields of a request.
pub trait Fields {
    /// The values of the fields named `name` (in lower case), in the order in which they were sent.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

impl Fields for [(&str, &str)] {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }
}

/// The value of the field `name` (in lower case): several are one list (RFC 9110 section 5.3), and the crumbs of a
/// cookie are one cookie (RFC 9113 section 8.2.3).
#[must_use]
pub fn field<'a, F: Fields + ?Sized>(fields: &'a F, name: &'a str) -> Option<Cow<'a, [u8]>> {
    let mut values = fields.values(name);
    let mut joined = Cow::Borrowed(values.next()?);
    let separator: &[u8] = if name == "cookie" { b"; " } else { b"," };
    for value in values {
        let joined = joined.to_mut();
        joined.extend_from_slice(separator);
        joined.extend_from_slice(value);
    }
    Some(joined)
}

/// Who sent a request or opened a connection, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// The labels of its workload; none outside the mesh.
    pub labels: Option<&'a BTreeMap<Arc<str>, Arc<str>>>,
    /// The namespace of its workload; none outside the mesh.
    pub namespace: Option<&'a str>,
}

impl<'a> From<&'a Workload> for Client<'a> {
    fn from(workload: &'a Workload) -> Self {
        Self { labels: Some(&workload.labels), namespace: Some(&workload.namespace) }
    }
}

/// Where a request or connection arrived, and from whom.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The gateway, or the mesh.
    pub gateway: &'a Gateway,
    /// The port of the service that was addressed, or of the gateway.
    pub port: u16,
    /// Who it is from.
    pub client: Client<'a>,
}

/// A request.
#[derive(Debug)]
pub struct Request<'a, F: ?Sized> {
    /// Where it arrived, and from whom.
    pub arrival: Arrival<'a>,
    /// Its method, such as `GET`.
    pub method: &'a str,
    /// Its scheme: `http` or `https`.
    pub scheme: &'a str,
    /// Its `:authority`, or `Host`.
    pub authority: &'a str,
    /// Its `:path`: the path and, after a question mark, the query.
    pub path: &'a str,
    /// What its token says, if it has one that was verified.
    pub claims: Option<&'a Claims>,
    /// Its header fields.
    pub fields: &'a F,
}

// Not derived, which would ask as much of `F`.
impl<F: ?Sized> Clone for Request<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for Request<'_, F> {}

impl<'a, F: Fields + ?Sized> Request<'a, F> {
    /// The path alone: without the query and a fragment.
    #[must_use]
    pub fn bare_path(&self) -> &'a str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// The query and a fragment, with the mark that begins them; empty without.
    #[must_use]
    pub fn query(&self) -> &'a str {
        self.path.get(self.bare_path().len()..).unwrap_or_default()
    }

    /// The value of the first query parameter `name`, as it is written: a parameter without a value has an empty one.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        let query = self.query().strip_prefix('?')?;
        let query = query.split('#').next().unwrap_or_default();
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The value of the field `name`.
    #[must_use]
    pub fn field(&self, name: &'a str) -> Option<Cow<'a, [u8]>> {
        field(self.fields, name)
    }

    /// True if it is a gRPC call (gRPC over HTTP/2, "Requests").
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.field("content-type").is_some_and(|value| {
            let rest = value.strip_prefix(b"application/grpc".as_slice());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
        })
    }
}
