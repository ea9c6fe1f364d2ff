//! An EndpointSlice: a service's endpoints as somebody wrote them down.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{Mesh, Topology, WorkloadUid};

use super::is_tcp;
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object;
use crate::object::endpoint_slice as written;
use crate::object::endpoint_slice::TargetRef;
use crate::resource::{Endpoint, EndpointSlice, Families, Resource};

pub(super) fn translate(
    slice: &object::EndpointSlice,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Resource {
    let Some(families) = families(&slice.address_type, findings) else { return Resource::Inert(id.clone()) };
    let endpoints = endpoints(slice, families, id, mesh, findings);
    let ports = ports(slice, findings);
    let Some(service) = slice.metadata.label(labels::SERVICE_NAME) else {
        let path = format!("metadata.labels[{}]", labels::SERVICE_NAME);
        findings.remark(Severity::Warning, path, "is missing: write the service whose endpoints these are");
        return Resource::Inert(id.clone());
    };
    Resource::EndpointSlice(Arc::new(EndpointSlice {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        service: Arc::from(service),
        endpoints,
        ports,
    }))
}

/// The families that the slice's addresses may be of; none if they are no addresses.
fn families(address_type: &str, findings: &mut Findings) -> Option<Families> {
    match address_type {
        "IPv4" => Some(Families { v4: true, v6: false }),
        "IPv6" => Some(Families { v4: false, v6: true }),
        "IP" | "" => Some(Families { v4: true, v6: true }),
        "FQDN" => {
            findings.remark(Severity::Notice, "addressType", "endpoints that are names are left out: write addresses");
            None
        }
        other => {
            findings.error("addressType", format!("{other:?} is none of IPv4, IPv6, FQDN"));
            None
        }
    }
}

fn endpoints(
    slice: &object::EndpointSlice,
    families: Families,
    id: &ObjectRef,
    mesh: &Mesh,
    findings: &mut Findings,
) -> Vec<Endpoint> {
    let mut endpoints = Vec::with_capacity(slice.endpoints.len());
    for (i, endpoint) in slice.endpoints.iter().enumerate() {
        let mut addresses: Vec<IpAddr> = Vec::with_capacity(endpoint.addresses.len());
        for (j, text) in endpoint.addresses.iter().enumerate() {
            let address = name::address(text).and_then(|address| match families.contain(address) {
                true => Ok(address),
                false => Err(format!("{address} is not of the slice's addressType, {}", slice.address_type)),
            });
            addresses.extend(findings.take(format_args!("endpoints[{i}].addresses[{j}]"), address));
        }
        let conditions = endpoint.conditions;
        let ready = conditions.ready.unwrap_or(true);
        let workload = endpoint.target_ref.as_ref().and_then(|target| pod(target, id, mesh));
        let topology = topology(endpoint, i, findings).filter(|_| workload.is_none());
        endpoints.push(Endpoint {
            addresses,
            workload,
            topology: topology.map(Arc::new),
            ready,
            draining: conditions.serving.unwrap_or(ready) && conditions.terminating.unwrap_or(false),
        });
    }
    endpoints
}

/// Where the endpoint at `place` of its slice says that it is.
fn topology(endpoint: &written::Endpoint, place: usize, findings: &mut Findings) -> Option<Topology> {
    let mut read = |field: &str, current: &str, old: &str, check: fn(&str) -> Result<(), String>| {
        let (path, text) = match endpoint.topology.get(old) {
            Some(text) if current.is_empty() => (format!("endpoints[{place}].topology[{old}]"), text.as_str()),
            _ => (format!("endpoints[{place}].{field}"), current),
        };
        if !text.is_empty() {
            findings.take(path, check(text));
        }
        Arc::<str>::from(text)
    };
    let node = read("nodeName", &endpoint.node_name, labels::HOSTNAME, name::subdomain);
    let zone = read("zone", &endpoint.zone, labels::ZONE, name::label_value);
    (!node.is_empty() || !zone.is_empty()).then(|| Topology { node, zone, ..Topology::default() })
}

/// The pod that `target` names, if it is a pod of the slice's own namespace, as it has to be.
fn pod(target: &TargetRef, id: &ObjectRef, mesh: &Mesh) -> Option<WorkloadUid> {
    let own = target.namespace.is_empty() || *target.namespace == *id.namespace;
    (target.kind == "Pod" && own).then(|| WorkloadUid::pod(&mesh.cluster, &id.namespace, &target.name))
}

fn ports(slice: &object::EndpointSlice, findings: &mut Findings) -> Vec<(Arc<str>, u16)> {
    let mut ports = Vec::with_capacity(slice.ports.len());
    for (place, port) in slice.ports.iter().enumerate() {
        let path = format!("ports[{place}]");
        let tcp = is_tcp(&port.protocol, &path, findings);
        // A port without a number stands for all of them, which names none to connect to.
        let number = port.port.and_then(|number| findings.take(format_args!("{path}.port"), name::port(number)));
        if let (Some(number), true) = (number, tcp) {
            ports.push((Arc::from(port.name.as_str()), number));
        }
    }
    ports
}
