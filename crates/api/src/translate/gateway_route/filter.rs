//! What a rule or a backend of it does to requests on their way (Gateway API `HTTPRouteFilter`, `GRPCRouteFilter`). What
//! this version cannot do is remarked on, and answered: a request is never forwarded with less done to it than is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ambit_model::route::{
    Cors, HeaderOperations, Headers, Percent, Redirect, RedirectPath, RedirectPort, Regex, Rewrite, RewritePath,
    RouteKind, Scheme, Text,
};

use super::super::reach::Home;
use super::super::virtual_service::headers::{changeable, is_authority};
use super::super::written::refuse_unknown;
use super::backend;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::gateway_route::{self as written, Filter, HeaderModifier, PathModifier, RequestMirror};
use crate::resource::Mirrored;

/// How long what a preflight is told holds where nothing is written (`HTTPCORSFilter.maxAge`).
const CORS_MAX_AGE: i64 = 5;

/// What a rule's filters say.
#[derive(Default)]
pub(super) struct Filters {
    pub(super) headers: Option<Headers>,
    pub(super) mirrors: Vec<Mirrored>,
    pub(super) redirect: Option<Redirect>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) cors: Option<Cors>,
    /// Something is replaced that only a prefix can have matched.
    pub(super) takes_a_prefix: bool,
    /// Something else is asked for.
    pub(super) unsupported: bool,
}

/// The filters of the rule at `path`.
pub(super) fn read(
    kind: RouteKind,
    filters: &[Filter],
    path: &str,
    home: Home<'_>,
    findings: &mut Findings,
) -> Filters {
    let mut read = Filters::default();
    let mut seen = BTreeSet::new();
    for (place, filter) in filters.iter().enumerate() {
        let path = format!("{path}.filters[{place}]");
        refuse_unknown(&filter.unknown, &path, findings);
        if !seen.insert(filter.kind.as_str()) && !matches!(filter.kind.as_str(), "RequestMirror" | "ExtensionRef") {
            findings.error(&path, format!("{} stands in the list already: write one", name::shortened(&filter.kind)));
        }
        one(&mut read, (kind, filter), &path, home, findings);
    }
    if read.redirect.is_some() && read.rewrite.is_some() {
        findings.error(format_args!("{path}.filters"), "has both RequestRedirect and URLRewrite: write one of them");
    }
    read
}

/// Adds what `filter`, of a route of that kind, says to `read`.
fn one(read: &mut Filters, (kind, filter): (RouteKind, &Filter), path: &str, home: Home<'_>, findings: &mut Findings) {
    let http = kind == RouteKind::Http;
    match filter.kind.as_str() {
        "RequestHeaderModifier" => {
            let modifier = said(&filter.request_header_modifier, &format!("{path}.requestHeaderModifier"), findings);
            let headers = read.headers.get_or_insert_default();
            headers.request = operations(&modifier.0, &modifier.1, Some(&mut headers.authority), findings);
        }
        "ResponseHeaderModifier" => {
            let modifier = said(&filter.response_header_modifier, &format!("{path}.responseHeaderModifier"), findings);
            let headers = read.headers.get_or_insert_default();
            headers.response = operations(&modifier.0, &modifier.1, None, findings);
        }
        "RequestMirror" => {
            let (mirror, path) = said(&filter.request_mirror, &format!("{path}.requestMirror"), findings);
            read.mirrors.extend(self::mirror(&mirror, &path, home, findings));
        }
        "RequestRedirect" if http => {
            let (redirect, path) = said(&filter.request_redirect, &format!("{path}.requestRedirect"), findings);
            read.takes_a_prefix |= asks_for_a_prefix(redirect.path.as_ref());
            read.redirect = Some(self::redirect(&redirect, &path, findings));
        }
        "URLRewrite" if http => {
            let (rewrite, path) = said(&filter.url_rewrite, &format!("{path}.urlRewrite"), findings);
            refuse_unknown(&rewrite.unknown, &path, findings);
            read.takes_a_prefix |= asks_for_a_prefix(rewrite.path.as_ref());
            let authority = hostname(rewrite.hostname.as_deref(), &path, findings);
            let new_path = rewrite.path.as_ref().and_then(|one| new_path(one, &format!("{path}.path"), findings));
            let new_path = new_path.map(|path| match path {
                NewPath::Whole(path) => RewritePath::Whole(path),
                NewPath::Prefix(prefix) => RewritePath::Matched(prefix),
            });
            read.rewrite = Some(Rewrite { path: new_path, authority });
        }
        "CORS" if http => {
            let (cors, path) = said(&filter.cors, &format!("{path}.cors"), findings);
            read.cors = Some(self::cors(&cors, &path, findings));
        }
        other => {
            let message = format!(
                "{:?} cannot be done in this version: what matches the rule is answered 500 (503 of gRPC)",
                name::shortened(other)
            );
            findings.remark(Severity::Warning, format_args!("{path}.type"), message);
            read.unsupported = true;
        }
    }
}

/// What is done to header fields of what goes to the backend at `path`; none if something else is asked for.
pub(super) fn of_backend(
    kind: RouteKind,
    filters: &[Filter],
    path: &str,
    home: Home<'_>,
    findings: &mut Findings,
) -> Option<Headers> {
    let header_filters = |filter: &&Filter| filter.kind.ends_with("HeaderModifier");
    let others = filters.iter().enumerate().find(|(_, filter)| !header_filters(filter));
    if let Some((place, other)) = others {
        let message = format!(
            "{:?} cannot be done for a single backend in this version: its share is answered 500 (503 of gRPC)",
            name::shortened(&other.kind)
        );
        findings.remark(Severity::Warning, format_args!("{path}.filters[{place}].type"), message);
        return None;
    }
    let read = read(kind, filters, path, home, findings);
    (!read.unsupported).then(|| read.headers.unwrap_or_default())
}

/// What is written at `path`, an error if nothing is.
fn said<T: Clone + Default>(written: &Option<T>, path: &str, findings: &mut Findings) -> (T, String) {
    if written.is_none() {
        findings.error(path, "is missing: the filter's type asks for it");
    }
    (written.clone().unwrap_or_default(), path.to_owned())
}

/// What is done to fields. Of a request, what is said of its authority is not said of a field.
fn operations(
    modifier: &HeaderModifier,
    path: &str,
    mut authority: Option<&mut Option<Arc<str>>>,
    findings: &mut Findings,
) -> HeaderOperations {
    refuse_unknown(&modifier.unknown, path, findings);
    let mut seen = BTreeSet::new();
    let mut values = |kind: &str, written: &[written::Header]| {
        let mut read = Vec::with_capacity(written.len());
        for (place, header) in written.iter().enumerate() {
            let path = format!("{path}.{kind}[{place}]");
            refuse_unknown(&header.unknown, &path, findings);
            // Of several for one name the first counts.
            if !seen.insert((kind.to_owned(), header.name.to_ascii_lowercase())) {
                continue;
            }
            let Some(value) = findings.take(format_args!("{path}.value"), value_of(&header.value)) else { continue };
            match &mut authority {
                Some(authority) if is_authority(&header.name) => **authority = Some(value),
                _ => {
                    let name = findings.take(format_args!("{path}.name"), changeable(&header.name));
                    read.extend(name.map(|name| (name, value)));
                }
            }
        }
        read
    };
    let (set, add) = (values("set", &modifier.set), values("add", &modifier.add));
    let remove = modifier.remove.iter().enumerate();
    let remove =
        remove.filter_map(|(place, key)| findings.take(format_args!("{path}.remove[{place}]"), changeable(key)));
    HeaderOperations { remove: remove.collect(), set, add }
}

/// A field's value, as it is written: there are no variables in it.
fn value_of(text: &str) -> Result<Arc<str>, String> {
    if text.bytes().any(|b| b == b'\r' || b == b'\n' || b == 0) {
        return Err("holds a line break or a zero byte: remove it".to_owned());
    }
    Ok(Arc::from(text))
}

fn mirror(mirror: &RequestMirror, path: &str, home: Home<'_>, findings: &mut Findings) -> Option<Mirrored> {
    refuse_unknown(&mirror.unknown, path, findings);
    let Some(written) = &mirror.backend_ref else {
        findings.error(format_args!("{path}.backendRef"), "is missing: write who gets the copies");
        return None;
    };
    let of_path = format!("{path}.backendRef");
    let to = backend::backend(written, &of_path, home, findings);
    let share = match (mirror.percent, &mirror.fraction) {
        (Some(_), Some(_)) => Err("stands beside fraction: write one of them".to_owned()),
        (Some(percent), None) => share(percent, 100),
        (None, Some(fraction)) => {
            refuse_unknown(&fraction.unknown, format_args!("{path}.fraction"), findings);
            share(fraction.numerator, fraction.denominator.unwrap_or(100))
        }
        (None, None) => Ok(Percent::WHOLE),
    };
    let field = if mirror.percent.is_some() { "percent" } else { "fraction" };
    let share = findings.take(format_args!("{path}.{field}"), share)?;
    Some(Mirrored { path: of_path, to, share })
}

/// So many of so many, to one of a million.
fn share(part: i64, whole: i64) -> Result<Percent, String> {
    let wrong = || format!("{part} of {whole} is no share");
    if part < 0 || whole < 1 || part > whole {
        return Err(wrong());
    }
    #[allow(clippy::cast_precision_loss, reason = "the API has 32 bits, and a share has six digits")]
    let percent = part as f64 / whole as f64 * 100.0;
    // What is hardly anything is not nothing.
    Percent::new(if part > 0 { percent.max(0.0001) } else { 0.0 }).ok_or_else(wrong)
}

/// A path that takes the place of another.
enum NewPath {
    Whole(Arc<str>),
    /// Without a slash at its end.
    Prefix(Arc<str>),
}

fn asks_for_a_prefix(modifier: Option<&PathModifier>) -> bool {
    modifier.is_some_and(|modifier| modifier.kind == "ReplacePrefixMatch")
}

fn new_path(modifier: &PathModifier, path: &str, findings: &mut Findings) -> Option<NewPath> {
    refuse_unknown(&modifier.unknown, path, findings);
    let whole = |text: &str| text.starts_with('/');
    match (modifier.kind.as_str(), &modifier.replace_full_path, &modifier.replace_prefix_match) {
        ("ReplaceFullPath", Some(text), None) => {
            let rooted = if whole(text) { text.clone() } else { format!("/{text}") };
            Some(NewPath::Whole(Arc::from(rooted)))
        }
        ("ReplacePrefixMatch", None, Some(text)) => {
            let text = text.strip_suffix('/').unwrap_or(text);
            let rooted = if text.is_empty() || whole(text) { text.to_owned() } else { format!("/{text}") };
            Some(NewPath::Prefix(Arc::from(rooted)))
        }
        ("ReplaceFullPath" | "ReplacePrefixMatch", ..) => {
            findings
                .error(path, "has to say what its type says, and nothing else: replaceFullPath or replacePrefixMatch");
            None
        }
        (other, ..) => {
            let message = format!("{:?} is none of ReplaceFullPath, ReplacePrefixMatch", name::shortened(other));
            findings.error(format_args!("{path}.type"), message);
            None
        }
    }
}

fn hostname(written: Option<&str>, path: &str, findings: &mut Findings) -> Option<Arc<str>> {
    let written = written.filter(|host| !host.is_empty())?;
    findings.take(format_args!("{path}.hostname"), name::subdomain(written))?;
    Some(Arc::from(written))
}

fn redirect(redirect: &written::RequestRedirect, path: &str, findings: &mut Findings) -> Redirect {
    refuse_unknown(&redirect.unknown, path, findings);
    let scheme = match redirect.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(other) => {
            let message = format!("{:?} is neither http nor https", name::shortened(other));
            findings.error(format_args!("{path}.scheme"), message);
            None
        }
    };
    let number = redirect.port.and_then(|port| findings.take(format_args!("{path}.port"), name::port(port)));
    let port = match (number, scheme) {
        (Some(port), _) => RedirectPort::Number(port),
        (None, Some(_)) => RedirectPort::ProtocolDefault,
        (None, None) => RedirectPort::OfRequest,
    };
    let code = match redirect.status_code.unwrap_or(302) {
        code @ (301 | 302 | 303 | 307 | 308) => u16::try_from(code).unwrap_or(302),
        other => {
            findings.error(format_args!("{path}.statusCode"), format!("{other} is none of 301, 302, 303, 307, 308"));
            302
        }
    };
    let new_path = redirect.path.as_ref().and_then(|one| new_path(one, &format!("{path}.path"), findings));
    let new_path = new_path.map(|path| match path {
        NewPath::Whole(path) => RedirectPath::Whole(path),
        NewPath::Prefix(prefix) => RedirectPath::Prefix(prefix),
    });
    let authority = hostname(redirect.hostname.as_deref(), path, findings);
    Redirect { path: new_path, authority, port: Some(port), scheme, code }
}

/// Which pages may ask (`HTTPCORSFilter`).
fn cors(cors: &written::Cors, path: &str, findings: &mut Findings) -> Cors {
    refuse_unknown(&cors.unknown, path, findings);
    let origins = cors.allow_origins.iter().enumerate();
    let origins =
        origins.filter_map(|(place, text)| findings.take(format_args!("{path}.allowOrigins[{place}]"), origin(text)));
    let allow_origins = origins.collect();
    let mut names = |field: &str, texts: &[String]| {
        let each = texts.iter().enumerate().filter_map(|(place, text)| {
            // An asterisk is a token as well.
            findings.take(format_args!("{path}.{field}[{place}]"), name::field_name(text))?;
            Some(Arc::from(text.as_str()))
        });
        let read: Vec<Arc<str>> = each.collect();
        if read.len() > 1 && read.iter().any(|one| &**one == "*") {
            findings.error(format_args!("{path}.{field}"), "has * and others: write * alone");
        }
        read
    };
    let (allow_methods, allow_headers) =
        (names("allowMethods", &cors.allow_methods), names("allowHeaders", &cors.allow_headers));
    let expose_headers = names("exposeHeaders", &cors.expose_headers);
    let age = u64::try_from(cors.max_age.unwrap_or(CORS_MAX_AGE)).ok().filter(|age| *age > 0);
    let age = age.ok_or_else(|| "is told in seconds: write 1 or more".to_owned());
    Cors {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age: findings.take(format_args!("{path}.maxAge"), age).map(Duration::from_secs),
        allow_credentials: cors.allow_credentials.unwrap_or_default(),
        forward_unmatched: false,
    }
}

/// The pages of an origin: its host may have an asterisk, which stands for any number of labels, and its scheme's own port
/// is one that browsers do not write.
fn origin(text: &str) -> Result<Text, String> {
    if text == "*" {
        return Ok(Text::Exact(Arc::from("*")));
    }
    let wrong = || format!("{:?} is no origin: write one such as https://example.com, or *", name::shortened(text));
    let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(wrong()),
    };
    let host = host.strip_suffix(port).unwrap_or(host);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-:*[]_".contains(&b);
    if host.is_empty() || !host.bytes().all(legal) {
        return Err(wrong());
    }
    if !host.contains('*') {
        return Ok(Text::Exact(Arc::from(format!("{scheme}://{host}"))));
    }
    let host: String = host
        .chars()
        .map(|c| match c {
            '*' => "[^/:]+".to_owned(),
            '.' | '[' | ']' => format!("\\{c}"),
            other => other.to_string(),
        })
        .collect();
    Regex::whole(&format!("{scheme}://{host}")).map(Text::Regex).map_err(|error| error.to_string())
}
