//! A service: its addresses, its ports and whom it selects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::route::Visibility;
use ambit_model::{Mesh, Resolution};

use super::reach::Home;
use super::{distribution, is_tcp, shared, waypoint};
use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object::service::{IntOrString, ServicePort, ServiceSpec};
use crate::object::{self, ObjectMeta};
use crate::resource::{Families, Port, Resource, Service, TargetPort};

pub(super) fn translate(service: &object::Service, id: &ObjectRef, mesh: &Mesh, findings: &mut Findings) -> Resource {
    let spec = &service.spec;
    match spec.kind.as_str() {
        "" | "ClusterIP" | "NodePort" | "LoadBalancer" => {}
        "ExternalName" => {
            return external_name(spec, id, mesh, findings);
        }
        other => {
            findings
                .error("spec.type", format!("{other:?} is none of ClusterIP, NodePort, LoadBalancer, ExternalName"));
        }
    }
    for (key, value) in &spec.selector {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("spec.selector[{key}]"), checked);
    }
    let vips = vips(spec, findings);
    let families = families(spec, &vips, findings);
    let ports = ports(&spec.ports, findings);
    let distribution = distribution::of_service(service, findings);
    let waypoint = waypoint::wish(&service.metadata, &id.namespace, findings);
    let passed_by_gateways = waypoint::passed_by_gateways(&service.metadata, findings);
    let visibility = visibility(&service.metadata, Home { id, mesh }, findings);
    remark_on_what_is_not_in_effect(spec, findings);
    Resource::Service(Arc::new(Service {
        vips,
        families,
        selector: shared(&spec.selector),
        ports,
        publish_not_ready: spec.publish_not_ready_addresses,
        visibility,
        distribution,
        waypoint,
        passed_by_gateways,
        ..bare(id, mesh)
    }))
}

/// Who sees a Service, by the annotation that stands for what other objects have as `exportTo`.
fn visibility(metadata: &ObjectMeta, home: Home<'_>, findings: &mut Findings) -> Visibility {
    let path = format!("metadata.annotations[{}]", labels::EXPORT_TO);
    let written = metadata.annotations.get(labels::EXPORT_TO).map_or("", String::as_str);
    let namespaces: Vec<String> =
        written.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    home.visibility(&path, &namespaces, findings)
}

/// A service that is nothing but its name.
fn bare(id: &ObjectRef, mesh: &Mesh) -> Service {
    Service {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        host: None,
        hostname: Arc::from(format!("{}.{}.svc.{}", id.name, id.namespace, mesh.domain)),
        vips: Vec::new(),
        ranges: Vec::new(),
        allocates: false,
        resolution: Resolution::Endpoints,
        alias: None,
        families: Families { v4: true, v6: true },
        selector: BTreeMap::new(),
        endpoints: Vec::new(),
        ports: Vec::new(),
        publish_not_ready: false,
        visibility: Visibility::Public,
        distribution: None,
        waypoint: None,
        passed_by_gateways: None,
    }
}

/// The alias of a DNS name: whoever answers for the service's name says so, and clients dial what that name stands for.
fn external_name(spec: &ServiceSpec, id: &ObjectRef, mesh: &Mesh, findings: &mut Findings) -> Resource {
    let name = spec.external_name.strip_suffix('.').unwrap_or(&spec.external_name).to_ascii_lowercase();
    findings.take("spec.externalName", name::subdomain(&name));
    if !matches!(spec.cluster_ip.as_str(), "" | "None") || !spec.cluster_ips.is_empty() {
        findings.error("spec.clusterIP", "contradicts type ExternalName, which has no address: remove one of them");
    }
    Resource::Service(Arc::new(Service { alias: Some(Arc::from(name)), ..bare(id, mesh) }))
}

/// `spec.clusterIPs`, or `spec.clusterIP`, which is the first of them; none for a headless service.
fn vips(spec: &ServiceSpec, findings: &mut Findings) -> Vec<IpAddr> {
    let is_headless = |text: &str| text == "None";
    if is_headless(&spec.cluster_ip) || spec.cluster_ips.iter().any(|text| is_headless(text)) {
        if let Some(place) = spec.cluster_ips.iter().position(|text| !is_headless(text)) {
            findings.error(format_args!("spec.clusterIPs[{place}]"), "a headless service has no address besides None");
        }
        return Vec::new();
    }
    let mut vips = Vec::new();
    for (place, text) in spec.cluster_ips.iter().enumerate() {
        let vip = findings.take(format_args!("spec.clusterIPs[{place}]"), name::address(text));
        vips.extend(vip.filter(|vip| !vips.contains(vip)));
    }
    let single = Some(spec.cluster_ip.as_str()).filter(|text| !text.is_empty());
    let single = single.and_then(|text| findings.take("spec.clusterIP", name::address(text)));
    match (single, vips.first()) {
        (Some(single), None) => vips.push(single),
        (Some(single), Some(first)) if single != *first => {
            findings.error(
                "spec.clusterIP",
                format!("is not the first of spec.clusterIPs, {first}: write one or the other"),
            );
        }
        (None, None) => {
            let message =
                "is missing: only a cluster allocates one, so write an address, or None for a headless service";
            findings.remark(Severity::Warning, "spec.clusterIP", message);
        }
        _ => {}
    }
    vips
}

/// The families that the service says it has; failing that its addresses'; failing those, its pods'.
fn families(spec: &ServiceSpec, vips: &[IpAddr], findings: &mut Findings) -> Families {
    let mut families = Families { v4: false, v6: false };
    for (place, family) in spec.ip_families.iter().enumerate() {
        match family.as_str() {
            "IPv4" => families.v4 = true,
            "IPv6" => families.v6 = true,
            other => {
                findings.error(format_args!("spec.ipFamilies[{place}]"), format!("{other:?} is neither IPv4 nor IPv6"))
            }
        }
    }
    if spec.ip_families.is_empty() {
        families.v4 = vips.is_empty() || vips.iter().any(IpAddr::is_ipv4);
        families.v6 = vips.is_empty() || vips.iter().any(IpAddr::is_ipv6);
    } else if let Some(stray) = vips.iter().find(|vip| !families.contain(**vip)) {
        findings.error("spec.ipFamilies", format!("lacks the family of the service's address {stray}"));
    }
    families
}

/// The TCP ports, ascending.
fn ports(written: &[ServicePort], findings: &mut Findings) -> Vec<Port> {
    let mut ports = Vec::new();
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (place, port) in written.iter().enumerate() {
        let path = format!("spec.ports[{place}]");
        if port.name.is_empty() {
            if written.len() > 1 {
                findings.error(format_args!("{path}.name"), "is missing: of several ports each needs a name");
            }
        } else {
            findings.take(format_args!("{path}.name"), name::label(&port.name));
            if !names.insert(&port.name) {
                findings.error(format_args!("{path}.name"), format!("{:?} names another port, too", port.name));
            }
        }
        let number = findings.take(format_args!("{path}.port"), name::port(port.port));
        let target = match &port.target_port {
            None | Some(IntOrString::Int(0)) => number.map(TargetPort::Number),
            Some(IntOrString::Int(target)) => {
                findings.take(format_args!("{path}.targetPort"), name::port(*target).map(TargetPort::Number))
            }
            Some(IntOrString::Text(target)) => findings.take(
                format_args!("{path}.targetPort"),
                name::port_name(target).map(|()| TargetPort::Name(Arc::from(target.as_str()))),
            ),
        };
        let tcp = is_tcp(&port.protocol, &path, findings);
        let (Some(number), Some(target), true) = (number, target, tcp) else { continue };
        if !numbers.insert(number) {
            findings.error(format_args!("{path}.port"), format!("{number} is another port's number, too"));
        }
        let app_protocol = port.app_protocol.as_deref().map(Arc::from);
        ports.push(Port { number, name: Arc::from(port.name.as_str()), app_protocol, target });
    }
    ports.sort_unstable_by_key(|port| port.number);
    ports
}

fn remark_on_what_is_not_in_effect(spec: &ServiceSpec, findings: &mut Findings) {
    let affinity = spec.session_affinity.as_str();
    if !matches!(affinity, "" | "None") {
        let message = format!("{affinity} is not in effect in this version: connections are spread one by one");
        findings.remark(Severity::Warning, "spec.sessionAffinity", message);
    }
}
