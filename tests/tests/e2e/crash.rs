//! The agent dies, restarts and comes late: nothing leaves in clear, and what is wanted is soon what is (A-17,
//! A-18, B-06).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use ambit_tests::payload::MARKER;
use ambit_tests::{Wire, until};
use serde_json::Value;

use crate::world::{ECHO, HTTP, SHOP, SOON, World, vip};

#[test]
fn while_the_agent_is_killed_nothing_leaves_in_clear_and_it_is_captured_again_within_a_second_of_its_return() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let wire = Wire::between(&world.topology, &[MARKER, b"ambit-test"]).unwrap();
    let load = vip("far", HTTP)
        .map(|to| world.start("client", &["requests", "--to", &to.to_string(), "--every", "5", "--patience", "5000"]));
    for requests in &load {
        requests.wait_line("running", SOON).unwrap();
    }
    for _ in 0..3 {
        let agent = world.agent_mut("a");
        let before = agent.metrics().unwrap().sum("istio_tcp_connections_opened_total", &[]);
        until(SOON, || agent.metrics().unwrap().sum("istio_tcp_connections_opened_total", &[]) > before).unwrap();
        agent.kill().unwrap();
        // Dead: new connections are refused, in both directions, by both families.
        for to in vip("far", HTTP).into_iter().chain(world.at("far", HTTP)).chain(world.at("near", HTTP)) {
            assert_refused(&world, "client", to);
        }
        for to in world.at("near", HTTP) {
            assert_refused(&world, "outsider-a", to);
        }
        let agent = world.agent_mut("a");
        agent.start().unwrap();
        let back = Instant::now();
        let to = vip("far", HTTP)[0].to_string();
        let captured = || world.try_report("client", &["fetch", "--to", &to]).is_ok();
        until(Duration::from_secs(1), captured)
            .unwrap_or_else(|_| panic!("not captured within a second of being ready ({:?})", back.elapsed()));
    }
    for requests in load {
        requests.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        let report: Value = requests.report(SOON).unwrap();
        assert!(report["ok"].as_u64().unwrap() > 0 && report["failed"].as_u64().unwrap() > 0, "{report}");
    }
    let report = wire.stop().unwrap();
    report.only_hbone().unwrap();
    report.no_clear_text().unwrap();
}

/// Nobody may take the connection: it fails at once, by being refused.
fn assert_refused(world: &World, pod: &str, to: SocketAddr) {
    let seen = world.dialled(pod, to, "observe:3000");
    assert!(seen.contains("refused") || seen.contains("reset"), "{pod} -> {to}: {seen}");
}

#[test]
fn restarts_leave_one_program_a_hook_and_one_copy_of_each_map() {
    let mut world = World::new();
    let _server = world.serve("far");
    let first = in_kernel(&world);
    let hooks =
        ["connect4", "connect6", "peer4", "peer6", "publish", "receive4", "receive6", "send4", "send6", "steer"];
    let hooks = hooks.map(|hook| format!("ambit_{hook}"));
    assert_eq!(first.programs, hooks, "{first:?}");
    for round in 0..6 {
        let agent = world.agent_mut("a");
        if round % 2 == 0 {
            agent.kill().unwrap();
        } else {
            agent.stop(SOON).unwrap();
        }
        agent.start().unwrap();
        assert_eq!(world.fetch("client", vip("far", HTTP)[0]), 200);
        let now = in_kernel(&world);
        assert_eq!((now.programs, now.maps.len()), (first.programs.clone(), first.maps.len()), "round {round}");
    }
}

/// What node `a`'s agent holds pinned in the kernel: names of programs (each once a hook) and IDs of maps.
#[derive(Debug)]
struct InKernel {
    programs: Vec<String>,
    maps: BTreeSet<u64>,
}

fn in_kernel(world: &World) -> InKernel {
    let cgroup = world.topology.node("a").unwrap().cgroup.display().to_string();
    let attached = bpftool(&["cgroup", "tree", &cgroup]);
    let attached = attached.as_array().unwrap().iter().flat_map(|entry| entry["programs"].as_array().unwrap().clone());
    let ids: BTreeSet<u64> = attached.map(|program| program["id"].as_u64().unwrap()).collect();
    let all = bpftool(&["prog", "show"]);
    let maps = |program: &Value| -> BTreeSet<u64> {
        program["map_ids"].as_array().into_iter().flatten().map(|id| id.as_u64().unwrap()).collect()
    };
    let all = all.as_array().unwrap();
    let attached = all.iter().filter(|program| ids.contains(&program["id"].as_u64().unwrap()));
    let held: BTreeSet<u64> = attached.flat_map(maps).collect();
    // Those that the namespaces run share maps with those of the cgroup.
    let mut programs: Vec<String> = all
        .iter()
        .filter(|program| !maps(program).is_disjoint(&held))
        .map(|program| program["name"].as_str().unwrap().to_owned())
        .collect();
    programs.sort();
    InKernel { programs, maps: held }
}

fn bpftool(arguments: &[&str]) -> Value {
    let output = Command::new("/usr/sbin/bpftool").arg("-j").args(arguments).output().expect("bpftool is installed");
    assert!(output.status.success(), "bpftool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_agent_that_starts_before_or_after_its_pods_has_them_captured_within_five_seconds() {
    let mut world = World::usual_closed(&[]);
    let _server = world.serve("far");
    let wanted = |world: &World| {
        let pods = world.agent("a").admin("/pods").unwrap();
        pods["captured"].as_object().unwrap().len()
    };
    // After them.
    world.agent_mut("b").start().unwrap();
    world.agent_mut("a").start().unwrap();
    until(Duration::from_secs(5), || wanted(&world) == 2).unwrap();
    // Away while one comes and one goes.
    world.agent_mut("a").kill().unwrap();
    let late = world.topology.start_pod("late", "a").unwrap();
    world.manifests.pod(SHOP, late, "late").unwrap();
    world.manifests.pod_mode(SHOP, "near", Some("none")).unwrap();
    world.agent_mut("a").start().unwrap();
    until(Duration::from_secs(5), || wanted(&world) == 2).unwrap();
    assert_eq!(world.fetch("late", vip("far", HTTP)[0]), 200);
    // The pod that left while nobody looked is not captured any more: others reach it in clear.
    let _near = world.serve("near");
    for to in world.at("near", HTTP) {
        assert_eq!(world.fetch("outsider-a", to), 200);
    }
}

#[test]
fn what_a_stranger_takes_out_of_the_kernel_is_put_back() {
    let world = World::new();
    let _server = world.serve("far");
    let pins = world.agent("a").pins().to_owned();
    let enrolled = pins.join("v2/maps/enrolled");
    let map = enrolled.display().to_string();
    let entries = || bpftool(&["map", "dump", "pinned", &map]).as_array().unwrap().clone();
    assert_eq!(entries().len(), 2);
    for entry in entries() {
        let key: Vec<String> =
            entry["key"].as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().to_owned()).collect();
        let mut arguments = vec!["map", "delete", "pinned", &map, "key", "hex"];
        let key: Vec<&str> = key.iter().map(|byte| byte.trim_start_matches("0x")).collect();
        arguments.extend(&key);
        let deleted = Command::new("/usr/sbin/bpftool").args(arguments).status().unwrap();
        assert!(deleted.success());
    }
    until(Duration::from_secs(6), || entries().len() == 2).unwrap();
    world.dial("client", vip("far", ECHO)[0], "send:10,recv:10,close").finish(SOON).unwrap().success().unwrap();
}

#[test]
fn stopping_gracefully_lets_what_is_open_finish() {
    let mut world = World::with(&["--drain-deadline", "10"]);
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let mut open = Vec::new();
    for [to, _] in [vip("far", ECHO), world.at("near", ECHO)] {
        let sequence =
            world.start("client", &["sequence", "--to", &to.to_string(), "--streams", "10", "--every", "10"]);
        sequence.wait_line("running", SOON).unwrap();
        open.push(sequence);
    }
    let agent = world.agent("a");
    assert!(agent.is_ready());
    agent.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    until(SOON, || !world.agent("a").is_ready()).unwrap();
    assert_refused(&world, "client", vip("far", ECHO)[0]);
    for sequence in open {
        let mark = sequence.mark();
        assert_eq!(mark, 1, "nothing but `running` was printed: every message came back so far");
        sequence.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        let report: Value = sequence.report(SOON).unwrap();
        assert_eq!((&report["ok"], &report["failed"]), (&10.into(), &0.into()), "{report}");
    }
    // With nothing left open it ends by itself, well before its deadline.
    let ended = Instant::now();
    world.agent_mut("a").finish(SOON).unwrap();
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
}
