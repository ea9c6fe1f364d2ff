//! The rules for requests.

use std::sync::Arc;

use ambit_model::route::{
    DirectResponse, HttpAction, HttpMatch, HttpRoute, Redirect, RedirectPath, RedirectPort, Regex, Rewrite,
    RewritePath, RuleKey, Scheme, Substitution, Text,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::duration::{milliseconds, optional};
use super::super::reach::Home;
use super::super::written::refuse_unknown;
use super::{headers, matching, resilience};
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::virtual_service as written;

/// As much as a body may have, in bytes.
const BODY_LIMIT: usize = 1 << 20;

/// As much as a body had better have, in bytes.
const BODY_LARGE: usize = 100 << 10;

/// The rule at `path`, of a VirtualService that others delegate to or of one that has hosts.
pub(super) fn route(
    route: &written::HttpRoute,
    path: &str,
    home: Home<'_>,
    is_delegate: bool,
    findings: &mut Findings,
) -> HttpRoute {
    refuse_unknown(&route.unknown, path, findings);
    let blocks = route.matches.iter().enumerate();
    let blocks = blocks.map(|(place, block)| matching::http(block, &format!("{path}.match[{place}]"), home, findings));
    let matches: Vec<HttpMatch> = blocks.collect();
    if is_delegate && route.delegate.is_some() {
        findings.error(format_args!("{path}.delegate"), "one that others delegate to cannot delegate: write a route");
    }
    let action = action(route, path, home, &matches, findings);
    let headers = route.headers.as_ref().map(|all| headers::headers(all, &format!("{path}.headers"), findings));
    let rewrite = route.rewrite.as_ref().map(|one| rewrite(one, &format!("{path}.rewrite"), findings));
    let sets_authority = headers.as_ref().is_some_and(|headers| headers.authority.is_some());
    if sets_authority && rewrite.as_ref().is_some_and(|rewrite| rewrite.authority.is_some()) {
        findings.error(format_args!("{path}.rewrite.authority"), "is said in headers, too: remove one of them");
    }
    let fault = route.fault.as_ref().map(|one| resilience::fault(one, &format!("{path}.fault"), findings));
    let retries = route.retries.as_ref().map(|one| resilience::retries(one, &format!("{path}.retries"), findings));
    let cors = route.cors_policy.as_ref().map(|one| headers::cors(one, &format!("{path}.corsPolicy"), findings));
    let timeout = optional(format_args!("{path}.timeout"), route.timeout.as_ref(), milliseconds, findings);
    if !matches!(action, HttpAction::Forward(_) | HttpAction::Delegate(_)) {
        for (field, written) in [("fault", route.fault.is_some()), ("rewrite", route.rewrite.is_some())] {
            if written {
                let message = "is for requests that go on, and these do not: remove it";
                findings.error(format_args!("{path}.{field}"), message);
            }
        }
    }
    HttpRoute {
        name: super::named(&route.name),
        matches,
        action,
        rewrite,
        timeout,
        retries,
        fault,
        mirrors: resilience::mirrors(route, path, home, findings),
        cors: cors.map(Arc::new),
        headers,
    }
}

/// What becomes of requests: one thing.
fn action(
    route: &written::HttpRoute,
    path: &str,
    home: Home<'_>,
    matches: &[HttpMatch],
    findings: &mut Findings,
) -> HttpAction {
    let said =
        [!route.route.is_empty(), route.redirect.is_some(), route.direct_response.is_some(), route.delegate.is_some()];
    match said.iter().filter(|said| **said).count() {
        0 => findings.error(path, "says nothing of what is done: write route, redirect, directResponse or delegate"),
        1 => {}
        _ => findings.error(path, "says more than one of route, redirect, directResponse, delegate: write one"),
    }
    if let Some(one) = &route.redirect {
        return HttpAction::Redirect(redirect(one, &format!("{path}.redirect"), matches, findings));
    }
    if let Some(one) = &route.direct_response {
        return HttpAction::Respond(direct_response(one, &format!("{path}.directResponse"), findings));
    }
    if let Some(one) = &route.delegate {
        return HttpAction::Delegate(delegate(one, &format!("{path}.delegate"), home, findings));
    }
    HttpAction::Forward(super::destinations(&route.route, path, home, findings))
}

fn delegate(delegate: &written::Delegate, path: &str, home: Home<'_>, findings: &mut Findings) -> RuleKey {
    refuse_unknown(&delegate.unknown, path, findings);
    findings.take(format_args!("{path}.name"), name::subdomain(&delegate.name));
    let namespace = if delegate.namespace.is_empty() { &*home.id.namespace } else { &delegate.namespace };
    findings.take(format_args!("{path}.namespace"), name::label(namespace));
    RuleKey::new(namespace, &delegate.name)
}

fn redirect(redirect: &written::Redirect, path: &str, matches: &[HttpMatch], findings: &mut Findings) -> Redirect {
    refuse_unknown(&redirect.unknown, path, findings);
    let text = |text: &str| Arc::from(text);
    let new_path = match (redirect.uri.as_str(), redirect.prefix_rewrite.as_str()) {
        ("", "") => None,
        (uri, "") => Some(RedirectPath::Whole(text(uri))),
        ("", prefix) => Some(RedirectPath::Prefix(text(prefix))),
        _ => {
            findings.error(format_args!("{path}.prefixRewrite"), "stands beside uri: write one of them");
            None
        }
    };
    let by_prefix = |block: &HttpMatch| matches!(block.uri, None | Some(Text::Prefix(_)));
    if matches!(new_path, Some(RedirectPath::Prefix(_))) && !matches.iter().all(by_prefix) {
        findings.error(format_args!("{path}.prefixRewrite"), "takes matches by prefix: write uri instead");
    }
    let port = match (redirect.port, redirect.derive_port.as_deref()) {
        (None, None) => None,
        (Some(port), None) => findings.take(format_args!("{path}.port"), name::port(port)).map(RedirectPort::Number),
        (None, Some("FROM_PROTOCOL_DEFAULT")) => Some(RedirectPort::ProtocolDefault),
        (None, Some("FROM_REQUEST_PORT")) => Some(RedirectPort::OfRequest),
        (None, Some(other)) => {
            let message =
                format!("{:?} is neither FROM_PROTOCOL_DEFAULT nor FROM_REQUEST_PORT", name::shortened(other));
            findings.error(format_args!("{path}.derivePort"), message);
            None
        }
        (Some(_), Some(_)) => {
            findings.error(format_args!("{path}.derivePort"), "stands beside port: write one of them");
            None
        }
    };
    let scheme = match redirect.scheme.as_str() {
        "" => None,
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        other => {
            let message = format!("{:?} is neither http nor https", name::shortened(other));
            findings.error(format_args!("{path}.scheme"), message);
            None
        }
    };
    let code = match redirect.redirect_code {
        0 => 301,
        code @ (301 | 302 | 303 | 307 | 308) => u16::try_from(code).unwrap_or(301),
        other => {
            let message = format!("{other} is none of 301, 302, 303, 307, 308");
            findings.error(format_args!("{path}.redirectCode"), message);
            301
        }
    };
    let authority = (!redirect.authority.is_empty()).then(|| text(&redirect.authority));
    if new_path.is_none() && authority.is_none() && port.is_none() && scheme.is_none() {
        findings.error(path, "leads back to where it came from: write uri, authority, scheme or port");
    }
    Redirect { path: new_path, authority, port, scheme, code }
}

fn direct_response(response: &written::DirectResponse, path: &str, findings: &mut Findings) -> DirectResponse {
    refuse_unknown(&response.unknown, path, findings);
    let status = findings.take(format_args!("{path}.status"), resilience::status_in(response.status, 200));
    let mut bytes = Vec::new();
    if let Some(body) = &response.body {
        refuse_unknown(&body.unknown, format_args!("{path}.body"), findings);
        match (&body.string, &body.bytes) {
            (Some(_), Some(_)) => findings.error(format_args!("{path}.body"), "says both string and bytes: write one"),
            (Some(text), None) => bytes = text.clone().into_bytes(),
            (None, Some(encoded)) => {
                let decoded = STANDARD.decode(encoded).map_err(|error| format!("is no base64: {error}"));
                bytes = findings.take(format_args!("{path}.body.bytes"), decoded).unwrap_or_default();
            }
            (None, None) => {}
        }
    }
    if (BODY_LARGE + 1..=BODY_LIMIT).contains(&bytes.len()) {
        let message = format!("has {} bytes, which every waypoint keeps: let a service answer", bytes.len());
        findings.remark(Severity::Warning, format_args!("{path}.body"), message);
    }
    if bytes.len() > BODY_LIMIT {
        let message = format!("has {} bytes, and may have {BODY_LIMIT}: let a service answer", bytes.len());
        findings.error(format_args!("{path}.body"), message);
    }
    DirectResponse { status: status.unwrap_or(200), body: bytes.into() }
}

fn rewrite(rewrite: &written::Rewrite, path: &str, findings: &mut Findings) -> Rewrite {
    refuse_unknown(&rewrite.unknown, path, findings);
    let uri = (!rewrite.uri.is_empty()).then(|| RewritePath::Matched(Arc::from(rewrite.uri.as_str())));
    let by_regex = rewrite.uri_regex_rewrite.as_ref().and_then(|one| {
        let path = format!("{path}.uriRegexRewrite");
        refuse_unknown(&one.unknown, &path, findings);
        let regex = findings.take(format_args!("{path}.match"), matching::expression(&one.matches, Regex::part))?;
        if one.rewrite.is_empty() {
            findings.error(format_args!("{path}.rewrite"), "is missing: write what takes the place of what matches");
        }
        let into = Substitution::new(&one.rewrite, regex.groups()).map_err(|error| error.to_string());
        Some(RewritePath::Regex(regex, findings.take(format_args!("{path}.rewrite"), into)?))
    });
    if uri.is_some() && rewrite.uri_regex_rewrite.is_some() {
        findings.error(format_args!("{path}.uriRegexRewrite"), "stands beside uri: write one of them");
    }
    if uri.is_none() && rewrite.uri_regex_rewrite.is_none() && rewrite.authority.is_empty() {
        findings.error(path, "says nothing: write uri, uriRegexRewrite or authority");
    }
    Rewrite { path: uri.or(by_regex), authority: super::named(&rewrite.authority) }
}
