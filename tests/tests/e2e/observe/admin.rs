//! The admin interface and readiness: what is in force, what is wrong, and what can be changed while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ambit_tests::http::{self, Response};
use ambit_tests::process::Line;
use ambit_tests::topology::Plan;
use ambit_tests::until;
use serde_json::Value;

use super::{at, map, play_out};
use crate::world::{ECHO, SHOP, SOON, World, vip};

fn post(world: &World, path: &str) -> Response {
    let node = world.topology.node("a").unwrap();
    http::request(&node.netns.path(), at(Ipv4Addr::LOCALHOST, 15000), "POST", path).unwrap()
}

#[test]
fn the_configuration_in_force_is_shown() {
    let world = World::new();
    let dump = world.agent("a").admin("/config_dump").unwrap();
    let names = |key: &str, pointer: &str| -> BTreeSet<String> {
        let entries = dump[key].as_array().unwrap().iter();
        entries.map(|entry| entry.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
    };
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(names("workloads", "/name"), set(&["client", "near", "far", "outsider-a", "outsider-b"]));
    assert_eq!(names("services", "/hostname"), set(&["near.shop.svc.cluster.local", "far.shop.svc.cluster.local"]));
    assert_eq!(names("nodes", "/name"), set(&["a", "b"]));
    assert_eq!((&dump["settings"]["node"], &dump["mesh"]["cluster"]), (&"a".into(), &"Kubernetes".into()));
    assert_eq!(dump["reports"], Value::Array(Vec::new()));
    assert_eq!(dump["pods"]["captured"].as_object().unwrap().len(), 2);
    let capabilities = dump["capabilities"].as_array().unwrap();
    assert!(capabilities.len() >= 10 && capabilities.iter().all(|one| one["state"]["state"] == "available"), "{dump}");
    assert!(!dump.to_string().contains("PRIVATE KEY"));
}

#[test]
fn open_connections_are_listed_with_their_bytes() {
    let world = World::new();
    let _server = world.serve("far");
    let client = world.dial("client", vip("far", ECHO)[0], "send:100,recv:100,hold");
    client.wait_line("received", SOON).unwrap();
    for (node, direction) in [("a", "outbound"), ("b", "inbound")] {
        let open = world.open_connections(node);
        assert_eq!(open.len(), 1, "{open:?}");
        let text = |key: &str| open[0][key].as_str().unwrap().to_owned();
        let seen: BTreeMap<_, _> =
            ["direction", "srcWorkload", "dst", "hbone", "dstService", "dstWorkload", "security"]
                .map(|key| (key.to_owned(), text(key)))
                .into();
        let far = world.pod("far").v4;
        let expected = map(&[
            ("direction", direction),
            ("srcWorkload", "client"),
            ("dst", &at(far, 15008).to_string()),
            ("hbone", &at(far, ECHO).to_string()),
            ("dstService", "far.shop.svc.cluster.local"),
            ("dstWorkload", "far"),
            ("security", "mutual_tls"),
        ]);
        assert_eq!(seen, expected);
        assert_eq!((&open[0]["bytesToServer"], &open[0]["bytesToClient"]), (&100.into(), &100.into()));
    }
    client.kill().unwrap();
    until(SOON, || ["a", "b"].iter().all(|node| world.open_connections(node).is_empty())).unwrap();
}

#[test]
fn there_is_one_leaf_a_service_account_and_no_key_on_disk_but_the_cas() {
    let mut world = World::new();
    let twin = world.topology.start_pod("twin", "a").unwrap();
    world.manifests.pod(SHOP, twin, "near").unwrap();
    world.agent("a").wait_captured(SHOP, "twin", true, SOON).unwrap();
    let list = || world.agent("a").admin("/certificates").unwrap().as_array().unwrap().clone();
    until(SOON, || list().iter().all(|row| row["status"] == "Available")).unwrap();
    let rows: Vec<(String, String)> = list().iter().map(|row| (text(row, "/identity"), text(row, "/kind"))).collect();
    let both = |account: &str| {
        ["Leaf", "Root"].map(|kind| (format!("spiffe://cluster.local/ns/shop/sa/{account}"), kind.to_owned()))
    };
    assert_eq!(rows, [both("client"), both("near")].concat());
    let mut serials = BTreeSet::new();
    for row in list() {
        let facts = row["certificate"].as_object().unwrap();
        assert_eq!(facts.keys().collect::<Vec<_>>(), ["notAfter", "notBefore", "serial", "valid"]);
        assert_eq!(facts["valid"], true);
        assert!(text(&row, "/certificate/notBefore") < text(&row, "/certificate/notAfter"), "{row}");
        let serial = text(&row, "/certificate/serial");
        assert!(!serial.is_empty() && serial.bytes().all(|digit| digit.is_ascii_hexdigit()), "{serial}");
        serials.insert(serial);
    }
    assert_eq!(serials.len(), 3, "two leaves and their root");

    let ca = world.topology.directory().join("ca.pem");
    let files = files_below(world.topology.directory());
    assert!(files.len() > 10, "{files:?}");
    let with_keys: Vec<_> = files.iter().filter(|file| holds_a_key(file)).collect();
    assert_eq!(with_keys, [&ca]);
    assert!(!files_below(world.agent("a").pins()).iter().any(|pin| holds_a_key(pin)));
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}")).to_owned()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let found = entries.flat_map(|entry| match entry.file_type().unwrap().is_dir() {
        true => files_below(&entry.path()),
        false => vec![entry.path()],
    });
    found.collect()
}

fn holds_a_key(file: &Path) -> bool {
    // Most pins cannot be read as files.
    String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).contains("PRIVATE KEY")
}

#[test]
fn a_damaged_manifest_is_reported_with_its_place_and_changes_nothing_else() {
    let world = World::new();
    let _server = world.serve("far");
    let agent = world.agent("a");
    let damaged = "apiVersion: v1\nkind: Service\nmetadata:\n  name: broken\n  namespace: shop\nspec:\n  ports:\n  - port: seventy\n";
    world.manifests.write("broken.yaml", damaged).unwrap();
    let line =
        agent.process().unwrap().wait_line("broken.yaml:8: Service shop/broken: spec.ports[0].port: ", SOON).unwrap();
    assert!(line.text.contains("\terror\t"), "{}", line.text);
    let reports = agent.admin("/reports").unwrap();
    let report = &reports.as_array().unwrap()[0];
    assert_eq!((text(report, "/file"), &report["line"]), ("broken.yaml".to_owned(), &8.into()));
    assert_eq!(text(report, "/field"), "spec.ports[0].port");
    assert!(report["object"].to_string().contains("broken"), "{report}");
    assert!(text(report, "/message").contains("seventy"), "{report}");
    play_out(&world, "client", vip("far", ECHO)[0], "send:10,recv:10,close");
    std::fs::remove_file(world.manifests.directory().join("broken.yaml")).unwrap();
    agent.process().unwrap().wait_line("resolved: broken.yaml:8", SOON).unwrap();
    assert_eq!(agent.admin("/reports").unwrap(), Value::Array(Vec::new()));
}

#[test]
fn the_log_level_is_changed_while_it_runs() {
    let world = World::new();
    let _server = world.serve("near");
    let to = world.at("near", ECHO)[0];
    assert_eq!(world.agent("a").get(15000, "/logging?level=debug").unwrap().status, 405, "reading changes nothing");
    let wrong = post(&world, "/logging?level=loud");
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    let changed = post(&world, "/logging?level=access:debug");
    assert!(changed.status == 200 && changed.body.contains("access=debug"), "{}", changed.body);
    play_out(&world, "client", to, "send:10,recv:10,close");
    let process = world.process("a");
    process.wait_line("\tdebug\taccess\tconnection opened\t", SOON).unwrap();
    assert_eq!(post(&world, "/logging?level=access:off").status, 200);
    process.wait_line("access=off", SOON).unwrap();
    let mark = process.mark();
    play_out(&world, "client", to, "send:10,recv:10,close");
    let closed = || world.agent("a").metrics().unwrap().sum("istio_tcp_connections_closed_total", &[]);
    until(SOON, || closed() == 4.0).unwrap();
    assert_eq!(post(&world, "/logging?reset").status, 200);
    let complete =
        |lines: &[Line]| lines.iter().skip(mark).filter(|line| line.text.contains("connection complete")).count() == 2;
    play_out(&world, "client", to, "send:10,recv:10,close");
    process.wait_for(SOON, |lines| complete(lines).then_some(())).unwrap();
}

#[test]
fn profiles_can_be_taken() {
    let plan = Plan::new(&["a"]).pod("near", "a").pod("far", "a");
    let world = World::build(plan, &[]);
    let profile = world.agent("a").get(15000, "/debug/pprof/profile?seconds=1").unwrap();
    assert!(profile.status == 200 && !profile.body.is_empty(), "{} {}", profile.status, profile.body);
    let heap = || world.agent("a").get(15000, "/debug/pprof/heap").unwrap();
    let inactive = heap();
    assert!(
        inactive.status == 503 && inactive.body.contains("?activate=true"),
        "{} {}",
        inactive.status,
        inactive.body
    );
    assert_eq!(post(&world, "/debug/pprof/heap/profiling?activate=true").status, 200);
    let active = heap();
    assert!(active.status == 200 && !active.body.is_empty(), "{} {}", active.status, active.body);
}

#[test]
fn quitting_drains_and_readiness_says_so() {
    let mut world = World::with(&["--drain-deadline", "15"]);
    let _server = world.serve("far");
    let mut client = world.hold("client", vip("far", ECHO)[0], 1);
    let ready = world.agent("a").get(15021, "/healthz/ready").unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    assert_eq!(post(&world, "/quitquitquit").status, 200);
    until(SOON, || !world.agent("a").is_ready()).unwrap();
    let stopping = world.agent("a").get(15021, "/healthz/ready").unwrap();
    assert_eq!((stopping.status, stopping.body.contains("the process is stopping")), (503, true), "{}", stopping.body);
    // What is open goes on.
    client.all_work();
    client.kill();
    world.agent_mut("a").finish(SOON).unwrap();
}
