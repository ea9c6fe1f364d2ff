//! Where pods are: namespaces and nodes.

use std::sync::Arc;

use ambit_model::Node;

use super::enrolment::dataplane_mode;
use super::{distribution, shared, waypoint};
use crate::field::Findings;
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object;
use crate::resource::{Namespace, Resource};

pub(super) fn namespace(namespace: &object::Bare, id: &ObjectRef, findings: &mut Findings) -> Resource {
    let metadata = &namespace.metadata;
    let mut labels = shared(&metadata.labels);
    labels.insert(Arc::from(labels::NAMESPACE_NAME), id.name.clone());
    Resource::Namespace(Namespace {
        name: id.name.clone(),
        mode: dataplane_mode(metadata, findings),
        distribution: distribution::annotated(metadata, findings),
        waypoint: waypoint::wish(metadata, &id.name, findings),
        passed_by_gateways: waypoint::passed_by_gateways(metadata, findings),
        labels,
    })
}

pub(super) fn node(node: &object::Node, id: &ObjectRef, findings: &mut Findings) -> Resource {
    let mut addresses = Vec::new();
    for (place, address) in node.status.addresses.iter().enumerate() {
        // The others are names, for people and for DNS.
        if matches!(address.kind.as_str(), "InternalIP" | "ExternalIP") {
            let path = format!("status.addresses[{place}].address");
            addresses.extend(findings.take(path, name::address(&address.address)));
        }
    }
    let label = |current, beta| {
        let value = node.metadata.label(current).or_else(|| node.metadata.label(beta));
        Arc::from(value.unwrap_or_default())
    };
    Resource::Node(Arc::new(Node {
        name: id.name.clone(),
        addresses,
        region: label(labels::REGION, labels::REGION_BETA),
        zone: label(labels::ZONE, labels::ZONE_BETA),
        subzone: Arc::from(node.metadata.label(labels::SUBZONE).unwrap_or_default()),
    }))
}
