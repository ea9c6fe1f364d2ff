//! Three nodes: wherever client, server and waypoint are, one finds the other; and pods move, and nodes come and go, while
//! they are asked (T-01).

use std::net::IpAddr;

use ambit_tests::topology::Plan;
use ambit_tests::{Process, Waypoint};
use serde_json::{Value, json};

use crate::world::{HTTP, SHOP, SOON, WHOAMI, World, by_name, socket};

const NODES: [&str; 3] = ["a", "b", "c"];
const USE: &str = "istio.io/use-waypoint";

fn on(role: &str, node: &str) -> String {
    format!("{role}-{node}")
}

/// The addresses of the service of the server of one node through the waypoint of another, or of nobody's.
fn vips(server: usize, waypoint: usize) -> [String; 2] {
    [format!("10.96.{waypoint}.{server}"), format!("fd00:10:96::{waypoint}:{server}")]
}

/// A Service named `name` for the pods of `app`.
fn serve(world: &mut World, name: &str, app: &str, vips: &[String; 2], port: u16) {
    let ports = json!([{"name": format!("tcp-{port}"), "port": port}]);
    let spec = json!({"selector": {"app": app}, "clusterIP": vips[0], "clusterIPs": vips, "ports": ports});
    world.apply("Service", name, spec);
}

/// Writes the objects of a waypoint in the pod `name`, which serves Services.
fn waypoint(world: &mut World, number: usize, name: &str) -> Waypoint {
    let listener = json!({"name": "mesh", "port": 15008, "protocol": "HBONE"});
    let spec = json!({"gatewayClassName": "istio-waypoint", "listeners": [listener]});
    let metadata = json!({"name": name, "namespace": SHOP, "labels": {"istio.io/waypoint-for": "service"}});
    let version = "gateway.networking.k8s.io/v1";
    world
        .manifests
        .apply(json!({"apiVersion": version, "kind": "Gateway", "metadata": metadata, "spec": spec}))
        .unwrap();
    let vip: IpAddr = format!("10.96.255.{number}").parse().unwrap();
    let World { manifests, topology, .. } = world;
    let pod = topology.pod(name).unwrap();
    Waypoint::declare(manifests, (SHOP, name), pod, &[vip]).unwrap();
    Waypoint::new(topology, manifests.directory(), (SHOP, name), pod, &["--log-level", "info"]).unwrap()
}

#[test]
fn wherever_client_server_and_waypoint_are_they_find_one_another() {
    let plan = NODES.iter().fold(Plan::new(&NODES), |plan, node| {
        ["client", "server", "waypoint"].iter().fold(plan, |plan, role| plan.pod(&on(role, node), node))
    });
    let (topology, manifests) = World::lay(plan);
    let mut world = World::closed(topology, manifests, &[]);
    let mut waypoints: Vec<Waypoint> =
        (1..).zip(NODES).map(|(number, node)| waypoint(&mut world, number, &on("waypoint", node))).collect();
    for (server, of) in (1..).zip(NODES) {
        let app = on("server", of);
        serve(&mut world, &on("direct", of), &app, &vips(server, 9), WHOAMI);
        for (through, by) in (1..).zip(NODES) {
            let name = format!("{of}-by-{by}");
            serve(&mut world, &name, &app, &vips(server, through), WHOAMI);
            world.manifests.label(("Service", SHOP, &name), USE, Some(&on("waypoint", by))).unwrap();
        }
    }
    world.mesh.start_all().unwrap();
    waypoints.iter_mut().for_each(|waypoint| waypoint.start().unwrap());
    let whoami = format!("whoami={WHOAMI}");
    let _servers = NODES.map(|node| world.serve_only(&on("server", node), &[&whoami]));
    for (node, role) in NODES.iter().flat_map(|node| [(node, "client"), (node, "server")]) {
        world.agent(node).wait_captured(SHOP, &on(role, node), true, SOON).unwrap();
    }
    world.await_service(&NODES, &format!("c-by-c.{SHOP}.svc.cluster.local"));
    for client in NODES.map(|node| on("client", node)) {
        for (server, of) in (1..).zip(NODES) {
            for (through, peer) in
                [(9, client.clone())].into_iter().chain((1..).zip(NODES.map(|by| on("waypoint", by))))
            {
                for vip in vips(server, through) {
                    let to = socket(&vip, WHOAMI);
                    let greeting = world.greeting(&client, to);
                    assert_eq!(greeting.name, on("server", of), "{client} to {to}");
                    // Who is seen is whoever came last: the client, or the waypoint on its way.
                    assert_eq!(greeting.peer.ip(), world.ip_like(&peer, greeting.peer.ip()), "{client} to {to}");
                }
            }
        }
    }
}

/// Requests of `client` to the service of everybody, by either family, until they are stopped.
fn asking(world: &World, client: &str) -> [Process; 2] {
    vips(1, 1).map(|vip| {
        let to = socket(&vip, HTTP).to_string();
        world.start(client, &["requests", "--to", &to, "--every", "10", "--verbose"])
    })
}

/// Writes the pod `name` as one that serves everybody.
fn come(world: &mut World, name: &str) -> Process {
    let server = world.serve_only(name, &["--finish", &format!("http={HTTP}")]);
    let World { manifests, topology, .. } = world;
    manifests.pod(SHOP, topology.pod(name).unwrap(), name).unwrap();
    let node = topology.pod(name).unwrap().node.clone();
    world.agent(&node).wait_captured(SHOP, name, true, SOON).unwrap();
    world.manifests.label(("Pod", SHOP, name), "app", Some("everybody")).unwrap();
    server
}

/// Waits until both clients' requests are answered by `name`.
fn answered_by(world: &World, name: &str) {
    let identity = format!("spiffe://cluster.local/ns/{SHOP}/sa/{name}");
    let line = [("direction", "outbound"), ("dst.identity", identity.as_str())];
    for node in ["a", "b"] {
        let mark = world.process(node).mark();
        let of_it = |lines: &[ambit_tests::process::Line]| {
            lines.iter().skip(mark).any(|one| line.iter().all(|(_, value)| one.text.contains(value))).then_some(())
        };
        world.process(node).wait_for(SOON, of_it).unwrap_or_else(|| panic!("{name} is not asked from {node}"));
    }
}

#[test]
fn pods_move_and_nodes_come_and_go_and_whoever_asks_is_answered() {
    let plan = NODES.iter().fold(Plan::new(&NODES), |plan, node| plan.pod(&on("client", node), node));
    let plan = plan.pod("stays", "a").pod("moves", "b").pod("late", "c");
    let (topology, mut manifests) = World::lay(plan);
    // The third node is not there yet: nothing tells of it.
    for pod in ["client-c", "late", "moves", "stays"] {
        manifests.delete("Pod", SHOP, pod).unwrap();
    }
    let third = manifests.of_kind("Node").find(|node| node["metadata"]["name"] == "c").unwrap().clone();
    manifests.delete("Node", "", "c").unwrap();
    let mut world = World::closed(topology, manifests, &[]);
    serve(&mut world, "everybody", "everybody", &vips(1, 1), HTTP);
    for node in ["a", "b"] {
        world.agent_mut(node).start().unwrap();
        world.agent(node).wait_captured(SHOP, &on("client", node), true, SOON).unwrap();
    }
    let (_stays, moves) = (come(&mut world, "stays"), come(&mut world, "moves"));
    let asking: Vec<Process> = ["client-a", "client-b"].iter().flat_map(|client| asking(&world, client)).collect();
    answered_by(&world, "stays");
    answered_by(&world, "moves");

    // A node comes, and a pod with it.
    world.manifests.apply(third).unwrap();
    world.agent_mut("c").start().unwrap();
    let late = come(&mut world, "late");
    answered_by(&world, "late");

    // A pod moves there: gone from its node, and then of the same name on the other one.
    ends(&mut world, "moves", moves);
    world.topology.delete_pod("moves").unwrap();
    world.topology.start_pod("moves", "c").unwrap();
    let moved = come(&mut world, "moves");
    answered_by(&world, "moves");

    // The node goes, and all of its pods before it.
    ends(&mut world, "late", late);
    ends(&mut world, "moves", moved);
    world.agent_mut("c").kill().unwrap();
    world.manifests.delete("Node", "", "c").unwrap();
    answered_by(&world, "stays");

    for client in asking {
        let report: Value = client.stop(SOON).unwrap().report().unwrap();
        assert!(report["failed"] == 0 && report["ok"].as_u64().unwrap() > 20, "{report}");
    }
}

/// Ends the pod `name` and its `server` as Kubernetes does: it is no endpoint any more, its server finishes what it has, and then it is
/// gone.
fn ends(world: &mut World, name: &str, server: Process) {
    let terminate = |pod: &mut Value| pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.manifests.edit("Pod", SHOP, name, terminate).unwrap();
    world.await_config(&["a", "b"], |dump| by_name(dump, "workloads", "name", name).unwrap()["ready"] == false);
    server.stop(SOON).unwrap();
    world.manifests.delete("Pod", SHOP, name).unwrap();
    let node = world.pod(name).node.clone();
    world.agent(&node).wait_captured(SHOP, name, false, SOON).unwrap();
}
