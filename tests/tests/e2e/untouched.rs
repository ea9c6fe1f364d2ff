//! What the mesh leaves alone: datagrams and echoes, what a pod says to itself, pods on the host network (A-06, A-09,
//!

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ambit_tests::{AccessLog, Node, Wire};
use serde_json::{Value, json};

use crate::world::{Greeting, SHOP, SOON, WHOAMI, World, vips};

#[test]
fn udp_and_icmp_pass_between_pods_in_the_mesh_and_out_of_it() {
    let world = World::new();
    let servers = ["near", "far", "outsider-b"];
    let _servers = servers.map(|pod| {
        // On a port that TCP would be captured on as on any other, and on those of the mesh.
        world.serve_only(pod, &["datagram=7000", "datagram=15001", "datagram=15008"])
    });
    for server in servers {
        for (ip, own) in world.pod(server).addresses().into_iter().zip(world.pod("client").addresses()) {
            for port in [7000, 15001, 15008] {
                let report = world.report("client", &["datagram", "--to", &SocketAddr::new(ip, port).to_string()]);
                assert_eq!((&report["received"], &report["seen_as"]), (&20.into(), &json!(own)), "{ip} {port}");
            }
            assert_eq!(world.report("client", &["ping", "--to", &ip.to_string()])["received"], 3, "{ip}");
        }
    }
    // And into the mesh from outside.
    for ip in world.pod("far").addresses() {
        world.report("outsider-a", &["datagram", "--to", &SocketAddr::new(ip, 7000).to_string()]);
        world.report("outsider-a", &["ping", "--to", &ip.to_string()]);
    }
}

#[test]
fn what_a_pod_says_to_itself_is_not_captured() {
    let world = World::new();
    let _servers = ["client", "near"].map(|pod| world.serve(pod));
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    for ip in world.pod("client").addresses().into_iter().chain(loopback) {
        let to = SocketAddr::new(ip, WHOAMI);
        let Greeting { name, peer, local } = world.greeting("client", to);
        assert_eq!((name.as_str(), peer.ip(), local), ("client", ip, to));
    }
    // Lines come in the order in which connections end: none before this one is of those above.
    let near = world.at("near", WHOAMI)[0].to_string();
    world.report("client", &["greeting", "--to", &near]);
    let agent = world.agent("a");
    agent.wait_access_log(&[("dst.addr", &near), ("direction", "outbound")], SOON).unwrap();
    let others: Vec<AccessLog> = agent.access_log().into_iter().filter(|line| line.field("dst.addr") != near).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_pod_reaches_itself_by_its_service() {
    let world = World::new();
    let _server = world.serve("near");
    for (vip, own) in vips("near").into_iter().zip(world.pod("near").addresses()) {
        let Greeting { name, peer, local } = world.greeting("near", SocketAddr::new(vip, WHOAMI));
        assert_eq!((name.as_str(), peer.ip(), local), ("near", own, SocketAddr::new(own, WHOAMI)));
    }
}

#[test]
fn pods_on_the_host_network_are_strangers_in_both_directions() {
    const PORT: u16 = 7100;
    let mut world = World::new();
    for node in ["a", "b"] {
        let pod = on_host_network(world.topology.node(node).unwrap());
        world.manifests.apply(pod).unwrap();
    }
    let vips: [IpAddr; 2] = ["10.96.0.7", "fd00:10:96::7"].map(|ip| ip.parse().unwrap());
    let service = ambit_tests::manifests::ServiceSpec { name: "host-b", vips: &vips, ports: &[(80, PORT)] };
    world.manifests.service(SHOP, &service).unwrap();
    world.await_service(&["a", "b"], "host-b.shop.svc.cluster.local");
    for node in ["a", "b"] {
        let pods = world.agent(node).admin("/pods").unwrap();
        assert!(!pods.to_string().contains("host-"), "{pods}");
    }
    let _servers = ["near", "far"].map(|pod| world.serve(pod));
    let server = ["serve", "--name", "host-b", &format!("whoami={PORT}")];
    let server = world.topology.node("b").unwrap().pod_testapp(&server).unwrap();
    server.wait_line("listening", SOON).unwrap();
    from_the_host_network(&world);
    to_the_host_network(&world, &vips, PORT);
}

/// What it opens leaves in clear, from the node's address, and pods in the mesh take it.
fn from_the_host_network(world: &World) {
    let node = world.topology.node("a").unwrap();
    let wire = Wire::between(&world.topology, &[]).unwrap();
    for (pod, own) in [("near", None), ("far", Some([IpAddr::from(node.v4), node.v6.into()]))] {
        for (family, to) in world.at(pod, WHOAMI).map(|to| to.to_string()).into_iter().enumerate() {
            let report: Value = node.pod_testapp(&["greeting", "--to", &to]).unwrap().report(SOON).unwrap();
            let Greeting { name, peer, .. } = Greeting::of(&report);
            let peer = peer.ip();
            assert_eq!(name, pod);
            assert!(own.is_none_or(|own| own[family] == peer), "{to}: {peer}");
            let fields =
                [("direction", "inbound"), ("dst.addr", to.as_str()), ("dst.workload", pod), ("src.identity", "")];
            let line = world.agent(&world.pod(pod).node).wait_access_log(&fields, SOON).unwrap();
            assert_eq!(line.field("src.addr").parse::<SocketAddr>().unwrap().ip(), peer, "{line:?}");
        }
    }
    assert_eq!(wire.stop().unwrap().ports().into_iter().collect::<Vec<_>>(), [WHOAMI]);
}

/// By the node's address and by a service: in clear, as to anybody outside.
fn to_the_host_network(world: &World, vips: &[IpAddr; 2], port: u16) {
    let node = world.topology.node("b").unwrap();
    let wire = Wire::between(&world.topology, &[]).unwrap();
    for (family, ip) in [IpAddr::from(node.v4), node.v6.into()].into_iter().enumerate() {
        let target = SocketAddr::new(ip, port);
        for to in [target, SocketAddr::new(vips[family], 80)] {
            let Greeting { name, peer, .. } = world.greeting("client", to);
            assert_eq!((name.as_str(), peer.ip()), ("host-b", world.pod("client").addresses()[family]), "{to}");
        }
        let fields = [("dst.addr", &*target.to_string()), ("dst.identity", ""), ("src.workload", "client")];
        world.agent("a").wait_access_log(&fields, SOON).unwrap();
    }
    assert_eq!(wire.stop().unwrap().ports().into_iter().collect::<Vec<_>>(), [port]);
}

/// A pod of `node` on its network, in a namespace that is in the mesh.
fn on_host_network(node: &Node) -> Value {
    let name = format!("host-{}", node.name);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SHOP, "labels": {"app": name}},
        "spec": {"nodeName": node.name, "hostNetwork": true, "containers": [{"name": "host", "image": "host"}]},
        "status": {
            "phase": "Running",
            "podIP": node.v4,
            "podIPs": [{"ip": node.v4}, {"ip": node.v6}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}
