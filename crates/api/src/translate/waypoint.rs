//! Which waypoint an object's labels ask for, and what a Gateway of a waypoint's class is (Istio ambient, "Waypoint
//! proxies"; Gateway API `Gateway`).

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::policy::WAYPOINT_CLASSES;
use ambit_model::waypoint::{Address, Binding, Serves};
use ambit_model::{Mesh, WaypointKey, ports};

use crate::field::{Findings, Severity};
use crate::kind::ObjectRef;
use crate::labels;
use crate::name;
use crate::object::gateway::{GatewayAddress, LabelSelector, Listener};
use crate::object::{self, ObjectMeta};
use crate::resource::{AllowedNamespaces, Gateway, GatewayClass, Operator, Requirement, Resource, WaypointWish};

/// What the labels of `metadata` ask for, on an object of `namespace`, or on that namespace itself.
pub(super) fn wish(metadata: &ObjectMeta, namespace: &Arc<str>, findings: &mut Findings) -> Option<WaypointWish> {
    let path = |label: &str| format!("metadata.labels[{label}]");
    if metadata.labels.contains_key(labels::USE_WAYPOINT_CANARY) {
        let message = "is not in effect in this version: everything goes by the waypoint of istio.io/use-waypoint";
        findings.remark(Severity::Warning, path(labels::USE_WAYPOINT_CANARY), message);
    }
    let elsewhere = metadata.label(labels::USE_WAYPOINT_NAMESPACE);
    let wish = match metadata.label(labels::USE_WAYPOINT) {
        None => {
            if metadata.labels.contains_key(labels::USE_WAYPOINT) {
                let message = "is empty and has no effect: write the name of a waypoint, or none";
                findings.remark(Severity::Warning, path(labels::USE_WAYPOINT), message);
            }
            None
        }
        Some("none") => Some(WaypointWish::Without),
        Some(name) => {
            let key = WaypointKey::new(elsewhere.unwrap_or(namespace), name);
            return Some(WaypointWish::By(key));
        }
    };
    if elsewhere.is_some() {
        let message = format!("has no effect: write the waypoint's name, as {}", labels::USE_WAYPOINT);
        findings.remark(Severity::Warning, path(labels::USE_WAYPOINT_NAMESPACE), message);
    }
    wish
}

/// Whether gateways go past the waypoint of an object, as its own label says; none where it says nothing.
pub(super) fn passed_by_gateways(metadata: &ObjectMeta, findings: &mut Findings) -> Option<bool> {
    let text = metadata.label(labels::INGRESS_USE_WAYPOINT)?;
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(false),
        "false" => Some(true),
        _ => {
            let path = format!("metadata.labels[{}]", labels::INGRESS_USE_WAYPOINT);
            let message = format!("{text:?} is neither true nor false, and has no effect: write false, or remove it");
            findings.remark(Severity::Warning, path, message);
            None
        }
    }
}

/// A Gateway. One that is no waypoint stands for nothing yet.
pub(super) fn gateway(gateway: &object::Gateway, id: &ObjectRef, mesh: &Mesh, findings: &mut Findings) -> Resource {
    let class = gateway.spec.gateway_class_name.as_str();
    let binding = binding(&gateway.metadata, findings);
    if class.is_empty() {
        findings.error("spec.gatewayClassName", format!("is missing: write {}", WAYPOINT_CLASSES.join(" or ")));
    } else if !WAYPOINT_CLASSES.contains(&class) && binding.is_none() {
        let message = format!(
            "is for a gateway that Gateway API describes, which this version does not run: write a Gateway of \
             networking.istio.io. A waypoint is of the class {}",
            WAYPOINT_CLASSES.join(" or ")
        );
        findings.remark(Severity::Warning, "spec.gatewayClassName", message);
        return Resource::Inert(id.clone());
    }
    if &*id.name == "none" {
        findings.error("metadata.name", "is reserved: istio.io/use-waypoint: none asks for no waypoint. Write another");
    }
    let allowed = listener(&gateway.spec.listeners, binding, findings);
    let address = address(&gateway.status.addresses, "status.addresses", findings);
    let address = address.or_else(|| self::address(&gateway.spec.addresses, "spec.addresses", findings));
    let own = || Address::Hostname(Arc::from(format!("{}.{}.svc.{}", id.name, id.namespace, mesh.domain)));
    Resource::Gateway(Arc::new(Gateway {
        key: WaypointKey { namespace: id.namespace.clone(), name: id.name.clone() },
        class: Arc::from(class),
        serves: serves(&gateway.metadata, findings),
        allowed,
        address: address.unwrap_or_else(own),
        binding: binding.unwrap_or_default(),
    }))
}

/// What a waypoint's pods take connections by, if that is said: `PROXY/PORT`, `NONE` or `NONE/PORT`.
fn binding(metadata: &ObjectMeta, findings: &mut Findings) -> Option<Binding> {
    let text = metadata.annotations.get(labels::WAYPOINT_BINDING)?;
    let (protocol, port) = match text.split_once('/') {
        Some((protocol, port)) => (protocol, Some(port.parse::<u16>().ok().filter(|port| *port > 0))),
        None => (text.as_str(), None),
    };
    let binding = match (protocol, port) {
        ("PROXY", Some(Some(port))) => Some(Binding::Proxy(port)),
        ("NONE", Some(Some(port))) => Some(Binding::Raw(Some(port))),
        ("NONE", None) => Some(Binding::Raw(None)),
        _ => None,
    };
    if binding.is_none() {
        let path = format!("metadata.annotations[{}]", labels::WAYPOINT_BINDING);
        let message = format!("{:?} is none of PROXY/PORT, NONE/PORT, NONE", name::shortened(text));
        findings.error(path, message);
    }
    binding
}

/// A GatewayClass: what waypoints of it serve.
pub(super) fn class(class: &object::Bare, id: &ObjectRef, findings: &mut Findings) -> Resource {
    Resource::GatewayClass(GatewayClass { name: id.name.clone(), serves: serves(&class.metadata, findings) })
}

/// What the label of `metadata` has a waypoint serve.
fn serves(metadata: &ObjectMeta, findings: &mut Findings) -> Option<Serves> {
    match metadata.label(labels::WAYPOINT_FOR)? {
        "service" => Some(Serves::Services),
        "workload" => Some(Serves::Workloads),
        "all" => Some(Serves::All),
        "none" => Some(Serves::Nothing),
        other => {
            let path = format!("metadata.labels[{}]", labels::WAYPOINT_FOR);
            findings.error(path, format!("{other:?} is none of service, workload, all, none"));
            None
        }
    }
}

/// Whom the one listener that a waypoint has lets in.
fn listener(listeners: &[Listener], binding: Option<Binding>, findings: &mut Findings) -> AllowedNamespaces {
    let mut allowed = None;
    for (place, listener) in listeners.iter().enumerate() {
        let path = format!("spec.listeners[{place}]");
        // What is behind its agent listens as it likes.
        if binding.is_some() && listener.protocol != "HBONE" {
            allowed =
                allowed.or_else(|| Some(namespaces(listener, &format!("{path}.allowedRoutes.namespaces"), findings)));
            continue;
        }
        if listener.protocol != "HBONE" {
            let message =
                format!("{:?} has no effect: a waypoint listens for HBONE", name::shortened(&listener.protocol));
            findings.remark(Severity::Warning, format!("{path}.protocol"), message);
            continue;
        }
        if listener.port != i64::from(ports::HBONE) {
            let message = format!("{} is not the port of HBONE: write {}", listener.port, ports::HBONE);
            findings.error(format_args!("{path}.port"), message);
        }
        if allowed.is_some() {
            findings.error(&path, "is a second listener for HBONE: remove one of them");
        }
        allowed = Some(namespaces(listener, &format!("{path}.allowedRoutes.namespaces"), findings));
    }
    allowed.unwrap_or_else(|| {
        let message =
            format!("has no listener for HBONE: write {{name: mesh, port: {}, protocol: HBONE}}", ports::HBONE);
        findings.error("spec.listeners", message);
        AllowedNamespaces::Same
    })
}

fn namespaces(listener: &Listener, path: &str, findings: &mut Findings) -> AllowedNamespaces {
    let namespaces = &listener.allowed_routes.namespaces;
    match (namespaces.from.as_str(), &namespaces.selector) {
        ("" | "Same", _) => AllowedNamespaces::Same,
        ("All", _) => AllowedNamespaces::All,
        ("Selector", Some(selector)) => {
            AllowedNamespaces::Selected(requirements(selector, &format!("{path}.selector"), findings))
        }
        ("Selector", None) => {
            findings.error(format_args!("{path}.selector"), "is missing: write the labels of the namespaces");
            AllowedNamespaces::Same
        }
        (other, _) => {
            findings.error(format_args!("{path}.from"), format!("{other:?} is none of Same, All, Selector"));
            AllowedNamespaces::Same
        }
    }
}

/// What `selector` asks of labels: nothing, if it is empty (meta/v1 LabelSelector).
fn requirements(selector: &LabelSelector, path: &str, findings: &mut Findings) -> Vec<Requirement> {
    let mut requirements = Vec::new();
    for (key, value) in &selector.match_labels {
        let checked = name::label_key(key).and_then(|()| name::label_value(value));
        findings.take(format_args!("{path}.matchLabels[{key}]"), checked);
        let operator = Operator::In([Arc::from(value.as_str())].into());
        requirements.push(Requirement { key: Arc::from(key.as_str()), operator });
    }
    for (place, written) in selector.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{place}]");
        findings.take(format_args!("{path}.key"), name::label_key(&written.key));
        let values = || written.values.iter().map(|value| Arc::from(value.as_str())).collect();
        let operator = match written.operator.as_str() {
            "In" => Operator::In(values()),
            "NotIn" => Operator::NotIn(values()),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                let message = format!("{other:?} is none of In, NotIn, Exists, DoesNotExist");
                findings.error(format_args!("{path}.operator"), message);
                continue;
            }
        };
        let compares = matches!(operator, Operator::In(_) | Operator::NotIn(_));
        if compares == written.values.is_empty() {
            let message =
                if compares { "is missing: write what is compared" } else { "contradicts the operator: remove it" };
            findings.error(format_args!("{path}.values"), message);
        }
        requirements.push(Requirement { key: Arc::from(written.key.as_str()), operator });
    }
    requirements
}

/// The first of `addresses` that names a Service, by hostname before address.
fn address(addresses: &[GatewayAddress], path: &str, findings: &mut Findings) -> Option<Address> {
    let (mut hostname, mut ip) = (None, None);
    for (place, written) in addresses.iter().enumerate() {
        let path = format!("{path}[{place}].value");
        match written.kind.as_str() {
            "Hostname" => {
                let lower = written.value.to_ascii_lowercase();
                let checked = findings.take(path, name::subdomain(&lower));
                hostname = hostname.or(checked.map(|()| Address::Hostname(Arc::from(lower))));
            }
            "" | "IPAddress" => {
                let checked: Option<IpAddr> = findings.take(path, name::address(&written.value));
                ip = ip.or(checked.map(Address::Ip));
            }
            // Types of others, which mean something to those.
            _ => {}
        }
    }
    hostname.or(ip)
}
