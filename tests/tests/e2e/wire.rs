//! What crosses the link between the nodes: TLS on port 15008 and nothing else, from the first packet on.

use ambit_tests::Wire;
use ambit_tests::payload::MARKER;

use crate::world::{DUPLEX, HTTP, HTTP2, World};

/// What the tools send in clear: were one of these seen, the mesh would have leaked it.
const CLEAR: [&[u8]; 4] = [MARKER, b"HTTP/1.1", b"GET /", b"PRI * HTTP/2.0"];

#[test]
fn only_tls_on_15008_crosses_the_link_from_the_first_packet_on() {
    let world = World::new();
    let wire = Wire::between(&world.topology, &CLEAR).unwrap();
    let servers = ["near", "far"].map(|pod| world.serve(pod));
    exchange(&world);
    // Reconnects: the servers go away and come back, and so do the clients.
    servers.into_iter().for_each(|server| server.kill().unwrap());
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    exchange(&world);
    wire.stop().unwrap().only_hbone().unwrap();
}

#[test]
fn an_outsider_is_reached_in_clear_and_the_capture_would_see_it() {
    let world = World::new();
    let wire = Wire::between(&world.topology, &CLEAR).unwrap();
    let _server = world.serve("outsider-b");
    for to in world.at("outsider-b", HTTP) {
        assert_eq!(world.fetch("client", to), 200);
    }
    let seen = wire.stop().unwrap();
    assert!(seen.marker_hits() >= 4, "{seen:?}");
    assert_eq!(seen.ports().into_iter().collect::<Vec<_>>(), [HTTP]);
}

fn exchange(world: &World) {
    for way in world.ways(DUPLEX) {
        let report = world.report("client", &["duplex", "--to", &way.to.to_string(), "--bytes", "2000000"]);
        assert_eq!(report["received"], 2_000_000, "{}", way.name);
    }
    for way in world.ways(HTTP) {
        let report = world.report("client", &["requests", "--to", &way.to.to_string(), "--count", "20"]);
        assert_eq!((&report["ok"], &report["failed"]), (&20.into(), &0.into()), "{}: {report}", way.name);
    }
    for way in world.ways(HTTP2) {
        assert_eq!(world.report("client", &["h2c", "--to", &way.to.to_string()])["ok"], 100, "{}", way.name);
    }
}
