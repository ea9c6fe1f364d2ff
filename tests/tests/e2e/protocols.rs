//! What applications speak goes through the mesh unnoticed, on every way: on one node and across, by pod and by service
//! address, by both families (A-01, A-03, A-05, A-11, C-06, C-07).

use std::net::SocketAddr;
use std::time::Duration;

use ambit_tests::payload::MARKER;
use ambit_tests::{MeshOptions, Wire};
use serde_json::Value;

use crate::shop::until;
use crate::world::{self, SHOP, SOON, Way, World};

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

/// Waits until the client's agent has recorded the connections of `way`, and of its twin by the other address.
fn recorded(world: &World, way: &Way) {
    let ip = world.pod(way.pod).addresses().into_iter().find(|ip| ip.is_ipv4() == way.to.is_ipv4()).unwrap();
    let target = SocketAddr::new(ip, way.to.port()).to_string();
    let identity = |account: &str| format!("spiffe://cluster.local/ns/{SHOP}/sa/{account}");
    let (source, destination) = (identity("client"), identity(way.pod));
    let address = if way.pod == "near" { "dst.addr" } else { "dst.hbone_addr" };
    let fields = [
        ("direction", "outbound"),
        ("src.workload", "client"),
        ("src.identity", &source),
        ("dst.workload", way.pod),
        ("dst.identity", &destination),
        (address, &target),
    ];
    let agent = world.agent("a");
    let count = || agent.access_log().iter().filter(|line| line.has(&fields)).count();
    until(SOON, || count() >= 2).unwrap_or_else(|_| panic!("{}: {} lines with {fields:?}", way.name, count()));
}

#[test]
fn http_1_1_keeps_its_connection() {
    on_every_way(world::HTTP, &["fetch", "--count", "50"], |_, way, report| {
        assert_eq!((&report["status"], &report["count"]), (&200.into(), &50.into()), "{}", way.name);
        assert!(report["body"].as_str().unwrap().starts_with(way.pod), "{}: {report}", way.name);
    });
}

#[test]
fn http_2_without_tls_multiplexes() {
    on_every_way(world::HTTP2, &["h2c", "--requests", "100"], |_, way, report| {
        assert_eq!(report["ok"], 100, "{}", way.name);
    });
}

#[test]
fn grpc_streams_both_ways() {
    on_every_way(world::HTTP2, &["grpc", "--messages", "200"], |_, way, report| {
        assert_eq!((&report["received"], &report["status"]), (&200.into(), &"0".into()), "{}", way.name);
    });
}

#[test]
fn websocket_upgrades_and_closes_in_order() {
    on_every_way(world::WEBSOCKET, &["websocket", "--messages", "100"], |_, way, report| {
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
    for way in world.ways(world::BANNER) {
        // As far away as the server, and no part of the mesh at either end.
        let (client, server) =
            if way.pod == "near" { ("outsider-b", "outsider-b") } else { ("outsider-a", "outsider-b") };
        let ip = world.pod(server).addresses().into_iter().find(|ip| ip.is_ipv4() == way.to.is_ipv4()).unwrap();
        let direct = median(client, SocketAddr::new(ip, world::BANNER));
        let meshed = median("client", way.to);
        assert!(meshed < direct + BANNER_DELAY, "{}: {meshed:?}, directly {direct:?}", way.name);
        recorded(&world, &way);
    }
}

#[test]
fn the_application_sees_its_clients_address() {
    let same = |world: &World, client: &str, way: &Way, report: &Value| {
        let line = report["lines"][0].as_str().unwrap().to_owned();
        let [name, peer, local] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let ip = |pod: &str| world.pod(pod).addresses().into_iter().find(|ip| ip.is_ipv4() == way.to.is_ipv4());
        assert_eq!(name, way.pod, "{}", way.name);
        assert_eq!(Some(peer.parse::<SocketAddr>().unwrap().ip()), ip(client), "{}", way.name);
        let expected = SocketAddr::new(ip(way.pod).unwrap(), way.to.port());
        assert_eq!(local.parse::<SocketAddr>().unwrap(), expected, "{}", way.name);
    };
    on_every_way(world::WHOAMI, &["greeting"], |world, way, report| same(world, "client", way, &report));
    // From outside the mesh, and to it.
    let world = World::new();
    let _servers = ["near", "far", "outsider-b"].map(|pod| world.serve(pod));
    for way in world.ways(world::WHOAMI).into_iter().filter(|way| way.name.contains("pod")) {
        for outsider in ["outsider-a", "outsider-b"] {
            let report = world.report(outsider, &["greeting", "--to", &way.to.to_string()]);
            same(&world, outsider, &way, &report);
        }
    }
    for ip in world.pod("outsider-b").addresses() {
        let way = Way { name: "out".into(), to: SocketAddr::new(ip, world::WHOAMI), pod: "outsider-b" };
        same(&world, "client", &way, &world.report("client", &["greeting", "--to", &way.to.to_string()]));
    }
}

#[test]
fn on_one_node_by_tls_as_between_nodes() {
    let options = MeshOptions { arguments: vec!["--same-node".into(), "tls".into()], ..MeshOptions::default() };
    let world = World::with(&options);
    let _server = world.serve("near");
    for way in world.ways(world::DUPLEX).into_iter().filter(|way| way.pod == "near") {
        let report = world.report("client", &["duplex", "--to", &way.to.to_string(), "--bytes", "3000000"]);
        assert_eq!(report["received"], 3_000_000, "{}", way.name);
        let ip = world.pod("near").addresses().into_iter().find(|ip| ip.is_ipv4() == way.to.is_ipv4()).unwrap();
        let target = SocketAddr::new(ip, world::DUPLEX).to_string();
        for direction in ["outbound", "inbound"] {
            let fields = [("direction", direction), ("dst.hbone_addr", &target), ("src.workload", "client")];
            world.agent("a").wait_access_log(&fields, SOON).unwrap();
        }
    }
}

#[test]
fn heavy_a_gibibyte_each_way_at_once_arrives_whole() {
    let world = World::new();
    let _server = world.serve("far");
    let bytes = 1_u64 << 30;
    let to = SocketAddr::new(world::vips("far")[0], world::DUPLEX).to_string();
    let transfer = world.pod("client").testapp(&["duplex", "--to", &to, "--bytes", &bytes.to_string()]).unwrap();
    let report: Value = transfer.report(Duration::from_secs(240)).unwrap();
    assert_eq!((&report["sent"], &report["received"]), (&bytes.into(), &bytes.into()));
    for node in ["a", "b"] {
        let line = world.agent(node).wait_access_log(&[("src.workload", "client")], SOON).unwrap();
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
    let _server = world.serve("far");
    let to = SocketAddr::new(world::vips("far")[1], world::ECHO).to_string();
    let count = COUNT.to_string();
    let mut held = world.pod("client").testapp(&["hold", "--to", &to, "--count", &count]).unwrap();
    held.wait_line("holding", Duration::from_secs(200)).unwrap();
    let opened = held.wait_line("\"ok\"", SOON).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&opened.text).unwrap()["ok"], COUNT, "{}", opened.text);
    for _ in 0..2 {
        let mark = held.mark();
        held.write_line("again").unwrap();
        let answered = held.wait_line_after(mark, "\"ok\"", Duration::from_secs(60)).unwrap();
        let report: Value = serde_json::from_str(&answered.text).unwrap();
        assert_eq!((&report["ok"], &report["failed"]), (&COUNT.into(), &0.into()), "{report}");
    }
    for node in ["a", "b"] {
        let open = world.agent(node).admin("/connections").unwrap();
        let open: usize = open.as_array().unwrap().iter().map(|worker| worker.as_array().unwrap().len()).sum();
        assert_eq!(open, COUNT, "on {node}");
    }
}

/// A stranger's ports and those that the proxy takes in the stranger's name are ports of one address: were they chosen
/// alike, some of the connections would be mistaken for others.
#[test]
fn many_connections_in_clear_from_one_stranger_are_told_apart() {
    let world = World::new();
    let _server = world.serve("near");
    for address in world.pod("near").addresses() {
        let to = SocketAddr::new(address, world::ECHO).to_string();
        let mut held = world.pod("outsider-a").testapp(&["hold", "--to", &to, "--count", "500"]).unwrap();
        held.wait_line("holding", SOON).unwrap();
        for _ in 0..3 {
            let mark = held.mark();
            held.write_line("again").unwrap();
            let report = held.wait_line_after(mark, "\"ok\"", SOON).unwrap();
            let report: Value = serde_json::from_str(&report.text).unwrap();
            assert_eq!((&report["ok"], &report["failed"]), (&500.into(), &0.into()), "{to}: {report}");
        }
    }
}
