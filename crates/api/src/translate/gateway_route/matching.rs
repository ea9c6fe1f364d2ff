//! What requests have to be for a rule to be theirs (Gateway API `HTTPRouteMatch`, `GRPCRouteMatch`).

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::route::{HttpMatch, Precedence, Regex, Text};

use super::super::written::refuse_unknown;
use crate::field::Findings;
use crate::name;
use crate::object::gateway_route::{self as written, GrpcMethod, Typed};

/// The methods that the API knows (`HTTPMethod`).
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// A match of an HTTPRoute.
pub(super) fn http(block: &written::HttpMatch, path: &str, findings: &mut Findings) -> HttpMatch {
    refuse_unknown(&block.unknown, path, findings);
    let root = || Some(Text::Elements(Arc::default()));
    let uri = block.path.as_ref().map_or_else(root, |one| request_path(one, &format!("{path}.path"), findings));
    let method = block.method.as_deref().and_then(|method| {
        let known = METHODS.contains(&method).then(|| Text::Exact(Arc::from(method)));
        let known = known.ok_or_else(|| format!("{:?} is none of {}", name::shortened(method), METHODS.join(", ")));
        findings.take(format_args!("{path}.method"), known)
    });
    let headers = headers(&block.headers, path, findings);
    let mut parameters = BTreeMap::new();
    for (place, one) in block.query_params.iter().enumerate() {
        let path = format!("{path}.queryParams[{place}]");
        if one.name.is_empty() {
            findings.error(format_args!("{path}.name"), "is missing: write the name of a query parameter");
        }
        // Of several for one name the first counts.
        if let Some(text) = value(one, &path, findings) {
            parameters.entry(Arc::from(one.name.as_str())).or_insert(text);
        }
    }
    HttpMatch { uri, method, headers, parameters, ..HttpMatch::default() }
}

/// True if it asks for a prefix of the path and nothing else of it.
pub(super) fn is_by_prefix(block: &HttpMatch) -> bool {
    matches!(block.uri, Some(Text::Elements(_)))
}

fn request_path(written: &Typed, path: &str, findings: &mut Findings) -> Option<Text> {
    refuse_unknown(&written.unknown, path, findings);
    let value = written.value.as_deref().unwrap_or("/");
    let of = format!("{path}.value");
    match written.kind.as_deref().unwrap_or("PathPrefix") {
        "Exact" => findings.take(of, plain(value)).map(|()| Text::Exact(Arc::from(value))),
        "PathPrefix" => {
            let elements = value.strip_suffix('/').unwrap_or(value);
            findings.take(of, plain(value)).map(|()| Text::Elements(Arc::from(elements)))
        }
        "RegularExpression" => {
            let regex = Regex::whole(value).map_err(|error| error.to_string());
            findings.take(of, regex).map(Text::Regex)
        }
        other => unknown_type(other, path, "Exact, PathPrefix, RegularExpression", findings),
    }
}

/// A path as requests have it (`HTTPPathMatch`).
fn plain(path: &str) -> Result<(), String> {
    let odd = ["//", "/./", "/../", "%2f", "%2F", "#"].into_iter().find(|odd| path.contains(odd));
    let odd = odd.or_else(|| ["/..", "/."].into_iter().find(|odd| path.ends_with(odd)));
    match odd {
        _ if !path.starts_with('/') => Err(format!("{:?} is no path: begin it with /", name::shortened(path))),
        Some(odd) => Err(format!("{:?} has {odd:?}, which no request's path has here", name::shortened(path))),
        None => Ok(()),
    }
}

/// Header fields by name: of several for one name the first counts.
fn headers(written: &[Typed], path: &str, findings: &mut Findings) -> BTreeMap<Arc<str>, Text> {
    let mut headers = BTreeMap::new();
    for (place, one) in written.iter().enumerate() {
        let path = format!("{path}.headers[{place}]");
        let field = findings.take(format_args!("{path}.name"), name::field_name(&one.name));
        if let Some((name, text)) = field.zip(value(one, &path, findings)) {
            headers.entry(name).or_insert(text);
        }
    }
    headers
}

fn value(written: &Typed, path: &str, findings: &mut Findings) -> Option<Text> {
    refuse_unknown(&written.unknown, path, findings);
    let Some(value) = &written.value else {
        findings.error(format_args!("{path}.value"), "is missing: write what it has to be");
        return None;
    };
    match written.kind.as_deref().unwrap_or("Exact") {
        "Exact" => Some(Text::Exact(Arc::from(value.as_str()))),
        "RegularExpression" => {
            let regex = Regex::whole(value).map_err(|error| error.to_string());
            findings.take(format_args!("{path}.value"), regex).map(Text::Regex)
        }
        other => unknown_type(other, path, "Exact, RegularExpression", findings),
    }
}

fn unknown_type(kind: &str, path: &str, known: &str, findings: &mut Findings) -> Option<Text> {
    findings.error(format_args!("{path}.type"), format!("{:?} is none of {known}", name::shortened(kind)));
    None
}

/// A match of a GRPCRoute: a call's path is its service and method (gRPC over HTTP/2, "Requests").
pub(super) fn grpc(block: &written::GrpcMatch, path: &str, findings: &mut Findings) -> (Precedence, HttpMatch) {
    refuse_unknown(&block.unknown, path, findings);
    let method = block.method.as_ref();
    let uri = method.and_then(|method| call(method, &format!("{path}.method"), findings));
    let headers = headers(&block.headers, path, findings);
    let length =
        |of: fn(&GrpcMethod) -> &Option<String>| method.and_then(|one| of(one).as_ref()).map_or(0, String::len);
    let precedence = Precedence::grpc(length(|one| &one.service), length(|one| &one.method), headers.len());
    (precedence, HttpMatch { uri, headers, ..HttpMatch::default() })
}

fn call(method: &GrpcMethod, path: &str, findings: &mut Findings) -> Option<Text> {
    refuse_unknown(&method.unknown, path, findings);
    fn said(text: &Option<String>) -> Option<&str> {
        text.as_deref().filter(|text| !text.is_empty())
    }
    let (service, call) = (said(&method.service), said(&method.method));
    let regex = match method.kind.as_deref().unwrap_or("Exact") {
        "Exact" => {
            for (field, text) in [("service", service), ("method", call)] {
                let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
                if text.is_some_and(|text| !plain(text)) {
                    findings
                        .error(format_args!("{path}.{field}"), "is no name of gRPC's: letters, digits, . and _ are");
                    return None;
                }
            }
            match (service, call) {
                (Some(service), Some(call)) => return Some(Text::Exact(Arc::from(format!("/{service}/{call}")))),
                (Some(service), None) => return Some(Text::Elements(Arc::from(format!("/{service}")))),
                (None, Some(call)) => format!("/[^/]+/{}", call.replace('.', "\\.")),
                (None, None) => return nothing_said(path, findings),
            }
        }
        "RegularExpression" => match (service, call) {
            (None, None) => return nothing_said(path, findings),
            (service, call) => {
                let any = "[^/]+";
                format!("/(?:{})/(?:{})", service.unwrap_or(any), call.unwrap_or(any))
            }
        },
        other => return unknown_type(other, path, "Exact, RegularExpression", findings),
    };
    let regex = Regex::whole(&regex).map_err(|error| error.to_string());
    findings.take(path, regex).map(Text::Regex)
}

fn nothing_said(path: &str, findings: &mut Findings) -> Option<Text> {
    findings.error(path, "says nothing: write service, method or both");
    None
}
