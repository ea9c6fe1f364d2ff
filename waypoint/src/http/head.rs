//! The heads of requests and responses: what is well-formed, what only proxies may say, what goes no further than one
//! hop (RFC 9110 section 7.6.1). Knows no route.

use std::net::IpAddr;

use ambit_identity::termination::Client;
use ambit_model::policy::Claims;
use ambit_model::route::{Fields, HeaderOperations, Operation};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version, request};

use super::answer::Answer;
use super::serve::HEAD;

/// Header fields as routing looks at them.
#[derive(Clone, Copy)]
pub(crate) struct FieldsOf<'a>(pub(crate) &'a HeaderMap);

impl Fields for FieldsOf<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }
}

/// True if these are the fields of a call of gRPC (gRPC over HTTP/2, "Requests").
pub(crate) fn is_grpc(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}

/// Fields that are between two neighbours and nobody else's business.
const ONE_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
];

/// Fields by which proxies of the mesh tell one another who a client is, or what to do: a client that sends one would be
/// believed further on. The first is Envoy's x-forwarded-client-cert.
const OF_PROXIES: [&str; 8] = [
    "x-forwarded-client-cert",
    "x-envoy-attempt-count",
    "x-envoy-original-path",
    "x-envoy-decorator-operation",
    "x-envoy-overloaded",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-istio-attributes",
];

/// What a request asks for, its head being well-formed and without what no client may say.
pub(crate) struct Asked {
    /// Its `Host` or `:authority`; empty if HTTP/1.0 has none.
    pub(crate) authority: String,
    /// Its path and query.
    pub(crate) path: String,
    /// Its scheme.
    pub(crate) scheme: &'static str,
    /// It asks for another protocol on this connection.
    pub(crate) upgrade: Option<HeaderValue>,
    /// It takes trailers.
    pub(crate) trailers: bool,
    /// What its token says, once that was verified.
    pub(crate) claims: Option<Claims>,
    /// Its query had a token, which was taken out of it.
    pub(crate) had_token: bool,
}

/// Reads the head of a request, and takes out of its fields what goes no further.
///
/// # Errors
/// The answer to one that is malformed.
pub(crate) fn receive(head: &mut request::Parts) -> Result<Asked, Answer> {
    let fields = &mut head.headers;
    // hyper asks for no more of a head than that, but takes what came with it.
    let length: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if length > HEAD as usize {
        return Err(Answer::too_large());
    }
    if fields.contains_key(header::TRANSFER_ENCODING) && fields.contains_key(header::CONTENT_LENGTH) {
        // One of the two is meant for somebody else (RFC 9112 section 6.1).
        return Err(Answer::malformed("http1.content_length_and_chunked_not_allowed"));
    }
    if head.method == Method::CONNECT {
        return Err(Answer::malformed("connect_not_allowed"));
    }
    let mut hosts = fields.get_all(header::HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Answer::malformed("http1.several_hosts"));
    }
    // Of an absolute target the host is what counts (RFC 9112 section 3.2.2).
    let authority = match (head.uri.authority(), host) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => readable(host).map(str::to_owned).ok_or(Answer::malformed("http.invalid_authority"))?,
        (None, None) if head.version <= Version::HTTP_10 => String::new(),
        (None, None) => return Err(Answer::malformed("missing_host_header")),
    };
    if !authority.is_empty() && authority.parse::<Authority>().is_err_or_has_user() {
        return Err(Answer::malformed("http.invalid_authority"));
    }
    let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    let listed = |fields: &HeaderMap, wanted: &str| tokens(fields, &header::CONNECTION).any(|name| name == wanted);
    let upgrade = listed(fields, "upgrade").then(|| fields.get(header::UPGRADE).cloned()).flatten();
    // h2c is asked for by its preface or not at all (RFC 9113 section 3.1), and nobody chooses from a list for a client.
    let one = |protocol: &HeaderValue| {
        !protocol.as_bytes().contains(&b',') && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")
    };
    let upgrade = upgrade.filter(one);
    fields.remove("http2-settings");
    let trailers = tokens(fields, &header::TE).any(|name| name == "trailers");
    clean(fields);
    for name in OF_PROXIES {
        fields.remove(name);
    }
    // Whoever asks was answered by this proxy: 100 Continue has been sent by the time that the body is.
    fields.remove(header::EXPECT);
    Ok(Asked { authority, path, scheme: "http", upgrade, trailers, claims: None, had_token: false })
}

/// What a parsed authority must not be.
trait Suspect {
    fn is_err_or_has_user(&self) -> bool;
}

impl<E> Suspect for Result<Authority, E> {
    fn is_err_or_has_user(&self) -> bool {
        self.as_ref().map_or(true, |authority| authority.as_str().contains('@'))
    }
}

/// Takes out of `fields` what is for one hop, by itself or because `Connection` says so.
pub(crate) fn clean(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        tokens(fields, &header::CONNECTION).filter_map(|name| HeaderName::try_from(name).ok()).collect();
    for name in named.iter().chain(&ONE_HOP) {
        fields.remove(name);
    }
}

/// What becomes of the addresses that a request says it came by, `x-forwarded-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ForwardedFor {
    /// The client's comes behind them: whoever counts from the end is told the truth.
    Append,
    /// The client's takes their place.
    Replace,
    /// They stay as they are.
    Keep,
}

/// Tells by `fields` whose request it is.
pub(crate) fn forwarded_for(fields: &mut HeaderMap, mode: ForwardedFor, client: IpAddr) {
    const NAME: HeaderName = HeaderName::from_static("x-forwarded-for");
    if mode == ForwardedFor::Keep {
        return;
    }
    let client = client.to_canonical().to_string();
    let said = fields.get_all(NAME).into_iter().map(HeaderValue::as_bytes).filter(|said| !said.is_empty());
    let mut all: Vec<&[u8]> = if mode == ForwardedFor::Append { said.collect() } else { Vec::new() };
    all.push(client.as_bytes());
    // Of what can be in a field, joined by what can.
    if let Ok(all) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
        fields.insert(NAME, all);
    }
}

/// Takes out of the head of a request what nobody from outside may say. Returns its scheme, which is `scheme` unless one of the
/// `trusted` proxies in front says another.
pub(crate) fn come_from_outside(head: &mut request::Parts, scheme: &'static str, trusted: u32) -> &'static str {
    let fields = &mut head.headers;
    let ours: Vec<HeaderName> = fields.keys().filter(|name| name.as_str().starts_with("x-envoy-")).cloned().collect();
    for name in ours {
        fields.remove(name);
    }
    let told = fields.get("x-forwarded-proto").filter(|_| trusted > 0).map(HeaderValue::as_bytes);
    match told {
        Some(told) if told.eq_ignore_ascii_case(b"https") => "https",
        Some(told) if told.eq_ignore_ascii_case(b"http") => "http",
        _ => scheme,
    }
}

/// The address that a request was first sent from, as the outermost of `trusted` proxies says that are one before the other in
/// front of this one; none if there are none, or fewer have said it.
pub(crate) fn forwarded_from(fields: &HeaderMap, trusted: u32) -> Option<IpAddr> {
    // Of what others have said before them there may be anything.
    let lines = fields.get_all("x-forwarded-for").into_iter().map(HeaderValue::as_bytes);
    let said: Vec<&[u8]> = lines.flat_map(|line| line.split(|byte| *byte == b',')).collect();
    let back = usize::try_from(trusted.checked_sub(1)?).ok()?;
    let said = std::str::from_utf8(said.into_iter().rev().nth(back)?).ok()?;
    said.trim().parse().ok().map(|said: IpAddr| said.to_canonical())
}

/// Whom a client has proved to be, as applications are told (Envoy, `x-forwarded-client-cert`).
pub(crate) fn certified(Client { hash, subject, uris }: &Client) -> String {
    let subject = subject.replace('\\', "\\\\").replace('"', "\\\"");
    let uris: String = uris.iter().map(|uri| format!(";URI={}", uri.replace([',', ';', '"'], "%"))).collect();
    format!("Hash={hash};Subject=\"{subject}\"{uris}")
}

/// Does what routes say to `fields`. What cannot be a field is left out: translation has refused it before.
pub(crate) fn apply(fields: &mut HeaderMap, operations: &[&HeaderOperations]) {
    for step in operations.iter().flat_map(|operations| operations.steps()) {
        match step {
            Operation::Remove(name) => drop(fields.remove(name)),
            Operation::Set(name, value) => {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    fields.insert(name, value);
                }
            }
            Operation::Append(name, value) => {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    fields.append(name, value);
                }
            }
        }
    }
}

/// What an endpoint is asked for.
pub(crate) struct Target<'a> {
    /// Its `Host` or `:authority`.
    pub(crate) authority: &'a str,
    /// The path and query.
    pub(crate) path: &'a str,
    /// The version of HTTP that the endpoint speaks.
    pub(crate) version: Version,
    /// It is spoken within TLS.
    pub(crate) tls: bool,
}

/// The URI and fields that a request has on its way to an endpoint.
///
/// # Errors
/// The path or the authority is none.
pub(crate) fn address(fields: &mut HeaderMap, target: &Target<'_>) -> Result<Uri, http::Error> {
    let path: PathAndQuery = target.path.parse()?;
    if target.version == Version::HTTP_2 {
        fields.remove(header::HOST);
        let authority = if target.authority.is_empty() { "unknown" } else { target.authority };
        let scheme = if target.tls { Scheme::HTTPS } else { Scheme::HTTP };
        return Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    }
    fields.insert(header::HOST, HeaderValue::try_from(target.authority)?);
    join_crumbs(fields);
    Ok(Uri::from(path))
}

/// HTTP/2 may send a cookie in pieces, HTTP/1 may not (RFC 9113 section 8.2.3).
fn join_crumbs(fields: &mut HeaderMap) {
    let crumbs: Vec<_> = fields.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        fields.insert(header::COOKIE, whole);
    }
}

/// The members of a list, in lower case (RFC 9110 section 5.6.1).
fn tokens<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> + use<'a> {
    let lines = fields.get_all(name).into_iter().filter_map(readable);
    lines.flat_map(|line| line.split(',')).map(|token| token.trim().to_ascii_lowercase())
}

fn readable(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

#[cfg(test)]
mod tests;
