//! Connections that are ahead of what the destination's agent knows of their client (C-11, E-03).

use std::fs;
use std::time::{Duration, Instant};

use ambit_tests::topology::Plan;
use ambit_tests::{Manifests, MeshOptions};
use serde_json::json;

use crate::shop::until;
use crate::world::{SHOP, SOON, WHOAMI, World};

/// The agents' own, by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// A world whose node `b`, where `far` is, has manifests of its own. They lack the pod `late` of node `a` and say that
/// `far` is for pods with its label only.
fn world() -> (World, Manifests) {
    let plan = Plan::new(&["a", "b"]).pod("late", "a").pod("near", "a").pod("far", "b");
    let arguments = ["--log-level", "info,ztunnel::proxy::verdict=debug"].map(str::to_owned).to_vec();
    let mut world = World::build(plan, &MeshOptions { arguments, ..MeshOptions::default() });
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
    let agent = world.mesh.agent_mut("b").unwrap();
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
    let knows = |expected: bool| {
        let knows = || {
            let dump = world.agent("b").admin("/config_dump").unwrap();
            dump["workloads"].as_array().unwrap().iter().any(|workload| workload["name"] == "late")
        };
        until(SOON, || knows() == expected).unwrap();
    };
    let greet = |address: std::net::IpAddr| {
        let to = std::net::SocketAddr::new(address, WHOAMI).to_string();
        world.pod("late").testapp(&["greeting", "--to", &to, "--patience", "15000"]).unwrap()
    };
    for address in world.pod("far").addresses() {
        let agent = world.agent("b").process().unwrap();
        let mark = agent.mark();
        let mut client = greet(address);
        let held = agent.wait_line_after(mark, "held: the mesh may not know yet", SOON).unwrap().text;
        assert!(held.contains("no-policy-matched"), "{held}");
        assert!(client.status().unwrap().is_none(), "it is neither admitted nor refused: {:?}", client.lines());
        manifests.write(POD, &document).unwrap();
        client.finish(SOON).unwrap().success().unwrap();
        fs::remove_file(manifests.directory().join(POD)).unwrap();
        knows(false);
    }
    // Nobody's pod: refused, but not before patience has ended, and both ends say why.
    let begun = Instant::now();
    let client = greet(world.pod("far").v4.into()).finish(SOON).unwrap();
    assert!(!client.status.success() && begun.elapsed() >= PATIENCE, "{:?}: {}", begun.elapsed(), client.stdout());
    let refused = [("reason", "no-policy-matched"), ("direction", "inbound"), ("dst.workload", "far")];
    let line = world.agent("b").wait_access_log(&refused, SOON).unwrap();
    assert!(line.field("error").ends_with("by labels of a client whose pod is not known"), "{}", line.field("error"));
    let refused = [("reason", "no-policy-matched"), ("direction", "outbound"), ("src.workload", "late")];
    world.agent("a").wait_access_log(&refused, SOON).unwrap();
    // Whose pod is known has his answer at once.
    let begun = Instant::now();
    let near = ["greeting", "--to", &std::net::SocketAddr::new(world.pod("far").v4.into(), WHOAMI).to_string()];
    assert!(!world.pod("near").testapp(&near).unwrap().finish(SOON).unwrap().status.success());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}
