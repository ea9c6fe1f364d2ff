//! The rules of an AuthorizationPolicy: every key of `from`, `to` and `when` and every form of its values.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ambit_model::policy::{Action, Attribute, Pattern, Rule, Term, Values};

use super::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;
use crate::object::policy::{self as written};

/// Keys of a source that take an identity or a request to know what HTTP alone carries.
const SOURCE_BEYOND: [&str; 1] = ["requestPrincipals"];
const OPERATION_BEYOND: [&str; 3] = ["hosts", "methods", "paths"];
const WHEN_BEYOND: [&str; 3] = ["request.", "connection.sni", "experimental."];

/// A key's lists of values and where they stand.
struct Written<'a> {
    path: String,
    any: (&'static str, &'a [String]),
    none: (&'static str, &'a [String]),
}

/// What `rule`, standing at `path`, means.
pub(super) fn rule(rule: &written::Rule, path: &str, id: &ObjectRef, findings: &mut Findings) -> Rule {
    refuse_unknown(path, &rule.unknown, "from, to, when", findings);
    let mut from = Vec::new();
    if let Some(sources) = &rule.from {
        refuse_empty(sources.is_empty(), format_args!("{path}.from"), findings);
        for (place, clause) in sources.iter().enumerate() {
            let path = format!("{path}.from[{place}]");
            refuse_unknown(&path, &clause.unknown, "source", findings);
            from.push(terms(&clause.source, &format!("{path}.source"), source, id, findings));
            refuse_mixed_accounts(&clause.source, &path, findings);
        }
    }
    let mut to = Vec::new();
    if let Some(operations) = &rule.to {
        refuse_empty(operations.is_empty(), format_args!("{path}.to"), findings);
        for (place, clause) in operations.iter().enumerate() {
            let path = format!("{path}.to[{place}]");
            refuse_unknown(&path, &clause.unknown, "operation", findings);
            to.push(terms(&clause.operation, &format!("{path}.operation"), operation, id, findings));
        }
    }
    let conditions = rule.when.iter().enumerate();
    let when = conditions.filter_map(|(place, held)| condition(held, format!("{path}.when[{place}]"), id, findings));
    let when = when.collect();
    Rule { from, to, when }
}

/// Says what the layer below HTTP makes of the rules that name what only HTTP has.
pub(super) fn remark_on_what_is_beyond(rules: &[Rule], action: Action, findings: &mut Findings) {
    for (place, rule) in rules.iter().enumerate() {
        let terms = rule.from.iter().chain(&rule.to).flatten().chain(&rule.when);
        let beyond = terms.filter_map(|term| if let Term::BeyondLayer4(key) = term { Some(&**key) } else { None });
        let beyond: Vec<&str> = beyond.collect();
        if beyond.is_empty() {
            continue;
        }
        let effect = match action {
            Action::Allow => "so the rule admits nobody",
            Action::Audit => "so the rule matches nothing",
            Action::Deny | Action::Custom => "so the rule refuses whatever the rest of it matches",
        };
        let message = format!("{} cannot be seen at layer 4, {effect}", beyond.join(", "));
        findings.remark(Severity::Warning, format_args!("spec.rules[{place}]"), message);
    }
}

/// What a key and its values say; none if it is no such key, or they are no such values.
type Reader = fn(&str, &Written<'_>, &ObjectRef, &mut Findings) -> Option<Term>;

/// The terms of a clause's keys, `notPorts` standing with `ports`.
fn terms(
    clause: &BTreeMap<String, Vec<String>>,
    path: &str,
    read: Reader,
    id: &ObjectRef,
    findings: &mut Findings,
) -> Vec<Term> {
    refuse_empty(clause.values().all(Vec::is_empty), path, findings);
    let mut keys: BTreeMap<String, (&[String], &[String])> = BTreeMap::new();
    for (key, values) in clause {
        let excluded = key.strip_prefix("not").filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
        let positive = excluded.map(|rest| {
            let mut letters = rest.chars();
            letters.next().map(|first| first.to_lowercase().chain(letters).collect::<String>()).unwrap_or_default()
        });
        let (positive, excluded) = positive.map_or((key.clone(), false), |key| (key, true));
        let lists = match keys.entry(positive) {
            Entry::Vacant(vacant) => vacant.insert((&[], &[])),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        if excluded { lists.1 = values } else { lists.0 = values }
    }
    let each = keys.into_iter().filter_map(|(key, (any, none))| {
        let written = Written { path: path.to_owned(), any: ("", any), none: ("not", none) };
        read(&key, &written, id, findings)
    });
    each.collect()
}

fn source(key: &str, written: &Written<'_>, id: &ObjectRef, findings: &mut Findings) -> Option<Term> {
    let text =
        |attribute, findings: &mut Findings| Some(Term::Text(attribute, values(key, written, pattern, findings)));
    match key {
        "principals" => {
            let read = |text: &str| pattern(text).and_then(|pattern| without_scheme(text).map(|()| pattern));
            Some(Term::Text(Attribute::Principal, values(key, written, read, findings)))
        }
        "namespaces" => text(Attribute::Namespace, findings),
        "trustDomains" => text(Attribute::TrustDomain, findings),
        "serviceAccounts" => {
            let read = |text: &str| service_account(text, id);
            Some(Term::Text(Attribute::ServiceAccount, values(key, written, read, findings)))
        }
        // Nobody stands between the client and layer 4, so that the remote address is the connection's own.
        "ipBlocks" | "remoteIpBlocks" => Some(Term::SourceIp(values(key, written, parsed, findings))),
        _ if SOURCE_BEYOND.contains(&key) => Some(Term::BeyondLayer4(format!("source.{key}").into())),
        _ => {
            let known = "principals, requestPrincipals, namespaces, serviceAccounts, trustDomains, ipBlocks, \
                         remoteIpBlocks, or one of them with not before it";
            refuse_key(key, written, known, findings)
        }
    }
}

fn operation(key: &str, written: &Written<'_>, _: &ObjectRef, findings: &mut Findings) -> Option<Term> {
    match key {
        "ports" => Some(Term::DestinationPort(values(key, written, port, findings))),
        _ if OPERATION_BEYOND.contains(&key) => Some(Term::BeyondLayer4(format!("operation.{key}").into())),
        _ => {
            let known = "hosts, ports, methods, paths, or one of them with not before it";
            refuse_key(key, written, known, findings)
        }
    }
}

fn condition(held: &written::Condition, path: String, id: &ObjectRef, findings: &mut Findings) -> Option<Term> {
    refuse_unknown(&path, &held.unknown, "key, values, notValues", findings);
    if held.values.is_empty() && held.not_values.is_empty() {
        findings.error(format_args!("{path}.values"), "is missing: write values, notValues or both");
    }
    let key = held.key.as_str();
    let written = Written { path, any: ("values", &held.values), none: ("notValues", &held.not_values) };
    let text =
        |attribute, findings: &mut Findings| Some(Term::Text(attribute, values("", &written, pattern, findings)));
    let label = key.strip_prefix("source.labels[").and_then(|rest| rest.strip_suffix(']'));
    match (key, label) {
        (_, Some(label)) => {
            let checked = name::label_key(label);
            findings.take(format_args!("{}.key", written.path), checked)?;
            text(Attribute::Label(Arc::from(label)), findings)
        }
        ("source.namespace", _) => text(Attribute::Namespace, findings),
        ("source.principal", _) => {
            let read = |text: &str| pattern(text).and_then(|pattern| without_scheme(text).map(|()| pattern));
            Some(Term::Text(Attribute::Principal, values("", &written, read, findings)))
        }
        ("source.serviceAccount", _) => {
            let read = |text: &str| service_account(text, id);
            Some(Term::Text(Attribute::ServiceAccount, values("", &written, read, findings)))
        }
        ("source.trustDomain", _) => text(Attribute::TrustDomain, findings),
        ("source.ip" | "remote.ip", _) => Some(Term::SourceIp(values("", &written, parsed, findings))),
        ("destination.ip", _) => Some(Term::DestinationIp(values("", &written, parsed, findings))),
        ("destination.port", _) => Some(Term::DestinationPort(values("", &written, port, findings))),
        _ if WHEN_BEYOND.iter().any(|beyond| key.starts_with(beyond)) => Some(Term::BeyondLayer4(Arc::from(key))),
        _ => {
            let message = format!(
                "{key:?} is no attribute: write source.ip, source.namespace, source.principal, source.serviceAccount, \
                 source.trustDomain, source.labels[KEY], remote.ip, destination.ip, destination.port, or request...",
            );
            findings.error(format_args!("{}.key", written.path), message);
            None
        }
    }
}

/// Both lists, each value read by `read`. An error stands at the value.
fn values<T>(
    key: &str,
    written: &Written<'_>,
    read: impl Fn(&str) -> Result<T, String>,
    findings: &mut Findings,
) -> Values<T> {
    let mut list = |(list, texts): (&str, &[String])| {
        let field = match (list, key) {
            (list, "") => list.to_owned(),
            ("not", key) => negated(key),
            (_, key) => key.to_owned(),
        };
        let texts = texts.iter().enumerate();
        let read = texts
            .filter_map(|(place, text)| findings.take(format_args!("{}.{field}[{place}]", written.path), read(text)));
        read.collect()
    };
    Values { any: list(written.any), none: list(written.none) }
}

fn negated(key: &str) -> String {
    let mut letters = key.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    "not".chars().chain(first).chain(letters).collect()
}

fn pattern(text: &str) -> Result<Pattern, String> {
    parsed(text)
}

fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| format!("{:?} is not allowed: {error}", shortened(text)))
}

fn without_scheme(text: &str) -> Result<(), String> {
    if text.starts_with("spiffe:") {
        return Err("is written without spiffe://, as in cluster.local/ns/shop/sa/web".to_owned());
    }
    Ok(())
}

/// `<namespace>/<service account>`, or a service account of the policy's own namespace. No pattern.
fn service_account(text: &str, id: &ObjectRef) -> Result<Pattern, String> {
    let (namespace, account) = text.split_once('/').unwrap_or((&id.namespace, text));
    if name::label(namespace).is_err() || name::subdomain(account).is_err() {
        let expected = "write <service account> or <namespace>/<service account>; patterns are for principals";
        return Err(format!("{:?} is not allowed: {expected}", shortened(text)));
    }
    Ok(Pattern::Exact(Arc::from(format!("{namespace}/{account}"))))
}

/// A port's number as text.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let number = Some(text).filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok());
    number.map_or_else(|| Err(format!("{:?} is no port: 1 to 65535 are", shortened(text))), name::port)
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn refuse_empty(empty: bool, path: impl fmt::Display, findings: &mut Findings) {
    if empty {
        findings.error(path, "is empty: remove it, or write what it should match");
    }
}

fn refuse_key(key: &str, written: &Written<'_>, known: &str, findings: &mut Findings) -> Option<Term> {
    // As it was written: in the list of those that have values, or of those excluded.
    let field = if written.any.1.is_empty() && !written.none.1.is_empty() { negated(key) } else { key.to_owned() };
    findings.error(format_args!("{}.{field}", written.path), format!("is no key of this: write {known}"));
    None
}

/// A service account says what a principal and a namespace would say again (Istio `Source.service_accounts`).
fn refuse_mixed_accounts(source: &BTreeMap<String, Vec<String>>, path: &str, findings: &mut Findings) {
    let has = |key: &str| source.keys().any(|written| written == key || *written == negated(key));
    if has("serviceAccounts") && (has("principals") || has("namespaces")) {
        let message = "stands beside principals or namespaces: write one of them";
        findings.error(format_args!("{path}.source.serviceAccounts"), message);
    }
}
