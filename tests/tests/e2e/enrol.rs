//! Pods join and leave the mesh while they work: nothing fails, nothing is lost (A-20, B-01 to B-03, B-06).

use std::time::Duration;

use ambit_tests::payload::MARKER;
use ambit_tests::{Wire, until};
use serde_json::Value;

use crate::world::{ECHO, HTTP, OUTSIDE, SHOP, SOON, World, vip};

/// The pods that an agent reports as captured.
fn captured(world: &World, node: &str) -> Vec<String> {
    let pods = world.agent(node).admin("/pods").unwrap();
    let captured = pods["captured"].as_object().unwrap();
    let mut names: Vec<String> = captured.keys().map(|uid| uid.rsplit('/').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Waits until `node` has captured just `pods`.
fn await_captured(world: &World, node: &str, pods: &[&str]) {
    until(SOON, || captured(world, node) == pods).unwrap_or_else(|_| {
        panic!("{node} has {:?} captured, not {pods:?}", captured(world, node));
    });
}

#[test]
fn joining_and_leaving_under_load_fails_no_request_and_loses_no_byte() {
    let mut world = World::usual_closed(&[]);
    world.manifests.enrol_namespace(SHOP, false).unwrap();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    world.mesh.start_all().unwrap();
    // By the pods' own addresses, which work with and without the mesh.
    let mut running = Vec::new();
    for server in ["near", "far"] {
        for to in world.at(server, HTTP) {
            running.push(world.start("client", &["requests", "--to", &to.to_string(), "--every", "5", "--verbose"]));
        }
        let v4 = world.at(server, ECHO)[0].to_string();
        running.push(world.start("client", &["sequence", "--to", &v4, "--streams", "25", "--every", "10"]));
    }
    for process in &running {
        process.wait_line("running", SOON).unwrap();
    }
    for _ in 0..2 {
        world.manifests.enrol_namespace(SHOP, true).unwrap();
        await_captured(&world, "a", &["client", "near"]);
        await_captured(&world, "b", &["far"]);
        // Requests have gone by the mesh before it is left again.
        let agent = world.process("b");
        agent.wait_line_after(agent.mark(), &format!("dst.hbone_addr={}", world.at("far", HTTP)[0]), SOON).unwrap();
        world.manifests.enrol_namespace(SHOP, false).unwrap();
        await_captured(&world, "a", &[]);
        await_captured(&world, "b", &[]);
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
    let mut world = World::usual_closed(&[]);
    world.manifests.enrol_namespace(SHOP, false).unwrap();
    let _server = world.serve("far");
    let mut held = world.hold("client", world.at("far", ECHO)[0], 3);
    world.mesh.start_all().unwrap();
    world.manifests.enrol_namespace(SHOP, true).unwrap();
    await_captured(&world, "a", &["client", "near"]);
    await_captured(&world, "b", &["far"]);
    let pre_mesh = |node: &str| world.agent(node).metrics().unwrap().sum("ambit_pre_mesh_connections", &[]);
    assert_eq!((pre_mesh("a"), pre_mesh("b")), (3.0, 3.0));
    held.all_work();
    held.kill();
    until(SOON, || pre_mesh("a") == 0.0 && pre_mesh("b") == 0.0).unwrap();
}

#[test]
fn labels_decide_and_the_pods_wins() {
    let mut world = World::new();
    await_captured(&world, "a", &["client", "near"]);
    world.manifests.pod_mode(SHOP, "near", Some("none")).unwrap();
    await_captured(&world, "a", &["client"]);
    world.manifests.enrol_namespace(SHOP, false).unwrap();
    await_captured(&world, "a", &[]);
    world.manifests.pod_mode(SHOP, "near", Some("ambient")).unwrap();
    await_captured(&world, "a", &["near"]);
    world.manifests.pod_mode(SHOP, "near", None).unwrap();
    world.manifests.enrol_namespace(SHOP, true).unwrap();
    await_captured(&world, "a", &["client", "near"]);
    world.manifests.label(("Namespace", "", OUTSIDE), "istio.io/dataplane-mode", Some("ambient")).unwrap();
    await_captured(&world, "a", &["client", "near", "outsider-a"]);
}

#[test]
fn a_pod_that_starts_and_one_that_goes_are_noticed() {
    let mut world = World::new();
    let _server = world.serve("far");
    let wire = Wire::between(&world.topology, &[MARKER]).unwrap();
    let late = world.topology.start_pod("late", "a").unwrap();
    world.manifests.pod(SHOP, late, "client").unwrap();
    await_captured(&world, "a", &["client", "late", "near"]);
    for to in vip("far", HTTP) {
        assert_eq!(world.fetch("late", to), 200);
    }
    wire.stop().unwrap().only_hbone().unwrap();
    world.topology.delete_pod("late").unwrap();
    await_captured(&world, "a", &["client", "near"]);
    world.manifests.delete("Pod", SHOP, "late").unwrap();
    for to in vip("near", HTTP) {
        // Nobody listens on `near` in this test: what matters is that the mesh goes on to answer.
        assert!(world.try_report("client", &["fetch", "--to", &to.to_string()]).is_err());
    }
}

#[test]
fn a_pod_that_cannot_be_captured_is_named_with_the_reason_until_it_can() {
    let mut world = World::new();
    let annotation = "ambit.dev/netns";
    world
        .manifests
        .edit("Pod", SHOP, "near", |pod| pod["metadata"]["annotations"][annotation] = "/run/netns/not-there".into())
        .unwrap();
    let agent = world.mesh.agent("a").unwrap();
    let uncaptured = || agent.metrics().unwrap().sum("ambit_uncaptured_pods", &[]);
    until(SOON, || uncaptured() == 1.0).unwrap();
    let why = agent.admin("/pods").unwrap()["uncaptured"]["Kubernetes//Pod/shop/near"].to_string();
    assert!(why.contains("/run/netns/not-there") && why.contains("cannot be opened"), "{why}");
    agent.process().unwrap().wait_line("pod is in the mesh but cannot be captured", Duration::from_secs(1)).unwrap();
    // What was captured stays so: sooner refused than in clear.
    await_captured(&world, "a", &["client", "near"]);
    let path = world.pod("near").place().netns.display().to_string();
    world.manifests.edit("Pod", SHOP, "near", |pod| pod["metadata"]["annotations"][annotation] = path.into()).unwrap();
    until(SOON, || uncaptured() == 0.0).unwrap();
    await_captured(&world, "a", &["client", "near"]);
}
