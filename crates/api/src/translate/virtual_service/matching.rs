//! What requests and connections have to be for a rule to be theirs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::Cidr;
use ambit_model::policy::ClaimPath;
use ambit_model::route::{Gateway, Host, HttpMatch, Regex, RegexError, RuleKey, Source, StreamMatch, Text};

use super::super::reach::Home;
use super::super::shared;
use super::super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::virtual_service as written;

/// As long as an expression may be, in bytes (Istio's `validateStringRegexp`).
const EXPRESSION: usize = 1024;

/// The keys that are no header fields, and that Istio leaves out.
const NO_FIELDS: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// What names of claims begin with (Istio "JWT claim based routing").
const CLAIMS: &str = "@request.auth.claims";

/// A block of `match` of a rule for requests.
pub(super) fn http(block: &written::HttpMatch, path: &str, home: Home<'_>, findings: &mut Findings) -> HttpMatch {
    refuse_unknown(&block.unknown, path, findings);
    let mut text = |field: &str, written: &Option<written::StringMatch>| {
        // No path is without its slash: an empty prefix means all of them.
        let may_be_empty = field == "uri";
        written.as_ref().and_then(|written| string_match(written, &format!("{path}.{field}"), may_be_empty, findings))
    };
    let (uri, scheme) = (text("uri", &block.uri), text("scheme", &block.scheme));
    let (method, authority) = (text("method", &block.method), text("authority", &block.authority));
    if !block.stat_prefix.is_empty() {
        let message = "names statistics of Envoy's, which there are none of here";
        findings.remark(Severity::Notice, format_args!("{path}.statPrefix"), message);
    }
    let asked = Asked {
        port: block.port,
        labels: &block.source_labels,
        namespace: &block.source_namespace,
        gateways: &block.gateways,
    };
    let parameters = block.query_params.iter().filter_map(|(key, written)| {
        let text = presence_or(written.as_ref(), &format!("{path}.queryParams[{key}]"), findings)?;
        Some((Arc::from(key.as_str()), text))
    });
    let parameters = parameters.collect();
    let (fields, claims) = headers(&block.headers, &format!("{path}.headers"), true, findings);
    let (without_fields, without_claims) =
        headers(&block.without_headers, &format!("{path}.withoutHeaders"), false, findings);
    HttpMatch {
        name: super::named(&block.name),
        source: asked.source(path, home, findings),
        uri,
        ignore_uri_case: block.ignore_uri_case,
        scheme,
        method,
        authority,
        headers: fields,
        without_headers: without_fields,
        claims,
        without_claims,
        parameters,
    }
}

/// A block of `match` of a rule for connections, `tls` saying which kind of them.
pub(super) fn stream(
    block: &written::StreamMatch,
    path: &str,
    home: Home<'_>,
    tls: bool,
    findings: &mut Findings,
) -> StreamMatch {
    refuse_unknown(&block.unknown, path, findings);
    let asked = Asked {
        port: block.port,
        labels: &block.source_labels,
        namespace: &block.source_namespace,
        gateways: &block.gateways,
    };
    match (tls, block.sni_hosts.is_empty()) {
        (true, true) => {
            findings.error(format_args!("{path}.sniHosts"), "is missing: write the names that TLS clients ask for");
        }
        (false, false) => {
            findings.error(format_args!("{path}.sniHosts"), "is for spec.tls: what is no TLS names no host");
        }
        _ => {}
    }
    if tls && !block.source_subnet.is_empty() {
        findings.error(format_args!("{path}.sourceSubnet"), "is for spec.tcp only: remove it");
    }
    let mut range = |path: String, text: &str| {
        let parsed = text.parse::<Cidr>();
        findings
            .take(path, parsed.map_err(|expected| format!("{:?} is not allowed: {expected}", name::shortened(text))))
    };
    let subnets = block.destination_subnets.iter().enumerate();
    let subnets = subnets.filter_map(|(place, text)| range(format!("{path}.destinationSubnets[{place}]"), text));
    let destination_subnets = subnets.collect();
    let from = (!block.source_subnet.is_empty()).then(|| range(format!("{path}.sourceSubnet"), &block.source_subnet));
    let hosts = block.sni_hosts.iter().enumerate();
    let hosts = hosts.map(|(place, host)| sni_host(host, &format!("{path}.sniHosts[{place}]"), findings));
    StreamMatch {
        sni_hosts: hosts.collect(),
        source: asked.source(path, home, findings),
        destination_subnets,
        source_subnet: from.flatten(),
    }
}

/// A name as TLS clients write it: never a short one.
fn sni_host(text: &str, path: &str, findings: &mut Findings) -> Host {
    if text.parse::<IpAddr>().is_ok() {
        let message = "is an address, and TLS clients name none (RFC 6066 section 3): write a name";
        findings.remark(Severity::Warning, path, message);
        return Host::literal(text);
    }
    let lower = text.to_ascii_lowercase();
    if text != "*" {
        findings.take(path, name::subdomain(lower.strip_prefix("*.").unwrap_or(&lower)));
    }
    Host::literal(text)
}

/// What any block may ask of where something arrived and from whom.
struct Asked<'a> {
    port: Option<i64>,
    labels: &'a BTreeMap<String, String>,
    namespace: &'a str,
    gateways: &'a [String],
}

impl Asked<'_> {
    fn source(&self, path: &str, home: Home<'_>, findings: &mut Findings) -> Source {
        let port = self.port.filter(|port| *port != 0);
        let port = port.and_then(|port| findings.take(format_args!("{path}.port"), name::port(port)));
        for (key, value) in self.labels {
            let checked = name::label_key(key).and_then(|()| name::label_value(value));
            findings.take(format_args!("{path}.sourceLabels[{key}]"), checked);
        }
        if !self.namespace.is_empty() {
            findings.take(format_args!("{path}.sourceNamespace"), name::label(self.namespace));
        }
        Source {
            gateways: gateways(self.gateways, &format!("{path}.gateways"), home, findings),
            port,
            labels: shared(self.labels),
            namespace: super::named(self.namespace),
        }
    }
}

/// Gateways by name: the mesh, one of the object's namespace, or one of another.
pub(super) fn gateways(names: &[String], path: &str, home: Home<'_>, findings: &mut Findings) -> Vec<Gateway> {
    let mut gateways = Vec::with_capacity(names.len());
    for (place, text) in names.iter().enumerate() {
        if text == "mesh" {
            gateways.push(Gateway::Mesh);
            continue;
        }
        let path = format_args!("{path}[{place}]");
        // The first Istio wrote them as names of hosts.
        let old = text.split_once('.').filter(|_| !text.contains('/'));
        let (namespace, gateway) = match (text.split_once('/'), old) {
            (Some(both), _) => both,
            (None, Some((gateway, rest))) => (rest.split('.').next().unwrap_or_default(), gateway),
            (None, None) => (&*home.id.namespace, text.as_str()),
        };
        let named = name::label(namespace).and_then(|()| name::label(gateway));
        let named = findings.take(path, named.and_then(|()| old.map_or(Ok(()), |_| name::subdomain(text))));
        if named.is_some() && old.is_some() {
            let message = format!("is Istio's old way to name a gateway: write {namespace}/{gateway}");
            findings.remark(Severity::Warning, path, message);
        }
        gateways.push(Gateway::Named(RuleKey::new(namespace, gateway)));
    }
    gateways
}

/// Texts by the names of header fields, and by claims of tokens.
type Headers = (BTreeMap<Arc<str>, Text>, BTreeMap<ClaimPath, Text>);

/// Header fields by name, and claims of the request's token, which are written as if they were fields. Null is nothing to
/// match where they must be `told`, and else presence.
fn headers(
    written: &BTreeMap<String, Option<written::StringMatch>>,
    path: &str,
    told: bool,
    findings: &mut Findings,
) -> Headers {
    let (mut fields, mut claims) = Headers::default();
    for (key, text) in written {
        let path = format!("{path}[{key}]");
        if NO_FIELDS.contains(&key.as_str()) {
            findings.remark(Severity::Warning, path, format!("is left out, as by Istio: write {key} beside headers"));
            continue;
        }
        if told && text.is_none() {
            findings.error(path, "is null: write what the field should be, or {} for presence");
            continue;
        }
        if let Some(claim) = of_claims(key) {
            let expected = "names no claim: write @request.auth.claims.CLAIM, or @request.auth.claims[CLAIM][PART]";
            let claim = findings.take(&path, claim.ok_or_else(|| expected.to_owned()));
            claims.extend(claim.zip(presence_or(text.as_ref(), &path, findings)));
            continue;
        }
        let (name, text) = (findings.take(&path, name::field_name(key)), presence_or(text.as_ref(), &path, findings));
        fields.extend(name.zip(text));
    }
    (fields, claims)
}

/// What `key` asks for, if it is the name of claims and not of a field: the claim, with dots or brackets between its parts,
/// if it is one.
fn of_claims(key: &str) -> Option<Option<ClaimPath>> {
    let rest = key
        .get(CLAIMS.len()..)
        .filter(|_| key.get(..CLAIMS.len()).is_some_and(|start| start.eq_ignore_ascii_case(CLAIMS)))?;
    let in_brackets = || rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Some(match rest.strip_prefix('.') {
        Some(names) => ClaimPath::new(names.split('.')),
        None => in_brackets().and_then(|names| ClaimPath::new(names.split("]["))),
    })
}

/// What is written, or presence where nothing is.
fn presence_or(written: Option<&written::StringMatch>, path: &str, findings: &mut Findings) -> Option<Text> {
    written.map_or(Some(Text::Present), |written| string_match(written, path, false, findings))
}

/// One of `exact`, `prefix` and `regex`; presence where there is none.
pub(super) fn string_match(
    written: &written::StringMatch,
    path: &str,
    may_be_empty: bool,
    findings: &mut Findings,
) -> Option<Text> {
    refuse_unknown(&written.unknown, path, findings);
    match (&written.exact, &written.prefix, &written.regex) {
        (None, None, None) => Some(Text::Present),
        (Some(exact), None, None) => Some(Text::Exact(Arc::from(exact.as_str()))),
        (None, Some(prefix), None) if prefix.is_empty() && !may_be_empty => {
            findings
                .error(format_args!("{path}.prefix"), "is empty: write what is to begin with it, or {} for anything");
            None
        }
        (None, Some(prefix), None) => Some(Text::Prefix(Arc::from(prefix.as_str()))),
        // No expression: Istio's word for presence.
        (None, None, Some(regex)) if regex == "*" => Some(Text::Present),
        (None, None, Some(regex)) => {
            findings.take(format_args!("{path}.regex"), expression(regex, Regex::whole)).map(Text::Regex)
        }
        _ => {
            findings.error(path, "says more than one of exact, prefix, regex: write one");
            None
        }
    }
}

/// The expression `text`, which `read` reads, if it is no longer than any may be.
pub(super) fn expression(text: &str, read: fn(&str) -> Result<Regex, RegexError>) -> Result<Regex, String> {
    if text.len() > EXPRESSION {
        return Err(format!("has {} bytes, and an expression may have {EXPRESSION}: write several rules", text.len()));
    }
    read(text).map_err(|error| error.to_string())
}
