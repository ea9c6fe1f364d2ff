//! How near a service keeps its connections, as its clients see it: to their own zone while it serves, out of it as soon
//! as it does not, and nowhere where only their own node will do (C-03).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ambit_tests::topology::Plan;
use ambit_tests::{Process, until};
use serde_json::{Value, json};

use crate::world::{SHOP, SOON, World, socket};

/// What the client's agent may take to leave a zone that has nothing left.
const FAILOVER: Duration = Duration::from_secs(2);
const VIPS: [&str; 2] = ["10.96.0.9", "fd00:10:96::9"];
/// Of one region: nodes `a` and `b` are in one zone of it, node `c` is in another.
const ZONES: [(&str, &str); 3] = [("a", "eu-1"), ("b", "eu-1"), ("c", "eu-2")];
/// In the client's zone on another node, and in the other zone.
const SERVERS: [&str; 2] = ["close", "remote"];

/// A client on node `a`, `close` on `b` and `remote` on `c`, and a service of both that is as `spec` says.
fn zones(spec: &Value) -> (World, [Process; 2]) {
    let plan = Plan::new(&["a", "b", "c"]).pod("client", "a").pod("close", "b").pod("remote", "c");
    let mut world = World::build(plan, &[]);
    for (node, zone) in ZONES {
        let node = ("Node", "", node);
        world.manifests.label(node, "topology.kubernetes.io/region", Some("eu")).unwrap();
        world.manifests.label(node, "topology.kubernetes.io/zone", Some(zone)).unwrap();
    }
    let servers = SERVERS.map(|server| {
        world.manifests.label(("Pod", SHOP, server), "app", Some("spread")).unwrap();
        world.serve_only(server, &["whoami=8001"])
    });
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "spread", "namespace": SHOP},
        "spec": {
            "selector": {"app": "spread"},
            "clusterIPs": VIPS,
            "ports": [{"name": "tcp", "port": 80, "targetPort": 8001}],
        },
    });
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    world.manifests.apply(service).unwrap();
    // Written last, so that who knows it knows the zones and the pods' labels, too.
    world.await_service(&["a", "c"], "spread.shop.svc.cluster.local");
    (world, servers)
}

/// Who answers `count` connections of `client`.
fn who_answers(world: &World, client: &str, vip: &str, count: usize) -> anyhow::Result<BTreeSet<String>> {
    Ok(world.answers(client, socket(vip, 80), count)?.into_keys().collect())
}

fn only(server: &str) -> BTreeSet<String> {
    BTreeSet::from([server.to_owned()])
}

/// `close` is killed and, as its kubelet would find, not ready: from then on, how long until `remote` answers.
fn fails_over(world: &mut World, close: Process) {
    close.kill().unwrap();
    let begun = Instant::now();
    world.set_ready("close", false);
    for vip in VIPS {
        let left = FAILOVER.saturating_sub(begun.elapsed());
        until(left, || who_answers(world, "client", vip, 1).is_ok_and(|answers| answers == only("remote")))
            .unwrap_or_else(|_| panic!("{vip}: {:?} after the zone's last endpoint died", begun.elapsed()));
    }
    assert!(begun.elapsed() < FAILOVER, "{:?}", begun.elapsed());
    for vip in VIPS {
        assert_eq!(who_answers(world, "client", vip, 50).unwrap(), only("remote"), "{vip}");
    }
}

/// The zone has all of the connections, loses them with its endpoint and has them back with it.
fn keeps_to_its_zone_while_it_serves(value: &str) {
    let (mut world, [close, _remote]) = zones(&json!({"trafficDistribution": value}));
    for vip in VIPS {
        assert_eq!(who_answers(&world, "client", vip, 300).unwrap(), only("close"), "{vip}");
    }
    fails_over(&mut world, close);
    let _close = world.serve_only("close", &["whoami=8001"]);
    world.set_ready("close", true);
    for vip in VIPS {
        let back = || who_answers(&world, "client", vip, 1).is_ok_and(|answers| answers == only("close"));
        until(FAILOVER, back).unwrap_or_else(|_| panic!("{vip}"));
        assert_eq!(who_answers(&world, "client", vip, 100).unwrap(), only("close"), "{vip}");
    }
}

#[test]
fn prefer_same_zone_keeps_to_the_zone_and_fails_over_within_two_seconds() {
    keeps_to_its_zone_while_it_serves("PreferSameZone");
}

#[test]
fn prefer_close_is_the_same_by_its_old_name() {
    keeps_to_its_zone_while_it_serves("PreferClose");
}

#[test]
fn without_a_preference_the_zone_makes_no_difference() {
    let (world, _servers) = zones(&json!({}));
    for vip in VIPS {
        // That one of two gets none of a hundred is as likely as 2^-99.
        assert_eq!(who_answers(&world, "client", vip, 100).unwrap(), SERVERS.map(str::to_owned).into(), "{vip}");
    }
}

#[test]
fn a_local_service_refuses_where_the_clients_node_has_no_endpoint() {
    let (mut world, _servers) = zones(&json!({"internalTrafficPolicy": "Local"}));
    for vip in VIPS {
        assert!(who_answers(&world, "client", vip, 1).is_err(), "{vip}");
        let to = socket(vip, 80).to_string();
        let fields = [("dst.addr", to.as_str()), ("reason", "no-healthy-upstream")];
        let line = world.agent("a").wait_access_log(&fields, SOON).unwrap();
        assert_eq!(line.field("dst.service"), "spread.shop.svc.cluster.local");
        // Where there is one, it gets all of them.
        assert_eq!(who_answers(&world, "remote", vip, 50).unwrap(), only("remote"), "{vip}");
    }
    let policy = |service: &mut Value| service["spec"]["internalTrafficPolicy"] = "Cluster".into();
    world.manifests.edit("Service", SHOP, "spread", policy).unwrap();
    until(SOON, || who_answers(&world, "client", VIPS[0], 1).is_ok()).unwrap();
}
