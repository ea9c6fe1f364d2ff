//! A DestinationRule: the subsets of a host and how its endpoints are reached (Istio "Destination Rule"). Which endpoints
//! there are is for whoever knows all objects.

mod balance;
mod limits;
mod locality;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::Mesh;
use ambit_model::destination::{DestinationRule, ProxyProtocol, RetryBudget, Settings, Subset, TrafficPolicy};
use ambit_model::route::{Percent, RuleKey};

use super::duration;
use super::reach::Home;
use super::shared;
use super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;
use crate::object::destination_rule as written;
use crate::object::policy::Selector;
use crate::resource::Resource;

pub(super) fn translate(
    rule: &written::DestinationRule,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Resource {
    let (spec, home) = (&rule.spec, Home { id, mesh });
    refuse_unknown(&spec.unknown, "spec", findings);
    let host = home.host("spec.host", &spec.host, findings);
    let policy = spec.traffic_policy.as_ref().map(|policy| traffic_policy(policy, "spec.trafficPolicy", findings));
    let mut subsets: Vec<Subset> = Vec::with_capacity(spec.subsets.len());
    for (place, one) in spec.subsets.iter().enumerate() {
        let path = format!("spec.subsets[{place}]");
        let read = subset(one, &path, findings);
        if subsets.iter().any(|known| known.name == read.name) {
            let message = format!("{:?} names another subset, too", name::shortened(&one.name));
            findings.error(format_args!("{path}.name"), message);
        }
        subsets.push(read);
    }
    let selector = spec.workload_selector.as_ref().map(|selector| selected(selector, findings));
    let visibility = home.visibility("spec.exportTo", &spec.export_to, findings);
    home.refuse_contradictions(&spec.export_to, false, findings);
    let is_own = |name: &String| name == "." || **name == *id.namespace;
    if spec.workload_selector.is_some() && !spec.export_to.iter().all(is_own) {
        let message =
            "stands beside a workloadSelector, which selects clients of its own namespace: write . or nothing";
        findings.error("spec.exportTo", message);
    }
    let created = rule.metadata.creation_timestamp.as_deref().map(Arc::from);
    let key = RuleKey { namespace: id.namespace.clone(), name: id.name.clone() };
    Resource::DestinationRule(Arc::new(DestinationRule { key, created, host, policy, subsets, visibility, selector }))
}

fn subset(subset: &written::Subset, path: &str, findings: &mut Findings) -> Subset {
    refuse_unknown(&subset.unknown, path, findings);
    findings.take(format_args!("{path}.name"), name::label(&subset.name));
    labels(&subset.labels, format_args!("{path}.labels"), findings);
    let policy = subset.traffic_policy.as_ref();
    let policy = policy.map(|policy| traffic_policy(policy, &format!("{path}.trafficPolicy"), findings));
    Subset { name: Arc::from(subset.name.as_str()), labels: shared(&subset.labels), policy }
}

fn selected(selector: &Selector, findings: &mut Findings) -> BTreeMap<Arc<str>, Arc<str>> {
    refuse_unknown(&selector.unknown, "spec.workloadSelector", findings);
    labels(&selector.match_labels, "spec.workloadSelector.matchLabels", findings);
    if selector.match_labels.is_empty() {
        let message = "is empty: the rule is for every client of its namespace";
        findings.remark(Severity::Warning, "spec.workloadSelector.matchLabels", message);
    }
    shared(&selector.match_labels)
}

fn labels(labels: &BTreeMap<String, String>, path: impl fmt::Display, findings: &mut Findings) {
    for (key, value) in labels {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("{path}[{key}]"), checked);
    }
}

/// What is said of all ports, and of single ones.
fn traffic_policy(policy: &written::TrafficPolicy, path: &str, findings: &mut Findings) -> TrafficPolicy {
    if policy.port.is_some() {
        findings.error(format_args!("{path}.port"), "is for portLevelSettings: write them");
    }
    if policy.says_nothing() {
        findings.error(path, "says nothing: write loadBalancer, connectionPool, outlierDetection or tls, or remove it");
    }
    let mut ports = BTreeMap::new();
    for (place, one) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{place}]");
        let own = settings(one, &path, findings);
        refuse_what_is_for_all_ports(one, &path, findings);
        if one.says_nothing() {
            findings.error(&path, "says nothing: write loadBalancer, connectionPool, outlierDetection or tls");
        }
        let Some(port) = &one.port else {
            findings.error(format_args!("{path}.port"), "is missing: write port: {number: 80}, the service's port");
            continue;
        };
        let Some(number) = findings.take(format_args!("{path}.port.number"), name::port(port.number)) else { continue };
        if ports.insert(number, own).is_some() {
            findings.error(format_args!("{path}.port.number"), format!("{number} has settings already"));
        }
    }
    if let Some(tunnel) = &policy.tunnel {
        check_tunnel(tunnel, &format!("{path}.tunnel"), findings);
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        findings.error(format_args!("{path}.tunnel"), "stands beside proxyProtocol: write one of them");
    }
    TrafficPolicy {
        settings: settings(policy, path, findings),
        ports,
        retry_budget: policy.retry_budget.as_ref().map(|budget| retry_budget(budget, path, findings)),
        proxy_protocol: policy.proxy_protocol.as_ref().map(|one| proxy_protocol(one, path, findings)),
    }
}

/// What is said of all ports, or of a single one.
fn settings(policy: &written::TrafficPolicy, path: &str, findings: &mut Findings) -> Settings {
    refuse_unknown(&policy.unknown, path, findings);
    let balancer = policy.load_balancer.as_ref();
    let pool = policy.connection_pool.as_ref();
    let outliers = policy.outlier_detection.as_ref();
    Settings {
        load_balancer: balancer
            .map(|one| balance::load_balancer(one, outliers.is_some(), &format!("{path}.loadBalancer"), findings)),
        connection_pool: pool.map(|one| limits::connection_pool(one, &format!("{path}.connectionPool"), findings)),
        outlier_detection: outliers.map(|one| limits::outliers(one, &format!("{path}.outlierDetection"), findings)),
        tls: policy.tls.as_ref().map(|one| tls::client(one, &format!("{path}.tls"), findings)),
    }
}

fn refuse_what_is_for_all_ports(policy: &written::TrafficPolicy, path: &str, findings: &mut Findings) {
    for (field, written) in [
        ("portLevelSettings", !policy.port_level_settings.is_empty()),
        ("tunnel", policy.tunnel.is_some()),
        ("proxyProtocol", policy.proxy_protocol.is_some()),
        ("retryBudget", policy.retry_budget.is_some()),
    ] {
        if written {
            findings.error(format_args!("{path}.{field}"), "is for all ports: write it beside portLevelSettings");
        }
    }
}

/// What nothing is done by, checked for the day when something is.
fn check_tunnel(tunnel: &written::Tunnel, path: &str, findings: &mut Findings) {
    refuse_unknown(&tunnel.unknown, path, findings);
    let message = "is not in effect in this version: connections go to the endpoints themselves";
    findings.remark(Severity::Warning, path, message);
    if !matches!(tunnel.protocol.as_str(), "" | "CONNECT" | "POST") {
        let message = format!("{:?} is neither CONNECT nor POST", name::shortened(&tunnel.protocol));
        findings.error(format_args!("{path}.protocol"), message);
    }
    if tunnel.target_host.parse::<IpAddr>().is_err() {
        let named = name::subdomain(&tunnel.target_host.to_ascii_lowercase());
        findings.take(format_args!("{path}.targetHost"), named);
    }
    findings.take(format_args!("{path}.targetPort"), name::port(tunnel.target_port));
}

fn retry_budget(budget: &written::RetryBudget, path: &str, findings: &mut Findings) -> RetryBudget {
    let path = format!("{path}.retryBudget");
    refuse_unknown(&budget.unknown, &path, findings);
    let usual = RetryBudget::default();
    let percent = budget.percent.and_then(|percent| {
        let read = Percent::new(percent).ok_or_else(|| format!("{percent} is no percentage: 0 to 100 are"));
        findings.take(format_args!("{path}.percent"), read)
    });
    let least = budget.min_retry_concurrency.map(|least| {
        let read = u32::try_from(least).map_err(|_| format!("{least} is no number of retries"));
        findings.take(format_args!("{path}.minRetryConcurrency"), read).unwrap_or_default()
    });
    let interval = budget.budget_interval.as_ref();
    let interval = duration::optional(format_args!("{path}.budgetInterval"), interval, duration::any, findings);
    RetryBudget {
        percent: percent.unwrap_or(usual.percent),
        min_retry_concurrency: least.unwrap_or(usual.min_retry_concurrency),
        interval: interval.unwrap_or(usual.interval),
    }
}

fn proxy_protocol(protocol: &written::ProxyProtocol, path: &str, findings: &mut Findings) -> ProxyProtocol {
    let path = format!("{path}.proxyProtocol");
    refuse_unknown(&protocol.unknown, &path, findings);
    match protocol.version.as_str() {
        "" | "V1" => ProxyProtocol::V1,
        "V2" => ProxyProtocol::V2,
        other => {
            let message = format!("{:?} is neither V1 nor V2", name::shortened(other));
            findings.error(format_args!("{path}.version"), message);
            ProxyProtocol::V1
        }
    }
}
