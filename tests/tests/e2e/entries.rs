//! What ServiceEntries declare, as a pod of the mesh dials it: hosts with addresses of their own and given ones, ranges,
//! and what goes where it was dialled (L-01, L-02, C-16).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ambit_tests::payload::MARKER;
use ambit_tests::topology::Plan;
use ambit_tests::{MeshOptions, Process, Wire};
use serde_json::{Value, json};

use crate::shop::until;
use crate::world::{SHOP, SOON, World};

/// A client on node `a`; on node `b` an enrolled `far`, and `outsider` which is not. Both say who they are on 8001.
fn world() -> (World, [Process; 2]) {
    let plan = Plan::new(&["a", "b"]).pod("client", "a").pod("far", "b").pod("outsider", "b");
    let world = World::build(plan, &MeshOptions::default());
    let servers = ["far", "outsider"].map(|server| {
        let arguments = ["serve", "--name", server, "whoami=8001", "duplex=8002"];
        let process = world.pod(server).testapp(&arguments).unwrap();
        process.wait_line("listening", SOON).unwrap();
        process
    });
    (world, servers)
}

/// Writes the ServiceEntry `name` of the host `<name>.example` in namespace `shop`, and waits until the client's agent
/// knows it. Its ports are 80 and 81 where its endpoints' are 8001 and 8002.
fn declare(world: &mut World, name: &str, spec: Value) {
    let mut ports = json!([
        {"number": 80, "name": "who", "protocol": "TCP", "targetPort": 8001},
        {"number": 81, "name": "duplex", "protocol": "TCP", "targetPort": 8002},
    ]);
    if spec["resolution"] == "NONE" {
        ports
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|port| drop(port.as_object_mut().unwrap().remove("targetPort")));
    }
    let mut whole = json!({"hosts": [format!("{name}.example")], "ports": ports});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": name, "namespace": SHOP});
    let (version, kind) = ("networking.istio.io/v1", "ServiceEntry");
    world.manifests.apply(json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": whole})).unwrap();
    until(SOON, || service(world, name).is_some()).unwrap_or_else(|_| {
        panic!("{name}: {}", world.agent("a").admin("/reports").unwrap());
    });
}

/// What the client's agent knows of the host `<name>.example`.
fn service(world: &World, name: &str) -> Option<Value> {
    let dump = world.agent("a").admin("/config_dump").unwrap();
    let services = dump["services"].as_array().unwrap();
    services.iter().find(|service| service["hostname"] == format!("{name}.example")).cloned()
}

/// The endpoints of an entry: all addresses of `pods`.
fn endpoints(world: &World, pods: &[&str]) -> Value {
    let addresses = pods.iter().flat_map(|pod| world.pod(pod).addresses());
    addresses.map(|address| json!({"address": address})).collect()
}

fn at(ip: &str, port: u16) -> String {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port).to_string()
}

/// Who answers `count` connections to `to`.
fn who_answers(world: &World, to: &str, count: usize) -> BTreeSet<String> {
    let report = world.report("client", &["greeting", "--to", to, "--count", &count.to_string()]);
    let lines = report["lines"].as_array().unwrap();
    lines.iter().map(|line| line.as_str().unwrap().split(' ').next().unwrap().to_owned()).collect()
}

fn all(servers: &[&str]) -> BTreeSet<String> {
    servers.iter().map(|server| (*server).to_owned()).collect()
}

#[test]
fn an_enrolled_endpoint_is_reached_by_hbone_and_another_in_clear() {
    let (mut world, _servers) = world();
    let addresses = ["192.0.2.7", "2001:db8::7"];
    let spec =
        |pods: &[&str]| json!({"resolution": "STATIC", "addresses": addresses, "endpoints": endpoints(&world, pods)});
    let (both, enrolled, outside) = (spec(&["far", "outsider"]), spec(&["far"]), spec(&["outsider"]));
    let duplex = |world: &World| {
        for vip in addresses {
            let to = at(vip, 81);
            let report = world.report("client", &["duplex", "--to", &to, "--bytes", "100000"]);
            assert_eq!(report["received"], 100_000, "{to}");
        }
    };
    declare(&mut world, "enrolled", enrolled);
    let wire = Wire::between(&world.topology, &[MARKER]).unwrap();
    duplex(&world);
    let seen = wire.stop().unwrap();
    seen.only_hbone().unwrap();
    seen.no_clear_text().unwrap();
    world.manifests.delete("ServiceEntry", SHOP, "enrolled").unwrap();
    until(SOON, || service(&world, "enrolled").is_none()).unwrap();

    declare(&mut world, "outside", outside);
    let wire = Wire::between(&world.topology, &[MARKER]).unwrap();
    duplex(&world);
    let seen = wire.stop().unwrap();
    // Nothing but what was sent to the outsider was in clear: the rest is of the tunnel, which is still open.
    assert!(seen.marker_hits() > 0 && seen.ports().contains(&8002), "{seen:?}");
    assert!(seen.ports().is_subset(&BTreeSet::from([8002, 15008])), "{seen:?}");
    world.manifests.delete("ServiceEntry", SHOP, "outside").unwrap();
    until(SOON, || service(&world, "outside").is_none()).unwrap();

    declare(&mut world, "both", both);
    for vip in addresses {
        assert_eq!(who_answers(&world, &at(vip, 80), 60), all(&["far", "outsider"]), "{vip}");
    }
    let identity = format!("spiffe://cluster.local/ns/{SHOP}/sa/far");
    let line = [("dst.service", "both.example"), ("dst.identity", identity.as_str()), ("direction", "outbound")];
    world.agent("a").wait_access_log(&line, SOON).unwrap();
}

#[test]
fn a_host_without_addresses_is_dialled_by_those_that_it_was_given_after_a_restart_too() {
    let (mut world, _servers) = world();
    let spec = json!({"resolution": "STATIC", "endpoints": endpoints(&world, &["far"])});
    declare(&mut world, "given", spec);
    let vips = service(&world, "given").unwrap()["vips"].clone();
    let texts: Vec<&str> = vips.as_array().unwrap().iter().map(|vip| vip.as_str().unwrap()).collect();
    assert!(texts.len() == 2 && texts[0].starts_with("240.240.") && texts[1].starts_with("2001:2::"), "{vips}");
    let dialled = |world: &World| {
        for vip in &texts {
            assert_eq!(who_answers(world, &at(vip, 80), 5), all(&["far"]), "{vip}");
        }
    };
    dialled(&world);
    let agent = world.mesh.agent_mut("a").unwrap();
    agent.stop(SOON).unwrap();
    agent.start().unwrap();
    assert_eq!(service(&world, "given").unwrap()["vips"], vips);
    dialled(&world);
}

#[test]
fn the_most_specific_range_answers() {
    let (mut world, _servers) = world();
    for (name, range, pod) in [("wide", "198.51.100.0/24", "outsider"), ("narrow", "198.51.100.16/28", "far")] {
        let spec = json!({"resolution": "STATIC", "addresses": [range], "endpoints": endpoints(&world, &[pod])});
        declare(&mut world, name, spec);
    }
    for (address, server) in [("198.51.100.15", "outsider"), ("198.51.100.16", "far"), ("198.51.100.31", "far")] {
        assert_eq!(who_answers(&world, &at(address, 80), 5), all(&[server]), "{address}");
    }
    world.manifests.delete("ServiceEntry", SHOP, "narrow").unwrap();
    until(SOON, || service(&world, "narrow").is_none()).unwrap();
    assert_eq!(who_answers(&world, &at("198.51.100.16", 80), 5), all(&["outsider"]));
}

#[test]
fn without_resolution_a_connection_goes_where_it_was_dialled() {
    let (mut world, _servers) = world();
    let ranges = json!(["10.244.2.0/24", "fd00:244:2::/64"]);
    declare(&mut world, "passed", json!({"resolution": "NONE", "addresses": ranges}));
    for (pod, identity) in [("outsider", None), ("far", Some(format!("spiffe://cluster.local/ns/{SHOP}/sa/far")))] {
        for ip in world.pod(pod).addresses() {
            let to = SocketAddr::new(ip, 8001).to_string();
            assert_eq!(who_answers(&world, &to, 5), all(&[pod]), "{to}");
            let (address, identity) = match &identity {
                Some(identity) => ("dst.hbone_addr", Some(("dst.identity", identity.as_str()))),
                None => ("dst.addr", None),
            };
            let fields = [(address, to.as_str()), ("dst.service", "passed.example"), ("direction", "outbound")];
            let fields: Vec<_> = fields.into_iter().chain(identity).collect();
            world.agent("a").wait_access_log(&fields, SOON).unwrap();
        }
    }
}

#[test]
fn a_selector_has_pods_and_workload_entries_as_endpoints() {
    let (mut world, _servers) = world();
    world.manifests.label(("Pod", SHOP, "far"), "role", Some("db")).unwrap();
    let outsider = world.pod("outsider").v4;
    world
        .manifests
        .apply(json!({
            "apiVersion": "networking.istio.io/v1beta1",
            "kind": "WorkloadEntry",
            "metadata": {"name": "machine", "namespace": SHOP},
            "spec": {"address": outsider, "labels": {"role": "db"}, "ports": {"who": 8001}},
        }))
        .unwrap();
    let spec =
        json!({"resolution": "STATIC", "addresses": ["192.0.2.7"], "workloadSelector": {"labels": {"role": "db"}}});
    declare(&mut world, "selected", spec);
    assert_eq!(who_answers(&world, &at("192.0.2.7", 80), 60), all(&["far", "outsider"]));
}
