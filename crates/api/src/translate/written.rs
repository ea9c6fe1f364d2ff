//! Endpoints that are written down: those of a ServiceEntry, and WorkloadEntries.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use ambit_model::Topology;

use super::{shared, waypoint};
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object::WorkloadEntry;
use crate::object::service_entry::Unknown;
use crate::object::workload_entry::WorkloadEntrySpec;
use crate::resource::{self, Resource, Written};

/// A WorkloadEntry.
pub(super) fn workload_entry(entry: &WorkloadEntry, id: &ObjectRef, findings: &mut Findings) -> Resource {
    if waypoint::wish(&entry.metadata, &id.namespace, findings).is_some() {
        let path = format!("metadata.labels[{}]", labels::USE_WAYPOINT);
        let message =
            "is not in effect on a WorkloadEntry in this version: label the ServiceEntry or Service that selects it";
        findings.remark(Severity::Warning, path, message);
    }
    let Some(endpoint) = endpoint(&entry.spec, "spec", findings) else { return Resource::Inert(id.clone()) };
    let mut labels = shared(&entry.metadata.labels);
    labels.extend(shared(&entry.spec.labels));
    let (namespace, name) = (id.namespace.clone(), id.name.clone());
    Resource::WorkloadEntry(Arc::new(resource::WorkloadEntry { namespace, name, labels, endpoint }))
}

/// The endpoint at `path`; none if it has no address, which is an error or at least remarked on.
pub(super) fn endpoint(spec: &WorkloadEntrySpec, path: &str, findings: &mut Findings) -> Option<Written> {
    refuse_unknown(&spec.unknown, path, findings);
    for (key, value) in &spec.labels {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("{path}.labels[{key}]"), checked);
    }
    let mut ports = BTreeMap::new();
    for (name, number) in &spec.ports {
        findings.take(format_args!("{path}.ports[{name}]"), name::label(&name.to_ascii_lowercase()));
        let number = findings.take(format_args!("{path}.ports[{name}]"), name::port(*number));
        ports.extend(number.map(|number| (Arc::from(name.as_str()), number)));
    }
    let weight = match u32::try_from(spec.weight) {
        Ok(weight) => NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN),
        Err(_) => {
            findings
                .error(format_args!("{path}.weight"), format!("{} is no weight: 1 to {} are", spec.weight, u32::MAX));
            NonZeroU32::MIN
        }
    };
    if !spec.service_account.is_empty() {
        findings.take(format_args!("{path}.serviceAccount"), name::subdomain(&spec.service_account));
    }
    if !spec.network.is_empty() && !spec.address.is_empty() {
        let message = "is not in effect in this version: the endpoint is dialled directly, as one of this network";
        findings.remark(Severity::Warning, format_args!("{path}.network"), message);
    }
    let topology = locality(&spec.locality, &format!("{path}.locality"), findings).map(Arc::new);
    if spec.address.is_empty() && !spec.network.is_empty() {
        let message = "is missing, and the endpoint left out: gateways of networks are not known in this version";
        findings.remark(Severity::Warning, format_args!("{path}.address"), message);
        return None;
    }
    let address = address(&spec.address, &format!("{path}.address"), findings)?;
    Some(Written { address, ports, topology, weight })
}

/// An error for each of the fields at `path` that their kind does not have.
pub(super) fn refuse_unknown(unknown: &Unknown, path: impl fmt::Display, findings: &mut Findings) {
    for field in unknown.keys() {
        // What is quoted lands in logs: no more of it than tells it apart.
        let shown: String = field.chars().take(80).collect();
        findings.error(format_args!("{path}.{shown}"), "is no field of this kind: correct its name or remove it");
    }
}

/// True for a DNS name: it does not end as an address does (RFC 3696 section 2).
pub(super) fn is_name(text: &str) -> bool {
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    !numeric && name::subdomain(&text.to_ascii_lowercase()).is_ok()
}

fn address(text: &str, path: &str, findings: &mut Findings) -> Option<IpAddr> {
    if text.starts_with("unix:") {
        findings.error(path, "a socket of another machine's file system cannot be dialled: write an address");
        return None;
    }
    if !is_name(text) {
        return findings.take(path, name::address(text));
    }
    let message = "a name is not resolved in this version, and the endpoint left out: write its address";
    findings.remark(Severity::Warning, path, message);
    None
}

/// `region/zone/subzone`, or as much of it as is written.
fn locality(text: &str, path: &str, findings: &mut Findings) -> Option<Topology> {
    if text.is_empty() {
        return None;
    }
    let mut parts = text.split('/');
    let mut next = || parts.next().unwrap_or_default();
    let places = [next(), next(), next()];
    if parts.next().is_some() || places.iter().any(|place| name::label_value(place).is_err()) {
        findings.error(path, "is no locality: write region/zone/subzone, or as much of that as is known");
    }
    let [region, zone, subzone] = places.map(Arc::from);
    Some(Topology { region, zone, subzone, node: Arc::default() })
}
