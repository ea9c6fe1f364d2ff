//! What becomes of header fields, and what is said to pages from elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::route::{Cors, HeaderOperations, Headers, Text};

use super::super::duration;
use super::super::written::refuse_unknown;
use super::matching::string_match;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::virtual_service as written;

/// The methods that pages may be let ask by (Istio's `supportedCORSMethods`).
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

/// What is done to fields.
pub(super) fn headers(headers: &written::Headers, path: &str, findings: &mut Findings) -> Headers {
    refuse_unknown(&headers.unknown, path, findings);
    let mut authority = None;
    let request = operations(&headers.request, &format!("{path}.request"), Some(&mut authority), findings);
    let response = operations(&headers.response, &format!("{path}.response"), None, findings);
    Headers { request, response, authority }
}

/// Of a request, what is said of its authority is not said of a field.
fn operations(
    written: &written::HeaderOperations,
    path: &str,
    mut authority: Option<&mut Option<Arc<str>>>,
    findings: &mut Findings,
) -> HeaderOperations {
    refuse_unknown(&written.unknown, path, findings);
    let mut values = |kind: &str, fields: &BTreeMap<String, String>| {
        let mut read = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            let path = format!("{path}.{kind}[{key}]");
            let Some(value) = findings.take(&path, value_of(value)) else { continue };
            match &mut authority {
                Some(authority) if is_authority(key) => {
                    if authority.replace(value).is_some() {
                        findings.error(path, "stands for the authority, which is said already: remove one of them");
                    }
                }
                _ => read.extend(findings.take(&path, changeable(key)).map(|name| (name, value))),
            }
        }
        read
    };
    let (set, add) = (values("set", &written.set), values("add", &written.add));
    let remove = written.remove.iter().enumerate();
    let remove =
        remove.filter_map(|(place, key)| findings.take(format_args!("{path}.remove[{place}]"), changeable(key)));
    HeaderOperations { remove: remove.collect(), set, add }
}

pub(in crate::translate) fn is_authority(key: &str) -> bool {
    key.eq_ignore_ascii_case("host") || key == ":authority"
}

/// The name of a field that is the sender's to choose.
pub(in crate::translate) fn changeable(key: &str) -> Result<Arc<str>, String> {
    if is_authority(key) || key.starts_with(':') {
        return Err("cannot be changed here: of requests, host can be set".to_owned());
    }
    name::field_name(key)
}

/// A field's value. A percent sign begins one of Envoy's variables, unless it stands twice.
fn value_of(text: &str) -> Result<Arc<str>, String> {
    if text.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err("holds a line break or another control character: remove it".to_owned());
    }
    if text.replace("%%", "").contains('%') {
        return Err(
            "variables such as %PROTOCOL% are not known in this version: write %% for a percent sign".to_owned()
        );
    }
    Ok(Arc::from(text.replace("%%", "%")))
}

/// Which pages may ask.
pub(super) fn cors(policy: &written::CorsPolicy, path: &str, findings: &mut Findings) -> Cors {
    refuse_unknown(&policy.unknown, path, findings);
    let origins = policy.allow_origins.iter().enumerate();
    let origins = origins.filter_map(|(place, one)| origin(one, &format!("{path}.allowOrigins[{place}]"), findings));
    let mut allow_origins: Vec<Text> = origins.collect();
    if policy.allow_origins.is_empty() {
        allow_origins.extend(policy.allow_origin.iter().map(|origin| Text::Exact(Arc::from(origin.as_str()))));
    }
    if allow_origins.is_empty() {
        let message = "is missing: no page from elsewhere may ask";
        findings.remark(Severity::Warning, format_args!("{path}.allowOrigins"), message);
    }
    let mut tokens = |field: &str, texts: &[String]| {
        let each = texts.iter().enumerate().filter_map(|(place, text)| {
            // Methods and fields are tokens alike, and are given back as they are written.
            findings.take(format_args!("{path}.{field}[{place}]"), name::field_name(text))?;
            Some(Arc::from(text.as_str()))
        });
        each.collect::<Vec<Arc<str>>>()
    };
    let (allow_methods, allow_headers) =
        (tokens("allowMethods", &policy.allow_methods), tokens("allowHeaders", &policy.allow_headers));
    let expose_headers = tokens("exposeHeaders", &policy.expose_headers);
    for (place, method) in policy.allow_methods.iter().enumerate() {
        if name::field_name(method).is_ok() && !METHODS.contains(&method.as_str()) {
            let message = format!("{:?} is none of {}", name::shortened(method), METHODS.join(", "));
            findings.error(format_args!("{path}.allowMethods[{place}]"), message);
        }
    }
    let age =
        duration::optional(format_args!("{path}.maxAge"), policy.max_age.as_ref(), duration::milliseconds, findings);
    if age.is_some_and(|age| age.subsec_nanos() > 0) {
        findings.error(format_args!("{path}.maxAge"), "is told in whole seconds: write 1s or 24h");
    }
    let forward_unmatched = match policy.unmatched_preflights.as_str() {
        "" | "UNSPECIFIED" | "FORWARD" => true,
        "IGNORE" => false,
        other => {
            let message = format!("{:?} is neither FORWARD nor IGNORE", name::shortened(other));
            findings.error(format_args!("{path}.unmatchedPreflights"), message);
            true
        }
    };
    Cors {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age: age,
        allow_credentials: policy.allow_credentials.unwrap_or_default(),
        forward_unmatched,
    }
}

/// An origin, of which something must be said.
fn origin(origin: &written::StringMatch, path: &str, findings: &mut Findings) -> Option<Text> {
    let says_nothing = match (&origin.exact, &origin.prefix, &origin.regex) {
        (None, None, None) => origin.unknown.is_empty(),
        (Some(exact), None, None) => exact.is_empty(),
        _ => false,
    };
    if says_nothing {
        findings.error(path, "is empty: write the origin that may ask, or exact: \"*\" for any");
        return None;
    }
    string_match(origin, path, false, findings)
}
