//! Istio's metrics on port 15020: names, the exact labels, and what each kind of connection counts (N-02, N-03).

use std::collections::{BTreeMap, BTreeSet};

use ambit_tests::{Agent, Sample, until};

use super::{at, map, play_out};
use crate::world::{DISCARD, ECHO, SOON, World, vip};

const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";
const RECEIVED: &str = "istio_tcp_received_bytes_total";
const SENT: &str = "istio_tcp_sent_bytes_total";

/// The labels of a connection from `client` to `far`'s service through the mesh, but for those of `changed`.
fn labels(reporter: &str, changed: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut labels = map(&[
        ("reporter", reporter),
        ("source_workload", "client"),
        ("source_canonical_service", "client"),
        ("source_canonical_revision", "latest"),
        ("source_workload_namespace", "shop"),
        ("source_principal", "spiffe://cluster.local/ns/shop/sa/client"),
        ("source_app", "client"),
        ("source_version", "latest"),
        ("source_cluster", "Kubernetes"),
        ("source_region", "unknown"),
        ("source_zone", "unknown"),
        ("destination_service", "far.shop.svc.cluster.local"),
        ("destination_service_namespace", "shop"),
        ("destination_service_name", "far"),
        ("destination_workload", "far"),
        ("destination_canonical_service", "far"),
        ("destination_canonical_revision", "latest"),
        ("destination_workload_namespace", "shop"),
        ("destination_principal", "spiffe://cluster.local/ns/shop/sa/far"),
        ("destination_app", "far"),
        ("destination_version", "latest"),
        ("destination_cluster", "Kubernetes"),
        ("destination_region", "unknown"),
        ("destination_zone", "unknown"),
        ("request_protocol", "tcp"),
        ("response_flags", "-"),
        ("connection_security_policy", "mutual_tls"),
    ]);
    labels.extend(map(changed));
    labels
}

/// The samples of Istio's four metrics at `agent`, as reported by `reporter`, by name.
fn counted(agent: &Agent, reporter: &str) -> BTreeMap<String, Vec<Sample>> {
    let metrics = agent.metrics().unwrap();
    let of = |name: &str| (name.to_owned(), metrics.matching(name, &[("reporter", reporter)]).cloned().collect());
    [OPENED, CLOSED, RECEIVED, SENT]
        .map(of)
        .into_iter()
        .filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty())
        .collect()
}

/// The same for one time series.
fn series(labels: &BTreeMap<String, String>, values: &[(&str, f64)]) -> BTreeMap<String, Vec<Sample>> {
    let sample =
        |(name, value): &(&str, f64)| Sample { name: (*name).to_owned(), labels: labels.clone(), value: *value };
    values.iter().map(|entry| (entry.0.to_owned(), vec![sample(entry)])).collect()
}

#[test]
fn a_connection_across_nodes_is_counted_at_both_ends_while_it_is_open_and_when_it_has_closed() {
    let world = World::new();
    let _server = world.serve("far");
    let client = world.dial("client", vip("far", ECHO)[0], "send:1000,recv:1000,hold");
    client.wait_line("received", SOON).unwrap();
    let open = [(OPENED, 1.0), (RECEIVED, 1000.0), (SENT, 1000.0)];
    let closed = [(OPENED, 1.0), (CLOSED, 1.0), (RECEIVED, 1000.0), (SENT, 1000.0)];
    let ends = [("a", "source"), ("b", "destination")];
    for (node, reporter) in ends {
        assert_eq!(counted(world.agent(node), reporter), series(&labels(reporter, &[]), &open), "{node}");
    }
    client.kill().unwrap();
    for (node, reporter) in ends {
        let expected = series(&labels(reporter, &[]), &closed);
        until(SOON, || counted(world.agent(node), reporter) == expected)
            .unwrap_or_else(|_| panic!("{node}: {:#?}", counted(world.agent(node), reporter)));
    }
    // Nobody has reported anything else.
    assert!(counted(world.agent("a"), "destination").is_empty());
    assert!(counted(world.agent("b"), "source").is_empty());
}

#[test]
fn connections_on_one_node_and_in_clear_are_counted_by_who_sees_them() {
    let world = World::new();
    let _servers = ["near", "outsider-b"].map(|pod| world.serve(pod));
    let near = world.pod("near").v4;
    let values = [(OPENED, 1.0), (CLOSED, 1.0), (RECEIVED, 100.0), (SENT, 0.0)];
    let unproven = [("source_principal", "unknown"), ("connection_security_policy", "unknown")];
    let to_near = [
        ("destination_service", "near.shop.svc.cluster.local"),
        ("destination_service_name", "near"),
        ("destination_workload", "near"),
        ("destination_canonical_service", "near"),
        ("destination_principal", "spiffe://cluster.local/ns/shop/sa/near"),
        ("destination_app", "near"),
    ];
    let agent = world.agent("a");
    let await_series = |reporter: &str, changed: &[(&str, &str)]| {
        let expected = series(&labels(reporter, changed), &values);
        let all_of = || {
            let counted = counted(agent, reporter);
            expected.iter().all(|(name, samples)| counted.get(name).is_some_and(|found| found.contains(&samples[0])))
        };
        until(SOON, all_of).unwrap_or_else(|_| panic!("{expected:#?}\nnot in {:#?}", counted(agent, reporter)));
    };
    let script = "send:100,shutdown,observe:10000";

    // Within the node: the one agent stands at both ends.
    play_out(&world, "client", at(near, DISCARD), script);
    await_series("source", &to_near);
    await_series("destination", &to_near);

    // Out of the mesh.
    play_out(&world, "client", world.at("outsider-b", DISCARD)[0], script);
    let to_outsider = [
        ("destination_service", "unknown"),
        ("destination_service_name", "unknown"),
        ("destination_service_namespace", "unknown"),
        ("destination_workload", "outsider-b"),
        ("destination_workload_namespace", "outside"),
        ("destination_canonical_service", "outsider-b"),
        ("destination_principal", "spiffe://cluster.local/ns/outside/sa/outsider-b"),
        ("destination_app", "outsider-b"),
    ];
    await_series("source", &[&unproven[..], &to_outsider].concat());

    // Into the mesh.
    play_out(&world, "outsider-a", at(near, DISCARD), script);
    let from_outsider = [
        ("source_workload", "outsider-a"),
        ("source_workload_namespace", "outside"),
        ("source_canonical_service", "outsider-a"),
        ("source_app", "outsider-a"),
    ];
    await_series("destination", &[&unproven[..], &to_near, &from_outsider].concat());
    assert_eq!(agent.metrics().unwrap().sum(OPENED, &[]), 4.0);
}

#[test]
fn both_paths_serve_the_same_families_in_prometheus_text() {
    let world = World::new();
    let _server = world.serve("near");
    play_out(&world, "client", world.at("near", ECHO)[0], "send:10,recv:10,close");
    // A refused one too, so that there is something of each family.
    world.start("client", &["fetch", "--to", &world.at("near", 9)[0].to_string()]).finish(SOON).unwrap();
    let agent = world.agent("a");
    until(SOON, || agent.metrics().unwrap().sum(CLOSED, &[]) == 4.0).unwrap();
    let pages = ["/metrics", "/stats/prometheus"].map(|path| agent.get(15020, path).unwrap());
    let families = |page: &ambit_tests::http::Response| -> BTreeSet<String> {
        assert_eq!(page.status, 200);
        page.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect()
    };
    assert_eq!(families(&pages[0]), families(&pages[1]));
    let expected = [
        "ambit_access_log_dropped counter",
        "ambit_capture counter",
        "ambit_captured_pods gauge",
        "ambit_certificate_seconds_left gauge",
        "ambit_log_dropped counter",
        "ambit_pre_mesh_connections gauge",
        "ambit_refused counter",
        "ambit_uncaptured_pods gauge",
        "istio_build gauge",
        "istio_tcp_connections_closed counter",
        "istio_tcp_connections_failed counter",
        "istio_tcp_connections_opened counter",
        "istio_tcp_received_bytes counter",
        "istio_tcp_sent_bytes counter",
        "istio_tcp_sockets_open gauge",
    ];
    assert_eq!(families(&pages[0]).into_iter().collect::<Vec<_>>(), expected);
    let metrics = agent.metrics().unwrap();
    let refused = [("reason", "connection-refused")];
    assert_eq!(metrics.sum("ambit_refused_total", &refused), 2.0, "by the source and by the destination");
    assert_eq!(metrics.sum(CLOSED, &[("response_flags", "CONNECT")]), 2.0);
    assert_eq!((metrics.sum("ambit_captured_pods", &[]), metrics.sum("istio_tcp_sockets_open", &[])), (2.0, 0.0));
    // The kernel's counters are read now and then.
    until(SOON, || agent.metrics().unwrap().sum("ambit_capture_total", &[]) >= 2.0).unwrap();
    assert!(metrics.samples().iter().filter(|sample| sample.name == "ambit_certificate_seconds_left").count() == 2);
}
