//! A ServiceEntry: hosts, the addresses that stand for them and where connections to these go (Istio "Service Entry").
//! Which addresses hosts without any are given is for whoever knows all of them.

mod contradictions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{Cidr, Mesh, Resolution};

use super::reach::Home;
use super::written::{self, refuse_unknown};
use super::{distribution, shared, waypoint};
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object;
use crate::object::service_entry::{EntryPort, ServiceEntrySpec};
use crate::resource::{self, Families, Port, Resource, Service, TargetPort, Written};

/// How a ServiceEntry says that endpoints are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// `NONE`: the client has resolved the name, or knows the address.
    None,
    /// `STATIC`: they are written, or selected.
    Static,
    /// `DNS`, `DNS_ROUND_ROBIN`: they are resolved.
    Dns,
    /// `DYNAMIC_DNS`: the name that the client asks for is resolved.
    Dynamic,
}

pub(super) fn translate(
    entry: &object::ServiceEntry,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Resource {
    let spec = &entry.spec;
    refuse_unknown(&spec.unknown, "spec", findings);
    let mode = mode(spec, findings);
    let hosts = hosts(&spec.hosts, findings);
    let (vips, ranges) = addresses(&spec.addresses, mode, findings);
    let ports = ports(&spec.ports, mode, findings);
    let endpoints = endpoints(spec, mode, findings);
    let selector = selector(spec, mode, findings);
    let distribution = distribution::annotated(&entry.metadata, findings);
    let waypoint = waypoint::wish(&entry.metadata, &id.namespace, findings);
    let passed_by_gateways = waypoint::passed_by_gateways(&entry.metadata, findings);
    let home = Home { id, mesh };
    let visibility = home.visibility("spec.exportTo", &spec.export_to, findings);
    home.refuse_contradictions(&spec.export_to, true, findings);
    // A host that has nowhere to lead to is left to whoever resolves it for the client, and passes.
    let leads = !endpoints.is_empty() || !selector.is_empty();
    let allocates = leads && entry.metadata.label(labels::AUTO_ALLOCATE) != Some("false");
    contradictions::find(entry, mode, findings);
    remark_on_what_is_not_in_effect(spec, mode, findings);
    let service = |host: &Arc<str>| {
        let given = if spec.addresses.is_empty() { given(entry, host, findings) } else { Vec::new() };
        let bare = spec.addresses.is_empty() && given.is_empty() && !host.starts_with("*.");
        Arc::new(Service {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            host: Some(host.clone()),
            hostname: host.clone(),
            vips: [&vips[..], &given].concat(),
            ranges: ranges.clone(),
            resolution: if matches!(mode, Mode::None | Mode::Dynamic) {
                Resolution::AsDialled
            } else {
                Resolution::Endpoints
            },
            allocates: bare && allocates,
            alias: None,
            families: Families { v4: true, v6: true },
            selector: selector.clone(),
            endpoints: endpoints.clone(),
            ports: ports.clone(),
            publish_not_ready: false,
            visibility: visibility.clone(),
            distribution,
            waypoint: waypoint.clone(),
            passed_by_gateways,
        })
    };
    let hosts = hosts.iter().map(service).collect();
    let (namespace, name) = (id.namespace.clone(), id.name.clone());
    Resource::ServiceEntry(Arc::new(resource::ServiceEntry { namespace, name, hosts }))
}

fn mode(spec: &ServiceEntrySpec, findings: &mut Findings) -> Mode {
    if !matches!(spec.location.as_str(), "" | "MESH_EXTERNAL" | "MESH_INTERNAL") {
        findings.error("spec.location", format!("{:?} is neither MESH_EXTERNAL nor MESH_INTERNAL", spec.location));
    }
    match spec.resolution.as_str() {
        "" | "NONE" => Mode::None,
        "STATIC" => Mode::Static,
        "DNS" | "DNS_ROUND_ROBIN" => Mode::Dns,
        "DYNAMIC_DNS" => Mode::Dynamic,
        other => {
            let message = format!("{other:?} is none of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS");
            findings.error("spec.resolution", message);
            Mode::None
        }
    }
}

/// The hosts, in lower case.
fn hosts(written: &[String], findings: &mut Findings) -> Vec<Arc<str>> {
    if written.is_empty() {
        findings.error("spec.hosts", "is missing: write the DNS names that the entry is for");
    }
    let mut hosts: Vec<Arc<str>> = Vec::with_capacity(written.len());
    for (place, text) in written.iter().enumerate() {
        let path = format!("spec.hosts[{place}]");
        let host = text.to_ascii_lowercase();
        findings.take(&path, name::subdomain(host.strip_prefix("*.").unwrap_or(&host)));
        if hosts.iter().any(|known| **known == *host) {
            findings.error(path, "stands in the list already: remove one of them");
        }
        hosts.push(Arc::from(host));
    }
    hosts
}

/// The single addresses, and the ranges.
fn addresses(written: &[String], mode: Mode, findings: &mut Findings) -> (Vec<IpAddr>, Vec<Cidr>) {
    let (mut vips, mut ranges) = (BTreeSet::new(), BTreeSet::new());
    for (place, text) in written.iter().enumerate() {
        let path = format!("spec.addresses[{place}]");
        let range = text
            .parse::<Cidr>()
            .map_err(|expected| format!("{:?} is not allowed: {expected}", text.chars().take(80).collect::<String>()));
        let Some(range) = findings.take(&path, range) else { continue };
        match range.single() {
            Some(single) => vips.extend(findings.take(path, name::address(&single.to_string()))),
            None if matches!(mode, Mode::None | Mode::Static) => {
                ranges.insert(range);
            }
            None => findings.error(path, "a range needs the resolution NONE or STATIC: write single addresses"),
        }
    }
    (vips.into_iter().collect(), ranges.into_iter().collect())
}

/// The addresses that a control plane gave `host`.
fn given(entry: &object::ServiceEntry, host: &str, findings: &mut Findings) -> Vec<IpAddr> {
    let mut given = Vec::new();
    for (place, address) in entry.status.addresses.iter().enumerate() {
        if address.host.eq_ignore_ascii_case(host) {
            given.extend(findings.take(format_args!("status.addresses[{place}].value"), name::address(&address.value)));
        }
    }
    given
}

/// What a port may speak, as Istio names it; of what is not TCP the mesh carries nothing.
const PROTOCOLS: [&str; 12] =
    ["TCP", "TLS", "HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "MONGO", "MYSQL", "REDIS", "HTTP_PROXY", "UDP"];

/// The TCP ports, ascending.
fn ports(written: &[EntryPort], mode: Mode, findings: &mut Findings) -> Vec<Port> {
    let (mut ports, mut names, mut numbers) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (place, port) in written.iter().enumerate() {
        let path = format!("spec.ports[{place}]");
        refuse_unknown(&port.unknown, &path, findings);
        findings.take(format_args!("{path}.name"), name::label(&port.name.to_ascii_lowercase()));
        if !port.name.is_empty() && !names.insert(&port.name) {
            findings.error(format_args!("{path}.name"), format!("{:?} names another port, too", port.name));
        }
        let number = findings.take(format_args!("{path}.number"), name::port(port.number));
        if number.is_some_and(|number| !numbers.insert(number)) {
            findings.error(format_args!("{path}.number"), format!("{} is another port's number, too", port.number));
        }
        let target = match port.target_port {
            0 => number,
            target => findings.take(format_args!("{path}.targetPort"), name::port(target)),
        };
        if mode == Mode::None && port.target_port != 0 {
            let message = "contradicts the resolution NONE, which keeps the port dialled: remove it";
            findings.error(format_args!("{path}.targetPort"), message);
        }
        let protocol = port.protocol.to_ascii_uppercase();
        if !protocol.is_empty() && !PROTOCOLS.contains(&protocol.as_str()) {
            let message = format!("{:?} is none of {}", port.protocol, PROTOCOLS.join(", "));
            findings.error(format_args!("{path}.protocol"), message);
        }
        let (Some(number), Some(target), true) = (number, target, protocol != "UDP") else { continue };
        let target = TargetPort::Number(target);
        ports.push(Port { number, name: Arc::from(port.name.as_str()), app_protocol: None, target });
    }
    ports.sort_unstable_by_key(|port| port.number);
    ports
}

/// The endpoints that are written in place.
fn endpoints(spec: &ServiceEntrySpec, mode: Mode, findings: &mut Findings) -> Vec<Written> {
    if !spec.endpoints.is_empty() && matches!(mode, Mode::None | Mode::Dynamic) {
        let message = "contradicts the resolution, which needs no endpoints: remove them, or write resolution: STATIC";
        findings.error("spec.endpoints", message);
    }
    if spec.resolution == "DNS_ROUND_ROBIN" && spec.endpoints.len() > 1 {
        findings.error("spec.endpoints", "DNS_ROUND_ROBIN has one endpoint: write resolution: DNS for several");
    }
    let mut endpoints = Vec::with_capacity(spec.endpoints.len());
    for (place, endpoint) in spec.endpoints.iter().enumerate() {
        let path = format!("spec.endpoints[{place}]");
        for name in endpoint.ports.keys().filter(|name| spec.ports.iter().all(|port| port.name != **name)) {
            findings.error(format_args!("{path}.ports[{name}]"), "is no port of the entry: write a name of spec.ports");
        }
        if mode == Mode::Static && written::is_name(&endpoint.address) {
            let message = "is a name, and resolution STATIC needs addresses: write one, or resolution: DNS";
            findings.error(format_args!("{path}.address"), message);
        }
        endpoints.extend(written::endpoint(endpoint, &path, findings));
    }
    endpoints
}

/// The labels of the pods and WorkloadEntries that are its endpoints; empty if it selects none.
fn selector(spec: &ServiceEntrySpec, mode: Mode, findings: &mut Findings) -> BTreeMap<Arc<str>, Arc<str>> {
    let Some(selector) = &spec.workload_selector else {
        if mode == Mode::Static && spec.endpoints.is_empty() {
            findings.error("spec.endpoints", "is missing: resolution STATIC needs endpoints, or a workloadSelector");
        }
        return BTreeMap::new();
    };
    refuse_unknown(&selector.unknown, "spec.workloadSelector", findings);
    if !spec.endpoints.is_empty() {
        findings.error("spec.workloadSelector", "contradicts spec.endpoints: write one or the other");
    }
    if selector.labels.is_empty() {
        findings.error("spec.workloadSelector.labels", "is missing: write the labels of what is meant");
    }
    for (key, value) in &selector.labels {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("spec.workloadSelector.labels[{key}]"), checked);
    }
    shared(&selector.labels)
}

fn remark_on_what_is_not_in_effect(spec: &ServiceEntrySpec, mode: Mode, findings: &mut Findings) {
    let mut remark = |field: &str, message: &str| findings.remark(Severity::Warning, field, message);
    if !spec.subject_alt_names.is_empty() {
        remark("spec.subjectAltNames", "is not in effect in this version: no TLS is begun towards the endpoints");
    }
    if mode == Mode::Dynamic {
        remark("spec.resolution", "DYNAMIC_DNS is not in effect in this version: connections go where clients dial");
    }
    if mode == Mode::Dns && spec.endpoints.is_empty() && spec.workload_selector.is_none() {
        remark("spec.resolution", "hosts are not resolved in this version: connections go where clients dial");
    }
    if spec.ports.is_empty() && mode != Mode::None {
        remark("spec.ports", "is missing: every connection is refused");
    }
}
