//! What applications speak goes through the mesh unnoticed, on every way: on one node and across, by pod and by service
//! address, by both families (A-01, A-03, A-05, A-11, C-06, C-07).

use std::net::SocketAddr;
use std::time::Duration;

use ambit_tests::payload::MARKER;
use ambit_tests::{AccessLog, Wire, until};
use serde_json::Value;

use crate::world::{
    BANNER, DUPLEX, ECHO, Greeting, HTTP, HTTP2, OUTSIDE, SHOP, SOON, WEBSOCKET, WHOAMI, Way, World, spiffe, vip,
};

/// How much later than directly a server that speaks first may be heard.
const BANNER_DELAY: Duration = Duration::from_millis(50);

/// Runs a client on every way to `port` and judges its report; then only TLS has crossed the link, and each agent has
/// recorded each connection with both identities.
fn on_every_way(port: u16, client: &[&str], judge: impl Fn(&World, &Way, Value)) {
    let world = World::new();
    let wire = Wire::between(&world.topology, &[MARKER]).unwrap();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    for way in world.ways(port) {
        let to = way.to.to_string();
        let arguments = [&client[..1], &["--to", &to], &client[1..]].concat();
        let report = world.try_report("client", &arguments).unwrap_or_else(|error| panic!("{}: {error:#}", way.name));
        judge(&world, &way, report);
    }
    wire.stop().unwrap().only_hbone().unwrap();
    for way in world.ways(port) {
        recorded(&world, &way);
    }
}

/// The usual world, with addresses of one family alone for its pods, nodes and services.
fn single_stack(v4: bool) -> World {
    let (topology, mut manifests) = World::lay(World::usual());
    let is = |ip: &Value| ip.as_str().is_some_and(|ip| ip.contains('.') == v4);
    for pod in topology.pods() {
        let namespace = if pod.name.starts_with("outsider") { OUTSIDE } else { SHOP };
        let one_family = |object: &mut Value| {
            let status = &mut object["status"];
            status["podIPs"].as_array_mut().unwrap().retain(|ip| is(&ip["ip"]));
            status["podIP"] = status["podIPs"][0]["ip"].clone();
        };
        manifests.edit("Pod", namespace, &pod.name, one_family).unwrap();
    }
    for node in topology.nodes() {
        let one_family = |object: &mut Value| {
            object["status"]["addresses"].as_array_mut().unwrap().retain(|address| is(&address["address"]));
        };
        manifests.edit("Node", "", &node.name, one_family).unwrap();
    }
    for service in ["near", "far"] {
        let one_family = |object: &mut Value| {
            let spec = &mut object["spec"];
            spec["clusterIPs"].as_array_mut().unwrap().retain(is);
            spec["clusterIP"] = spec["clusterIPs"][0].clone();
        };
        manifests.edit("Service", SHOP, service, one_family).unwrap();
    }
    let mut world = World::closed(topology, manifests, &[]);
    world.open();
    world
}

#[test]
fn a_mesh_of_one_family_alone_carries_as_one_of_both() {
    for v4 in [true, false] {
        let world = single_stack(v4);
        let wire = Wire::between(&world.topology, &[MARKER]).unwrap();
        let _servers = ["near", "far"].map(|pod| world.serve(pod));
        let ways: Vec<_> = world.ways(WHOAMI).into_iter().filter(|way| way.to.is_ipv4() == v4).collect();
        assert_eq!(ways.len(), 4);
        for way in &ways {
            assert!(world.answered("client", way.to), "{}", way.name);
        }
        assert!(world.answered("far", world.at("near", WHOAMI)[usize::from(!v4)]), "the other way");
        wire.stop().unwrap().only_hbone().unwrap();
        for way in &ways {
            recorded(&world, way);
        }
    }
}

/// Waits until the client's agent has recorded the connections of `way`, and of its twin by the other address.
fn recorded(world: &World, way: &Way) {
    let ip = world.ip_like(way.pod, way.to.ip());
    let target = SocketAddr::new(ip, way.to.port()).to_string();
    let (source, destination) = (spiffe("client"), spiffe(way.pod));
    let address = if way.pod == "near" { "dst.addr" } else { "dst.hbone_addr" };
    let fields = [
        ("direction", "outbound"),
        ("src.workload", "client"),
        ("src.identity", &source),
        ("dst.workload", way.pod),
        ("dst.identity", &destination),
        (address, &target),
    ];
    let twice = |log: &[AccessLog]| log.iter().filter(|line| line.has(&fields)).count() >= 2;
    world.agent("a").wait_access_logs(SOON, twice).unwrap_or_else(|_| panic!("{}: {fields:?}", way.name));
}

#[test]
fn http_1_1_keeps_its_connection() {
    on_every_way(HTTP, &["fetch", "--count", "50"], |_, way, report| {
        assert_eq!((&report["status"], &report["count"]), (&200.into(), &50.into()), "{}", way.name);
        assert!(report["body"].as_str().unwrap().starts_with(way.pod), "{}: {report}", way.name);
    });
}

#[test]
fn http_2_without_tls_multiplexes() {
    on_every_way(HTTP2, &["h2c", "--requests", "100"], |_, way, report| {
        assert_eq!(report["ok"], 100, "{}", way.name);
    });
}

#[test]
fn grpc_streams_both_ways() {
    on_every_way(HTTP2, &["grpc", "--messages", "200"], |_, way, report| {
        assert_eq!((&report["received"], &report["status"]), (&200.into(), &"0".into()), "{}", way.name);
    });
}

#[test]
fn websocket_upgrades_and_closes_in_order() {
    on_every_way(WEBSOCKET, &["websocket", "--messages", "100"], |_, way, report| {
        assert_eq!((&report["received"], &report["closed"]), (&100.into(), &true.into()), "{}", way.name);
    });
}

#[test]
fn a_server_that_speaks_first_is_heard_as_soon_as_directly() {
    let world = World::new();
    let _servers = ["near", "far", "outsider-a", "outsider-b"].map(|pod| world.serve(pod));
    let median = |client: &str, to: SocketAddr| {
        let report = world.report(client, &["greeting", "--to", &to.to_string(), "--count", "15"]);
        let lines = report["lines"].as_array().unwrap();
        assert!(lines.iter().all(|line| line.as_str().unwrap().starts_with("220 ")), "{report}");
        Duration::from_micros(report["latency"]["p50_us"].as_u64().unwrap())
    };
    for way in world.ways(BANNER) {
        // As far away as the server, and no part of the mesh at either end.
        let (client, server) =
            if way.pod == "near" { ("outsider-b", "outsider-b") } else { ("outsider-a", "outsider-b") };
        let ip = world.ip_like(server, way.to.ip());
        let direct = median(client, SocketAddr::new(ip, BANNER));
        let meshed = median("client", way.to);
        assert!(meshed < direct + BANNER_DELAY, "{}: {meshed:?}, directly {direct:?}", way.name);
        recorded(&world, &way);
    }
}

#[test]
fn the_application_sees_its_clients_address() {
    let same = |world: &World, client: &str, way: &Way, report: &Value| {
        let Greeting { name, peer, local } = Greeting::of(report);
        let ip = |pod: &str| world.ip_like(pod, way.to.ip());
        assert_eq!(name, way.pod, "{}", way.name);
        assert_eq!(peer.ip(), ip(client), "{}", way.name);
        let expected = SocketAddr::new(ip(way.pod), way.to.port());
        assert_eq!(local, expected, "{}", way.name);
    };
    on_every_way(WHOAMI, &["greeting"], |world, way, report| same(world, "client", way, &report));
    // From outside the mesh, and to it.
    let world = World::new();
    let _servers = ["near", "far", "outsider-b"].map(|pod| world.serve(pod));
    for way in world.ways(WHOAMI).into_iter().filter(|way| way.name.contains("pod")) {
        for outsider in ["outsider-a", "outsider-b"] {
            let report = world.report(outsider, &["greeting", "--to", &way.to.to_string()]);
            same(&world, outsider, &way, &report);
        }
    }
    for to in world.at("outsider-b", WHOAMI) {
        let way = Way { name: "out".into(), to, pod: "outsider-b" };
        same(&world, "client", &way, &world.report("client", &["greeting", "--to", &way.to.to_string()]));
    }
}

#[test]
fn on_one_node_by_tls_as_between_nodes() {
    let world = World::with(&["--same-node", "tls"]);
    let _server = world.serve("near");
    for way in world.ways(DUPLEX).into_iter().filter(|way| way.pod == "near") {
        let report = world.report("client", &["duplex", "--to", &way.to.to_string(), "--bytes", "3000000"]);
        assert_eq!(report["received"], 3_000_000, "{}", way.name);
        let ip = world.ip_like("near", way.to.ip());
        let target = SocketAddr::new(ip, DUPLEX).to_string();
        for direction in ["outbound", "inbound"] {
            let fields = [("direction", direction), ("dst.hbone_addr", &target), ("src.workload", "client")];
            world.agent("a").wait_access_log(&fields, SOON).unwrap();
        }
    }
}

#[test]
fn heavy_a_gibibyte_each_way_at_once_arrives_whole() {
    let world = World::new();
    let _servers = ["far", "near"].map(|pod| world.serve(pod));
    let bytes = 1_u64 << 30;
    for to in [vip("far", DUPLEX)[0], vip("near", DUPLEX)[1]] {
        let transfer = world.start("client", &["duplex", "--to", &to.to_string(), "--bytes", &bytes.to_string()]);
        let report: Value = transfer.report(Duration::from_secs(240)).unwrap();
        assert_eq!((&report["sent"], &report["received"]), (&bytes.into(), &bytes.into()), "{to}");
    }
    for node in ["a", "b"] {
        let line = world.agent(node).wait_access_log(&[("dst.workload", "far")], SOON).unwrap();
        // Before and after the pattern: how many bytes it shall be, and the verdict. Sent is, as with
        // Istio, what the agent's own side of the tunnel sent.
        let (up, down) = (bytes + 8, bytes + "intact".len() as u64);
        let expected = if node == "a" { (up, down) } else { (down, up) };
        assert_eq!((line.bytes_sent(), line.bytes_received()), expected, "{line:?}");
    }
}

#[test]
fn heavy_ten_thousand_connections_stay_open_and_answer() {
    const COUNT: usize = 10_000;
    let world = World::new();
    let _servers = ["far", "near"].map(|pod| world.serve(pod));
    let mut held = world.hold("client", vip("far", ECHO)[1], COUNT);
    held.all_work();
    held.all_work();
    for node in ["a", "b"] {
        assert_eq!(world.open_connections(node).len(), COUNT, "on {node}");
    }
    held.kill();
    until(SOON, || world.open_connections("a").is_empty()).unwrap();
    // An agent that stands at both ends has two sockets a connection, and a process often not more than 20,000 files.
    let mut held = world.hold("client", vip("near", ECHO)[0], COUNT * 9 / 10);
    held.all_work();
    held.all_work();
}

/// A stranger's ports and those that the proxy takes in the stranger's name are ports of one address: were they chosen
/// alike, some of the connections would be mistaken for others.
#[test]
fn many_connections_in_clear_from_one_stranger_are_told_apart() {
    let world = World::new();
    let _server = world.serve("near");
    for to in world.at("near", ECHO) {
        let mut held = world.hold("outsider-a", to, 500);
        for _ in 0..3 {
            held.all_work();
        }
    }
}
