//! By what name a pod is called decides where the connection goes: services of every shape, and what is refused (C-01,
//! C-02, C-04, C-05, C-09).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::topology::Plan;
use ambit_tests::{AccessLog, Process, Wire, until};
use serde_json::{Value, json};

use crate::world::{SHOP, SOON, WHOAMI, World, socket, spiffe, vip};

const SERVERS: [&str; 3] = ["one", "two", "three"];
const VIPS: [&str; 2] = ["10.96.0.9", "fd00:10:96::9"];

/// A client and three servers labelled `app: trio`, on both nodes, each answering `whoami` on two ports.
fn trio() -> (World, Vec<Process>) {
    let plan = Plan::new(&["a", "b"]).pod("client", "a").pod("one", "a").pod("two", "b").pod("three", "b");
    let mut world = World::build(plan, &[]);
    for server in SERVERS {
        world.manifests.label(("Pod", SHOP, server), "app", Some("trio")).unwrap();
    }
    let servers = SERVERS.map(|server| world.serve_only(server, &["whoami=8001", "whoami=8002"]));
    (world, servers.into())
}

/// Waits until both agents know the service `name`, and with it everything that was written before it.
fn await_service(world: &World, name: &str) {
    world.await_service(&["a", "b"], &format!("{name}.{SHOP}.svc.cluster.local"));
}

/// What the service `trio` is, with these ports.
fn service(cluster_ips: &Value, ports: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "trio", "namespace": SHOP},
        "spec": {"selector": {"app": "trio"}, "clusterIP": cluster_ips[0], "clusterIPs": cluster_ips, "ports": ports},
    })
}

#[test]
fn connections_are_spread_evenly_over_three_endpoints() {
    const COUNT: usize = 3000;
    let (mut world, _servers) = trio();
    world.manifests.apply(service(&json!(VIPS), &json!([{"name": "tcp", "port": 80, "targetPort": 8001}]))).unwrap();
    await_service(&world, "trio");
    for vip in VIPS {
        let answers = world.answers("client", socket(vip, 80), COUNT).unwrap();
        assert_eq!(answers.values().sum::<usize>(), COUNT);
        for server in SERVERS {
            // Five standard deviations of a fair draw: sqrt(3000 x 1/3 x 2/3) is 25.8.
            let count = answers.get(server).copied().unwrap_or_default();
            assert!(count.abs_diff(COUNT / 3) <= 129, "{vip}: {answers:?}");
        }
    }
}

#[test]
fn a_named_target_port_is_each_pods_own_and_every_port_goes_to_its_target() {
    let (mut world, _servers) = trio();
    // The same name is another number in each pod.
    for (server, number) in [("one", 8001), ("two", 8002), ("three", 8002)] {
        let ports = json!([{"name": "web", "containerPort": number, "protocol": "TCP"}]);
        world.manifests.edit("Pod", SHOP, server, |pod| pod["spec"]["containers"][0]["ports"] = ports).unwrap();
    }
    let ports = json!([
        {"name": "named", "port": 80, "targetPort": "web"},
        {"name": "first", "port": 81, "targetPort": 8001},
        {"name": "own", "port": 8002},
    ]);
    world.manifests.apply(service(&json!(VIPS), &ports)).unwrap();
    await_service(&world, "trio");
    for vip in VIPS {
        let at = |port: u16| socket(vip, port).to_string();
        for (port, expected) in [(80, [8001, 8002, 8002]), (81, [8001; 3]), (8002, [8002; 3])] {
            let report = world.report("client", &["greeting", "--to", &at(port), "--count", "60"]);
            let mut reached: Vec<String> =
                report["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
            // `<name> <peer> <local>`: who answered, and on which port of its own.
            reached.iter_mut().for_each(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                *line = format!("{} {}", words[0], words[2].rsplit(':').next().unwrap());
            });
            reached.sort();
            reached.dedup();
            let mut expected: Vec<String> =
                SERVERS.iter().zip(expected).map(|(server, port)| format!("{server} {port}")).collect();
            expected.sort();
            assert_eq!(reached, expected, "{vip} port {port}");
        }
        // A port that the service does not have is refused, not passed to where it is routed.
        assert!(world.try_report("client", &["greeting", "--to", &at(82)]).is_err());
        let fields = [("dst.addr", at(82)), ("reason", "no-such-service-port".to_owned())];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        world.agent("a").wait_access_log(&fields, SOON).unwrap();
    }
}

#[test]
fn pods_of_a_headless_service_are_reached_one_by_one_with_identity() {
    let (mut world, _servers) = trio();
    let port = json!([{"name": "tcp", "port": 8001}]);
    world.manifests.apply(service(&json!(["None"]), &port)).unwrap();
    await_service(&world, "trio");
    let wire = Wire::between(&world.topology, &[]).unwrap();
    for server in SERVERS {
        for to in world.at(server, 8001) {
            assert_eq!(world.answers("client", to, 3).unwrap(), BTreeMap::from([(server.to_owned(), 3)]), "{to}");
            let identity = spiffe(server);
            let address = if server == "one" { "dst.addr" } else { "dst.hbone_addr" };
            let client = spiffe("client");
            let to = to.to_string();
            let fields = [
                (address, to.as_str()),
                ("src.identity", client.as_str()),
                ("dst.identity", identity.as_str()),
                ("dst.service", "trio.shop.svc.cluster.local"),
            ];
            world.agent("a").wait_access_log(&[&fields[..], &[("direction", "outbound")]].concat(), SOON).unwrap();
            let node = &world.pod(server).node;
            world.agent(node).wait_access_log(&[&fields[1..], &[("direction", "inbound")]].concat(), SOON).unwrap();
        }
    }
    wire.stop().unwrap().only_hbone().unwrap();
}

#[test]
fn only_ready_endpoints_are_dialled_and_without_one_the_connection_is_refused() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    for pod in ["near", "far"] {
        let services = vip(pod, WHOAMI);
        let answers = |world: &World, to: SocketAddr| world.answered("client", to);
        assert!(services.iter().all(|to| answers(&world, *to)));
        world.set_ready(pod, false);
        until(SOON, || !answers(&world, services[0])).unwrap();
        for to in services {
            assert_refused(&world, "client", to);
            let to = to.to_string();
            let fields = [("dst.addr", to.as_str()), ("reason", "no-healthy-upstream")];
            let line = world.agent("a").wait_access_log(&fields, SOON).unwrap();
            assert!(line.field("error").starts_with("no healthy upstream"), "{line:?}");
            assert_eq!(line.field("dst.service"), format!("{pod}.{SHOP}.svc.cluster.local"));
        }
        // The pod itself is there, and its own address works.
        assert!(world.at(pod, WHOAMI).into_iter().all(|to| answers(&world, to)));
        world
            .manifests
            .edit("Service", SHOP, pod, |service| service["spec"]["publishNotReadyAddresses"] = true.into())
            .unwrap();
        until(SOON, || services.iter().all(|to| answers(&world, *to))).unwrap();
        world
            .manifests
            .edit("Service", SHOP, pod, |service| service["spec"]["publishNotReadyAddresses"] = false.into())
            .unwrap();
        until(SOON, || !answers(&world, services[0])).unwrap();
        world.set_ready(pod, true);
        until(SOON, || services.iter().all(|to| answers(&world, *to))).unwrap();
    }
}

#[test]
fn the_proxys_own_ports_are_refused() {
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let ports = [15001, 15006, 15008].map(|port| (port - 8000, port));
    let own = VIPS.map(|vip| vip.parse().unwrap());
    world.manifests.service(SHOP, &ServiceSpec { name: "near-own", vips: &own, ports: &ports }).unwrap();
    world
        .manifests
        .edit("Service", SHOP, "near-own", |service| service["spec"]["selector"]["app"] = "near".into())
        .unwrap();
    await_service(&world, "near-own");
    let mut expected = 0;
    for port in [15001, 15006, 15008] {
        let pods = ["near", "far"].into_iter().flat_map(|pod| world.at(pod, port));
        let calls: Vec<SocketAddr> = pods.chain(own.map(|vip| SocketAddr::new(vip, port - 8000))).collect();
        for to in &calls {
            assert_refused(&world, "client", *to);
        }
        expected += calls.len();
        let recursive = |line: &&AccessLog| line.field("reason") == "recursive-call";
        world.agent("a").wait_access_logs(SOON, |log| log.iter().filter(recursive).count() >= expected).unwrap();
        // To itself, which is not captured, and from outside.
        let loopback = ["127.0.0.1", "::1"].map(|ip| socket(ip, port));
        for to in world.at("client", port).into_iter().chain(loopback) {
            assert_ended(&world, "client", to);
        }
        for to in world.at("far", port) {
            assert_ended(&world, "outsider-a", to);
        }
    }
    // None of it has hurt.
    for way in world.ways(WHOAMI) {
        world.report("client", &["greeting", "--to", &way.to.to_string()]);
    }
}

/// The connection is refused, or reset before a byte is answered.
fn assert_refused(world: &World, pod: &str, to: SocketAddr) {
    let seen = dial(world, pod, to, "observe:5000");
    assert!(seen.contains(r#""error":"refused""#) || seen.contains(r#""error":"reset""#), "{pod} -> {to}: {seen}");
}

/// The connection is refused, or ends without an answer to what is sent.
fn assert_ended(world: &World, pod: &str, to: SocketAddr) {
    let seen = dial(world, pod, to, "send:100,observe:5000");
    let refused = [r#""error":"refused""#, r#""error":"reset""#].iter().any(|error| seen.contains(error));
    assert!(refused || seen.contains(r#""event":"eof""#), "{pod} -> {to}: {seen}");
}

fn dial(world: &World, pod: &str, to: SocketAddr, script: &str) -> String {
    let arguments = ["peer", "--dial", &to.to_string(), "--patience", "3000", "--script", script];
    let finished = world.start(pod, &arguments).finish(SOON).unwrap();
    finished.success().unwrap().stdout()
}
