//! Connections that are ahead of what the destination's agent knows of their client (C-11, E-03).

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_tests::Manifests;
use ambit_tests::topology::Plan;
use serde_json::json;

use crate::world::{SHOP, SOON, WHOAMI, World, by_name};

/// The agents' own, by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// A world whose node `b`, where `far` is, has manifests of its own. They lack the pod `late` of node `a` and say that
/// `far` is for pods with its label only.
fn world() -> (World, Manifests) {
    let plan = Plan::new(&["a", "b"]).pod("late", "a").pod("near", "a").pod("far", "b");
    let mut world = World::build(plan, &[]);
    let own = world.topology.directory().join("own");
    let mut manifests = Manifests::open(&own).unwrap();
    for file in fs::read_dir(world.manifests.directory()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), own.join(file.file_name())).unwrap();
    }
    fs::remove_file(own.join(POD)).unwrap();
    let when = json!([{"key": "source.labels[app]", "values": ["late"]}]);
    let spec = json!({"selector": {"matchLabels": {"app": "far"}}, "rules": [{ "when": when }]});
    let metadata = json!({"name": "late", "namespace": SHOP});
    let policy = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec});
    manifests.apply(policy).unwrap();
    let agent = world.agent_mut("b");
    agent.stop(SOON).unwrap();
    agent.read(&own);
    agent.start().unwrap();
    agent.wait_captured(SHOP, "far", true, SOON).unwrap();
    (world, manifests)
}

/// The document of the pod `late`.
const POD: &str = "pod.shop.late.yaml";

#[test]
fn a_connection_ahead_of_its_clients_pod_is_held_and_never_admitted_meanwhile() {
    let (world, manifests) = world();
    let _server = world.serve("far");
    let document = fs::read_to_string(world.manifests.directory().join(POD)).unwrap();
    let greet = |to: SocketAddr| world.start("late", &["greeting", "--to", &to.to_string(), "--patience", "15000"]);
    for to in world.at("far", WHOAMI) {
        let agent = world.process("b");
        let mark = agent.mark();
        let mut client = greet(to);
        let held = agent.wait_line_after(mark, "held: the mesh may not know yet", SOON).unwrap().text;
        assert!(held.contains("no-policy-matched"), "{held}");
        assert!(client.status().unwrap().is_none(), "it is neither admitted nor refused: {:?}", client.lines());
        manifests.write(POD, &document).unwrap();
        client.finish(SOON).unwrap().success().unwrap();
        fs::remove_file(manifests.directory().join(POD)).unwrap();
        world.await_config(&["b"], |dump| by_name(dump, "workloads", "name", "late").is_none());
    }
    // Nobody's pod: refused, but not before patience has ended, and both ends say why.
    let begun = Instant::now();
    let client = greet(world.at("far", WHOAMI)[0]).finish(SOON).unwrap();
    assert!(!client.status.success() && begun.elapsed() >= PATIENCE, "{:?}: {}", begun.elapsed(), client.stdout());
    let refused = [("reason", "no-policy-matched"), ("direction", "inbound"), ("dst.workload", "far")];
    let line = world.agent("b").wait_access_log(&refused, SOON).unwrap();
    assert!(line.field("error").ends_with("by labels of a client whose pod is not known"), "{}", line.field("error"));
    let refused = [("reason", "no-policy-matched"), ("direction", "outbound"), ("src.workload", "late")];
    world.agent("a").wait_access_log(&refused, SOON).unwrap();
    // Whose pod is known has his answer at once.
    let begun = Instant::now();
    assert!(!world.answered("near", world.at("far", WHOAMI)[0]));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}
