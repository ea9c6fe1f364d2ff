//! PeerAuthentication at every level at once: which of them counts for which pod and port (F-01 to F-05).

use serde_json::{Value, json};

use super::expect;
use crate::world::{BANNER, SHOP, WHOAMI, World};

/// Where policies are for the whole mesh.
const MESH: &str = "istio-system";
/// An outsider on the node of `near` and one on the node of `far`.
const OUTSIDERS: [&str; 2] = ["outsider-a", "outsider-b"];

/// What is done next, and where clear text is taken from then on.
struct Step {
    says: &'static str,
    change: Change,
    /// `near` at [`WHOAMI`] and at [`BANNER`], and `far` at both.
    open: [bool; 3],
}

enum Change {
    Write(Value),
    Remove(&'static str, &'static str),
}

fn peer(namespace: &str, name: &str, created: &str, spec: Value) -> Change {
    let metadata = json!({"name": name, "namespace": namespace, "creationTimestamp": created});
    Change::Write(json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": metadata, "spec": spec,
    }))
}

fn mode(mode: &str) -> Value {
    json!({"mtls": {"mode": mode}})
}

/// For `near` alone, with `banner` at the one port.
fn near(mode: &str, banner: &str) -> Value {
    let selector = json!({"matchLabels": {"app": "near"}});
    let ports = json!({BANNER.to_string(): {"mode": banner}});
    json!({"selector": selector, "mtls": {"mode": mode}, "portLevelMtls": ports})
}

fn steps() -> Vec<Step> {
    let [older, old, young] = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"];
    let step = |says, change, open| Step { says, change, open };
    vec![
        step("mesh STRICT", peer(MESH, "mesh", old, mode("STRICT")), [false, false, false]),
        step("namespace PERMISSIVE over mesh STRICT", peer(SHOP, "space", old, mode("PERMISSIVE")), [true, true, true]),
        step(
            "workload STRICT over its namespace",
            peer(SHOP, "near", old, near("STRICT", "UNSET")),
            [false, false, true],
        ),
        step("a port PERMISSIVE", peer(SHOP, "near", old, near("STRICT", "PERMISSIVE")), [false, true, true]),
        step("an older namespace policy STRICT", peer(SHOP, "older", older, mode("STRICT")), [false, true, false]),
        step(
            "a younger workload policy",
            peer(SHOP, "young", young, near("PERMISSIVE", "STRICT")),
            [false, true, false],
        ),
        step("the older workload policy gone", Change::Remove(SHOP, "near"), [true, false, false]),
        step("a port DISABLE", peer(SHOP, "young", young, near("STRICT", "DISABLE")), [false, true, false]),
        step("workload UNSET inherits", peer(SHOP, "young", young, near("UNSET", "PERMISSIVE")), [false, true, false]),
        step("the older namespace policy gone", Change::Remove(SHOP, "older"), [true, true, true]),
        step("namespace UNSET inherits", peer(SHOP, "space", old, mode("UNSET")), [false, true, false]),
        step("mesh DISABLE", peer(MESH, "mesh", old, mode("DISABLE")), [true, true, true]),
    ]
}

impl Step {
    fn take(&self, world: &mut World) {
        let known = |dump: &Value| dump["peerAuthentications"].clone();
        let before = ["a", "b"].map(|node| known(&world.agent(node).admin("/config_dump").unwrap()));
        match &self.change {
            Change::Write(object) => world.manifests.apply(object.clone()).unwrap(),
            Change::Remove(namespace, name) => world.manifests.delete("PeerAuthentication", namespace, name).unwrap(),
        }
        for (node, before) in ["a", "b"].iter().zip(before) {
            world.await_config(&[node], |dump| known(dump) != before);
        }
    }

    fn check(&self, world: &World) {
        let [whoami, banner, far] = self.open;
        for (to, open) in [(("near", WHOAMI), whoami), (("near", BANNER), banner), (("far", WHOAMI), far)] {
            eprintln!("{}: {} at {} is {}", self.says, to.0, to.1, if open { "open" } else { "closed" });
            // Whatever is in force, who proves an identity is let in.
            let clients = [("client", true), (OUTSIDERS[0], open), (OUTSIDERS[1], open)];
            expect(world, to, "mtls-required", &clients);
        }
    }
}

#[test]
fn the_narrowest_level_counts_port_before_workload_before_namespace_before_mesh_and_of_one_level_the_oldest() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    for step in steps() {
        step.take(&mut world);
        step.check(&world);
    }
    for node in ["a", "b"] {
        let reports = world.agent(node).admin("/reports").unwrap();
        let said = |report: &&Value| report.to_string().contains("DISABLE");
        assert!(reports.as_array().unwrap().iter().any(|report| said(&report)), "DISABLE is explained: {reports}");
    }
}
