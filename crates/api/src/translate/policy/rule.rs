//! The rules of an AuthorizationPolicy: every key of `from`, `to` and `when` and every form of its values.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use ambit_model::policy::{Attribute, ClaimPath, Rule, Term, TokenAttribute, Values};

use super::{refuse_unknown, value};
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;
use crate::object::policy::{self as written};

/// What conditions on the statistics of single filters of Envoy begin with.
const OF_ENVOY: &str = "experimental.envoy.filters.";

/// So many service accounts may stand in one list (Istio `Source.service_accounts`).
const ACCOUNTS: usize = 16;

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
    let attribute = match key {
        "principals" => Attribute::Principal,
        "requestPrincipals" => Attribute::Token(TokenAttribute::RequestPrincipal),
        "namespaces" => Attribute::Namespace,
        "trustDomains" => Attribute::TrustDomain,
        "serviceAccounts" => {
            remark_on_many_accounts(written, "serviceAccounts", findings);
            Attribute::ServiceAccount
        }
        "ipBlocks" => return Some(Term::SourceIp(values(key, written, value::parsed, findings))),
        "remoteIpBlocks" => return Some(Term::RemoteIp(values(key, written, value::parsed, findings))),
        _ => {
            let known = "principals, requestPrincipals, namespaces, serviceAccounts, trustDomains, ipBlocks, \
                         remoteIpBlocks, or one of them with not before it";
            return refuse_key(key, written, known, findings);
        }
    };
    Some(text(attribute, key, written, id, findings))
}

fn text(attribute: Attribute, key: &str, written: &Written<'_>, id: &ObjectRef, findings: &mut Findings) -> Term {
    let values = values(key, written, |text| value::text(&attribute, text, id), findings);
    Term::Text(attribute, values)
}

fn operation(key: &str, written: &Written<'_>, id: &ObjectRef, findings: &mut Findings) -> Option<Term> {
    match key {
        "hosts" => Some(text(Attribute::Host, key, written, id, findings)),
        "methods" => Some(text(Attribute::Method, key, written, id, findings)),
        "paths" => Some(Term::Path(values(key, written, value::parsed, findings))),
        "ports" => Some(Term::DestinationPort(values(key, written, value::port, findings))),
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
    Some(match key {
        "source.ip" => Term::SourceIp(values("", &written, value::parsed, findings)),
        "remote.ip" => Term::RemoteIp(values("", &written, value::parsed, findings)),
        "destination.ip" => Term::DestinationIp(values("", &written, value::parsed, findings)),
        "destination.port" => Term::DestinationPort(values("", &written, value::port, findings)),
        _ if key.strip_prefix(OF_ENVOY).is_some_and(|rest| !rest.is_empty()) => Term::Beyond(Arc::from(key)),
        _ => {
            let attribute = findings.take(format_args!("{}.key", written.path), attribute(key))?;
            if attribute == Attribute::ServiceAccount {
                remark_on_many_accounts(&written, "", findings);
            }
            text(attribute, "", &written, id, findings)
        }
    })
}

/// The attribute that conditions ask for by `key`, if it is a text.
fn attribute(key: &str) -> Result<Attribute, String> {
    let within = |name: &str| key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']');
    Ok(match key {
        "source.namespace" => Attribute::Namespace,
        "source.principal" => Attribute::Principal,
        "source.serviceAccount" => Attribute::ServiceAccount,
        "source.trustDomain" => Attribute::TrustDomain,
        "connection.sni" => Attribute::Sni,
        "request.auth.principal" => Attribute::Token(TokenAttribute::Principal),
        "request.auth.audiences" => Attribute::Token(TokenAttribute::Audiences),
        "request.auth.presenter" => Attribute::Token(TokenAttribute::Presenter),
        _ => {
            if let Some(label) = within("source.labels") {
                name::label_key(label)?;
                Attribute::Label(Arc::from(label))
            } else if let Some(field) = within("request.headers") {
                Attribute::Header(name::field_name(field)?)
            } else if let Some(claim) = within("request.auth.claims") {
                let path = ClaimPath::new(claim.split("][")).filter(|_| !claim.replace("][", "").contains(['[', ']']));
                let expected = "write request.auth.claims[CLAIM], or [CLAIM][PART] for what is within one";
                Attribute::Token(TokenAttribute::Claim(path.ok_or_else(|| expected.to_owned())?))
            } else {
                return Err(format!(
                    "{:?} is no attribute: write source.ip, source.namespace, source.principal, source.serviceAccount, \
                     source.trustDomain, source.labels[KEY], remote.ip, destination.ip, destination.port, \
                     connection.sni, request.headers[NAME], request.auth.principal, request.auth.audiences, \
                     request.auth.presenter or request.auth.claims[CLAIM]",
                    name::shortened(key)
                ));
            }
        }
    })
}

/// Both lists, each value read by `read`. An error stands at the value.
fn values<T>(
    key: &str,
    written: &Written<'_>,
    read: impl Fn(&str) -> Result<T, String>,
    findings: &mut Findings,
) -> Values<T> {
    let mut list = |(list, texts): (&str, &[String])| {
        let field = field(list, key);
        let texts = texts.iter().enumerate();
        let read = texts
            .filter_map(|(place, text)| findings.take(format_args!("{}.{field}[{place}]", written.path), read(text)));
        read.collect()
    };
    Values { any: list(written.any), none: list(written.none) }
}

/// The field that the `list` of `key` is: that of a condition if there is no key.
fn field(list: &str, key: &str) -> String {
    match (list, key) {
        (list, "") => list.to_owned(),
        ("not", key) => negated(key),
        (_, key) => key.to_owned(),
    }
}

fn negated(key: &str) -> String {
    let mut letters = key.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    "not".chars().chain(first).chain(letters).collect()
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

/// A remark where more accounts stand at `key` than Istio lets there be.
fn remark_on_many_accounts(written: &Written<'_>, key: &str, findings: &mut Findings) {
    for (list, texts) in [written.any, written.none] {
        if texts.len() > ACCOUNTS {
            let message = format!("has {} accounts, and may have {ACCOUNTS}: write several sources", texts.len());
            // Harmless, and a policy that is not in force is not.
            findings.remark(Severity::Warning, format_args!("{}.{}", written.path, field(list, key)), message);
        }
    }
}

/// A service account says what a principal and a namespace would say again (Istio `Source.service_accounts`).
fn refuse_mixed_accounts(source: &BTreeMap<String, Vec<String>>, path: &str, findings: &mut Findings) {
    let has = |key: &str| source.keys().any(|written| written == key || *written == negated(key));
    if has("serviceAccounts") && (has("principals") || has("namespaces")) {
        let message = "stands beside principals or namespaces: write one of them";
        findings.error(format_args!("{path}.source.serviceAccounts"), message);
    }
}
