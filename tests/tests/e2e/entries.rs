//! What ServiceEntries declare, as a pod of the mesh dials it: hosts with addresses of their own and given ones, ranges,
//! and what goes where it was dialled (L-01, L-02, C-16).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ambit_tests::payload::MARKER;
use ambit_tests::topology::Plan;
use ambit_tests::{Process, Wire};
use serde_json::{Value, json};

use crate::world::{SHOP, SOON, World, by_name, socket, spiffe};

/// A client on node `a`; on node `b` an enrolled `far`, and `outsider` which is not. Both say who they are on 8001.
fn world() -> (World, [Process; 2]) {
    let plan = Plan::new(&["a", "b"]).pod("client", "a").pod("far", "b").pod("outsider", "b");
    let world = World::build(plan, &[]);
    let servers = ["far", "outsider"].map(|server| world.serve_only(server, &["whoami=8001", "duplex=8002"]));
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
    world.apply("ServiceEntry", name, whole);
    world.await_service(&["a"], &format!("{name}.example"));
}

/// Removes that ServiceEntry, and waits until the client's agent has forgotten it.
fn withdraw(world: &mut World, name: &str) {
    world.manifests.delete("ServiceEntry", SHOP, name).unwrap();
    let host = format!("{name}.example");
    world.await_config(&["a"], |dump| by_name(dump, "services", "hostname", &host).is_none());
}

/// The addresses of the host `given.example` as the client's agent knows them.
fn given(world: &World) -> Value {
    let dump = world.agent("a").admin("/config_dump").unwrap();
    by_name(&dump, "services", "hostname", "given.example").unwrap()["vips"].clone()
}

/// The endpoints of an entry: all addresses of `pods`.
fn endpoints(world: &World, pods: &[&str]) -> Value {
    let addresses = pods.iter().flat_map(|pod| world.pod(pod).addresses());
    addresses.map(|address| json!({"address": address})).collect()
}

/// Who answers `count` connections to `to`.
fn who_answers(world: &World, to: SocketAddr, count: usize) -> BTreeSet<String> {
    world.answers("client", to, count).unwrap().into_keys().collect()
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
            let to = socket(vip, 81).to_string();
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
    withdraw(&mut world, "enrolled");

    declare(&mut world, "outside", outside);
    let wire = Wire::between(&world.topology, &[MARKER]).unwrap();
    duplex(&world);
    let seen = wire.stop().unwrap();
    // Nothing but what was sent to the outsider was in clear: the rest is of the tunnel, which is still open.
    assert!(seen.marker_hits() > 0 && seen.ports().contains(&8002), "{seen:?}");
    assert!(seen.ports().is_subset(&BTreeSet::from([8002, 15008])), "{seen:?}");
    withdraw(&mut world, "outside");

    declare(&mut world, "both", both);
    for vip in addresses {
        assert_eq!(who_answers(&world, socket(vip, 80), 60), all(&["far", "outsider"]), "{vip}");
    }
    let identity = spiffe("far");
    let line = [("dst.service", "both.example"), ("dst.identity", identity.as_str()), ("direction", "outbound")];
    world.agent("a").wait_access_log(&line, SOON).unwrap();
}

#[test]
fn a_host_without_addresses_is_dialled_by_those_that_it_was_given_after_a_restart_too() {
    let (mut world, _servers) = world();
    let spec = json!({"resolution": "STATIC", "endpoints": endpoints(&world, &["far"])});
    declare(&mut world, "given", spec);
    let vips = given(&world);
    let texts: Vec<&str> = vips.as_array().unwrap().iter().map(|vip| vip.as_str().unwrap()).collect();
    assert!(texts.len() == 2 && texts[0].starts_with("240.240.") && texts[1].starts_with("2001:2::"), "{vips}");
    let dialled = |world: &World| {
        for vip in &texts {
            assert_eq!(who_answers(world, socket(vip, 80), 5), all(&["far"]), "{vip}");
        }
    };
    dialled(&world);
    let agent = world.agent_mut("a");
    agent.stop(SOON).unwrap();
    agent.start().unwrap();
    assert_eq!(given(&world), vips);
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
        assert_eq!(who_answers(&world, socket(address, 80), 5), all(&[server]), "{address}");
    }
    withdraw(&mut world, "narrow");
    assert_eq!(who_answers(&world, socket("198.51.100.16", 80), 5), all(&["outsider"]));
}

#[test]
fn without_resolution_a_connection_goes_where_it_was_dialled() {
    let (mut world, _servers) = world();
    let ranges = json!(["10.244.2.0/24", "fd00:244:2::/64"]);
    declare(&mut world, "passed", json!({"resolution": "NONE", "addresses": ranges}));
    for (pod, identity) in [("outsider", None), ("far", Some(spiffe("far")))] {
        for to in world.at(pod, 8001) {
            assert_eq!(who_answers(&world, to, 5), all(&[pod]), "{to}");
            let to = to.to_string();
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
    assert_eq!(who_answers(&world, socket("192.0.2.7", 80), 60), all(&["far", "outsider"]));
}
