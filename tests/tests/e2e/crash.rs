//! The agent dies, restarts and comes late: nothing leaves in clear, and what is wanted is soon what is (A-17,
//! A-18, B-06).

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use ambit_tests::Wire;
use ambit_tests::payload::MARKER;
use serde_json::Value;

use crate::shop::{ECHO, FAR, HTTP, SOON, Shop, until, vip};

#[test]
fn while_the_agent_is_killed_nothing_leaves_in_clear_and_it_is_captured_again_within_a_second_of_its_return() {
    let mut shop = Shop::open(&[]);
    let _servers = ["near", "far"].map(|pod| shop.serve(pod, &["echo=7000", "http=7002"]));
    let wire = Wire::between(&shop.topology, &[MARKER, b"ambit-test"]).unwrap();
    let [to, to6] = vip(FAR, HTTP);
    let load =
        [&to, &to6].map(|to| shop.start("client", &["requests", "--to", to, "--every", "5", "--patience", "5000"]));
    for requests in &load {
        requests.wait_line("running", SOON).unwrap();
    }
    for _ in 0..3 {
        let agent = shop.mesh.agent_mut("a").unwrap();
        let before = agent.metrics().unwrap().sum("istio_tcp_connections_opened_total", &[]);
        until(SOON, || agent.metrics().unwrap().sum("istio_tcp_connections_opened_total", &[]) > before).unwrap();
        agent.kill().unwrap();
        // Dead: new connections are refused, in both directions, by both families.
        for to in vip(FAR, HTTP).into_iter().chain(shop.at("far", HTTP)).chain(shop.at("near", HTTP)) {
            assert_refused(&shop, "client", &to);
        }
        for to in shop.at("near", HTTP) {
            assert_refused(&shop, "stranger", &to);
        }
        let agent = shop.mesh.agent_mut("a").unwrap();
        agent.start().unwrap();
        let back = Instant::now();
        until(Duration::from_secs(1), || {
            shop.start("client", &["fetch", "--to", &to]).finish(SOON).is_ok_and(|finished| finished.success().is_ok())
        })
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
fn assert_refused(shop: &Shop, pod: &str, to: &str) {
    let finished = shop.start(pod, &["peer", "--dial", to, "--script", "observe:3000"]).finish(SOON).unwrap();
    let seen = finished.stdout();
    assert!(seen.contains("refused") || seen.contains("reset"), "{pod} -> {to}: {seen}");
}

#[test]
fn restarts_leave_one_program_a_hook_and_one_copy_of_each_map() {
    let mut shop = Shop::open(&[]);
    let _server = shop.serve("far", &["http=7002"]);
    let first = in_kernel(&shop);
    let hooks =
        ["connect4", "connect6", "peer4", "peer6", "publish", "receive4", "receive6", "send4", "send6", "steer"];
    let hooks = hooks.map(|hook| format!("ambit_{hook}"));
    assert_eq!(first.programs, hooks, "{first:?}");
    for round in 0..6 {
        let agent = shop.mesh.agent_mut("a").unwrap();
        if round % 2 == 0 {
            agent.kill().unwrap();
        } else {
            agent.stop(SOON).unwrap();
        }
        agent.start().unwrap();
        let [to, _] = vip(FAR, HTTP);
        assert_eq!(shop.report("client", &["fetch", "--to", &to])["status"], 200);
        let now = in_kernel(&shop);
        assert_eq!((now.programs, now.maps.len()), (first.programs.clone(), first.maps.len()), "round {round}");
    }
}

/// What node `a`'s agent holds pinned in the kernel: names of programs (each once a hook) and IDs of maps.
#[derive(Debug)]
struct InKernel {
    programs: Vec<String>,
    maps: BTreeSet<u64>,
}

fn in_kernel(shop: &Shop) -> InKernel {
    let cgroup = shop.topology.node("a").unwrap().cgroup.display().to_string();
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
    let mut shop = Shop::closed(&[]);
    let _server = shop.serve("far", &["http=7002"]);
    let wanted = |shop: &Shop| {
        let pods = shop.mesh.agent("a").unwrap().admin("/pods").unwrap();
        pods["captured"].as_object().unwrap().len()
    };
    // After them.
    shop.mesh.agent_mut("b").unwrap().start().unwrap();
    shop.mesh.agent_mut("a").unwrap().start().unwrap();
    until(Duration::from_secs(5), || wanted(&shop) == 2).unwrap();
    // Away while one comes and one goes.
    shop.mesh.agent_mut("a").unwrap().kill().unwrap();
    let late = shop.topology.start_pod("late", "a").unwrap();
    shop.manifests.pod("shop", late, "late").unwrap();
    shop.manifests.pod_mode("shop", "near", Some("none")).unwrap();
    shop.mesh.agent_mut("a").unwrap().start().unwrap();
    until(Duration::from_secs(5), || wanted(&shop) == 2).unwrap();
    let [to, _] = vip(FAR, HTTP);
    assert_eq!(shop.report("late", &["fetch", "--to", &to])["status"], 200);
    // The pod that left while nobody looked is not captured any more: others reach it in clear.
    let _near = shop.serve("near", &["http=7002"]);
    for to in shop.at("near", HTTP) {
        assert_eq!(shop.report("stranger", &["fetch", "--to", &to])["status"], 200);
    }
}

#[test]
fn what_a_stranger_takes_out_of_the_kernel_is_put_back() {
    let shop = Shop::open(&[]);
    let _server = shop.serve("far", &["echo=7000"]);
    let pins = shop.mesh.agent("a").unwrap().pins().to_owned();
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
    let [to, _] = vip(FAR, ECHO);
    let finished = shop.start("client", &["peer", "--dial", &to, "--script", "send:10,recv:10,close"]).finish(SOON);
    finished.unwrap().success().unwrap();
}

#[test]
fn stopping_gracefully_lets_what_is_open_finish() {
    let mut shop = Shop::open(&["--drain-deadline", "10"]);
    let _servers = ["near", "far"].map(|pod| shop.serve(pod, &["echo=7000"]));
    let mut open = Vec::new();
    for [to, _] in [vip(FAR, ECHO), shop.at("near", ECHO)] {
        let sequence = shop.start("client", &["sequence", "--to", &to, "--streams", "10", "--every", "10"]);
        sequence.wait_line("running", SOON).unwrap();
        open.push(sequence);
    }
    let agent = shop.mesh.agent("a").unwrap();
    assert!(agent.is_ready());
    agent.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    until(SOON, || !shop.mesh.agent("a").unwrap().is_ready()).unwrap();
    assert_refused(&shop, "client", &vip(FAR, ECHO)[0]);
    for sequence in open {
        let mark = sequence.mark();
        assert_eq!(mark, 1, "nothing but `running` was printed: every message came back so far");
        sequence.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        let report: Value = sequence.report(SOON).unwrap();
        assert_eq!((&report["ok"], &report["failed"]), (&10.into(), &0.into()), "{report}");
    }
    // With nothing left open it ends by itself, well before its deadline.
    let ended = Instant::now();
    shop.mesh.agent_mut("a").unwrap().finish(SOON).unwrap();
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
}
