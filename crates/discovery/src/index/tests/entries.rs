//! ServiceEntries and WorkloadEntries joined: who is whose endpoint, and who has which address.

use super::*;

fn entry_yaml(name: &str, hosts: &str, rest: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}}, \
         spec: {{hosts: [{hosts}], resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}], {rest}}}}}\n"
    )
}

fn workload_entry_yaml(name: &str, address: &str, labels: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1beta1, kind: WorkloadEntry, metadata: {{name: {name}}}, \
         spec: {{address: {address}, labels: {{{labels}}}, ports: {{http: 9090}}}}}}\n"
    )
}

fn host(index: &Index, entry: &str, host: &str) -> Option<Arc<ambit_model::Service>> {
    let key = ServiceKey { host: Some(host.into()), ..ServiceKey::new("default", entry) };
    index.snapshot().service(&key).cloned()
}

fn members(service: &ambit_model::Service) -> Vec<String> {
    service.ports[0].members.iter().map(|target| target.address.to_string()).collect()
}

#[test]
fn a_host_has_the_endpoints_that_are_written_with_it() {
    let yaml = entry_yaml(
        "e",
        "a.example",
        "endpoints: [{address: 192.0.2.2, weight: 5}, {address: 192.0.2.1, ports: {http: 81}}]",
    );
    let host = host(&joined(&yaml), "e", "a.example").unwrap();
    assert_eq!(members(&host), ["192.0.2.1:81", "192.0.2.2:8080"]);
    assert_eq!(host.ports[0].targets.iter().map(|target| target.weight.get()).collect::<Vec<_>>(), [1, 5]);
}

#[test]
fn a_selector_finds_pods_and_workload_entries_of_its_namespace() {
    let selecting = entry_yaml("e", "a.example", "workloadSelector: {labels: {app: web}}");
    let service = service_yaml("s", "clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80}]");
    let mut index = joined(
        &[
            selecting,
            service,
            ready_pod("p", "app: web", &["10.0.0.1"]),
            unready_pod("q", "app: web", &["10.0.0.2"]),
            ready_pod("r", "app: other", &["10.0.0.3"]),
            workload_entry_yaml("w", "192.0.2.7", "app: web"),
            workload_entry_yaml("x", "192.0.2.8", "app: other"),
        ]
        .concat(),
    );
    let targets = |index: &Index| -> Vec<String> {
        let host = host(index, "e", "a.example").unwrap();
        host.ports[0].targets.iter().map(|target| target.address.to_string()).collect()
    };
    assert_eq!(targets(&index), ["10.0.0.1:8080", "192.0.2.7:9090"]);
    // A Service selects them, too, as with Istio.
    let service = index.snapshot().service(&ServiceKey::new("default", "s")).unwrap().clone();
    assert_eq!(members(&service), ["10.0.0.1:80", "10.0.0.2:80", "192.0.2.7:9090"]);
    assert!(index.apply(upserts(&workload_entry_yaml("x", "192.0.2.8", "app: web"))));
    assert_eq!(targets(&index), ["10.0.0.1:8080", "192.0.2.7:9090", "192.0.2.8:9090"]);
    let gone = |kind, name| Event::Delete(ObjectRef::new(kind, "", name));
    assert!(index.apply(vec![gone(Kind::WorkloadEntry, "w"), gone(Kind::Pod, "p")]));
    assert_eq!(targets(&index), ["192.0.2.8:9090"]);
}

#[test]
fn hosts_come_and_go_with_their_entry() {
    let endpoints = "addresses: [192.0.2.0/24], endpoints: [{address: 198.51.100.1}]";
    let mut index = joined(&entry_yaml("e", "a.example, b.example", endpoints));
    assert_eq!(index.snapshot().services().count(), 2);
    assert!(index.apply(upserts(&entry_yaml("e", "b.example, c.example", endpoints))));
    let hosts: Vec<String> = index.snapshot().services().map(|service| service.hostname.to_string()).collect();
    assert_eq!(hosts, ["b.example", "c.example"]);
    assert!(!index.apply(upserts(&entry_yaml("e", "b.example, c.example", endpoints))));
    let dialled = "192.0.2.9".parse().unwrap();
    assert!(index.snapshot().service_dialled(dialled, "default").is_some());
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::ServiceEntry, "", "e"))]));
    assert!(index.snapshot().service_dialled(dialled, "default").is_none());
}

#[test]
fn given_addresses_are_nobody_elses_and_the_same_whoever_came_first() {
    let endpoints = "endpoints: [{address: 198.51.100.1}]";
    let yaml = entry_yaml("e", "a.example, b.example, '*.c.example'", endpoints);
    let index = joined(&yaml);
    let (a, b) = (host(&index, "e", "a.example").unwrap(), host(&index, "e", "b.example").unwrap());
    assert!(host(&index, "e", "*.c.example").unwrap().vips.is_empty());
    assert!(a.vips.len() == 2 && b.vips.len() == 2 && a.vips.iter().all(|vip| !b.vips.contains(vip)), "{a:?} {b:?}");
    assert!(a.vips[0].to_string().starts_with("240.240.") && a.vips[1].to_string().starts_with("2001:2::"));
    // Somebody writes down what `a.example` has: one of them has to move, and it is not what is written.
    let thief = entry_yaml("t", "t.example", &format!("addresses: [{}], {endpoints}", a.vips[0]));
    let mut later = joined(&yaml);
    later.apply(upserts(&thief));
    assert_eq!(host(&later, "t", "t.example").unwrap().vips, a.vips[..1]);
    let moved = host(&later, "e", "a.example").unwrap();
    assert!(moved.vips.len() == 2 && moved.vips.iter().all(|vip| !a.vips.contains(vip)));
    assert_eq!(host(&later, "e", "b.example").unwrap().vips, b.vips);
    assert_eq!(joined(&(thief + &yaml)).snapshot(), later.snapshot());
    // When it is gone, all is as it was.
    later.apply(vec![Event::Delete(ObjectRef::new(Kind::ServiceEntry, "", "t"))]);
    assert_eq!(later.snapshot(), index.snapshot());
}
