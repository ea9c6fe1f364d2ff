//! From an object as it was written to what it means: the one validation, for whoever reads objects from wherever.

mod destination_rule;
mod distribution;
mod duration;
mod endpoint_slice;
mod enrolment;
mod gateway_route;
mod istio_gateway;
mod owner;
mod place;
mod pod;
mod policy;
mod reach;
mod service;
mod service_entry;
mod virtual_service;
mod waypoint;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ambit_model::Mesh;

pub use enrolment::enrolment;

use crate::field::{FieldError, Findings, Remark};
use crate::kind::{Kind, ObjectRef};
use crate::labels;
use crate::name;
use crate::object::{Object, ObjectMeta};
use crate::resource::Resource;

/// A valid object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// What it means.
    pub resource: Resource,
    /// What its author may want to know.
    pub remarks: Vec<Remark>,
}

/// What `object` means in `mesh`.
///
/// # Errors
/// Every field that holds what it must not.
pub fn translate(object: &Object, mesh: &Mesh) -> Result<Translated, Vec<FieldError>> {
    let mut findings = Findings::default();
    let id = identify(object, &mut findings);
    let resource = match object {
        Object::Namespace(namespace) => place::namespace(namespace, &id, &mut findings),
        Object::Node(node) => place::node(node, &id, &mut findings),
        Object::Pod(pod) => pod::translate(pod, &id, mesh, &mut findings),
        Object::Service(service) => service::translate(service, &id, mesh, &mut findings),
        Object::EndpointSlice(slice) => endpoint_slice::translate(slice, &id, mesh, &mut findings),
        Object::ServiceEntry(entry) => service_entry::translate(entry, &id, mesh, &mut findings),
        Object::WorkloadEntry(entry) => written::workload_entry(entry, &id, &mut findings),
        Object::PeerAuthentication(policy) => policy::peer_authentication(policy, &id, mesh, &mut findings),
        Object::AuthorizationPolicy(policy) => policy::authorization(policy, &id, mesh, &mut findings),
        Object::RequestAuthentication(policy) => policy::token::translate(policy, &id, mesh, &mut findings),
        Object::VirtualService(service) => virtual_service::translate(service, &id, mesh, &mut findings),
        Object::DestinationRule(rule) => destination_rule::translate(rule, &id, mesh, &mut findings),
        Object::Gateway(gateway) => waypoint::gateway(gateway, &id, mesh, &mut findings),
        Object::IstioGateway(gateway) => istio_gateway::translate(gateway, &id, &mut findings),
        Object::GatewayClass(class) => waypoint::class(class, &id, &mut findings),
        Object::HttpRoute(route) => gateway_route::http(route, &id, mesh, &mut findings),
        Object::GrpcRoute(route) => gateway_route::grpc(route, &id, mesh, &mut findings),
        Object::ReferenceGrant(grant) => gateway_route::reference_grant(grant, &id, &mut findings),
        Object::ServiceAccount(_) => Resource::Inert(id),
    };
    findings.finish(resource).map(|(resource, remarks)| Translated { resource, remarks })
}

/// Which object it is, its metadata being checked.
fn identify(object: &Object, findings: &mut Findings) -> ObjectRef {
    let metadata = object.metadata();
    let id = object.reference();
    let named = match object.kind() {
        Kind::Namespace | Kind::Service | Kind::IstioGateway => name::label(&id.name),
        _ => name::subdomain(&id.name),
    };
    findings.take("metadata.name", named);
    if id.kind.is_namespaced() {
        findings.take("metadata.namespace", name::label(&id.namespace));
    }
    check_labels(metadata, findings);
    let istios = id.kind.versions().iter().all(|version| version.contains(".istio.io/"));
    if istios && id.kind != Kind::AuthorizationPolicy && metadata.annotations.contains_key(labels::DRY_RUN) {
        let path = format_args!("metadata.annotations[{}]", labels::DRY_RUN);
        findings.error(path, "is for an AuthorizationPolicy: remove it");
    }
    id
}

fn check_labels(metadata: &ObjectMeta, findings: &mut Findings) {
    for (key, value) in &metadata.labels {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("metadata.labels[{key}]"), checked);
    }
}

/// `labels` as shared text.
fn shared(labels: &BTreeMap<String, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    labels.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect()
}

/// True if a port of `protocol` is TCP's; an error if there is no such protocol.
fn is_tcp(protocol: &str, path: impl fmt::Display, findings: &mut Findings) -> bool {
    match protocol {
        "" | "TCP" => true,
        "UDP" | "SCTP" => false,
        other => {
            findings.error(format_args!("{path}.protocol"), format!("{other:?} is none of TCP, UDP, SCTP"));
            false
        }
    }
}

#[cfg(test)]
mod tests;
