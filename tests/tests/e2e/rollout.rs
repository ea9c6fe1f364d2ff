//! An agent is replaced by another that begins beside it (T-02, T-03, B-08): no new connection fails, what is open goes on, and
//! whoever cannot serve does not take over.

use ambit_tests::payload::MARKER;
use ambit_tests::process::is_alive;
use ambit_tests::{Process, Wire, until};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::world::{ECHO, HTTP, Held, SHOP, SOON, World, vip};

/// How often the agent is replaced under load.
const ROLLOUTS: usize = 10;

/// Requests of `pod`, each on a connection of its own, every 10 ms: far away, on the node, and in clear, by both families.
fn load(world: &World) -> Vec<Process> {
    let far = vip("far", HTTP).map(|to| ("client", to));
    let near = world.at("near", HTTP).map(|to| ("client", to));
    let clear = world.at("near", HTTP).map(|to| ("outsider-a", to));
    let from_far = world.at("near", HTTP).map(|to| ("far", to));
    let start = |(pod, to): (&str, std::net::SocketAddr)| {
        let requests = world.start(pod, &["requests", "--to", &to.to_string(), "--every", "10", "--verbose"]);
        requests.wait_line("running", SOON).unwrap();
        requests
    };
    [far, near, clear, from_far].into_iter().flatten().map(start).collect()
}

/// Ends `load`: how many succeeded of each, and how long the slowest took, in microseconds. None may have failed.
fn unharmed(load: Vec<Process>) -> (u64, u64) {
    let (mut fewest, mut slowest) = (u64::MAX, 0);
    for requests in load {
        requests.signal(Signal::SIGTERM).unwrap();
        let what = requests.label().to_owned();
        let report: Value = requests.report(SOON).unwrap();
        assert_eq!(report["failed"], 0, "{what}: {report}");
        fewest = fewest.min(report["ok"].as_u64().unwrap());
        slowest = slowest.max(report["latency"]["max_us"].as_u64().unwrap());
    }
    (fewest, slowest)
}

#[test]
fn heavy_no_new_connection_fails_while_the_agent_is_replaced_ten_times_and_what_was_open_goes_on() {
    let mut world = World::with(&["--drain-deadline", "300"]);
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let open = [vip("far", ECHO), world.at("near", ECHO)].map(|[to, _]| {
        let sequence = world.start("client", &["sequence", "--to", &to.to_string(), "--streams", "10"]);
        sequence.wait_line("running", SOON).unwrap();
        sequence
    });
    let load = load(&world);
    let mut before = Vec::new();
    for _ in 0..ROLLOUTS {
        // As a DaemonSet with maxSurge does it: the new one is ready before the old one is told to stop. On every node at once.
        let old = ["a", "b"].map(|node| world.agent_mut(node).succeed().unwrap());
        for old in old {
            old.signal(Signal::SIGTERM).unwrap();
            old.wait_line("stopping", SOON).unwrap();
            before.push(old);
        }
    }
    let (fewest, slowest) = unharmed(load);
    println!("{ROLLOUTS} rollouts: at least {fewest} requests of each kind, the slowest took {slowest} us");
    assert!(fewest > 50, "{fewest}");
    // A client whose SYN is dropped asks again after a second.
    assert!(slowest < 1_000_000, "somebody was turned away and had to ask again: {slowest} us");
    // What was open is with the first agents still; the others had nothing that lasts and have ended.
    let others = before.split_off(2);
    for old in others {
        old.finish(SOON).unwrap().success().unwrap();
    }
    assert!(before.iter().all(|first| is_alive(first.pid())));
    for sequence in open {
        assert_eq!(sequence.mark(), 1, "nothing but `running` was printed: every message came back so far");
        sequence.signal(Signal::SIGTERM).unwrap();
        let report: Value = sequence.report(SOON).unwrap();
        assert_eq!((&report["ok"], &report["failed"]), (&10.into(), &0.into()), "{report}");
    }
    for first in before {
        first.finish(SOON).unwrap().success().unwrap();
    }
    // The ports are the last one's.
    until::until(SOON, || world.agent("a").is_ready()).unwrap();
    let pods = world.agent("a").admin("/pods").unwrap();
    assert_eq!(pods["captured"].as_object().unwrap().len(), 2, "{pods}");
}

#[test]
fn a_connection_that_an_old_agent_still_has_is_cut_when_policy_or_its_pod_no_longer_admits_it() {
    let mut world = World::with(&["--drain-deadline", "300"]);
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let mut held = ["near", "far"].map(|pod| world.hold("client", world.at(pod, ECHO)[0], 3));
    let old = world.agent_mut("a").succeed().unwrap();
    old.signal(Signal::SIGTERM).unwrap();
    let spec = serde_json::json!({
        "selector": {"matchLabels": {"app": "near"}},
        "action": "DENY",
        "rules": [{"to": [{"operation": {"ports": [ECHO.to_string()]}}]}],
    });
    world.apply("AuthorizationPolicy", "no-echo", spec);
    until::until(SOON, || held[0].alive() == 0).unwrap();
    assert_eq!(held[1].alive(), 3, "no other is touched");
    held.into_iter().for_each(Held::kill);
    old.finish(SOON).unwrap().success().unwrap();
}

#[test]
fn when_the_agent_that_took_over_dies_the_one_before_is_in_charge_again() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    // From before the first tunnel, whose records it follows.
    let wire = Wire::between(&world.topology, &[MARKER, b"ambit-test"]).unwrap();
    let to = vip("far", HTTP)[0];
    let old = world.agent_mut("a").succeed().unwrap();
    world.agent_mut("a").kill().unwrap();
    old.wait_line("this one is in charge of this node again", SOON).unwrap();
    world.agent_mut("a").resume(old);
    assert_eq!(world.fetch("client", to), 200);
    // Nothing goes in clear, also when it has looked closely at what the kernel has, as it does every four seconds.
    let asks = ["requests", "--to", &to.to_string(), "--every", "10", "--count", "600"];
    let report = world.report("client", &asks);
    assert_eq!((&report["ok"], &report["failed"]), (&600.into(), &0.into()), "{report}");
    let crossed = wire.stop().unwrap();
    crossed.only_hbone().unwrap();
    crossed.no_clear_text().unwrap();
    // It does what only who is in charge does.
    world.manifests.pod_mode(SHOP, "near", Some("none")).unwrap();
    world.agent("a").wait_captured(SHOP, "near", false, SOON).unwrap();
    world.manifests.pod_mode(SHOP, "near", None).unwrap();
    world.agent("a").wait_captured(SHOP, "near", true, SOON).unwrap();
    assert_eq!(world.fetch("client", world.at("near", HTTP)[0]), 200);
    // And the next one takes over from it.
    let old = world.agent_mut("a").succeed().unwrap();
    old.stop(SOON).unwrap().success().unwrap();
    assert_eq!(world.fetch("client", to), 200);
}

#[test]
fn an_agent_without_certificates_does_not_take_over() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let roots = world.topology.directory().join("ca.pem");
    let roots = roots.to_string_lossy().into_owned();
    let nobody = ["--ca-address", "https://127.0.0.1:9", "--roots", &roots];
    let (new, readiness) = world.agent_mut("a").launch_beside(&nobody).unwrap();
    new.wait_line("this agent waits for certificates before it takes over", SOON).unwrap();
    let said = world.agent("a").ask_ready(&readiness).unwrap_err().to_string();
    assert!(said.contains("certificates of this node's pods"), "{said}");
    for to in vip("far", HTTP) {
        assert_eq!(world.fetch("client", to), 200);
    }
    // The one before goes; whoever can serve nobody is better than who is not there: it says why.
    world.agent_mut("a").kill().unwrap();
    until::await_ready(&new, || world.agent("a").ask_ready(&readiness).is_ok()).unwrap();
    new.stop(SOON).unwrap().success().unwrap();
}
