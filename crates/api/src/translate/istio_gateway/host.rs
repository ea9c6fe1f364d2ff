//! The hosts that a server lets in, and of which namespace their VirtualServices may be (Istio's
//! `ValidateNamespaceSlashWildcardHostname`).

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::gateway::ServerHost;
use ambit_model::route::Host;

use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::name;

/// The hosts that are `written` at `path`, in a Gateway that is `id`.
pub(super) fn hosts(written: &[String], path: &str, id: &ObjectRef, findings: &mut Findings) -> Vec<ServerHost> {
    if written.is_empty() {
        findings.error(path, "is missing: write the names that are let in, or \"*\" for every one");
    }
    let mut hosts: Vec<ServerHost> = Vec::with_capacity(written.len());
    for (place, text) in written.iter().enumerate() {
        let path = format!("{path}[{place}]");
        let (namespace, text) = text.split_once('/').map_or((None, text.as_str()), |(of, host)| (Some(of), host));
        let namespace = match namespace {
            None | Some("*") => None,
            Some(".") => Some(id.namespace.clone()),
            Some(other) => {
                findings.take(&path, name::label(other));
                Some(Arc::from(other))
            }
        };
        findings.take(&path, whole_name(text));
        let host = ServerHost { namespace, host: Host::literal(text) };
        if hosts.contains(&host) {
            findings.remark(Severity::Warning, path, format!("{host} stands in the list already: remove one of them"));
        } else {
            hosts.push(host);
        }
    }
    hosts
}

/// A name, which may begin with `*.`, an address, or `*`.
fn whole_name(text: &str) -> Result<(), String> {
    if text == "*" || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase();
    name::subdomain(lower.strip_prefix("*.").unwrap_or(&lower))?;
    // What clients from outside ask for is of no namespace.
    if !lower.contains('.') {
        return Err(format!("{lower:?} is a short name: write the whole one, as clients ask for it"));
    }
    Ok(())
}
