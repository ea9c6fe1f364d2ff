//! What is spoken on a connection: what its service's port says, and where that says nothing, what its first bytes do.
//! Knows no connection.

use ambit_model::ServicePort;

/// What a service's port is said to speak (Istio, "Protocol Selection").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// HTTP/1.1, which clients may speak HTTP/2 for as well.
    Http,
    /// HTTP/2, with gRPC or without.
    Http2,
    /// Bytes, TLS included.
    Opaque,
    /// Nothing is said.
    Unknown,
}

impl Declared {
    /// What `port` is said to speak: by `appProtocol`, or by its name up to the first dash.
    pub(crate) fn of(port: &ServicePort) -> Self {
        let name = port.name.to_ascii_lowercase();
        // gRPC-Web is the one name with a dash in it, and is spoken in HTTP/1.1 as well.
        let is_web = name == "grpc-web" || name.starts_with("grpc-web-");
        let name = if is_web { "grpc-web" } else { name.split('-').next().unwrap_or_default() };
        let said = port.app_protocol.as_deref().unwrap_or(name).to_ascii_lowercase();
        match said.as_str() {
            "http" | "grpc-web" | "kubernetes.io/ws" => Self::Http,
            "http2" | "grpc" | "kubernetes.io/h2c" => Self::Http2,
            "tcp" | "tls" | "https" | "kubernetes.io/wss" | "mongo" | "mysql" | "redis" | "hbone" => Self::Opaque,
            _ => Self::Unknown,
        }
    }
}

/// What a connection turns out to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, begun by its preface (RFC 9113 section 3.4).
    Http2,
    /// Anything else.
    Opaque,
}

/// The longest method that is looked for, with the space behind it.
const METHOD: usize = 24;

/// The methods that are waited for where their ends are missing (RFC 9110, 5789, 4918, 3253, 3744, 5323). Another one
/// tells itself by the space behind it.
const KNOWN: [&str; 27] = [
    "GET ",
    "HEAD ",
    "POST ",
    "PUT ",
    "DELETE ",
    "CONNECT ",
    "OPTIONS ",
    "TRACE ",
    "PATCH ",
    "PROPFIND ",
    "PROPPATCH ",
    "MKCOL ",
    "COPY ",
    "MOVE ",
    "LOCK ",
    "UNLOCK ",
    "SEARCH ",
    "REPORT ",
    "CHECKOUT ",
    "CHECKIN ",
    "MERGE ",
    "MKACTIVITY ",
    "ACL ",
    "PURGE ",
    "M-SEARCH ",
    "NOTIFY ",
    "SUBSCRIBE ",
];

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The version of HTTP that begins with `bytes`, where it is known to be HTTP: what is none is answered as a request that is
/// malformed. None if more of them are needed to tell; `complete` says that no more will come.
pub(crate) fn spoken_http(bytes: &[u8], complete: bool) -> Option<Spoken> {
    if bytes.starts_with(PREFACE) {
        return Some(Spoken::Http2);
    }
    (complete || !PREFACE.starts_with(bytes)).then_some(Spoken::Http1)
}

/// What begins with `bytes`; none if more of them are needed to tell. `complete` says that no more will come.
pub(crate) fn spoken(bytes: &[u8], complete: bool) -> Option<Spoken> {
    if bytes.starts_with(PREFACE) {
        return Some(Spoken::Http2);
    }
    let undecided = if complete { Some(Spoken::Opaque) } else { None };
    if !bytes.is_empty() && PREFACE.starts_with(bytes) {
        return undecided;
    }
    // RFC 9112 section 2.2: an empty line before a request is ignored.
    let line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let token = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    let method = line.iter().take_while(|byte| token(byte)).count();
    match line.get(method) {
        Some(b' ') if (1..METHOD).contains(&method) => target(line.get(method + 1..).unwrap_or_default(), undecided),
        // A client that says no more than this waits for its answer: what can become no method is none.
        None if KNOWN.iter().any(|known| known.as_bytes().starts_with(line)) => undecided,
        _ => Some(Spoken::Opaque),
    }
}

/// What follows a method is a target and then the version: enough of both to tell HTTP from what only begins like it.
fn target(rest: &[u8], undecided: Option<Spoken>) -> Option<Spoken> {
    let Some(first) = rest.first() else { return undecided };
    if !(matches!(first, b'/' | b'*') || first.is_ascii_alphabetic()) {
        return Some(Spoken::Opaque);
    }
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.len() == rest.len() {
        // The line goes on. What is a path and is long is a request; nothing else is worth waiting so long for.
        return if rest.len() > 64 && matches!(first, b'/') { Some(Spoken::Http1) } else { undecided };
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.len().checked_sub(8).and_then(|at| line.get(at..)).unwrap_or_default();
    Some(if version.starts_with(b"HTTP/1.") { Spoken::Http1 } else { Spoken::Opaque })
}

/// The name that a TLS client asks for in its first message (RFC 8446 section 4.1.2, RFC 6066 section 3), in lower case;
/// none if more bytes are needed to tell, and inside if it asks for none, or speaks no TLS.
#[allow(clippy::option_option, reason = "not known yet, and known to be none")]
pub(crate) fn server_name(bytes: &[u8], complete: bool) -> Option<Option<String>> {
    if bytes.len() > 2 * HELLO {
        return Some(None);
    }
    let mut hello = Vec::new();
    let mut rest = bytes;
    // A record: its type, two bytes of version, its length. A message may be spread over several.
    while let Some((head, body)) = rest.split_first_chunk::<5>() {
        let [22, 3, _, high, low] = *head else { return Some(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // One that is empty says nothing, and nobody sends it (RFC 8446 section 5.1).
        if !(1..=RECORD).contains(&length) {
            return Some(None);
        }
        hello.extend_from_slice(body.get(..length.min(body.len())).unwrap_or_default());
        if let [1, a, b, c, message @ ..] = hello.as_slice() {
            let whole = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            if message.len() >= whole {
                return Some(name_in(message.get(..whole).unwrap_or_default()));
            }
        } else if hello.first().is_some_and(|kind| *kind != 1) {
            return Some(None);
        }
        if hello.len() > HELLO {
            return Some(None);
        }
        match body.get(length..) {
            Some(next) => rest = next,
            None => break,
        }
    }
    complete.then_some(None)
}

/// No first message is longer: those of clients with large key shares have a few thousand bytes.
const HELLO: usize = 16 << 10;

/// No record is longer (RFC 5246 section 6.2.1).
const RECORD: usize = 16 << 10;

fn name_in(hello: &[u8]) -> Option<String> {
    /// Takes what is as long as the number of `N` bytes before it says.
    fn counted<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, body) = rest.split_at_checked(N)?;
        let length = length.iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte));
        let (inside, after) = body.split_at_checked(length)?;
        *rest = after;
        Some(inside)
    }
    // Version and random number; then session, ciphers and compression; then extensions.
    let mut rest = hello.get(34..)?;
    counted::<1>(&mut rest)?;
    counted::<2>(&mut rest)?;
    counted::<1>(&mut rest)?;
    let mut extensions = counted::<2>(&mut rest)?;
    while let Some((kind, after)) = extensions.split_first_chunk::<2>() {
        extensions = after;
        let mut inside = counted::<2>(&mut extensions)?;
        if *kind == [0, 0] {
            let mut names = counted::<2>(&mut inside)?;
            let (&0, after) = names.split_first()? else { return None };
            names = after;
            let name = std::str::from_utf8(counted::<2>(&mut names)?).ok()?;
            // What is no name of DNS is nobody's, and may be anything.
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            return (name.len() <= 253 && name.bytes().all(is_name)).then(|| name.to_ascii_lowercase());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn port(name: &str, app_protocol: Option<&str>) -> ServicePort {
        let app_protocol = app_protocol.map(Arc::from);
        ServicePort { port: 80, name: Arc::from(name), app_protocol, targets: Vec::new(), members: Vec::new() }
    }

    #[test]
    fn a_port_says_what_it_speaks_by_its_protocol_or_its_name() {
        for (name, app_protocol, expected) in [
            ("http", None, Declared::Http),
            ("http-web", None, Declared::Http),
            ("HTTP-web", None, Declared::Http),
            ("grpc", None, Declared::Http2),
            ("grpc-web", None, Declared::Http),
            ("grpc-web-1", None, Declared::Http),
            ("http2-x", None, Declared::Http2),
            ("tcp-postgres", None, Declared::Opaque),
            ("https", None, Declared::Opaque),
            ("mysql", None, Declared::Opaque),
            ("httpx", None, Declared::Unknown),
            ("", None, Declared::Unknown),
            ("postgres", None, Declared::Unknown),
            ("tcp", Some("http"), Declared::Http),
            ("http", Some("kubernetes.io/h2c"), Declared::Http2),
            ("http", Some("example.com/own"), Declared::Unknown),
        ] {
            assert_eq!(Declared::of(&port(name, app_protocol)), expected, "{name} {app_protocol:?}");
        }
    }

    #[test]
    fn first_bytes_tell_what_is_spoken() {
        use Spoken::{Http1, Http2, Opaque};
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Http1)),
            (b"\r\nGET / HTTP/1.0\r\n", Some(Http1)),
            (b"PROPFIND /x HTTP/1.1\n", Some(Http1)),
            (b"OPTIONS * HTTP/1.1\r\n", Some(Http1)),
            (b"GET http://a/ HTTP/1.1\r\n", Some(Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Http2)),
            (b"PRI * HTTP/2.0\r\n", None),
            (b"", None),
            (b"GE", None),
            (b"GET /a", None),
            (b"GET / HTTP/0.9\r\n", Some(Opaque)),
            (b"PROPF", None),
            (b"BREW /pot HTTP/1.1\r\n", Some(Http1)),
            (b"AMBIT", Some(Opaque)),
            (b"GETS", Some(Opaque)),
            (b"GET \x01", Some(Opaque)),
            (b"HELO example.com\r\n", Some(Opaque)),
            (b"\x16\x03\x01\x02\0\x01", Some(Opaque)),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Some(Opaque)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Opaque)),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", Some(Opaque)),
        ] {
            assert_eq!(spoken(bytes, false), expected, "{}", bytes.escape_ascii());
            assert_eq!(spoken(bytes, true), expected.or(Some(Opaque)), "{}", bytes.escape_ascii());
        }
        let long = format!("GET /{}", "a".repeat(100));
        assert_eq!(spoken(long.as_bytes(), false), Some(Http1));
    }
}
