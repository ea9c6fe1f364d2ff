//! Tests of the translation: tables of what is written and what it means.

use ambit_model::workload::Excluded;
use ambit_model::{Enrolment, NetworkMode, Sidecar, Topology};
use serde_json::{Value, json};

use super::*;
use crate::field::Severity;
use crate::resource::{DataplaneMode, EndpointSlice, Families, Pod, Service, TargetPort};

mod attached;
mod distribution;
mod entries;
mod gateway_routes;
mod gateways;
mod policy;
mod routes;
mod validation;
mod waypoint;

fn read(kind: Kind, object: Value) -> Result<Translated, Vec<FieldError>> {
    translate(&Object::read(kind, object).unwrap(), &Mesh::default())
}

fn pod(object: Value) -> Arc<Pod> {
    match read(Kind::Pod, object).unwrap().resource {
        Resource::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

fn service(spec: Value) -> Arc<Service> {
    match read(Kind::Service, json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap().resource
    {
        Resource::Service(service) => service,
        other => panic!("{other:?}"),
    }
}

fn slice(object: Value) -> Arc<EndpointSlice> {
    match read(Kind::EndpointSlice, object).unwrap().resource {
        Resource::EndpointSlice(slice) => slice,
        other => panic!("{other:?}"),
    }
}

/// The paths of what is wrong.
fn wrong(kind: Kind, object: Value) -> Vec<String> {
    read(kind, object).unwrap_err().into_iter().map(|error| error.path).collect()
}

/// The paths of what is remarked on, with the gravity.
fn remarked(kind: Kind, object: Value) -> Vec<(Severity, String)> {
    let remarks = read(kind, object).unwrap().remarks;
    remarks.into_iter().map(|remark| (remark.severity, remark.field.path)).collect()
}

const fn left_out(sidecar: Sidecar, asked: bool) -> Enrolment {
    Enrolment::Outside(Excluded::Sidecar { sidecar, asked })
}

#[test]
fn a_pod_with_another_meshs_sidecar_is_left_out_and_it_is_said_why() {
    for (list, proxy, sidecar) in [
        ("containers", "linkerd-proxy", Sidecar::Linkerd),
        ("initContainers", "linkerd-proxy", Sidecar::Linkerd),
        ("containers", "istio-proxy", Sidecar::Istio),
    ] {
        let spec = json!({list: [{"name": "web"}, {"name": proxy}]});
        let labels = json!({"istio.io/dataplane-mode": "ambient"});
        let object = json!({"metadata": {"name": "p", "labels": labels}, "spec": spec});
        assert_eq!(pod(object.clone()).workload.enrolment, left_out(sidecar, true), "{list}");
        let said = vec![(Severity::Warning, "metadata.labels[istio.io/dataplane-mode]".to_owned())];
        assert_eq!(remarked(Kind::Pod, object), said);
    }
    let named = pod(json!({"metadata": {"name": "linkerd-proxy"}, "spec": {"containers": [{"name": "web"}]}}));
    assert_eq!(named.workload.enrolment, Enrolment::Outside(Excluded::NotLabelled));
    let metadata = json!({"name": "gateway", "labels": {"networking.istio.io/tunnel": "http"}});
    let gateway = pod(json!({"metadata": metadata, "spec": {"containers": [{"name": "istio-proxy"}]}}));
    assert_eq!(gateway.workload.enrolment, Enrolment::Outside(Excluded::SpeaksHbone));
}

#[test]
fn the_pods_label_comes_before_the_namespaces() {
    use DataplaneMode::{Ambient, None as Out};
    let enrolled = Enrolment::Enrolled;
    let (not_labelled, opted_out) = (Enrolment::Outside(Excluded::NotLabelled), Enrolment::Outside(Excluded::OptedOut));
    let table = [
        (None, None, not_labelled),
        (None, Some("ambient"), enrolled),
        (None, Some("none"), opted_out),
        (Some(Ambient), None, enrolled),
        (Some(Ambient), Some("ambient"), enrolled),
        (Some(Ambient), Some("none"), opted_out),
        (Some(Out), None, opted_out),
        (Some(Out), Some("ambient"), enrolled),
        (Some(Out), Some("none"), opted_out),
        (Some(Ambient), Some("Ambient"), enrolled),
        (None, Some("sidecar"), not_labelled),
        (None, Some(""), not_labelled),
    ];
    for (namespace, label, expected) in table {
        let labels = label.map_or(json!({}), |label| json!({ "istio.io/dataplane-mode": label }));
        let plain = pod(json!({"metadata": {"name": "p", "labels": labels}}));
        assert_eq!(enrolment(&plain, namespace, false), expected, "{namespace:?} {label:?}");
        // Whatever the labels say, these stay outside.
        let host = pod(json!({"metadata": {"name": "p", "labels": labels}, "spec": {"hostNetwork": true}}));
        assert_eq!(enrolment(&host, namespace, false), Enrolment::Outside(Excluded::HostNetwork));
        let annotations = json!({"sidecar.istio.io/status": "{}"});
        let sidecar = pod(json!({"metadata": {"name": "p", "labels": labels, "annotations": annotations}}));
        let asked = expected == enrolled;
        assert_eq!(
            enrolment(&sidecar, namespace, false),
            left_out(Sidecar::Annotated, asked),
            "{namespace:?} {label:?}"
        );
        assert_eq!(enrolment(&sidecar, namespace, true), left_out(Sidecar::Annotated, false));
        assert_eq!(enrolment(&plain, namespace, true), Enrolment::Outside(Excluded::NamespaceExcluded));
    }
}

#[test]
fn labels_that_cannot_enrol_are_remarked_on() {
    let path = "metadata.labels[istio.io/dataplane-mode]".to_owned();
    let labelled = |value: &str| json!({"name": "p", "labels": {"istio.io/dataplane-mode": value}});
    let host = json!({"metadata": labelled("ambient"), "spec": {"hostNetwork": true}});
    assert_eq!(remarked(Kind::Pod, host), [(Severity::Warning, path.clone())]);
    for kind in [Kind::Pod, Kind::Namespace] {
        assert_eq!(remarked(kind, json!({"metadata": labelled("ambiant")})), [(Severity::Warning, path.clone())]);
        assert_eq!(remarked(kind, json!({"metadata": labelled("none")})), []);
    }
}

#[test]
fn a_pods_dns_is_captured_unless_it_opts_out() {
    let path = "metadata.annotations[ambient.istio.io/dns-capture]".to_owned();
    let annotated = |value: Option<&str>| {
        let annotations = value.map_or(json!({}), |value| json!({ "ambient.istio.io/dns-capture": value }));
        json!({"metadata": {"name": "p", "annotations": annotations}})
    };
    for (value, captured, sound) in [
        (None, true, true),
        (Some("true"), true, true),
        (Some("false"), false, true),
        (Some("False"), true, false),
        (Some(""), true, false),
    ] {
        assert_eq!(pod(annotated(value)).workload.dns_capture, captured, "{value:?}");
        let remarks = if sound { vec![] } else { vec![(Severity::Warning, path.clone())] };
        assert_eq!(remarked(Kind::Pod, annotated(value)), remarks, "{value:?}");
    }
}

#[test]
fn a_pods_owner_is_what_a_person_made() {
    let hash = json!({"pod-template-hash": "5d4f8c"});
    for (kind, name, labels, owner) in [
        ("ReplicaSet", "web-5d4f8c", hash.clone(), ("deployment", "web")),
        ("ReplicaSet", "web-5d4f8c", json!({}), ("deployment", "web")),
        ("ReplicaSet", "a-b-5d4f8c", hash.clone(), ("deployment", "a-b")),
        ("ReplicaSet", "web-canary", hash.clone(), ("replicaset", "web-canary")),
        ("ReplicaSet", "web", json!({}), ("replicaset", "web")),
        ("ReplicaSet", "-5d4f8c", hash, ("replicaset", "-5d4f8c")),
        ("Job", "backup-28391040", json!({}), ("cronjob", "backup")),
        ("Job", "backup-1", json!({}), ("job", "backup-1")),
        ("Job", "backup", json!({}), ("job", "backup")),
        ("StatefulSet", "redis", json!({}), ("statefulset", "redis")),
        ("DaemonSet", "log-1", json!({}), ("daemonset", "log-1")),
    ] {
        let owners = json!([{"kind": "Other", "name": "o"}, {"kind": kind, "name": name, "controller": true}]);
        let pod = pod(json!({"metadata": {"name": "p", "labels": labels, "ownerReferences": owners}}));
        assert_eq!((&*pod.workload.owner.kind, &*pod.workload.owner.name), owner, "{kind} {name}");
    }
    let alone = pod(json!({"metadata": {"name": "p"}}));
    assert_eq!((&*alone.workload.owner.kind, &*alone.workload.owner.name), ("pod", "p"));
}

#[test]
fn canonical_names_come_from_the_first_label_that_has_one() {
    for (labels, name, revision) in [
        (json!({}), "web", "latest"),
        (json!({"app": "a", "version": "1"}), "a", "1"),
        (
            json!({"app.kubernetes.io/name": "b", "app": "a", "app.kubernetes.io/version": "2", "version": "1"}),
            "b",
            "2",
        ),
        (
            json!({"service.istio.io/canonical-name": "c", "app.kubernetes.io/name": "b",
                   "service.istio.io/canonical-revision": "3", "version": "1"}),
            "c",
            "3",
        ),
        (json!({"service.istio.io/canonical-name": "", "app": "a"}), "a", "latest"),
    ] {
        let owners = json!([{"kind": "ReplicaSet", "name": "web-5d4f8c", "controller": true}]);
        let pod = pod(json!({"metadata": {"name": "p", "labels": labels, "ownerReferences": owners}}));
        let workload = &pod.workload;
        assert_eq!((&*workload.canonical_name, &*workload.canonical_revision), (name, revision), "{labels}");
    }
}

#[test]
fn a_pod_becomes_a_workload() {
    let pod = pod(json!({
        "metadata": {"name": "web-0", "namespace": "shop", "annotations": {"ambit.dev/netns": "/run/netns/web-0"}},
        "spec": {"nodeName": "node-a", "serviceAccount": "old", "unknownField": [1]},
        "status": {"podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "FD00::7"}], "phase": "Running"},
    }));
    let workload = &pod.workload;
    assert_eq!(workload.uid.as_str(), "Kubernetes//Pod/shop/web-0");
    assert_eq!(workload.identity.to_string(), "spiffe://cluster.local/ns/shop/sa/old");
    assert_eq!(workload.addresses, ["10.0.0.7", "fd00::7"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));
    assert_eq!((&*workload.node, workload.network_mode), ("node-a", NetworkMode::Standard));
    assert_eq!(workload.netns.as_deref(), Some(std::path::Path::new("/run/netns/web-0")));
    assert!(workload.ready);
}

#[test]
fn readiness_is_the_condition_and_no_deletion() {
    let ready = |status: &str| json!([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": status}]);
    for (status, deleted, expected) in [
        (json!({"podIP": "10.0.0.7", "conditions": ready("True")}), false, (true, true)),
        (json!({"podIP": "10.0.0.7", "conditions": ready("True")}), true, (false, true)),
        (json!({"podIP": "10.0.0.7", "conditions": ready("False")}), false, (false, false)),
        (json!({"podIP": "10.0.0.7", "conditions": ready("Unknown")}), false, (false, false)),
        (json!({"podIP": "10.0.0.7", "conditions": []}), false, (false, false)),
        (json!({"podIP": "10.0.0.7"}), false, (true, true)),
        (json!({"podIP": "10.0.0.7"}), true, (false, true)),
        (json!({}), false, (false, false)),
    ] {
        let deletion = deleted.then_some("2024-01-01T00:00:00Z");
        let pod = pod(json!({"metadata": {"name": "p", "deletionTimestamp": deletion}, "status": status}));
        assert_eq!((pod.workload.ready, pod.serving), expected, "{status} {deleted}");
    }
}

#[test]
fn what_has_ended_stands_for_nothing() {
    for phase in ["Succeeded", "Failed"] {
        let ended = json!({"metadata": {"name": "p"}, "status": {"phase": phase, "podIP": "10.0.0.7"}});
        assert_eq!(read(Kind::Pod, ended).unwrap().resource, Resource::Inert(ObjectRef::new(Kind::Pod, "", "p")));
    }
}

#[test]
fn named_ports_are_those_of_containers_and_then_of_sidecars() {
    let pod = pod(json!({"metadata": {"name": "p"}, "spec": {
        "initContainers": [
            {"ports": [{"name": "early", "containerPort": 1}]},
            {"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}, {"name": "http", "containerPort": 3}]},
        ],
        "containers": [
            {"ports": [{"containerPort": 4}, {"name": "http", "containerPort": 80}]},
            {"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
        ],
    }}));
    for (name, number) in [("http", Some(80)), ("side", Some(2)), ("early", None), ("dns", None), ("", None)] {
        assert_eq!(pod.port_named(name), number, "{name}");
    }
}

#[test]
fn a_wrong_pod_is_refused_field_by_field() {
    assert_eq!(wrong(Kind::Pod, json!({})), ["metadata.name"]);
    let all = json!({
        "metadata": {"name": "Web", "namespace": "a.b", "labels": {"a b": "c", "app": "x y"},
                     "annotations": {"ambit.dev/netns": "netns/../web"}},
        "spec": {"nodeName": "-", "serviceAccountName": "a/b",
                 "containers": [{"ports": [{"containerPort": 0}, {"name": "HTTP", "containerPort": 1, "protocol": "tcp"}]}]},
        "status": {"podIP": "10.0.0", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "::1"}]},
    });
    let expected = [
        "metadata.name",
        "metadata.namespace",
        "metadata.labels[a b]",
        "metadata.labels[app]",
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].ports[1].protocol",
        "spec.containers[0].ports[1].name",
        "status.podIPs[1].ip",
        "status.podIP",
        "spec.nodeName",
        "spec.serviceAccountName",
        "metadata.annotations[ambit.dev/netns]",
    ];
    assert_eq!(wrong(Kind::Pod, all), expected);
    let split = json!({"metadata": {"name": "p"}, "status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]}});
    assert_eq!(wrong(Kind::Pod, split), ["status.podIP"]);
}

#[test]
fn a_service_has_addresses_families_and_ports() {
    let (v4, v6) = (Families { v4: true, v6: false }, Families { v4: false, v6: true });
    let both = Families { v4: true, v6: true };
    for (spec, vips, families) in [
        (json!({"clusterIP": "10.96.0.1"}), &["10.96.0.1"][..], v4),
        (json!({"clusterIP": "fd00::1"}), &["fd00::1"], v6),
        (json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]}), &["10.96.0.1", "fd00::1"], both),
        (json!({"clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv4"]}), &["10.96.0.1"], v4),
        (json!({"clusterIP": "None"}), &[], both),
        (json!({"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv6"]}), &[], v6),
    ] {
        let service = service(spec.clone());
        let texts: Vec<String> = service.vips.iter().map(ToString::to_string).collect();
        assert_eq!((texts.iter().map(String::as_str).collect::<Vec<_>>(), service.families), (vips.to_vec(), families));
        assert_eq!(&*service.hostname, "web.shop.svc.cluster.local");
    }
    let service = service(json!({"clusterIP": "None", "ports": [
        {"name": "b", "port": 90, "targetPort": "http", "appProtocol": "http2"},
        {"name": "a", "port": 80},
        {"name": "c", "port": 70, "targetPort": 7070},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]}));
    let ports: Vec<_> = service.ports.iter().map(|port| (port.number, &*port.name, port.target.clone())).collect();
    let named = TargetPort::Name(Arc::from("http"));
    assert_eq!(ports, [(70, "c", TargetPort::Number(7070)), (80, "a", TargetPort::Number(80)), (90, "b", named)]);
    assert_eq!(service.ports[2].app_protocol.as_deref(), Some("http2"));
}

#[test]
fn a_wrong_service_is_refused_field_by_field() {
    let wrong = |spec| wrong(Kind::Service, json!({"metadata": {"name": "web"}, "spec": spec}));
    for (spec, paths) in [
        (json!({"type": "Internal", "clusterIP": "None"}), &["spec.type"][..]),
        (json!({"clusterIP": "10.96.0"}), &["spec.clusterIP"]),
        (json!({"clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.1"]}), &["spec.clusterIP"]),
        (json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.1"]}), &["spec.clusterIPs[1]"]),
        (json!({"clusterIP": "10.96.0.1", "ipFamilies": ["IPv6"]}), &["spec.ipFamilies"]),
        (json!({"clusterIP": "None", "ipFamilies": ["ipv6"]}), &["spec.ipFamilies[0]"]),
        (json!({"clusterIP": "None", "selector": {"app": "a b"}}), &["spec.selector[app]"]),
        (json!({"clusterIP": "None", "internalTrafficPolicy": "local"}), &["spec.internalTrafficPolicy"]),
        (json!({"clusterIP": "None", "trafficDistribution": "SameZone"}), &["spec.trafficDistribution"]),
        (json!({"clusterIP": "None", "trafficDistribution": "preferclose"}), &["spec.trafficDistribution"]),
        (json!({"clusterIP": "None", "ports": [{"port": 70000}]}), &["spec.ports[0].port"]),
        (json!({"clusterIP": "None", "ports": [{"port": 1, "targetPort": -1}]}), &["spec.ports[0].targetPort"]),
        (json!({"clusterIP": "None", "ports": [{"port": 1, "targetPort": "80"}]}), &["spec.ports[0].targetPort"]),
        (json!({"clusterIP": "None", "ports": [{"port": 1, "protocol": "HTTP"}]}), &["spec.ports[0].protocol"]),
        (
            json!({"clusterIP": "None", "ports": [{"name": "a", "port": 1}, {"name": "a", "port": 1}, {"port": 2}]}),
            &["spec.ports[1].name", "spec.ports[1].port", "spec.ports[2].name"],
        ),
    ] {
        assert_eq!(wrong(spec.clone()), paths, "{spec}");
    }
    // One number serves TCP and UDP, as DNS does.
    let dns = json!([{"name": "tcp", "port": 53}, {"name": "udp", "port": 53, "protocol": "UDP"}]);
    assert_eq!(service(json!({"clusterIP": "None", "ports": dns})).ports.len(), 1);
}

#[test]
fn what_is_not_in_effect_is_remarked_on() {
    let spec = json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local",
                      "trafficDistribution": "PreferClose"});
    let expected = [(Severity::Warning, "spec.sessionAffinity".to_owned())];
    assert_eq!(remarked(Kind::Service, json!({"metadata": {"name": "web"}, "spec": spec})), expected);
    let plain = json!({"clusterIP": "None", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"});
    assert_eq!(remarked(Kind::Service, json!({"metadata": {"name": "web"}, "spec": plain})), []);
    let without = json!({"metadata": {"name": "web"}, "spec": {}});
    assert_eq!(remarked(Kind::Service, without), [(Severity::Warning, "spec.clusterIP".to_owned())]);
}

#[test]
fn slices_of_every_version_mean_the_same() {
    let labelled = json!({"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}});
    let ports =
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let target = json!({"kind": "Pod", "name": "web-0", "namespace": "shop"});
    let v1 = slice(json!({"metadata": labelled, "addressType": "IPv4", "ports": ports, "endpoints": [
        {"addresses": ["10.0.0.7"], "conditions": {"ready": true, "serving": true}, "nodeName": "node-a", "zone": "z",
         "targetRef": target},
    ]}));
    let v1beta1 = slice(json!({"metadata": labelled, "addressType": "IPv4", "ports": ports, "endpoints": [
        {"addresses": ["10.0.0.7"], "conditions": {"ready": true}, "topology": {"kubernetes.io/hostname": "node-a"},
         "targetRef": target},
    ]}));
    let v1alpha1 = slice(json!({"metadata": labelled, "addressType": "IP", "ports": ports, "endpoints": [
        {"addresses": ["10.0.0.7"], "targetRef": target},
    ]}));
    assert_eq!((&v1, &v1), (&v1beta1, &v1alpha1));
    assert_eq!(v1.ports, [(Arc::from("http"), 8080)]);
    assert_eq!(v1.endpoints[0].workload.as_ref().map(|uid| uid.as_str()), Some("Kubernetes//Pod/shop/web-0"));
}

#[test]
fn the_conditions_of_an_endpoint_have_kubernetes_defaults() {
    for (conditions, ready, draining) in [
        (json!({}), true, false),
        (json!({"ready": false}), false, false),
        (json!({"ready": false, "serving": true, "terminating": true}), false, true),
        (json!({"ready": false, "serving": false, "terminating": true}), false, false),
        (json!({"ready": false, "serving": true}), false, false),
    ] {
        let metadata = json!({"name": "x", "labels": {"kubernetes.io/service-name": "web"}});
        let endpoints = json!([{"addresses": ["10.0.0.7"], "conditions": conditions}]);
        let slice = slice(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints}));
        assert_eq!((slice.endpoints[0].ready, slice.endpoints[0].draining), (ready, draining), "{conditions}");
    }
}

#[test]
fn wrong_slices_are_refused_and_useless_ones_remarked_on() {
    let metadata = json!({"name": "x", "labels": {"kubernetes.io/service-name": "web"}});
    let endpoints = json!([{"addresses": ["10.0.0.7", "fd00::1", "web"]}]);
    let object = json!({"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 0}]});
    let expected = ["endpoints[0].addresses[1]", "endpoints[0].addresses[2]", "ports[0].port"];
    assert_eq!(wrong(Kind::EndpointSlice, object), expected);
    assert_eq!(wrong(Kind::EndpointSlice, json!({"metadata": metadata, "addressType": "ipv4"})), ["addressType"]);
    let names = json!({"metadata": metadata, "addressType": "FQDN"});
    assert_eq!(remarked(Kind::EndpointSlice, names), [(Severity::Notice, "addressType".to_owned())]);
    let nobody = json!({"metadata": {"name": "x"}, "addressType": "IPv4"});
    let path = "metadata.labels[kubernetes.io/service-name]".to_owned();
    assert_eq!(remarked(Kind::EndpointSlice, nobody), [(Severity::Warning, path)]);
    // Only pods of the slice's own namespace are its endpoints' workloads.
    let target = json!([{"addresses": ["10.0.0.7"], "targetRef": {"kind": "Pod", "name": "a", "namespace": "other"}}]);
    let slice = slice(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": target}));
    assert_eq!(slice.endpoints[0].workload, None);
}

#[test]
fn an_endpoint_without_a_pod_is_where_its_slice_says() {
    let metadata = json!({"name": "x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}});
    let object = |mut endpoint: Value| {
        endpoint["addresses"] = json!(["10.0.0.7"]);
        json!({"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint]})
    };
    let at = |node: &str, zone: &str| {
        Some(Arc::new(Topology { node: node.into(), zone: zone.into(), ..Topology::default() }))
    };
    let old = json!({"kubernetes.io/hostname": "node-a", "topology.kubernetes.io/zone": "z"});
    for (endpoint, expected) in [
        (json!({"nodeName": "node-a", "zone": "z"}), at("node-a", "z")),
        (json!({"nodeName": "node-a"}), at("node-a", "")),
        (json!({"zone": "z"}), at("", "z")),
        (json!({}), None),
        // Before v1; in v1beta1 a node's name may stand beside it.
        (json!({"topology": old}), at("node-a", "z")),
        (json!({"topology": old, "nodeName": "node-b"}), at("node-b", "z")),
        // A pod of the slice's namespace tells where it is; one of another is none.
        (json!({"nodeName": "node-a", "targetRef": {"kind": "Pod", "name": "a"}}), None),
        (json!({"nodeName": "node-a", "targetRef": {"kind": "Pod", "name": "a", "namespace": "b"}}), at("node-a", "")),
    ] {
        assert_eq!(slice(object(endpoint.clone())).endpoints[0].topology, expected, "{endpoint}");
    }
    for (endpoint, path) in [
        (json!({"nodeName": "Node A"}), "endpoints[0].nodeName"),
        (json!({"zone": "a b"}), "endpoints[0].zone"),
        (
            json!({"topology": {"topology.kubernetes.io/zone": "a b"}}),
            "endpoints[0].topology[topology.kubernetes.io/zone]",
        ),
    ] {
        assert_eq!(wrong(Kind::EndpointSlice, object(endpoint)), [path]);
    }
}

#[test]
fn a_node_has_addresses_and_a_place() {
    let node = |labels: Value| {
        let addresses = json!([{"type": "InternalIP", "address": "172.18.0.2"}, {"type": "Hostname", "address": "node-a"},
                               {"type": "ExternalIP", "address": "fd00::2"}]);
        let object = json!({"metadata": {"name": "node-a", "labels": labels}, "status": {"addresses": addresses}});
        match read(Kind::Node, object).unwrap().resource {
            Resource::Node(node) => node,
            other => panic!("{other:?}"),
        }
    };
    let current = node(json!({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}));
    let beta =
        node(json!({"failure-domain.beta.kubernetes.io/region": "r", "failure-domain.beta.kubernetes.io/zone": "z"}));
    assert_eq!(current, beta);
    assert_eq!((current.addresses.len(), &*current.region, &*current.zone), (2, "r", "z"));
    let bad = json!({"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "x"}]}});
    assert_eq!(wrong(Kind::Node, bad), ["status.addresses[0].address"]);
}
