//! What labels bind to a waypoint, as clients and agents see it without one of ours: the stand-in shares no code with
//! the mesh (G-02 to G-04, G-10, F-14, F-15).

use std::net::{IpAddr, SocketAddr};

use ambit_tests::Process;
use ambit_tests::manifests::ServiceSpec;
use serde_json::{Value, json};

use crate::policy::expect;
use crate::world::{ECHO, OUTSIDE, SHOP, SOON, WHOAMI, World, by_name, spiffe, vip};

const USE: &str = "istio.io/use-waypoint";
/// A port that belongs to no Service.
const OTHER: u16 = 7900;
/// The stand-in: a pod that is not enrolled, and its Gateway and Service, all of this name.
const STAND_IN: &str = "outsider-wp";
const REQUIRED: &str = "waypoint-required";

/// Has the labels of the Service `name` ask for `waypoint`, or for none of them, and waits until both agents know.
fn ask(world: &mut World, name: &str, waypoint: Option<&str>) {
    world.manifests.label(("Service", SHOP, name), USE, waypoint).unwrap();
    let named = waypoint.filter(|name| *name != "none").map(|name| format!("{SHOP}/{name}"));
    await_asking(world, name, named.as_deref());
}

fn await_asking(world: &World, name: &str, waypoint: Option<&str>) {
    let host = format!("{name}.{SHOP}.svc.cluster.local");
    world.await_config(&["a", "b"], |dump| {
        let service = by_name(dump, "services", "hostname", &host).unwrap();
        service["waypoint"]["key"].as_str() == waypoint
    });
}

/// `client` is refused at both addresses of the Service `name` for want of its waypoint, as its agent says.
fn refused_at_service(world: &World, client: &str, name: &str) {
    for to in vip(name, WHOAMI) {
        assert!(!world.answered(client, to), "{client} to {to}");
        let service = format!("{name}.{SHOP}.svc.cluster.local");
        let line = [("reason", "waypoint-unavailable"), ("direction", "outbound"), ("dst.service", service.as_str())];
        world.agent(&world.pod(client).node).wait_access_log(&line, SOON).unwrap();
    }
}

fn reports(world: &World) -> String {
    world.agent("a").admin("/reports").unwrap().to_string()
}

#[test]
fn a_waypoint_that_is_misspelt_shuts_its_services_and_nothing_else_until_it_is_not_asked_for() {
    let mut world = World::new();
    let servers = ["near", "far"];
    let _servers = servers.map(|pod| world.serve(pod));
    let _others = servers.map(|pod| world.serve_only(pod, &[&format!("whoami={OTHER}")]));
    for server in servers {
        ask(&mut world, server, Some("misspelt"));
    }
    for server in servers {
        refused_at_service(&world, "client", server);
        // By HBONE, within the node, and in clear.
        let nobody = [("client", false), ("outsider-a", false), ("outsider-b", false)];
        expect(&world, (server, WHOAMI), REQUIRED, &nobody);
        expect(&world, (server, OTHER), REQUIRED, &nobody.map(|(client, _)| (client, true)));
    }
    let line = world.agent("b").wait_access_log(&[("reason", REQUIRED), ("direction", "inbound")], SOON).unwrap();
    assert!(line.field("error").contains("Gateway shop/misspelt"), "{line:?}");
    assert!(reports(&world).contains("there is no waypoint shop/misspelt"), "{}", reports(&world));
    // The namespace asks, and one Service opts out.
    for server in servers {
        ask(&mut world, server, None);
    }
    world.manifests.label(("Namespace", "", SHOP), USE, Some("misspelt")).unwrap();
    await_asking(&world, "near", Some("shop/misspelt"));
    ask(&mut world, "far", Some("none"));
    refused_at_service(&world, "client", "near");
    expect(&world, ("near", WHOAMI), REQUIRED, &[("client", false), ("outsider-a", false)]);
    let open = |world: &World, server: &str| {
        expect(world, (server, WHOAMI), REQUIRED, &[("client", true), ("outsider-a", true), ("outsider-b", true)]);
        for to in vip(server, WHOAMI) {
            assert!(world.answered("client", to), "{to}");
        }
    };
    open(&world, "far");
    world.manifests.label(("Namespace", "", SHOP), USE, None).unwrap();
    await_asking(&world, "near", None);
    open(&world, "near");
}

#[test]
fn a_waypoint_that_is_only_preferred_is_gone_around() {
    let mut world = World::with(&["--waypoints", "preferred"]);
    let _server = world.serve("far");
    ask(&mut world, "far", Some("misspelt"));
    expect(&world, ("far", WHOAMI), REQUIRED, &[("client", true), ("outsider-a", true), ("outsider-b", true)]);
    for to in vip("far", WHOAMI) {
        assert!(world.answered("client", to), "{to}");
    }
}

#[test]
fn open_connections_that_do_not_come_from_the_waypoint_are_cut_when_one_is_asked_for() {
    const COUNT: usize = 10;
    let mut world = World::new();
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let _other = world.serve_only("far", &[&format!("echo={OTHER}")]);
    let mut cut: Vec<_> = [("client", "near"), ("client", "far"), ("outsider-a", "far")]
        .map(|(client, server)| world.hold(client, world.at(server, ECHO)[0], COUNT))
        .into();
    let mut stays = world.hold("client", world.at("far", OTHER)[1], COUNT);
    for server in ["near", "far"] {
        ask(&mut world, server, Some("misspelt"));
    }
    for (node, count) in [("a", COUNT), ("b", 2 * COUNT)] {
        let why = |line: &&ambit_tests::AccessLog| {
            line.has(&[("reason", "policy-changed"), ("direction", "inbound")])
                && line.field("error").contains(REQUIRED)
        };
        world.agent(node).wait_access_logs(SOON, |log| log.iter().filter(why).count() == count).unwrap();
    }
    for held in &mut cut {
        assert_eq!(held.alive(), 0);
    }
    stays.all_work();
}

/// A world with the stand-in on node `b`, and its Gateway in another namespace than what it serves.
fn with_stand_in() -> (World, Process) {
    let plan = World::usual().pod(STAND_IN, "b");
    let (topology, mut manifests) = World::lay(plan);
    let vips = ["10.96.0.9", "fd00:10:96::9"].map(|ip| ip.parse::<IpAddr>().unwrap());
    manifests.service(OUTSIDE, &ServiceSpec { name: STAND_IN, vips: &vips, ports: &[(15008, 15008)] }).unwrap();
    let label = "gateway.networking.k8s.io/gateway-name";
    manifests.label(("Pod", OUTSIDE, STAND_IN), label, Some(STAND_IN)).unwrap();
    let mut world = World::closed(topology, manifests, &[]);
    gateway(&mut world, "service", "All");
    for name in ["near", "far"] {
        let object = ("Service", SHOP, name);
        world.manifests.label(object, USE, Some(STAND_IN)).unwrap();
        world.manifests.label(object, "istio.io/use-waypoint-namespace", Some(OUTSIDE)).unwrap();
    }
    world.open();
    let (ca, identity) = (ca(&world), stand_in_identity());
    let server = world.start(STAND_IN, &["hostile", "server", "--ca", &ca, "--identity", &identity]);
    server.wait_line("listening", SOON).unwrap();
    (world, server)
}

/// Writes the stand-in's Gateway: what it is for, and from where.
fn gateway(world: &mut World, serves: &str, from: &str) {
    let metadata = json!({"name": STAND_IN, "namespace": OUTSIDE, "labels": {"istio.io/waypoint-for": serves}});
    let namespaces = json!({"namespaces": {"from": from}});
    let listener = json!({"name": "mesh", "port": 15008, "protocol": "HBONE", "allowedRoutes": namespaces});
    let spec = json!({"gatewayClassName": "istio-waypoint", "listeners": [listener]});
    let version = "gateway.networking.k8s.io/v1";
    let object = json!({"apiVersion": version, "kind": "Gateway", "metadata": metadata, "spec": spec});
    world.manifests.apply(object).unwrap();
}

/// Waits until both agents know what the stand-in is for, as the dump has it, and from where.
fn await_gateway(world: &World, serves: &str, allowed: &str) {
    let key = format!("{OUTSIDE}/{STAND_IN}");
    world.await_config(&["a", "b"], |dump| {
        by_name(dump, "waypoints", "key", &key).is_some_and(|w| w["serves"] == serves && w["allowed"] == allowed)
    });
}

fn ca(world: &World) -> String {
    world.topology.directory().join("ca.pem").display().to_string()
}

fn stand_in_identity() -> String {
    format!("spiffe://cluster.local/ns/{OUTSIDE}/sa/{STAND_IN}")
}

/// True if what `client` sends to `to` comes back.
fn echoes(world: &World, client: &str, to: SocketAddr) -> bool {
    world.dialled(client, to, "send:5,recv:5,shutdown,observe:5000").contains(r#""event":"shutdown""#)
}

/// The stand-in was asked for `to`, by `client` in person.
fn asked(server: &Process, mark: usize, client: &str, to: SocketAddr) {
    let line = server.wait_line_after(mark, &format!(r#""authority":"{to}""#), SOON).unwrap();
    let request: Value = serde_json::from_str(&line.text).unwrap();
    assert_eq!((&request["method"], &request["peer"]), (&"CONNECT".into(), &spiffe(client).into()));
}

#[test]
fn what_is_addressed_to_a_service_or_to_a_pod_is_asked_of_the_waypoint_for_it() {
    let (mut world, server) = with_stand_in();
    for name in ["near", "far"] {
        for to in vip(name, ECHO) {
            let mark = server.mark();
            assert!(echoes(&world, "client", to), "{to}");
            asked(&server, mark, "client", to);
            let service = format!("{name}.{SHOP}.svc.cluster.local");
            let line = [("dst.service", service.as_str()), ("dst.workload", STAND_IN), ("direction", "outbound")];
            let line =
                world.agent("a").wait_access_log(&[&line[..], &[("dst.hbone_addr", &to.to_string())]].concat(), SOON);
            let identity = stand_in_identity();
            assert_eq!(line.unwrap().field("dst.identity"), identity);
        }
    }
    // Pods' own addresses are not its to serve, and their services' ports nobody else's.
    expect(&world, ("far", ECHO), REQUIRED, &[("client", false), ("outsider-a", false)]);
    let _far = world.serve_only("far", &[&format!("echo={OTHER}")]);
    assert!(echoes(&world, "client", world.at("far", OTHER)[0]));
    // Within its own namespace alone, it serves none of them.
    gateway(&mut world, "service", "Same");
    await_gateway(&world, "Services", "Same");
    refused_at_service(&world, "client", "far");
    assert!(reports(&world).contains("AttachmentDenied"), "{}", reports(&world));
    // For workloads, it is asked for pods that ask for it, at every port.
    for (label, value) in [(USE, STAND_IN), ("istio.io/use-waypoint-namespace", OUTSIDE)] {
        world.manifests.label(("Pod", SHOP, "far"), label, Some(value)).unwrap();
    }
    gateway(&mut world, "workload", "All");
    await_gateway(&world, "Workloads", "All");
    world.await_config(&["a", "b"], |dump| by_name(dump, "workloads", "name", "far").unwrap()["waypoint"].is_object());
    for to in world.at("far", OTHER) {
        let mark = server.mark();
        assert!(echoes(&world, "client", to), "{to}");
        asked(&server, mark, "client", to);
    }
    assert!(reports(&world).contains("UnsupportedTrafficType"), "{}", reports(&world));
}

#[test]
fn a_destination_believes_the_waypoints_certificate_and_no_other() {
    let (world, _server) = with_stand_in();
    let _far = world.serve("far");
    let ca = ca(&world);
    for to in world.at("far", ECHO) {
        let (at, authority) = (SocketAddr::new(to.ip(), 15008).to_string(), to.to_string());
        let connect = |pod: &str, identity: &str| {
            let who = ["hostile", "client", "--ca", &ca, "--identity", identity];
            world.report(pod, &[&who[..], &["--to", &at, "--authority", &authority]].concat())
        };
        let seen = connect(STAND_IN, &stand_in_identity());
        assert_eq!((&seen["status"], &seen["echoed"]), (&200.into(), &true.into()), "{seen}");
        let other = format!("spiffe://cluster.local/ns/{OUTSIDE}/sa/outsider-b");
        let seen = connect("outsider-b", &other);
        assert_eq!((&seen["status"], &seen["reason"]), (&401.into(), &REQUIRED.into()), "{seen}");
        // The waypoint's address in clear is a stranger's.
        assert!(!echoes(&world, STAND_IN, to), "{to}");
    }
}
