//! RequestAuthentication: which end users' tokens are taken, where they stand, and what becomes of them (Istio's
//! `ValidateRequestAuthentication`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_model::Mesh;
use ambit_model::policy::Scope;
use ambit_model::policy::token::{KeySource, Location, RequestAuthentication, TokenRule};
use serde_json::Value;

use super::super::duration;
use super::{key, pods_or_targets, refuse_unknown};
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;
use crate::object::request_authentication as written;
use crate::resource::Resource;

/// How long fetching keys may take where nothing is written.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The claims that are always lists with spaces between (RFC 8693 section 4.2).
const SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];

pub(in super::super) fn translate(
    policy: &written::RequestAuthentication,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Resource {
    let spec = &policy.spec;
    refuse_unknown("spec", &spec.unknown, "selector, targetRef, targetRefs, jwtRules", findings);
    let written = (spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs[..]);
    let scope = pods_or_targets(written, id, mesh, findings);
    if !matches!(scope, Scope::Targets(_)) {
        let message =
            "has no targetRefs: it is in effect at gateways, and for what a waypoint serves it takes targetRefs";
        findings.remark(Severity::Notice, "spec", message);
    }
    let rules = spec.jwt_rules.iter().enumerate();
    let rules = rules.filter_map(|(place, one)| rule(one, &format!("spec.jwtRules[{place}]"), findings));
    let rules = rules.map(Arc::new).collect();
    Resource::RequestAuthentication(Arc::new(RequestAuthentication { key: key(id), scope, rules }))
}

fn rule(rule: &written::JwtRule, path: &str, findings: &mut Findings) -> Option<TokenRule> {
    let known = "issuer, audiences, jwksUri, jwks, fromHeaders, fromParams, fromCookies, outputPayloadToHeader, \
                 outputClaimToHeaders, forwardOriginalToken, timeout, spaceDelimitedClaims";
    refuse_unknown(path, &rule.unknown, known, findings);
    let audiences = texts(&rule.audiences, &format!("{path}.audiences"), findings);
    let space_delimited = texts(&rule.space_delimited_claims, &format!("{path}.spaceDelimitedClaims"), findings);
    let space_delimited = SPACE_DELIMITED.into_iter().map(Arc::from).chain(space_delimited).collect();
    let timeout =
        duration::optional(format_args!("{path}.timeout"), rule.timeout.as_ref(), duration::milliseconds, findings);
    let payload_field = (!rule.output_payload_to_header.is_empty()).then(|| {
        let path = format_args!("{path}.outputPayloadToHeader");
        findings.take(path, output_field(&rule.output_payload_to_header))
    });
    Some(TokenRule {
        locations: locations(rule, path, findings),
        claim_fields: claim_fields(&rule.output_claim_to_headers, path, findings),
        keys: keys(rule, path, findings)?,
        issuer: (!rule.issuer.is_empty()).then(|| Arc::from(rule.issuer.as_str())),
        audiences,
        forwards: rule.forward_original_token,
        payload_field: payload_field.flatten(),
        timeout: timeout.unwrap_or(TIMEOUT),
        space_delimited: Arc::new(space_delimited),
    })
}

/// Where the keys are, if somebody says.
fn keys(rule: &written::JwtRule, path: &str, findings: &mut Findings) -> Option<KeySource> {
    let (uri, other) = (rule.jwks_uri.as_str(), rule.protobuf_jwks_uri.as_str());
    if !uri.is_empty() && !other.is_empty() {
        findings.error(format_args!("{path}.jwks_uri"), "stands beside jwksUri, which is the same: remove it");
    }
    match (rule.jwks.as_str(), if uri.is_empty() { other } else { uri }) {
        ("", "") if rule.issuer.is_empty() => {
            findings.error(format_args!("{path}.issuer"), "is missing: write it, or jwksUri for tokens of any issuer");
            None
        }
        ("", "") => {
            if url(&rule.issuer).is_err() {
                let message = "is no URL at which keys could be discovered, so that its tokens are refused: write jwks or \
                               jwksUri";
                findings.remark(Severity::Warning, format_args!("{path}.issuer"), message);
            }
            Some(KeySource::Discovered(Arc::from(rule.issuer.as_str())))
        }
        (_, "") if rule.issuer.is_empty() => {
            findings.error(format_args!("{path}.issuer"), "is missing: write whose keys jwks are");
            None
        }
        (inline, "") => {
            let set: Option<Value> = serde_json::from_str(inline).ok();
            let is_set = set.is_some_and(|set| set.get("keys").is_some_and(Value::is_array));
            let checked = is_set.then_some(inline).ok_or_else(|| {
                "is no set of keys: write JSON such as {\"keys\": [{\"kty\": \"RSA\", ...}]} (RFC 7517)".to_owned()
            });
            findings.take(format_args!("{path}.jwks"), checked).map(|inline| KeySource::Inline(Arc::from(inline)))
        }
        ("", uri) => {
            let path = format!("{path}.jwksUri");
            let host = findings.take(&path, url(uri))?;
            if is_local(host) {
                let message = "is an address that is the machine's own or metadata's (IST0175): nothing is fetched from \
                               there, unless --jwks-blocked-cidrs of the waypoint or gateway says otherwise";
                findings.remark(Severity::Warning, path, message);
            }
            Some(KeySource::At(Arc::from(uri)))
        }
        (_, _) => {
            findings.error(format_args!("{path}.jwksUri"), "stands beside jwks: write one of them");
            None
        }
    }
}

/// The host of the URL `text`.
fn url(text: &str) -> Result<&str, String> {
    let wrong = || format!("{:?} is no URL of keys: write https://HOST/PATH", name::shortened(text));
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(wrong)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("443"))),
        None => authority.split_once(':').map_or((authority, Some("443")), |(host, port)| (host, Some(port))),
    };
    let port = port.and_then(|port| port.parse::<u16>().ok());
    let legal = |c: char| c.is_ascii_graphic() && !"@\\\"<>^`{|}".contains(c);
    let is_named = host.parse::<IpAddr>().is_ok() || super::super::written::is_name(host);
    if is_named && port.is_some() && text.chars().all(legal) { Ok(host) } else { Err(wrong()) }
}

/// True for what only this very machine answers, or who runs it.
fn is_local(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Where a token may stand: where it is written, or else where everybody writes it (RFC 6750 section 2).
fn locations(rule: &written::JwtRule, path: &str, findings: &mut Findings) -> Vec<Location> {
    let mut locations = Vec::new();
    for (place, field) in rule.from_headers.iter().enumerate() {
        let path = format!("{path}.fromHeaders[{place}]");
        refuse_unknown(&path, &field.unknown, "name, prefix", findings);
        let name = findings.take(format_args!("{path}.name"), name::field_name(&field.name));
        locations.extend(name.map(|name| Location::Field(name, Arc::from(field.prefix.as_str()))));
    }
    let parameters = texts(&rule.from_params, &format!("{path}.fromParams"), findings);
    let cookies = texts(&rule.from_cookies, &format!("{path}.fromCookies"), findings);
    locations.extend(parameters.into_iter().map(Location::Parameter));
    locations.extend(cookies.into_iter().map(Location::Cookie));
    if rule.from_headers.is_empty() && rule.from_params.is_empty() && rule.from_cookies.is_empty() {
        locations.push(Location::Field(Arc::from("authorization"), Arc::from("Bearer ")));
        locations.push(Location::Parameter(Arc::from("access_token")));
    }
    locations
}

/// The name of a field that a rule may write: of what frames messages, or is between proxies, it would say what is not so.
fn output_field(name: &str) -> Result<Arc<str>, String> {
    const KEPT: [&str; 10] = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-client-cert",
    ];
    let field: Arc<str> = name::field_name(name)?;
    if KEPT.contains(&&*field) || field.starts_with("x-envoy-") {
        return Err(format!("{name:?} is for the proxies themselves: write another"));
    }
    Ok(field)
}

fn claim_fields(written: &[written::ClaimToHeader], path: &str, findings: &mut Findings) -> Vec<(Arc<str>, Arc<str>)> {
    let mut fields = Vec::with_capacity(written.len());
    for (place, one) in written.iter().enumerate() {
        let path = format!("{path}.outputClaimToHeaders[{place}]");
        refuse_unknown(&path, &one.unknown, "header, claim", findings);
        let field = findings.take(format_args!("{path}.header"), output_field(&one.header));
        if one.claim.is_empty() {
            findings.error(format_args!("{path}.claim"), "is missing: write the claim that the field has");
        }
        fields.extend(field.map(|field| (field, Arc::from(one.claim.as_str()))));
    }
    fields
}

/// Texts, none of which is empty.
fn texts(written: &[String], path: &str, findings: &mut Findings) -> Vec<Arc<str>> {
    for (place, _) in written.iter().enumerate().filter(|(_, text)| text.is_empty()) {
        findings.error(format_args!("{path}[{place}]"), "is empty: write it, or remove it");
    }
    written.iter().map(|text| Arc::from(text.as_str())).collect()
}
