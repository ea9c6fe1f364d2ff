//! What fields of a ServiceEntry say against one another (Istio's `ValidateServiceEntry`): how hosts are told apart and found,
//! and what becomes of ports.

use super::Mode;
use crate::field::{Findings, Severity};
use crate::labels;
use crate::object::ServiceEntry;
use crate::object::service_entry::{EntryPort, ServiceEntrySpec};

/// Errors and remarks on `entry`, whose endpoints are found as `mode` says.
pub(super) fn find(entry: &ServiceEntry, mode: Mode, findings: &mut Findings) {
    let spec = &entry.spec;
    match mode {
        Mode::None => {
            if spec.workload_selector.is_some() {
                let message = "has no effect with the resolution NONE, which goes where clients dial: write STATIC";
                findings.remark(Severity::Warning, "spec.workloadSelector", message);
            }
        }
        Mode::Dns => {
            let wild = spec.hosts.iter().enumerate().filter(|(_, host)| host.starts_with('*'));
            for (place, _) in wild.filter(|_| spec.endpoints.is_empty()) {
                let message = "has no address of its own: write names, endpoints, or resolution: DYNAMIC_DNS";
                findings.error(format_args!("spec.hosts[{place}]"), message);
            }
        }
        Mode::Dynamic => dynamic(entry, findings),
        Mode::Static => {}
    }
    if mode != Mode::None && spec.hosts.len() > 1 {
        tell_hosts_apart(spec, findings);
    }
    let allocates = mode != Mode::None && entry.metadata.label(labels::AUTO_ALLOCATE) != Some("false");
    if spec.addresses.is_empty() && !allocates && mode != Mode::Dynamic {
        for (place, _) in spec.ports.iter().enumerate().filter(|(_, port)| is_plain(port)) {
            let message = "is known by its address alone, and there is none: write spec.addresses";
            findings.remark(Severity::Warning, format_args!("spec.ports[{place}].protocol"), message);
        }
    }
}

/// Of several hosts, HTTP and TLS say which one is meant.
fn tell_hosts_apart(spec: &ServiceEntrySpec, findings: &mut Findings) {
    for (place, port) in spec.ports.iter().enumerate() {
        let protocol = port.protocol.to_ascii_uppercase();
        if !matches!(protocol.as_str(), "HTTP" | "HTTP2" | "HTTP_PROXY" | "GRPC" | "GRPC-WEB" | "HTTPS" | "TLS") {
            let message =
                "does not tell one host from another: write HTTP, HTTP2, GRPC, HTTPS or TLS, or an entry a host";
            findings.error(format_args!("spec.ports[{place}].protocol"), message);
        } else if !spec.addresses.is_empty() && matches!(protocol.as_str(), "HTTPS" | "TLS") {
            let message = "stand for all the hosts, and do not say which is meant: write an entry a host";
            findings.remark(Severity::Warning, "spec.addresses", message);
            return;
        }
    }
}

/// What `DYNAMIC_DNS` takes: hosts with wildcards, which the client's request completes.
fn dynamic(entry: &ServiceEntry, findings: &mut Findings) {
    let spec = &entry.spec;
    for (place, _) in spec.hosts.iter().enumerate().filter(|(_, host)| !host.starts_with('*')) {
        let message = "has no wildcard, which DYNAMIC_DNS is for: write resolution: DNS";
        findings.error(format_args!("spec.hosts[{place}]"), message);
    }
    if !spec.addresses.is_empty() {
        findings.error("spec.addresses", "contradicts the resolution DYNAMIC_DNS, which goes by hosts: remove it");
    }
    for (place, port) in spec.ports.iter().enumerate() {
        if !matches!(port.protocol.to_ascii_uppercase().as_str(), "HTTP" | "HTTP2" | "GRPC" | "TLS") {
            let message = "does not say which host is meant: DYNAMIC_DNS takes HTTP, HTTP2, GRPC or TLS";
            findings.error(format_args!("spec.ports[{place}].protocol"), message);
        }
    }
    let waypoint = entry.metadata.label(labels::USE_WAYPOINT).filter(|name| !name.eq_ignore_ascii_case("none"));
    if spec.location == "MESH_INTERNAL" && waypoint.is_some_and(|name| !name.is_empty()) {
        findings.error("spec.location", "MESH_INTERNAL is not for DYNAMIC_DNS by a waypoint: write MESH_EXTERNAL");
    }
}

/// True of a port that speaks nothing by which a host is named.
fn is_plain(port: &EntryPort) -> bool {
    matches!(port.protocol.to_ascii_uppercase().as_str(), "" | "TCP")
}
