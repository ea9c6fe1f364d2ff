//! What is left of the mesh in a pod that has left it, and on a node from which it is uninstalled: nothing, and not before
//! the last connection has ended.

use ambit_tests::{Pod, until};

use super::start;
use crate::world::{ECHO, HTTP, SHOP, SOON, World};

/// True if the pod's namespace is set up for connections that are delivered in their clients' names.
fn is_prepared(pod: &Pod) -> bool {
    let read = || std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fwmark_accept").unwrap();
    pod.netns.run(read).unwrap().trim() == "1"
}

#[test]
fn a_pod_that_leaves_gets_its_namespace_back_when_its_last_connection_has_ended() {
    let mut world = World::with(&["--linger", "0.5"]);
    let _server = world.serve("near");
    let mut client = world.hold("client", world.at("near", ECHO)[0], 1);
    let idle = world.topology.start_pod("idle", "a").unwrap();
    world.manifests.pod(SHOP, idle, "idle").unwrap();
    world.agent("a").wait_captured(SHOP, "idle", true, SOON).unwrap();
    assert!(is_prepared(world.pod("client")) && is_prepared(world.pod("near")));
    world.manifests.enrol_namespace(SHOP, false).unwrap();
    world.agent("a").wait_captured(SHOP, "near", false, SOON).unwrap();
    // Nothing is open there, so that the agent has looked.
    until(SOON, || !is_prepared(world.pod("idle"))).unwrap();
    assert!(is_prepared(world.pod("near")), "a connection is");
    client.all_work();
    client.kill();
    until(SOON, || !is_prepared(world.pod("near")) && !is_prepared(world.pod("client"))).unwrap();
}

#[test]
fn uninstalling_needs_the_cgroup_and_the_pins_alone_and_leaves_nothing() {
    let mut world = World::new();
    let _server = world.serve("near");
    let pins = world.agent("a").pins().to_owned();
    world.agent_mut("a").stop(SOON).unwrap();
    assert!(pins.exists() && is_prepared(world.pod("near")), "an agent that stops leaves the capture in force");
    let cgroup = world.topology.node("a").unwrap().cgroup.clone();
    let arguments = ["--uninstall", "--cgroup", cgroup.to_str().unwrap(), "--pins", pins.to_str().unwrap()];
    let finished = start::run(&world.topology, &world.topology.binaries().ztunnel, &arguments);
    let said = finished.success().unwrap().stdout();
    assert!(said.contains("the capture is out of the kernel"), "{said}");
    assert!(!pins.join("v1").exists());
    for pod in ["client", "near"] {
        assert!(!is_prepared(world.pod(pod)), "{pod}: {said}");
    }
    assert_eq!(world.fetch("client", world.at("near", HTTP)[0]), 200, "in clear");
}
