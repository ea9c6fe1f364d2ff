//! Pods join and leave the mesh while they work: nothing fails, nothing is lost (A-20, B-01 to B-03, B-06).

use std::time::Duration;

use ambit_tests::Wire;
use ambit_tests::payload::MARKER;
use serde_json::Value;

use crate::shop::{ECHO, FAR, HTTP, NEAR, SOON, Shop, until, vip};

/// The pods that an agent reports as captured.
fn captured(shop: &Shop, node: &str) -> Vec<String> {
    let pods = shop.mesh.agent(node).unwrap().admin("/pods").unwrap();
    let captured = pods["captured"].as_object().unwrap();
    let mut names: Vec<String> = captured.keys().map(|uid| uid.rsplit('/').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Waits until `node` has captured just `pods`.
fn await_captured(shop: &Shop, node: &str, pods: &[&str]) {
    until(SOON, || captured(shop, node) == pods).unwrap_or_else(|_| {
        panic!("{node} has {:?} captured, not {pods:?}", captured(shop, node));
    });
}

#[test]
fn joining_and_leaving_under_load_fails_no_request_and_loses_no_byte() {
    let mut shop = Shop::closed(&[]);
    shop.manifests.enrol_namespace("shop", false).unwrap();
    let _servers = ["near", "far"].map(|pod| shop.serve(pod, &["echo=7000", "http=7002"]));
    for node in ["a", "b"] {
        shop.mesh.agent_mut(node).unwrap().start().unwrap();
    }
    // By the pods' own addresses, which work with and without the mesh.
    let mut running = Vec::new();
    for server in ["near", "far"] {
        for to in shop.at(server, HTTP) {
            running.push(shop.start("client", &["requests", "--to", &to, "--every", "5", "--verbose"]));
        }
        let [v4, _] = shop.at(server, ECHO);
        running.push(shop.start("client", &["sequence", "--to", &v4, "--streams", "25", "--every", "10"]));
    }
    for process in &running {
        process.wait_line("running", SOON).unwrap();
    }
    for _ in 0..2 {
        shop.manifests.enrol_namespace("shop", true).unwrap();
        await_captured(&shop, "a", &["client", "near"]);
        await_captured(&shop, "b", &["far"]);
        // Requests have gone by the mesh before it is left again.
        let agent = shop.mesh.agent("b").unwrap().process().unwrap();
        agent.wait_line_after(agent.mark(), &format!("dst.hbone_addr={}", shop.at("far", HTTP)[0]), SOON).unwrap();
        shop.manifests.enrol_namespace("shop", false).unwrap();
        await_captured(&shop, "a", &[]);
        await_captured(&shop, "b", &[]);
    }
    for process in running {
        process.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        let report: Value = process.report(SOON).unwrap();
        assert_eq!(report["failed"], 0, "{report}");
        assert!(report["ok"].as_u64().unwrap() >= 25, "{report}");
        if let Some(sent) = report.get("sent") {
            assert_eq!(Some(sent), report.get("received"), "{report}");
        }
    }
}

#[test]
fn connections_from_before_are_left_alone_and_reported_until_they_end() {
    let mut shop = Shop::closed(&[]);
    shop.manifests.enrol_namespace("shop", false).unwrap();
    let _server = shop.serve("far", &["echo=7000"]);
    let [to, _] = shop.at("far", ECHO);
    let mut held = shop.start("client", &["hold", "--to", &to, "--count", "3"]);
    held.wait_line("holding", SOON).unwrap();
    for node in ["a", "b"] {
        shop.mesh.agent_mut(node).unwrap().start().unwrap();
    }
    shop.manifests.enrol_namespace("shop", true).unwrap();
    await_captured(&shop, "a", &["client", "near"]);
    await_captured(&shop, "b", &["far"]);
    let pre_mesh =
        |node: &str| shop.mesh.agent(node).unwrap().metrics().unwrap().sum("ambit_pre_mesh_connections", &[]);
    assert_eq!((pre_mesh("a"), pre_mesh("b")), (3.0, 3.0));
    let mark = held.mark();
    held.write_line("again").unwrap();
    let line = held.wait_line_after(mark, "\"ok\"", SOON).unwrap();
    let report: Value = serde_json::from_str(&line.text).unwrap();
    assert_eq!((&report["ok"], &report["failed"]), (&3.into(), &0.into()));
    held.kill().unwrap();
    until(SOON, || pre_mesh("a") == 0.0 && pre_mesh("b") == 0.0).unwrap();
}

#[test]
fn labels_decide_and_the_pods_wins() {
    let mut shop = Shop::open(&[]);
    await_captured(&shop, "a", &["client", "near"]);
    shop.manifests.pod_mode("shop", "near", Some("none")).unwrap();
    await_captured(&shop, "a", &["client"]);
    shop.manifests.enrol_namespace("shop", false).unwrap();
    await_captured(&shop, "a", &[]);
    shop.manifests.pod_mode("shop", "near", Some("ambient")).unwrap();
    await_captured(&shop, "a", &["near"]);
    shop.manifests.pod_mode("shop", "near", None).unwrap();
    shop.manifests.enrol_namespace("shop", true).unwrap();
    await_captured(&shop, "a", &["client", "near"]);
    shop.manifests.label(("Namespace", "", "out"), "istio.io/dataplane-mode", Some("ambient")).unwrap();
    await_captured(&shop, "a", &["client", "near", "stranger"]);
}

#[test]
fn a_pod_that_starts_and_one_that_goes_are_noticed() {
    let mut shop = Shop::open(&[]);
    let _server = shop.serve("far", &["http=7002"]);
    let wire = Wire::between(&shop.topology, &[MARKER]).unwrap();
    let late = shop.topology.start_pod("late", "a").unwrap();
    shop.manifests.pod("shop", late, "client").unwrap();
    await_captured(&shop, "a", &["client", "late", "near"]);
    for to in vip(FAR, HTTP) {
        assert_eq!(shop.report("late", &["fetch", "--to", &to])["status"], 200);
    }
    wire.stop().unwrap().only_hbone().unwrap();
    shop.topology.delete_pod("late").unwrap();
    await_captured(&shop, "a", &["client", "near"]);
    shop.manifests.delete("Pod", "shop", "late").unwrap();
    for to in vip(NEAR, HTTP) {
        // Nobody listens on `near` in this test: what matters is that the mesh goes on to answer.
        assert!(shop.start("client", &["fetch", "--to", &to]).finish(SOON).unwrap().success().is_err());
    }
}

#[test]
fn a_pod_that_cannot_be_captured_is_named_with_the_reason_until_it_can() {
    let mut shop = Shop::open(&[]);
    let annotation = "ambit.dev/netns";
    shop.manifests
        .edit("Pod", "shop", "near", |pod| pod["metadata"]["annotations"][annotation] = "/run/netns/not-there".into())
        .unwrap();
    let agent = shop.mesh.agent("a").unwrap();
    let uncaptured = || agent.metrics().unwrap().sum("ambit_uncaptured_pods", &[]);
    until(SOON, || uncaptured() == 1.0).unwrap();
    let why = agent.admin("/pods").unwrap()["uncaptured"]["Kubernetes//Pod/shop/near"].to_string();
    assert!(why.contains("/run/netns/not-there") && why.contains("cannot be opened"), "{why}");
    agent.process().unwrap().wait_line("pod is in the mesh but cannot be captured", Duration::from_secs(1)).unwrap();
    // What was captured stays so: sooner refused than in clear.
    await_captured(&shop, "a", &["client", "near"]);
    let path = shop.topology.pod("near").unwrap().place().netns.display().to_string();
    shop.manifests.edit("Pod", "shop", "near", |pod| pod["metadata"]["annotations"][annotation] = path.into()).unwrap();
    until(SOON, || uncaptured() == 0.0).unwrap();
    await_captured(&shop, "a", &["client", "near"]);
}
