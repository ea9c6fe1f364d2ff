//! The command line beside running agents, without a cluster: its tables say what is, and say when it may not be any more.

use std::fs;

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::until;
use serde_json::{Value, json};

use super::start;
use crate::world::{ECHO, SHOP, SOON, World, socket, spiffe, vip};

const ADMIN: &str = "127.0.0.1:15000";

/// What `ambit` prints on node `a`.
fn ambit(world: &World, arguments: &str) -> String {
    let binaries = world.topology.binaries();
    binaries.check_ambit().unwrap();
    let words: Vec<&str> = arguments.split_whitespace().collect();
    start::run(&world.topology, &binaries.ambit, &words).success().unwrap().stdout()
}

/// The cells of each line of a table but its head.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().skip(1);
    lines.map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

#[test]
fn the_command_line_shows_what_an_agent_has_in_force() {
    let mut world = World::new();
    world.apply("AuthorizationPolicy", "far", json!({"selector": {"matchLabels": {"app": "far"}}, "rules": [{}]}));
    world.apply("PeerAuthentication", "default", json!({"mtls": {"mode": "PERMISSIVE"}}));
    world.await_config(&["a"], |dump| {
        dump["authorizationPolicies"].as_array().unwrap().len() + dump["peerAuthentications"].as_array().unwrap().len()
            == 2
    });
    let _server = world.serve("far");
    let held = world.hold("client", vip("far", ECHO)[0], 1);
    let asked = |view: &str| ambit(&world, &format!("zc {view} --admin {ADMIN}"));

    let workloads = asked("workload");
    let [far, outsider] = ["far", "outsider-a"].map(|name| {
        let address = world.pod(name).v4.to_string();
        let found = rows(&workloads).into_iter().find(|row| row[1] == name).map(|row| row.join(" "));
        (found.unwrap_or_default(), address)
    });
    assert_eq!(far.0, format!("shop far {} b None HBONE", far.1), "{workloads}");
    assert_eq!(outsider.0, format!("outside outsider-a {} a None TCP", outsider.1), "{workloads}");
    let one = asked(&format!("workload --address {}", far.1));
    assert_eq!(rows(&one).len(), 1, "{one}");
    let services = asked("service --service-namespace shop");
    assert_eq!(rows(&services)[0], ["shop", "far", "10.96.0.2,fd00:10:96::2", "None", "1/1"], "{services}");
    let policies = asked("policy");
    let expected = [
        vec!["shop", "default", "mTLS Permissive", "Namespace"],
        vec!["shop", "far", "Allow", "WorkloadSelector app=far"],
    ];
    assert_eq!(rows(&policies), expected, "{policies}");
    let certificates = asked("certificate");
    assert_eq!(rows(&certificates)[0][..4], [&spiffe("client"), "Leaf", "Available", "true"], "{certificates}");
    let connections = asked("connections");
    let reached = format!("far.shop:{ECHO}");
    let [row] = &rows(&connections)[..] else { panic!("{connections}") };
    assert_eq!((&row[..2], &row[3..]), (&["client.shop", "Outbound"][..], &[&*reached, "far.shop", "HBONE"][..]));
    assert!(row[2].starts_with(&world.pod("client").v4.to_string()), "{connections}");
    assert_eq!(rows(&asked("connections --direction inbound")).len(), 0);

    // What is saved shows the same, without the agent.
    let saved = world.topology.directory().join("saved.json");
    fs::write(&saved, asked("all -o json")).unwrap();
    drop(held);
    until(SOON, || world.open_connections("a").is_empty()).unwrap();
    for (view, then) in [("workload", &workloads), ("policy", &policies), ("connections", &connections)] {
        assert_eq!(&ambit(&world, &format!("zc {view} -f {}", saved.display())), then);
    }
    let refused = start::run(&world.topology, &world.topology.binaries().ambit, &["zc", "certificate"]);
    assert!(!refused.status.success());
}

#[test]
fn by_which_waypoint_a_service_is_reached_is_shown_as_it_is_decided() {
    let mut world = World::new();
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": SHOP},
        "spec": {"gatewayClassName": "istio-waypoint", "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]},
    });
    world.manifests.apply(gateway).unwrap();
    let own = ServiceSpec { name: "waypoint", vips: &["10.96.0.9".parse().unwrap()], ports: &[(15008, 15008)] };
    world.manifests.service(SHOP, &own).unwrap();
    for (service, waypoint) in [("near", "waypoint"), ("far", "nobody"), ("waypoint", "waypoint")] {
        let label = |object: &mut Value| object["metadata"]["labels"]["istio.io/use-waypoint"] = waypoint.into();
        world.manifests.edit("Service", SHOP, service, label).unwrap();
    }
    world.await_config(&["a"], |dump| dump["bound"]["services"].as_object().unwrap().len() == 2);
    let services = ambit(&world, &format!("zc service --admin {ADMIN}"));
    let bound: Vec<_> = rows(&services).iter().map(|row| (row[1].to_owned(), row[3].to_owned())).collect();
    let expected = [("far", "nobody (missing)"), ("near", "waypoint"), ("waypoint", "None")];
    assert_eq!(bound, expected.map(|(name, waypoint)| (name.to_owned(), waypoint.to_owned())), "{services}");
}

#[test]
fn an_agent_whose_source_is_away_is_stale_until_it_is_back() {
    let world = World::new();
    let status = || -> Value { serde_json::from_str(&ambit(&world, &format!("ps --admin {ADMIN} -o json"))).unwrap() };
    let now = status();
    let expected = [ADMIN, "ztunnel", "a", "Kubernetes", "SYNCED"];
    assert_eq!(["name", "type", "node", "cluster", "status"].map(|field| now[0][field].clone()), expected, "{now}");
    assert_eq!(now[0]["source"], world.manifests.directory().display().to_string());
    let (place, away) = (world.manifests.directory().to_owned(), world.topology.directory().join("away"));
    fs::rename(&place, &away).unwrap();
    until(SOON, || status()[0]["status"] == "STALE").unwrap_or_else(|_| panic!("{}", status()));
    let table = ambit(&world, &format!("ps --admin {ADMIN}"));
    assert!(table.contains("the configuration directory cannot be read"), "{table}");
    fs::rename(&away, &place).unwrap();
    until(SOON, || status()[0]["status"] == "SYNCED").unwrap_or_else(|_| panic!("{}", status()));
    // Nobody is there.
    let nobody = socket("127.0.0.1", 9).to_string();
    let table = ambit(&world, &format!("ps --admin {ADMIN},{nobody}"));
    assert!(table.contains("SYNCED") && table.contains("UNREACHABLE"), "{table}");
}

#[test]
fn an_agents_log_level_is_shown_changed_and_put_back() {
    let world = World::new();
    let log = |flags: &str| ambit(&world, &format!("zc log --admin {ADMIN} {flags}"));
    let before = log("");
    assert!(before.starts_with(&format!("{ADMIN}: current log level is ")), "{before}");
    let changed = log("--level access:debug,dns:warning");
    assert!(
        changed.contains("access=debug") && changed.contains("dns=warn") && !changed.contains("warning"),
        "{changed}"
    );
    assert_eq!(log(""), changed);
    assert_eq!(log("--reset"), before);
    let program = &world.topology.binaries().ambit;
    let refused = start::run(&world.topology, program, &["zc", "log", "--admin", ADMIN, "--level", "loud"]);
    assert!(!refused.status.success() && refused.lines.iter().any(|line| line.text.contains("Invalid level")));
}
