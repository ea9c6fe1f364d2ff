//! What routes name: parents and backends (Gateway API `ParentReference`, `HTTPBackendRef`).

use std::sync::Arc;

use ambit_model::route::RouteKind;

use super::super::reach::Home;
use super::super::written::refuse_unknown;
use super::{GATEWAY_GROUP, filter};
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::gateway_route::{BackendReference, ParentReference};
use crate::resource::{Backend, BackendRef, ParentKind, ParentRef};

/// As much as a weight may be.
const MOST_WEIGHT: i64 = 1_000_000;

/// What is at `path`; none if it is nothing that a route can be attached to here.
pub(super) fn parent(
    parent: &ParentReference,
    path: String,
    home: Home<'_>,
    findings: &mut Findings,
) -> Option<ParentRef> {
    refuse_unknown(&parent.unknown, &path, findings);
    let (group, kind) = (parent.group.as_deref().unwrap_or(GATEWAY_GROUP), parent.kind.as_deref().unwrap_or("Gateway"));
    let kind = match (group, kind) {
        ("" | "core", "Service") => ParentKind::Service,
        ("networking.istio.io", "ServiceEntry") => ParentKind::ServiceEntry,
        (GATEWAY_GROUP, "Gateway") => ParentKind::Gateway,
        _ => {
            let message = "is nothing that a route has an effect on: a Service is (group: \"\", kind: Service)";
            findings.remark(Severity::Warning, path, message);
            return None;
        }
    };
    findings.take(format_args!("{path}.name"), name::subdomain(&parent.name));
    let namespace = namespace(parent.namespace.as_deref(), &path, home, findings);
    let port = parent.port.and_then(|port| findings.take(format_args!("{path}.port"), name::port(port)));
    let section = parent.section_name.as_deref().filter(|name| !name.is_empty()).map(Arc::from);
    Some(ParentRef { path, kind, namespace, name: Arc::from(parent.name.as_str()), port, section })
}

/// The backends of the rule at `path`.
pub(super) fn backends(
    kind: RouteKind,
    written: &[BackendReference],
    path: &str,
    home: Home<'_>,
    findings: &mut Findings,
) -> Vec<Backend> {
    let mut backends = Vec::with_capacity(written.len());
    for (place, one) in written.iter().enumerate() {
        let path = format!("{path}.backendRefs[{place}]");
        let weight = u32::try_from(one.weight.unwrap_or(1)).ok().filter(|weight| i64::from(*weight) <= MOST_WEIGHT);
        let weight = weight.ok_or_else(|| format!("is no weight: 0 to {MOST_WEIGHT} are"));
        let weight = findings.take(format_args!("{path}.weight"), weight).unwrap_or_default();
        let mut to = backend(one, &path, home, findings);
        let headers = filter::of_backend(kind, &one.filters, &path, home, findings);
        if headers.is_none() {
            to = BackendRef::Unusable;
        }
        backends.push(Backend { path, to, weight, headers: headers.unwrap_or_default() });
    }
    backends
}

/// The backend that is named at `path`.
pub(super) fn backend(written: &BackendReference, path: &str, home: Home<'_>, findings: &mut Findings) -> BackendRef {
    refuse_unknown(&written.unknown, path, findings);
    let kind = (written.group.as_deref().unwrap_or_default(), written.kind.as_deref().unwrap_or("Service"));
    let is_host = kind == ("networking.istio.io", "Hostname");
    if !is_host && !matches!(kind, ("" | "core", "Service")) {
        let message =
            "is nothing that requests can go to here, and its share is answered 500 (503 of gRPC): write a Service";
        findings.remark(Severity::Warning, path, message);
        return BackendRef::Unusable;
    }
    let namespace = namespace(written.namespace.as_deref(), path, home, findings);
    let port = written.port.ok_or_else(|| "is missing: write the port of the Service".to_owned());
    let port = findings.take(format_args!("{path}.port"), port.and_then(name::port)).unwrap_or_default();
    if is_host {
        return BackendRef::Host(home.host(format_args!("{path}.name"), &written.name, findings), port);
    }
    findings.take(format_args!("{path}.name"), name::label(&written.name));
    BackendRef::Service { namespace, name: Arc::from(written.name.as_str()), port }
}

fn namespace(written: Option<&str>, path: &str, home: Home<'_>, findings: &mut Findings) -> Arc<str> {
    let Some(namespace) = written.filter(|namespace| !namespace.is_empty()) else { return home.id.namespace.clone() };
    findings.take(format_args!("{path}.namespace"), name::label(namespace));
    Arc::from(namespace)
}
