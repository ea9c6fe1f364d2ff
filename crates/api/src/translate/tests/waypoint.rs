//! Gateways of a waypoint's class, and the labels that ask for one.

use ambit_model::WaypointKey;
use ambit_model::waypoint::{Address, Binding, Serves};

use super::*;
use crate::resource::{AllowedNamespaces, Gateway, WaypointWish};

/// A Gateway with this in the place of what is usual.
fn written(path: &str, value: Value) -> Value {
    let mut gateway = json!({
        "metadata": {"name": "wp", "namespace": "shop", "labels": {}},
        "spec": {
            "gatewayClassName": "ambit-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    });
    match gateway.pointer_mut(path) {
        Some(place) => *place = value,
        None => {
            let (parent, key) = path.rsplit_once('/').unwrap();
            let parent = if parent.is_empty() { &mut gateway } else { gateway.pointer_mut(parent).unwrap() };
            parent[key] = value;
        }
    }
    gateway
}

fn gateway(object: Value) -> Arc<Gateway> {
    match read(Kind::Gateway, object).unwrap().resource {
        Resource::Gateway(gateway) => gateway,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_waypoint_is_reached_by_its_own_service_unless_it_says_otherwise() {
    let plain = gateway(written("/metadata/name", json!("wp")));
    assert_eq!(plain.address, Address::Hostname("wp.shop.svc.cluster.local".into()));
    assert_eq!((plain.serves, &plain.allowed), (None, &AllowedNamespaces::Same));
    let (ip, name) = (json!({"type": "IPAddress", "value": "10.96.0.9"}), json!({"type": "Hostname", "value": "A.b"}));
    let address = |path: &str, list: Value| gateway(written(path, list)).address.clone();
    assert_eq!(address("/spec/addresses", json!([ip])), Address::Ip("10.96.0.9".parse().unwrap()));
    assert_eq!(address("/status", json!({"addresses": [ip, name]})), Address::Hostname("a.b".into()));
    let foreign = json!({"addresses": [{"type": "example.com/thing", "value": "?"}]});
    assert_eq!(address("/status", foreign), plain.address);
}

#[test]
fn a_label_says_what_it_serves() {
    for (text, serves) in [
        ("service", Serves::Services),
        ("workload", Serves::Workloads),
        ("all", Serves::All),
        ("none", Serves::Nothing),
    ] {
        let labelled = written("/metadata/labels", json!({"istio.io/waypoint-for": text}));
        assert_eq!(gateway(labelled).serves, Some(serves));
        let class = json!({"metadata": {"name": "istio-waypoint", "labels": {"istio.io/waypoint-for": text}}});
        match read(Kind::GatewayClass, class).unwrap().resource {
            Resource::GatewayClass(class) => assert_eq!(class.serves, Some(serves)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_wrong_with_a_waypoint_is_said_by_field() {
    let listener = |field: &str, value: Value| {
        let mut listener = json!({"name": "mesh", "port": 15008, "protocol": "HBONE"});
        listener[field] = value;
        written("/spec/listeners", json!([listener]))
    };
    let from = |namespaces: Value| listener("allowedRoutes", json!({"namespaces": namespaces}));
    let expression = |written: Value| from(json!({"from": "Selector", "selector": {"matchExpressions": [written]}}));
    let selector = "spec.listeners[0].allowedRoutes.namespaces.selector";
    for (object, path) in [
        (written("/spec/gatewayClassName", json!("")), "spec.gatewayClassName"),
        (written("/spec/listeners", json!([])), "spec.listeners"),
        (listener("protocol", json!("HTTP")), "spec.listeners"),
        (listener("port", json!(15009)), "spec.listeners[0].port"),
        (from(json!({"from": "Some"})), "spec.listeners[0].allowedRoutes.namespaces.from"),
        (from(json!({"from": "Selector"})), selector),
        (expression(json!({"key": "a", "operator": "Is"})), &format!("{selector}.matchExpressions[0].operator")),
        (expression(json!({"key": "a", "operator": "In"})), &format!("{selector}.matchExpressions[0].values")),
        (expression(json!({"key": "-", "operator": "Exists"})), &format!("{selector}.matchExpressions[0].key")),
        (written("/metadata/name", json!("none")), "metadata.name"),
        (
            written("/metadata/labels", json!({"istio.io/waypoint-for": "services"})),
            "metadata.labels[istio.io/waypoint-for]",
        ),
        (written("/spec/addresses", json!([{"value": "x"}])), "spec.addresses[0].value"),
    ] {
        assert_eq!(wrong(Kind::Gateway, object), [path]);
    }
    let two = json!([{"port": 15008, "protocol": "HBONE"}, {"port": 15008, "protocol": "HBONE"}]);
    assert_eq!(wrong(Kind::Gateway, written("/spec/listeners", two)), ["spec.listeners[1]"]);
}

#[test]
fn a_gateway_of_another_class_is_left_out_and_remarked_on() {
    let ingress = || written("/spec/gatewayClassName", json!("istio"));
    assert!(matches!(read(Kind::Gateway, ingress()).unwrap().resource, Resource::Inert(_)));
    assert_eq!(remarked(Kind::Gateway, ingress()), [(Severity::Warning, "spec.gatewayClassName".to_owned())]);
}

#[test]
fn labels_name_a_waypoint_of_the_own_namespace_or_of_another() {
    let (name, elsewhere) = ("istio.io/use-waypoint", "istio.io/use-waypoint-namespace");
    let by = |namespace: &str| Some(WaypointWish::By(WaypointKey::new(namespace, "wp")));
    let remark = |label: &str| vec![(Severity::Warning, format!("metadata.labels[{label}]"))];
    for (labels, wish, remarks) in [
        (json!({}), None, vec![]),
        (json!({name: "wp"}), by("shop"), vec![]),
        (json!({name: "wp", elsewhere: "infra"}), by("infra"), vec![]),
        (json!({name: "none"}), Some(WaypointWish::Without), vec![]),
        (json!({name: ""}), None, remark(name)),
        (json!({elsewhere: "infra"}), None, remark(elsewhere)),
        (json!({name: "none", elsewhere: "infra"}), Some(WaypointWish::Without), remark(elsewhere)),
    ] {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop", "labels": labels}});
        assert_eq!(self::pod(pod.clone()).waypoint, wish, "{labels}");
        assert_eq!(remarked(Kind::Pod, pod), remarks, "{labels}");
        let namespace = json!({"metadata": {"name": "shop", "labels": labels}});
        match read(Kind::Namespace, namespace).unwrap().resource {
            Resource::Namespace(namespace) => assert_eq!(namespace.waypoint, wish, "{labels}"),
            other => panic!("{other:?}"),
        }
    }
    let entry = json!({"metadata": {"name": "vm", "namespace": "shop", "labels": {name: "wp"}}, "spec": {"address": "10.0.0.1"}});
    assert_eq!(remarked(Kind::WorkloadEntry, entry), remark(name));
    let canary = "istio.io/use-waypoint-canary";
    let pod = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {name: "wp", canary: "next"}}});
    assert_eq!(self::pod(pod.clone()).waypoint, by("shop"));
    assert_eq!(remarked(Kind::Pod, pod), remark(canary));
}

#[test]
fn a_label_says_whether_gateways_go_past_a_waypoint() {
    let label = "istio.io/ingress-use-waypoint";
    for (text, passed, remarked_on) in
        [(None, None, 0), (Some("true"), Some(false), 0), (Some("False"), Some(true), 0), (Some("no"), None, 1)]
    {
        let labels = text.map_or(json!({}), |text| json!({ label: text }));
        let of = |kind, spec: Value| {
            let metadata = json!({"name": "web", "namespace": "shop", "labels": labels});
            let read = read(kind, json!({"metadata": metadata, "spec": spec})).unwrap();
            let of_label =
                read.remarks.iter().filter(|remark| remark.field.path == format!("metadata.labels[{label}]"));
            assert_eq!(of_label.count(), remarked_on, "{kind} {text:?}");
            match read.resource {
                Resource::Service(service) => service.passed_by_gateways,
                Resource::ServiceEntry(entry) => entry.hosts[0].passed_by_gateways,
                Resource::Namespace(namespace) => namespace.passed_by_gateways,
                other => panic!("{other:?}"),
            }
        };
        let entry = json!({"hosts": ["a.example"], "ports": [{"number": 80, "name": "http"}]});
        let found = [
            of(Kind::Service, json!({"clusterIP": "10.96.0.1"})),
            of(Kind::ServiceEntry, entry),
            of(Kind::Namespace, json!({})),
        ];
        assert_eq!(found, [passed; 3], "{text:?}");
    }
}

#[test]
fn an_annotation_says_what_a_waypoint_of_another_kind_takes() {
    let bound = |text: &str| {
        let mut object = written("/metadata/annotations", json!({"ambient.istio.io/waypoint-inbound-binding": text}));
        object["spec"] = json!({
            "gatewayClassName": "sandwich",
            "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY", "allowedRoutes": {"namespaces": {"from": "All"}}}],
        });
        object
    };
    for (text, binding) in
        [("PROXY/15088", Binding::Proxy(15088)), ("NONE/8080", Binding::Raw(Some(8080))), ("NONE", Binding::Raw(None))]
    {
        let gateway = gateway(bound(text));
        assert_eq!((gateway.binding, &gateway.allowed), (binding, &AllowedNamespaces::All), "{text}");
    }
    assert_eq!(gateway(written("/metadata/name", json!("wp"))).binding, Binding::Hbone);
    for text in ["PROXY", "PROXY/0", "PROXY/http", "PROXY/70000", "NONE/", "HBONE/15008", ""] {
        let mut object = written("/metadata/annotations", json!({"ambient.istio.io/waypoint-inbound-binding": text}));
        object["spec"]["gatewayClassName"] = json!("istio-waypoint");
        let errors = read(Kind::Gateway, object).unwrap_err();
        let path = "metadata.annotations[ambient.istio.io/waypoint-inbound-binding]";
        assert!(errors.iter().any(|error| error.path == path), "{text}: {errors:?}");
    }
}
