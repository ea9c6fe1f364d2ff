//! ServiceEntries, WorkloadEntries and ExternalName services: tables of what is written and what it means.

use ambit_model::route::Visibility;
use ambit_model::{Distribution, Resolution, Scope, Topology};

use super::*;
use crate::resource::Written;

fn entry(spec: Value) -> Value {
    json!({"metadata": {"name": "outside", "namespace": "shop"}, "spec": spec})
}

fn hosts(object: Value) -> Vec<Arc<Service>> {
    match read(Kind::ServiceEntry, object).unwrap().resource {
        Resource::ServiceEntry(entry) => entry.hosts.clone(),
        other => panic!("{other:?}"),
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[test]
fn every_host_is_a_service_with_the_entrys_addresses_and_endpoints() {
    let spec = json!({
        "hosts": ["Api.Example.com", "*.example.com"],
        "addresses": ["192.0.2.7", "192.0.2.64/26", "192.0.2.9/32", "2001:db8::/32"],
        "ports": [
            {"number": 443, "name": "https", "protocol": "TLS", "targetPort": 8443},
            {"number": 80, "name": "http", "protocol": "HTTP"},
            {"number": 53, "name": "dns", "protocol": "UDP"},
        ],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "endpoints": [
            {"address": "198.51.100.1", "ports": {"http": 8080}, "locality": "eu/eu-a/rack", "weight": 3},
            {"address": "fd00::9", "labels": {"app": "x"}, "serviceAccount": "x"},
        ],
    });
    let hosts = hosts(entry(spec));
    assert_eq!(
        texts(&hosts.iter().map(|host| host.key()).collect::<Vec<_>>()),
        ["shop/outside/api.example.com", "shop/outside/*.example.com",]
    );
    let place = Topology { region: "eu".into(), zone: "eu-a".into(), subzone: "rack".into(), node: "".into() };
    for host in hosts {
        assert_eq!(Some(&host.hostname), host.host.as_ref());
        assert_eq!(texts(&host.vips), ["192.0.2.7", "192.0.2.9"]);
        assert_eq!(texts(&host.ranges), ["192.0.2.64/26", "2001:db8::/32"]);
        assert_eq!((host.resolution, host.allocates), (Resolution::Endpoints, false));
        let ports: Vec<_> = host.ports.iter().map(|port| (port.number, port.target.clone())).collect();
        assert_eq!(ports, [(80, TargetPort::Number(80)), (443, TargetPort::Number(8443))]);
        let listens = |endpoint: &Written| host.ports.iter().filter_map(|port| endpoint.port(port)).collect::<Vec<_>>();
        assert_eq!(host.endpoints.iter().map(listens).collect::<Vec<_>>(), [[8080, 8443], [80, 8443]]);
        assert_eq!(host.endpoints.iter().map(|e| e.weight.get()).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(host.endpoints[0].topology.as_deref(), Some(&place));
        assert_eq!(host.endpoints[1].topology, None);
    }
}

#[test]
fn hosts_without_addresses_are_given_some_unless_nobody_could_dial_them() {
    let endpoints = json!([{"address": "198.51.100.1"}]);
    for (hosts_, addresses, resolution, label, expected) in [
        (json!(["a.example"]), json!([]), "STATIC", "", [true].as_slice()),
        (json!(["a.example"]), json!([]), "STATIC", "true", &[true]),
        (json!(["a.example"]), json!([]), "STATIC", "false", &[false]),
        (json!(["a.example", "*.b.example"]), json!([]), "STATIC", "", &[true, false]),
        (json!(["a.example"]), json!(["192.0.2.7"]), "STATIC", "", &[false]),
        (json!(["a.example"]), json!([]), "NONE", "", &[false]),
        (json!(["a.example"]), json!([]), "DNS_ROUND_ROBIN", "", &[true]),
        (json!(["a.example"]), json!([]), "DNS", "", &[false]),
    ] {
        let labels =
            if label.is_empty() { json!({}) } else { json!({"networking.istio.io/enable-autoallocate-ip": label}) };
        let endpoints = if matches!(resolution, "NONE" | "DNS") { json!([]) } else { endpoints.clone() };
        let spec = json!({"hosts": hosts_, "addresses": addresses, "resolution": resolution, "endpoints": endpoints,
                          "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]});
        let object = json!({"metadata": {"name": "outside", "labels": labels}, "spec": spec});
        let allocates: Vec<bool> = hosts(object.clone()).iter().map(|host| host.allocates).collect();
        assert_eq!(allocates, expected, "{object}");
    }
    // What a control plane has given counts.
    let status =
        json!({"addresses": [{"value": "240.240.0.9", "host": "a.example"}, {"value": "240.240.0.8", "host": "b"}]});
    let mut object = entry(json!({"hosts": ["a.example"], "resolution": "STATIC", "endpoints": endpoints,
                                  "ports": [{"number": 80, "name": "http"}]}));
    object["status"] = status;
    let given = &hosts(object)[0];
    assert_eq!((texts(&given.vips), given.allocates), (vec!["240.240.0.9".to_owned()], false));
}

#[test]
fn resolution_none_goes_where_it_was_dialled() {
    for resolution in [json!(""), json!("NONE")] {
        let host =
            &hosts(entry(json!({"hosts": ["a.example"], "addresses": ["0.0.0.0/1"], "resolution": resolution})))[0];
        assert_eq!((host.resolution, host.allocates), (Resolution::AsDialled, false));
    }
}

#[test]
fn a_wrong_entry_is_refused_field_by_field() {
    let wrong = |change: Value| {
        let mut spec = json!({"hosts": ["a.example"], "resolution": "STATIC", "endpoints": [{"address": "198.51.100.1"}],
                              "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        wrong(Kind::ServiceEntry, entry(spec))
    };
    for (change, paths) in [
        (json!({"hosts": []}), &["spec.hosts"][..]),
        (json!({"hosts": ["*", "a b", "a.*.b"]}), &["spec.hosts[0]", "spec.hosts[1]", "spec.hosts[2]"]),
        (json!({"hosts": ["a.example", "A.example"]}), &["spec.hosts[1]"]),
        (
            json!({"addresses": ["192.0.2.0/33", "x", "127.0.0.1"]}),
            &["spec.addresses[0]", "spec.addresses[1]", "spec.addresses[2]"],
        ),
        (json!({"resolution": "static"}), &["spec.resolution", "spec.endpoints"]),
        (json!({"resolution": "DNS", "addresses": ["192.0.2.0/24"]}), &["spec.addresses[0]"]),
        (json!({"location": "OUTSIDE"}), &["spec.location"]),
        (json!({"endpoints": []}), &["spec.endpoints"]),
        (json!({"resolution": "NONE"}), &["spec.endpoints"]),
        (
            json!({"resolution": "NONE", "endpoints": [], "ports": [{"number": 80, "name": "a", "targetPort": 81}]}),
            &["spec.ports[0].targetPort"],
        ),
        (json!({"workloadSelector": {"labels": {"app": "x"}}}), &["spec.workloadSelector"]),
        (json!({"workloadSelector": {"labels": {}}, "endpoints": []}), &["spec.workloadSelector.labels"]),
        (
            json!({"workloadSelector": {"matchLabels": {}, "labels": {"a": "b"}}, "endpoints": []}),
            &["spec.workloadSelector.matchLabels"],
        ),
        (json!({"resolutoin": "STATIC"}), &["spec.resolutoin"]),
        (json!({"ports": [{"port": 80, "name": "http"}]}), &["spec.ports[0].port", "spec.ports[0].number"]),
        (
            json!({"ports": [{"number": 80}, {"number": 80, "name": "a"}]}),
            &["spec.ports[0].name", "spec.ports[1].number"],
        ),
        (json!({"ports": [{"number": 80, "name": "a", "protocol": "QUIC"}]}), &["spec.ports[0].protocol"]),
        (
            json!({"endpoints": [{"address": "198.51.100.1", "ports": {"https": 1}}]}),
            &["spec.endpoints[0].ports[https]"],
        ),
        (
            json!({"endpoints": [{"address": "unix:///run/x", "ports": {"http": 0}}]}),
            &["spec.endpoints[0].ports[http]", "spec.endpoints[0].address"],
        ),
        (
            json!({"endpoints": [{"address": "", "weight": -1}, {"address": "127.0.0.1"}]}),
            &["spec.endpoints[0].weight", "spec.endpoints[0].address", "spec.endpoints[1].address"],
        ),
        (
            json!({"endpoints": [{"address": "198.51.100.1", "locality": "a/b/c/d", "adress": ""}]}),
            &["spec.endpoints[0].adress", "spec.endpoints[0].locality"],
        ),
        (json!({"endpoints": [{"address": "db.example"}]}), &["spec.endpoints[0].address"]),
        (
            json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": [{"address": "a.b"}, {"address": "b.c"}]}),
            &["spec.endpoints"],
        ),
    ] {
        assert_eq!(wrong(change.clone()), paths, "{change}");
    }
}

#[test]
fn what_is_not_in_effect_of_an_entry_is_remarked_on() {
    let warned = |change: Value| {
        let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
        let mut spec = json!({"hosts": ["a.example"], "resolution": "DNS", "ports": [port]});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        remarked(Kind::ServiceEntry, entry(spec)).into_iter().map(|(_, path)| path).collect::<Vec<_>>()
    };
    let resolved = json!([{"address": "198.51.100.1"}]);
    for (change, paths) in [
        (json!({}), &["spec.resolution"][..]),
        (json!({"endpoints": [{"address": "db.example"}]}), &["spec.endpoints[0].address"]),
        (json!({"endpoints": resolved, "exportTo": ["*"]}), &[]),
        (json!({"endpoints": resolved, "subjectAltNames": ["a"]}), &["spec.subjectAltNames"]),
        (json!({"endpoints": resolved, "ports": []}), &["spec.ports"]),
        (json!({"endpoints": [{"address": "198.51.100.1", "network": "n2"}]}), &["spec.endpoints[0].network"]),
        (json!({"resolution": "DYNAMIC_DNS", "hosts": ["*.example"]}), &["spec.resolution"]),
    ] {
        assert_eq!(warned(change.clone()), paths, "{change}");
    }
}

#[test]
fn a_workload_entry_is_an_endpoint_with_labels() {
    let object = json!({"metadata": {"name": "vm", "namespace": "shop", "labels": {"app": "old", "tier": "db"}},
                        "spec": {"address": "198.51.100.1", "labels": {"app": "new"}, "ports": {"sql": 5432}}});
    let Resource::WorkloadEntry(entry) = read(Kind::WorkloadEntry, object).unwrap().resource else { panic!() };
    let labels: Vec<_> = entry.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["app=new", "tier=db"]);
    assert_eq!(entry.endpoint.address.to_string(), "198.51.100.1");
    let wrong_one = json!({"metadata": {"name": "vm"}, "spec": {"address": "198.51.100", "port": 1}});
    assert_eq!(wrong(Kind::WorkloadEntry, wrong_one), ["spec.port", "spec.address"]);
    let named = json!({"metadata": {"name": "vm"}, "spec": {"address": "vm.example"}});
    assert_eq!(remarked(Kind::WorkloadEntry, named), [(Severity::Warning, "spec.address".to_owned())]);
}

#[test]
fn an_external_name_is_an_alias_without_addresses() {
    let alias = service(json!({"type": "ExternalName", "externalName": "Db.Example.com."}));
    assert_eq!(alias.alias.as_deref(), Some("db.example.com"));
    assert_eq!(&*alias.hostname, "web.shop.svc.cluster.local");
    assert!(alias.vips.is_empty() && alias.ports.is_empty());
    for (spec, path) in [
        (json!({"type": "ExternalName"}), "spec.externalName"),
        (json!({"type": "ExternalName", "externalName": "a b"}), "spec.externalName"),
        (json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.1"}), "spec.clusterIP"),
    ] {
        assert_eq!(wrong(Kind::Service, json!({"metadata": {"name": "web"}, "spec": spec})), [path]);
    }
}

#[test]
fn an_entry_asks_for_near_endpoints_by_its_annotation() {
    for (value, expected) in [("PreferSameZone", Distribution::Prefer(Scope::Zone)), ("Any", Distribution::Anywhere)] {
        let mut object =
            entry(json!({"hosts": ["a.example"], "resolution": "STATIC", "endpoints": [{"address": "198.51.100.1"}],
                                      "ports": [{"number": 80, "name": "http"}]}));
        object["metadata"]["annotations"] = json!({"networking.istio.io/traffic-distribution": value});
        assert_eq!(hosts(object)[0].distribution, Some(expected));
    }
}

#[test]
fn export_to_says_who_sees_an_entry_or_a_service() {
    let only = |names: &[&str]| Visibility::Namespaces(names.iter().map(|name| Arc::from(*name)).collect());
    for (written, expected) in [
        (json!([]), Visibility::Public),
        (json!(["*"]), Visibility::Public),
        (json!(["other", "*"]), Visibility::Public),
        (json!(["."]), only(&["shop"])),
        (json!(["other", "."]), only(&["other", "shop"])),
        (json!(["~"]), only(&[])),
    ] {
        let entry = json!({
            "metadata": {"name": "out", "namespace": "shop"},
            "spec": {"hosts": ["a.example"], "ports": [{"number": 80, "name": "http"}], "exportTo": written},
        });
        // What contradicts itself is refused of an entry; of a Service, where it is an annotation, the widest counts.
        match read(Kind::ServiceEntry, entry).map(|read| read.resource) {
            Ok(Resource::ServiceEntry(entry)) => assert_eq!(entry.hosts[0].visibility, expected, "{written}"),
            read => assert!(read.is_err() && written == json!(["other", "*"]), "{written}: {read:?}"),
        }
        let text = written.as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        let service = json!({
            "metadata": {"name": "a", "namespace": "shop", "annotations": {"networking.istio.io/exportTo": text}},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
        });
        let Resource::Service(service) = read(Kind::Service, service).unwrap().resource else { panic!() };
        assert_eq!(service.visibility, expected, "{text:?}");
    }
    let wrong_name = json!({
        "metadata": {"name": "a", "namespace": "shop", "annotations": {"networking.istio.io/exportTo": "., a.b"}},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    });
    assert_eq!(wrong(Kind::Service, wrong_name), ["metadata.annotations[networking.istio.io/exportTo][1]"]);
}
