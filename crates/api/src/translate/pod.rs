//! A pod: who it is, where it is, and whether it takes connections.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ambit_model::workload::Excluded;
use ambit_model::{Enrolment, Identity, Mesh, NetworkMode, PodUid, Sidecar, Workload, WorkloadUid};

use super::{enrolment, is_tcp, owner, shared, waypoint};
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object::pod::{Container, PodSpec, PodStatus};
use crate::object::{self, ObjectMeta};
use crate::resource::{DataplaneMode, Pod, Resource};

pub(super) fn translate(pod: &object::Pod, id: &ObjectRef, mesh: &Mesh, findings: &mut Findings) -> Resource {
    let object::Pod { metadata, spec, status } = pod;
    let ports = named_ports(&spec.containers, &spec.init_containers, findings);
    let addresses = addresses(status, findings);
    if !spec.node_name.is_empty() {
        findings.take("spec.nodeName", name::subdomain(&spec.node_name));
    }
    let account = [&spec.service_account_name, &spec.service_account].into_iter().find(|name| !name.is_empty());
    let account = account.map_or("default", String::as_str);
    findings.take("spec.serviceAccountName", name::subdomain(account));
    let mode = enrolment::dataplane_mode(metadata, findings);
    if spec.host_network && mode == Some(DataplaneMode::Ambient) {
        let path = format!("metadata.labels[{}]", labels::DATAPLANE_MODE);
        let message = "has no effect: a pod with spec.hostNetwork shares the node's network and is never captured";
        findings.remark(Severity::Warning, path, message);
    }
    let netns = netns(metadata, findings);
    let dns_capture = enrolment::dns_capture(metadata, findings);
    let waypoint = waypoint::wish(metadata, &id.namespace, findings);
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return Resource::Inert(id.clone());
    }
    let serving = is_serving(status);
    let terminating = metadata.deletion_timestamp.is_some();
    let owner = owner::owner(metadata);
    let first_of = |keys: [&str; 3]| keys.into_iter().find_map(|key| metadata.label(key)).map(Arc::from);
    let workload = Workload {
        uid: WorkloadUid::pod(&mesh.cluster, &id.namespace, &id.name),
        name: id.name.clone(),
        namespace: id.namespace.clone(),
        identity: Identity::new(mesh.trust_domains.own.clone(), &id.namespace, account),
        addresses,
        node: Arc::from(spec.node_name.as_str()),
        network_mode: if spec.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard },
        enrolment: Enrolment::Outside(Excluded::NotLabelled),
        ready: serving && !terminating,
        dns_capture,
        labels: shared(&metadata.labels),
        canonical_name: first_of([labels::CANONICAL_NAME, labels::APP_NAME, labels::APP])
            .unwrap_or_else(|| owner.name.clone()),
        canonical_revision: first_of([labels::CANONICAL_REVISION, labels::APP_VERSION, labels::VERSION])
            .unwrap_or_else(|| Arc::from("latest")),
        owner,
        cluster: mesh.cluster.clone(),
        region: Arc::default(),
        zone: Arc::default(),
        subzone: Arc::default(),
        waypoint: None,
        pod_uid: pod_uid(metadata),
        netns,
    };
    let sidecar = sidecar(metadata, spec, mode, findings);
    let mut pod = Pod { workload, mode, sidecar, waypoint, serving, terminating, ports };
    pod.workload.enrolment = enrolment::enrolment(&pod, None, false);
    Resource::Pod(Arc::new(pod))
}

/// What another mesh carries the pod's connections by.
fn sidecar(
    metadata: &ObjectMeta,
    spec: &PodSpec,
    mode: Option<DataplaneMode>,
    findings: &mut Findings,
) -> Option<Sidecar> {
    let mut containers = spec.containers.iter().chain(&spec.init_containers);
    let container = containers.find_map(|container| Sidecar::of_container(&container.name));
    // A gateway's proxy that others reach by HBONE is no sidecar.
    let container = container.filter(|_| metadata.label(labels::TUNNEL) != Some("http"));
    let annotated = metadata.annotations.contains_key(labels::SIDECAR_STATUS).then_some(Sidecar::Annotated);
    let found = container.or(annotated)?;
    if mode == Some(DataplaneMode::Ambient) {
        let path = format!("metadata.labels[{}]", labels::DATAPLANE_MODE);
        let message = format!(
            "has no effect: {found} carries the pod's connections, and two meshes do not carry one connection; remove {} and \
             create the pod anew",
            found.asked_for_by()
        );
        findings.remark(Severity::Warning, path, message);
    }
    Some(found)
}

/// `status.podIPs`, or the older `status.podIP`, which is the first of them.
fn addresses(status: &PodStatus, findings: &mut Findings) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (place, ip) in status.pod_ips.iter().enumerate() {
        let address = findings.take(format_args!("status.podIPs[{place}].ip"), name::address(&ip.ip));
        addresses.extend(address.filter(|address| !addresses.contains(address)));
    }
    if status.pod_ip.is_empty() {
        return addresses;
    }
    match (findings.take("status.podIP", name::address(&status.pod_ip)), addresses.first()) {
        (Some(single), None) => addresses.push(single),
        (Some(single), Some(first)) if single != *first => {
            findings
                .error("status.podIP", format!("is not the first of status.podIPs, {first}: write one or the other"));
        }
        _ => {}
    }
    addresses
}

/// The named TCP ports of what stays up: containers, then init containers that are sidecars.
fn named_ports(containers: &[Container], init: &[Container], findings: &mut Findings) -> Vec<(Arc<str>, u16)> {
    let containers = containers.iter().enumerate().map(|(i, container)| ("containers", i, container));
    let sidecars = init.iter().enumerate().filter(|(_, container)| container.restart_policy == "Always");
    let sidecars = sidecars.map(|(i, container)| ("initContainers", i, container));
    let mut named: Vec<(Arc<str>, u16)> = Vec::new();
    for (list, i, container) in containers.chain(sidecars) {
        for (j, port) in container.ports.iter().enumerate() {
            let path = format!("spec.{list}[{i}].ports[{j}]");
            let number = findings.take(format_args!("{path}.containerPort"), name::port(port.container_port));
            let tcp = is_tcp(&port.protocol, &path, findings);
            if port.name.is_empty() {
                continue;
            }
            let valid = findings.take(format_args!("{path}.name"), name::port_name(&port.name));
            if let (Some(number), Some(()), true) = (number, valid, tcp) {
                named.push((Arc::from(port.name.as_str()), number));
            }
        }
    }
    named
}

/// `Ready`; outside a cluster nobody sets conditions, and a pod without any takes connections once it has an address.
fn is_serving(status: &PodStatus) -> bool {
    match &status.conditions {
        Some(conditions) => conditions.iter().any(|held| held.kind == "Ready" && held.status == "True"),
        None => !status.pod_ip.is_empty() || !status.pod_ips.is_empty(),
    }
}

/// `metadata.uid`, which an API server gives and nobody chooses. The annotation by which a kubelet names a pod of its own
/// making is not asked: whoever may make a pod could claim another by it.
fn pod_uid(metadata: &ObjectMeta) -> Option<PodUid> {
    // What is no ID is none of a Kubernetes, and finds nothing.
    metadata.uid.parse().ok()
}

fn netns(metadata: &ObjectMeta, findings: &mut Findings) -> Option<PathBuf> {
    let path = Path::new(metadata.annotations.get(labels::NETNS)?);
    if path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_))) {
        return Some(path.to_path_buf());
    }
    let message = "must be an absolute path without .., such as /run/netns/web-0";
    findings.error(format_args!("metadata.annotations[{}]", labels::NETNS), message);
    None
}
