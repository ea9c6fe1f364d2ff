//! The kubelet's probes pass whatever the policy, and nothing else that comes from its node's address does.

use std::net::IpAddr;

use ambit_tests::{AccessLog, Process, until};
use serde_json::json;

use crate::policy::apply;
use crate::world::{ECHO, Greeting, SOON, WHOAMI, World};

/// A world whose pods take mutual TLS only, and nobody's.
fn locked() -> (World, Process) {
    let mut world = World::new();
    let server = world.serve("far");
    apply(&mut world, "PeerAuthentication", "default", json!({"mtls": {"mode": "STRICT"}}));
    apply(&mut world, "AuthorizationPolicy", "nobody", json!({}));
    (world, server)
}

fn own(world: &World, node: &str) -> [IpAddr; 2] {
    let node = world.topology.node(node).unwrap();
    [node.v4.into(), node.v6.into()]
}

/// Whom the server has seen, if it has answered.
fn seen(process: anyhow::Result<Process>) -> Option<IpAddr> {
    Some(Greeting::of(&process.unwrap().report(SOON).ok()?).peer.ip())
}

#[test]
fn probes_of_the_pods_own_node_pass_and_those_of_another_do_not() {
    let (world, _server) = locked();
    for (family, to) in world.at("far", WHOAMI).map(|to| to.to_string()).into_iter().enumerate() {
        let ask = |node: &str| seen(world.topology.node(node).unwrap().testapp(&["greeting", "--to", &to]));
        assert_eq!(ask("b"), Some(own(&world, "b")[family]), "the source is the node's");
        assert_eq!(ask("a"), None, "{to}");
        world.agent("b").wait_access_log(&[("dst.addr", &to), ("reason", "mtls-required")], SOON).unwrap();
    }
}

#[test]
fn a_pod_that_shares_the_nodes_address_is_no_probe() {
    let (mut world, _server) = locked();
    let node = world.topology.node("b").unwrap();
    for (family, to) in world.at("far", WHOAMI).map(|to| to.to_string()).into_iter().enumerate() {
        let from = own(&world, "b")[family].to_string();
        for turn in 0..20 {
            // In turn, so that ports come round.
            assert_eq!(seen(node.pod_testapp(&["greeting", "--to", &to])), None, "{to}, turn {turn}");
            assert_eq!(seen(node.testapp(&["greeting", "--to", &to])).map(|ip| ip.to_string()).as_ref(), Some(&from));
        }
        let fields = [("dst.addr", to.as_str()), ("reason", "mtls-required"), ("direction", "inbound")];
        let refused = |line: &&AccessLog| line.has(&fields) && line.field("src.addr").contains(&from);
        world.agent("b").wait_access_logs(SOON, |log| log.iter().filter(refused).count() == 20).unwrap();
    }
    // Where clear text is taken, such a pod is like any other client without an identity.
    world.apply("PeerAuthentication", "default", json!({"mtls": {"mode": "PERMISSIVE"}}));
    let rules = json!([{"from": [{"source": {"ipBlocks": own(&world, "b")}}]}]);
    apply(&mut world, "AuthorizationPolicy", "node", json!({ "rules": rules }));
    let node = world.topology.node("b").unwrap();
    for (family, to) in world.at("far", WHOAMI).map(|to| to.to_string()).into_iter().enumerate() {
        let answered = || seen(node.pod_testapp(&["greeting", "--to", &to])) == Some(own(&world, "b")[family]);
        until(SOON, answered).unwrap();
    }
}

#[test]
fn a_pod_that_says_all_at_once_and_leaves_is_no_probe_either() {
    let (world, _server) = locked();
    let node = world.topology.node("b").unwrap();
    for to in world.at("far", ECHO).map(|to| to.to_string()) {
        for end in ["close", "reset"] {
            let script = format!("send:100,{end}");
            for _ in 0..10 {
                node.pod_testapp(&["peer", "--dial", &to, "--script", &script]).unwrap().finish(SOON).unwrap();
            }
        }
        let to_it = |line: &&AccessLog| line.has(&[("dst.addr", to.as_str()), ("direction", "inbound")]);
        let refused = |line: &&AccessLog| line.field("reason") == "mtls-required";
        let all = |log: &[AccessLog]| {
            (log.iter().filter(to_it).count(), log.iter().filter(to_it).filter(refused).count()) == (20, 20)
        };
        world.agent("b").wait_access_logs(SOON, all).unwrap();
    }
}
