//! Tests of the index: what is joined, and that the way there does not matter.

use std::collections::BTreeMap;

use ambit_model::workload::Excluded;
use ambit_model::{Distribution, Enrolment, Scope, ServicePort, Target};
use proptest::prelude::*;

use super::*;
use crate::source::contents;

mod entries;
mod gateway_routes;
mod gateways;
mod policy;
mod routes;
mod waypoints;

/// The objects of a YAML text without mistakes.
fn objects(yaml: &str) -> Vec<Resource> {
    let contents = contents::read(yaml.as_bytes(), &Mesh::default());
    assert!(!contents.unrecognisable && contents.damaged.is_empty(), "{:?}", contents.findings);
    contents.objects.into_values().map(|placed| placed.resource).collect()
}

fn upserts(yaml: &str) -> Vec<Event> {
    objects(yaml).into_iter().map(Event::Upsert).collect()
}

fn index() -> Index {
    Index::new(Mesh::default(), [Arc::from("kube-system")])
}

fn joined(yaml: &str) -> Index {
    let mut index = index();
    index.apply(upserts(yaml));
    index
}

fn pod_yaml(name: &str, labels: &str, ips: &[&str], rest: &str) -> String {
    let ips: Vec<String> = ips.iter().map(|ip| format!("{{ip: \"{ip}\"}}")).collect();
    let ports = "ports: [{name: http, containerPort: 8080}]";
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{{labels}}} {rest}}}, \
         spec: {{nodeName: node-a, containers: [{{{ports}}}]}}, status: {{podIPs: [{}] CONDITIONS}}}}\n",
        ips.join(", ")
    )
}

fn ready_pod(name: &str, labels: &str, ips: &[&str]) -> String {
    pod_yaml(name, labels, ips, "").replace("CONDITIONS", "")
}

fn unready_pod(name: &str, labels: &str, ips: &[&str]) -> String {
    pod_yaml(name, labels, ips, "").replace("CONDITIONS", ", conditions: [{type: Ready, status: \"False\"}]")
}

fn terminating_pod(name: &str, labels: &str, ips: &[&str]) -> String {
    let deleted = ", deletionTimestamp: 2024-01-01T00:00:00Z";
    pod_yaml(name, labels, ips, deleted).replace("CONDITIONS", "")
}

fn service_yaml(name: &str, spec: &str) -> String {
    format!("---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n")
}

fn slice_yaml(name: &str, service: &str, rest: &str) -> String {
    let labels = format!("labels: {{kubernetes.io/service-name: {service}}}");
    format!(
        "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, {labels}}}, \
         addressType: IPv4, {rest}}}\n"
    )
}

const NODES: &str = "---\n{apiVersion: v1, kind: Node, metadata: {name: node-a, labels: {topology.kubernetes.io/zone: z1, \
                     topology.kubernetes.io/region: r1}}}\n";
const ENROLLED: &str =
    "---\n{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {istio.io/dataplane-mode: ambient}}}\n";

fn workload(index: &Index, name: &str) -> Arc<Workload> {
    let uid = WorkloadUid::pod("Kubernetes", "default", name);
    index.snapshot().workload(&uid).unwrap().clone()
}

fn port(index: &Index, service: &str, port: u16) -> ServicePort {
    let snapshot = index.snapshot();
    snapshot.service(&ServiceKey::new("default", service)).unwrap().port(port).unwrap().clone()
}

fn addresses(targets: &[Target]) -> Vec<String> {
    targets.iter().map(|target| target.address.to_string()).collect()
}

#[test]
fn a_namespaces_label_enrols_its_running_pods_and_its_removal_releases_them() {
    let mut index = joined(&ready_pod("web", "", &["10.0.0.1"]));
    assert_eq!(workload(&index, "web").enrolment, Enrolment::Outside(Excluded::NotLabelled));
    assert!(index.apply(upserts(ENROLLED)));
    assert!(workload(&index, "web").is_enrolled());
    assert_eq!(enrolled(&index), ["default"]);
    assert!(!index.apply(upserts(ENROLLED)), "the same again is no change");
    index.apply(upserts("{apiVersion: v1, kind: Namespace, metadata: {name: default}}"));
    assert_eq!(enrolled(&index), [] as [&str; 0]);
    assert_eq!(workload(&index, "web").enrolment, Enrolment::Outside(Excluded::NotLabelled));
    index.apply(upserts(ENROLLED));
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Namespace, "", "default"))]);
    assert_eq!(workload(&index, "web").enrolment, Enrolment::Outside(Excluded::NotLabelled));
}

/// The namespaces whose pods are in the mesh without asking for it.
fn enrolled(index: &Index) -> Vec<String> {
    index.snapshot().enrolled_namespaces().map(|name| name.to_string()).collect()
}

#[test]
fn a_namespace_without_pods_is_enrolled_as_well_unless_it_is_excluded() {
    let label = |name: &str, mode: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{istio.io/dataplane-mode: {mode}}}}}}}\n"
        )
    };
    let mut index = joined("");
    let all = [label("kube-system", "ambient"), label("shop", "ambient"), label("bank", "none")].concat();
    assert!(index.apply(upserts(&all)), "whoever starts pods there has to know");
    assert_eq!(enrolled(&index), ["shop"]);
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Namespace, "", "shop"))]);
    assert_eq!(enrolled(&index), [] as [&str; 0]);
}

#[test]
fn excluded_namespaces_are_never_enrolled() {
    let yaml = "---\n{apiVersion: v1, kind: Pod, metadata: {name: dns, namespace: kube-system, labels: \
                {istio.io/dataplane-mode: ambient}}, status: {podIP: 10.0.0.9}}\n";
    let snapshot = joined(yaml).snapshot();
    let dns = snapshot.workload_at("10.0.0.9".parse().unwrap()).unwrap();
    assert_eq!(dns.enrolment, Enrolment::Outside(Excluded::NamespaceExcluded));
}

#[test]
fn a_pod_is_where_its_node_is() {
    let mut index = joined(&ready_pod("web", "", &["10.0.0.1"]));
    assert_eq!(&*workload(&index, "web").zone, "");
    index.apply(upserts(NODES));
    let web = workload(&index, "web");
    assert_eq!((&*web.region, &*web.zone), ("r1", "z1"));
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Node, "", "node-a"))]);
    assert_eq!(&*workload(&index, "web").zone, "");
}

#[test]
fn endpoints_are_the_ready_pods_that_the_service_selects() {
    let yaml = [
        service_yaml("web", "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]"),
        ready_pod("a", "app: web, version: v1", &["10.0.0.1"]),
        unready_pod("b", "app: web", &["10.0.0.2"]),
        terminating_pod("c", "app: web", &["10.0.0.3"]),
        ready_pod("d", "app: other", &["10.0.0.4"]),
    ];
    let mut index = joined(&yaml.concat());
    let web = port(&index, "web", 80);
    assert_eq!(addresses(&web.targets), ["10.0.0.1:8080"]);
    assert_eq!(addresses(&web.members), ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]);
    assert_eq!(web.targets[0].workload, Some(WorkloadUid::pod("Kubernetes", "default", "a")));
    // With none ready, those that still serve while they end.
    index.apply(upserts(&unready_pod("a", "app: web", &["10.0.0.1"])));
    assert_eq!(addresses(&port(&index, "web", 80).targets), ["10.0.0.3:8080"]);
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Pod, "default", "c"))]);
    assert_eq!(addresses(&port(&index, "web", 80).targets), [""; 0]);
    // A label that changes takes a pod in, and one that ends takes it out.
    index.apply(upserts(&ready_pod("d", "app: web", &["10.0.0.4"])));
    assert_eq!(addresses(&port(&index, "web", 80).targets), ["10.0.0.4:8080"]);
    index.apply(upserts(
        "{apiVersion: v1, kind: Pod, metadata: {name: d, labels: {app: web}}, status: {phase: Succeeded, podIP: 10.0.0.4}}",
    ));
    assert_eq!(addresses(&port(&index, "web", 80).members), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert!(index.snapshot().workload_at("10.0.0.4".parse().unwrap()).is_none());
}

#[test]
fn services_can_publish_what_is_not_ready() {
    let spec = "clusterIP: None, publishNotReadyAddresses: true, selector: {app: web}, ports: [{port: 80}]";
    let yaml = [
        service_yaml("web", spec),
        ready_pod("a", "app: web", &["10.0.0.1"]),
        unready_pod("b", "app: web", &["10.0.0.2"]),
        terminating_pod("c", "app: web", &["10.0.0.3"]),
    ];
    let web = port(&joined(&yaml.concat()), "web", 80);
    assert_eq!(addresses(&web.targets), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    assert_eq!(web.targets, web.members);
}

#[test]
fn named_ports_are_each_pods_own() {
    let named =
        "clusterIP: None, selector: {app: web}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81}]";
    let other = ready_pod("b", "app: web", &["10.0.0.2"]).replace("8080", "9090");
    let without = ready_pod("c", "app: web", &["10.0.0.3"]).replace("name: http, ", "");
    let index =
        joined(&[service_yaml("web", named), ready_pod("a", "app: web", &["10.0.0.1"]), other, without].concat());
    assert_eq!(addresses(&port(&index, "web", 80).targets), ["10.0.0.1:8080", "10.0.0.2:9090"]);
    assert_eq!(addresses(&port(&index, "web", 81).targets), ["10.0.0.1:81", "10.0.0.2:81", "10.0.0.3:81"]);
}

#[test]
fn endpoints_are_of_the_services_families() {
    let pods =
        [ready_pod("a", "app: web", &["10.0.0.1", "fd00::1"]), ready_pod("b", "app: web", &["fd00::2"])].concat();
    for (spec, expected) in [
        ("clusterIP: 10.96.0.1", &["10.0.0.1:80"][..]),
        ("clusterIP: 'fd00:96::1'", &["[fd00::1]:80", "[fd00::2]:80"]),
        ("clusterIPs: [10.96.0.1, 'fd00:96::1']", &["10.0.0.1:80", "[fd00::1]:80", "[fd00::2]:80"]),
        ("clusterIP: None", &["10.0.0.1:80", "[fd00::1]:80", "[fd00::2]:80"]),
        ("clusterIP: None, ipFamilies: [IPv4]", &["10.0.0.1:80"]),
    ] {
        let service = service_yaml("web", &format!("{spec}, selector: {{app: web}}, ports: [{{port: 80}}]"));
        assert_eq!(addresses(&port(&joined(&[service, pods.clone()].concat()), "web", 80).targets), expected, "{spec}");
    }
}

#[test]
fn slices_that_are_given_replace_derived_endpoints() {
    let ports = "ports: [{name: http, port: 80}, {name: admin, port: 81}]";
    let yaml = [
        service_yaml("web", &format!("clusterIP: 10.96.0.1, selector: {{app: web}}, {ports}")),
        ready_pod("a", "app: web", &["10.0.0.1"]),
    ];
    let mut index = joined(&yaml.concat());
    let one = "ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.9.0.1], targetRef: {kind: Pod, name: a}}, \
               {addresses: [10.9.0.2], conditions: {ready: false}}]";
    let two = "ports: [{name: http, port: 8081}], endpoints: [{addresses: [10.9.0.3]}]";
    index.apply(upserts(&[slice_yaml("one", "web", one), slice_yaml("two", "web", two)].concat()));
    let http = port(&index, "web", 80);
    assert_eq!(addresses(&http.targets), ["10.9.0.1:8080", "10.9.0.3:8081"]);
    assert_eq!(addresses(&http.members), ["10.9.0.1:8080", "10.9.0.2:8080", "10.9.0.3:8081"]);
    assert_eq!(http.targets[0].workload, Some(WorkloadUid::pod("Kubernetes", "default", "a")));
    assert_eq!(addresses(&port(&index, "web", 81).members), [""; 0]);
    // A slice that changes sides changes both services; when the last is gone, endpoints are derived again.
    index.apply(upserts(&slice_yaml("two", "other", two)));
    assert_eq!(addresses(&port(&index, "web", 80).targets), ["10.9.0.1:8080"]);
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::EndpointSlice, "default", "one"))]);
    assert_eq!(addresses(&port(&index, "web", 80).targets), ["10.0.0.1:80"]);
}

#[test]
fn a_namespaces_distribution_is_that_of_its_services_that_have_none() {
    let namespace = |annotations: &str| {
        upserts(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: default, annotations: {{{annotations}}}}}}}"
        ))
    };
    let prefer = |value: &str| namespace(&format!("networking.istio.io/traffic-distribution: {value}"));
    let (zone, node) = (Distribution::Prefer(Scope::Zone), Distribution::Prefer(Scope::Node));
    let (anywhere, local) = (Distribution::Anywhere, Distribution::Only(Scope::Node));
    let any = "annotations: {networking.istio.io/traffic-distribution: Any}, name: any";
    let slice = "ports: [{port: 80}], endpoints: [{addresses: [10.9.0.1], nodeName: node-b, zone: z2}]";
    let yaml = [
        service_yaml("plain", "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]"),
        service_yaml("sliced", "clusterIP: 10.96.0.2, ports: [{port: 80}]"),
        slice_yaml("sliced", "sliced", slice),
        service_yaml("own", "clusterIP: 10.96.0.3, trafficDistribution: PreferSameNode"),
        service_yaml("local", "clusterIP: 10.96.0.4, internalTrafficPolicy: Local"),
        service_yaml("any", "clusterIP: 10.96.0.5").replace("name: any", any),
    ];
    let mut index = joined(&yaml.concat());
    let of =
        |index: &Index, name: &str| index.snapshot().service(&ServiceKey::new("default", name)).unwrap().distribution;
    let all = |index: &Index| ["plain", "sliced", "own", "local", "any"].map(|name| of(index, name));
    assert_eq!(all(&index), [anywhere, anywhere, node, local, anywhere]);
    let before = index.snapshot();
    assert!(index.apply(prefer("PreferSameZone")));
    assert_eq!(all(&index), [zone, zone, node, local, anywhere]);
    assert!(!index.apply(prefer("PreferClose")), "the same by another name is no change");
    let own = ServiceKey::new("default", "own");
    assert!(Arc::ptr_eq(before.service(&own).unwrap(), index.snapshot().service(&own).unwrap()));
    // One that comes later has it, too.
    index.apply(upserts(&service_yaml("later", "clusterIP: 10.96.0.6")));
    assert_eq!(of(&index, "later"), zone);
    index.apply(prefer("PreferSameNode"));
    assert_eq!((of(&index, "plain"), of(&index, "later")), (node, node));
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::Namespace, "", "default"))]));
    assert_eq!(all(&index), [anywhere, anywhere, node, local, anywhere]);
}

#[test]
fn what_a_slice_says_of_an_endpoints_place_is_kept_where_no_pod_tells_it() {
    let endpoints = "ports: [{port: 80}], endpoints: [{addresses: [10.9.0.1], nodeName: node-b, zone: z2}, \
                     {addresses: [10.9.0.2], nodeName: node-b, zone: z2, targetRef: {kind: Pod, name: a}}]";
    let yaml = [service_yaml("web", "clusterIP: 10.96.0.1, ports: [{port: 80}]"), slice_yaml("web", "web", endpoints)];
    let web = port(&joined(&yaml.concat()), "web", 80);
    let places: Vec<_> = web.targets.iter().map(|t| t.topology.as_ref().map(|t| (&*t.node, &*t.zone))).collect();
    assert_eq!(places, [Some(("node-b", "z2")), None]);
    assert_eq!(web.members, web.targets);
}

#[test]
fn a_change_touches_nothing_but_what_depends_on_it() {
    let yaml = [
        service_yaml("web", "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]"),
        service_yaml("other", "clusterIP: 10.96.0.2, selector: {app: other}, ports: [{port: 80}]"),
        ready_pod("a", "app: web", &["10.0.0.1"]),
        ready_pod("b", "app: other", &["10.0.0.2"]),
    ];
    let mut index = joined(&yaml.concat());
    let (before, key) = (index.snapshot(), ServiceKey::new("default", "other"));
    index.apply(upserts(&unready_pod("a", "app: web", &["10.0.0.1"])));
    let after = index.snapshot();
    assert!(Arc::ptr_eq(before.service(&key).unwrap(), after.service(&key).unwrap()));
    let b = WorkloadUid::pod("Kubernetes", "default", "b");
    assert!(Arc::ptr_eq(before.workload(&b).unwrap(), after.workload(&b).unwrap()));
    assert_eq!(
        addresses(&before.service(&ServiceKey::new("default", "web")).unwrap().ports[0].targets),
        ["10.0.0.1:80"]
    );
}

/// An event on one of few objects of each kind, so that they meet.
fn any_event() -> impl Strategy<Value = Event> {
    let labels = prop::sample::select(vec![
        "",
        "app: x",
        "app: z",
        "app: x, v: '1'",
        "app: z, v: '1', istio.io/dataplane-mode: none",
    ]);
    let selector =
        prop::sample::select(vec!["", "selector: {app: x},", "selector: {app: z},", "selector: {app: x, v: '1'},"]);
    let mode = prop::sample::select(vec!["", "istio.io/dataplane-mode: ambient", "istio.io/dataplane-mode: none"]);
    let target = prop::sample::select(vec!["", ", targetPort: http", ", targetPort: 9"]);
    let small = 0_u8..3;
    let pod = (small.clone(), labels, 0_u8..4, small.clone()).prop_map(|(id, labels, ip, state)| {
        let (name, ip) = (format!("p{id}"), format!("10.0.0.{}", ip + 1));
        match state {
            0 => ready_pod(&name, labels, &[&ip, "fd00::1"]),
            1 => unready_pod(&name, labels, &[&ip]),
            _ => terminating_pod(&name, labels, &[&ip]),
        }
    });
    let own = prop::sample::select(vec!["", "", "trafficDistribution: PreferClose,", "internalTrafficPolicy: Local,"]);
    let service = (small.clone(), selector, target, 0_u8..3, own).prop_map(|(id, selector, target, vip, own)| {
        service_yaml(
            &format!("s{id}"),
            &format!("clusterIP: 10.96.0.{}, {own} {selector} ports: [{{port: 80 {target}}}]", vip + 1),
        )
    });
    let slice = (small.clone(), small.clone(), small.clone()).prop_map(|(id, service, ip)| {
        let rest = format!("ports: [{{port: 7}}], endpoints: [{{addresses: [10.9.0.{}]}}]", ip + 1);
        slice_yaml(&format!("e{id}"), &format!("s{service}"), &rest)
    });
    let node = (0_u8..2, small.clone()).prop_map(|(id, zone)| {
        let labels = format!("{{topology.kubernetes.io/zone: z{zone}}}");
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: node-{}, labels: {labels}}}}}",
            ['a', 'b'][usize::from(id)]
        )
    });
    let prefer = prop::sample::select(vec![
        "",
        "networking.istio.io/traffic-distribution: PreferSameZone",
        "networking.istio.io/traffic-distribution: PreferSameNode",
    ]);
    let namespace = (mode, prefer).prop_map(|(mode, prefer)| {
        let metadata = format!("name: default, labels: {{{mode}}}, annotations: {{{prefer}}}");
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{{metadata}}}}}")
    });
    let endpoints = prop::sample::select(vec![
        "endpoints: [{address: 192.0.2.1}]",
        "addresses: [192.0.2.0/24], endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2}]",
        "addresses: [240.240.0.1], workloadSelector: {labels: {app: web}}",
        "workloadSelector: {labels: {app: web}}",
    ]);
    let hosts = prop::sample::select(vec!["a.x", "a.x, b.x", "c.x, a.x", "'*.x'"]);
    let entry = (small.clone(), hosts, endpoints).prop_map(|(id, hosts, endpoints)| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: n{id}}}, spec: {{hosts: [{hosts}], \
             resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], {endpoints}}}}}"
        )
    });
    let app = prop::sample::select(vec!["app: web", "app: db", ""]);
    let workload_entry = (small.clone(), app, small.clone()).prop_map(|(id, labels, ip)| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: w{id}, labels: {{{labels}}}}}, \
             spec: {{address: 192.0.2.{}}}}}",
            ip + 1
        )
    });
    let selected = prop::sample::select(vec!["", "app: x", "app: z, v: '1'", "app: q, v: '1'"]);
    let gateway =
        (small.clone(), selected).prop_map(|(id, labels)| gateways::gateway(&format!("g{id}"), labels, "'*'"));
    let kinds = [
        Kind::Pod,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Node,
        Kind::Namespace,
        Kind::ServiceEntry,
        Kind::WorkloadEntry,
        Kind::IstioGateway,
    ];
    let delete = (prop::sample::select(kinds.to_vec()), small).prop_map(|(kind, id)| {
        let name = match kind {
            Kind::Pod => format!("p{id}"),
            Kind::Service => format!("s{id}"),
            Kind::EndpointSlice => format!("e{id}"),
            Kind::ServiceEntry => format!("n{id}"),
            Kind::WorkloadEntry => format!("w{id}"),
            Kind::IstioGateway => format!("g{id}"),
            Kind::Node => format!("node-{}", ['a', 'b', 'c'][usize::from(id)]),
            _ => "default".to_owned(),
        };
        Event::Delete(ObjectRef::new(kind, "default", &name))
    });
    let upsert = prop_oneof![
        4 => pod, 3 => service, 2 => slice, 1 => node, 1 => namespace, 2 => entry, 2 => workload_entry, 2 => gateway
    ];
    let upsert = upsert.prop_map(|yaml| Event::Upsert(objects(&yaml).remove(0)));
    prop_oneof![3 => upsert, 1 => delete]
}

/// What `events` leave of each object.
fn final_state(events: &[Event]) -> BTreeMap<ObjectRef, Resource> {
    let mut state = BTreeMap::new();
    for event in events {
        match event {
            Event::Upsert(resource) => drop(state.insert(resource.reference(), resource.clone())),
            Event::Delete(reference) => drop(state.remove(reference)),
        }
    }
    state
}

/// The members of a service's first port, looked for in everything there is.
fn naive_members(service: &resource::Service, state: &BTreeMap<ObjectRef, Resource>) -> BTreeSet<String> {
    let slices = || state.values().filter_map(|r| if let Resource::EndpointSlice(s) = r { Some(s) } else { None });
    let mut own = slices().filter(|slice| slice.service == service.name).peekable();
    if own.peek().is_some() && service.host.is_none() {
        return own.flat_map(|s| &s.endpoints).flat_map(|e| &e.addresses).map(|ip| format!("{ip}:7")).collect();
    }
    let number = |pod: &resource::Pod| match &service.ports[0].target {
        resource::TargetPort::Number(number) => Some(*number),
        resource::TargetPort::Name(name) => pod.port_named(name),
    };
    let pods = state.values().filter_map(|r| if let Resource::Pod(p) = r { Some(p) } else { None });
    let selected = pods.filter(|pod| {
        let labels = &pod.workload.labels;
        !service.selector.is_empty() && service.selector.iter().all(|(k, v)| labels.get(k) == Some(v))
    });
    let of_family = |pod: &Arc<resource::Pod>| {
        let number = number(pod).unwrap();
        let addresses = pod.workload.addresses.iter().filter(|ip| service.families.contain(**ip));
        addresses.map(|ip| std::net::SocketAddr::new(*ip, number).to_string()).collect::<Vec<_>>()
    };
    let written = state.values().filter_map(|r| if let Resource::WorkloadEntry(w) = r { Some(w) } else { None });
    let written = written.filter(|entry| {
        !service.selector.is_empty() && service.selector.iter().all(|(k, v)| entry.labels.get(k) == Some(v))
    });
    let number = if let resource::TargetPort::Number(number) = &service.ports[0].target { Some(*number) } else { None };
    let written = written.filter_map(|entry| Some(format!("{}:{}", entry.endpoint.address, number?)));
    let inline = service.endpoints.iter().map(|endpoint| format!("{}:80", endpoint.address));
    let mut members: BTreeSet<String> = written.chain(inline).collect();
    members.extend(selected.flat_map(of_family));
    members
}

/// What the one namespace that events name asks of its services.
fn naive_namespace(state: &BTreeMap<ObjectRef, Resource>) -> Option<Distribution> {
    match state.get(&ObjectRef::new(Kind::Namespace, "", "default")) {
        Some(Resource::Namespace(namespace)) => namespace.distribution,
        _ => None,
    }
}

/// The Gateways whose selectors select nothing.
fn naive_unserved(state: &BTreeMap<ObjectRef, Resource>) -> Vec<ObjectRef> {
    let pods = || state.values().filter_map(|r| if let Resource::Pod(p) = r { Some(&p.workload.labels) } else { None });
    let unserved = |resource: &&Resource| match resource {
        Resource::IstioGateway(gateway) => !gateway.selector.is_empty() && !pods().any(|pod| gateway.selects(pod)),
        _ => false,
    };
    state.values().filter(unserved).map(Resource::reference).collect()
}

proptest! {
    /// However events arrive (one by one, in batches, all at once, or only what is left of them in the end), the
    /// snapshot is the same, and it says what looking through everything would say.
    #[test]
    fn the_way_to_a_state_does_not_matter(events in prop::collection::vec(any_event(), 1..40), batch in 1_usize..8) {
        let mut one_by_one = index();
        let mut published = one_by_one.snapshot();
        for event in &events {
            let changed = one_by_one.apply(vec![event.clone()]);
            prop_assert_eq!(changed, one_by_one.snapshot() != published, "{:?}", event);
            published = one_by_one.snapshot();
        }
        let mut in_batches = index();
        for batch in events.chunks(batch) {
            in_batches.apply(batch.to_vec());
        }
        let state = final_state(&events);
        let mut at_once = index();
        at_once.apply(state.values().rev().cloned().map(Event::Upsert).collect());
        prop_assert_eq!(&published, &in_batches.snapshot());
        prop_assert_eq!(&published, &at_once.snapshot());
        for index in [&one_by_one, &in_batches, &at_once] {
            let found: Vec<ObjectRef> = index.findings().iter().map(|finding| finding.object.clone()).collect();
            prop_assert_eq!(found, naive_unserved(&state));
        }
        let services = state.values().flat_map(|resource| match resource {
            Resource::Service(service) => vec![service.clone()],
            Resource::ServiceEntry(entry) => entry.hosts.clone(),
            _ => vec![],
        });
        let mut given = BTreeSet::new();
        for service in services {
            let key = service.key();
            let members = &published.service(&key).unwrap().ports[0].members;
            let members: BTreeSet<String> = members.iter().map(|target| target.address.to_string()).collect();
            prop_assert_eq!(members, naive_members(&service, &state));
            let distribution = service.distribution.or(naive_namespace(&state)).unwrap_or_default();
            prop_assert_eq!(published.service(&key).unwrap().distribution, distribution);
            if service.allocates {
                let vips = &published.service(&key).unwrap().vips;
                prop_assert!(vips.len() == 2 && vips.iter().all(|vip| given.insert(*vip)));
                prop_assert!(!vips.contains(&[240, 240, 0, 1].into()));
            }
        }
        // Nothing is kept of what is gone.
        let everything = state.into_keys().map(Event::Delete).collect();
        one_by_one.apply(everything);
        prop_assert_eq!(one_by_one.snapshot(), Snapshot::default());
        prop_assert_eq!(one_by_one.allocation, Allocation::default());
        prop_assert_eq!(one_by_one.selections, Selections::default());
        prop_assert!(one_by_one.namespaces.is_empty() && one_by_one.pods_by_node.is_empty());
    }
}
