//! Which endpoints a service's distribution lets its clients go to, as tables to read.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::*;
use crate::{Distribution, Node, Scope, ServicePort, Topology};

/// `web` dials from node `n1` in subzone `rack` of zone `eu-a` of region `eu`.
fn web() -> Workload {
    at("eu/eu-a/n1/rack", pod("web", "", &["10.0.0.1"]))
}

/// `pod`, running at `region/zone/node`, or at `region/zone/node/subzone`.
fn at(place: &str, pod: Workload) -> Workload {
    let mut parts = place.split('/').chain([""]);
    let mut next = || parts.next().unwrap().into();
    Workload { region: next(), zone: next(), node: next(), subzone: next(), ..pod }
}

/// Everything that `web` can reach by the service, for any draw, as the endpoints' last octets; `-` if it is refused.
fn reached(world: &World) -> String {
    let reached: BTreeSet<String> = (0..60)
        .filter_map(|draw| {
            let told = outbound_from_web(world, "10.96.0.9:80", draw);
            match told.as_str() {
                "Refuse no-healthy-upstream" => None,
                told => told.split([' ', ':']).find_map(|word| word.strip_prefix("10.0.0.")).map(str::to_owned),
            }
        })
        .collect();
    if reached.is_empty() { "-".into() } else { reached.into_iter().collect::<Vec<_>>().join(" ") }
}

/// A world in which endpoint `10.0.0.<2 + n>` is a pod at the n-th of `places`, behind one service.
fn world(distribution: Distribution, places: &[&str]) -> World {
    let names = ["p2", "p3", "p4", "p5", "p6"];
    let addresses = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
    let all = || names.iter().zip(addresses).zip(places);
    let pods = all().map(|((name, address), place)| at(place, pod(name, "", &[address]))).chain([web()]).collect();
    let endpoints: Vec<_> = all().map(|((name, address), _)| (*name, format!("{address}:8080"))).collect();
    let endpoints: Vec<_> = endpoints.iter().map(|(name, address)| (*name, address.as_str())).collect();
    World::new(pods, vec![distributed(distribution, port(80, &endpoints))])
}

fn distributed(distribution: Distribution, port: ServicePort) -> Service {
    Service { distribution, ..service("s", &["10.96.0.9"], vec![port]) }
}

#[test]
fn connections_go_to_the_nearest_endpoints_that_are_ready() {
    let (near, beside, region, abroad) = ("eu/eu-a/n1", "eu/eu-a/n2", "eu/eu-b/n3", "us/us-a/n4");
    let rack = "eu/eu-a/n5/rack";
    let (anywhere, zone, node) =
        (Distribution::Anywhere, Distribution::Prefer(Scope::Zone), Distribution::Prefer(Scope::Node));
    let only_node = Distribution::Only(Scope::Node);
    for (distribution, places, expected) in [
        (anywhere, &[near, beside, region, abroad][..], "2 3 4 5"),
        // PreferSameZone, PreferClose: the zone, whichever its node; then the region; then whatever there is.
        (zone, &[near, beside, region, abroad], "2 3"),
        (zone, &[abroad, region, region], "3 4"),
        (zone, &[abroad, abroad], "2 3"),
        // PreferSameNode: the node; then as above.
        (node, &[near, beside, region, abroad], "2"),
        (node, &[abroad, beside, region, beside], "3 5"),
        (node, &[abroad, region], "3"),
        (node, &[abroad], "2"),
        // Beside it in one subzone comes before beside it in the zone.
        (node, &[beside, region, abroad, rack], "5"),
        (zone, &[beside, region, abroad, rack], "2 5"),
        // internalTrafficPolicy: Local.
        (only_node, &[near, beside, near, abroad], "2 4"),
        (only_node, &[beside, region, abroad], "-"),
        (only_node, &[], "-"),
    ] {
        assert_eq!(reached(&world(distribution, places)), expected, "{distribution:?} {places:?}");
    }
}

#[test]
fn an_endpoint_that_is_not_ready_is_not_near() {
    let mut world = world(Distribution::Prefer(Scope::Node), &["eu/eu-a/n1", "eu/eu-b/n2", "us/us-a/n3"]);
    assert_eq!(reached(&world), "2");
    world.services[0].ports[0].targets.remove(0);
    assert_eq!(reached(&world), "3");
    world.services[0].ports[0].targets.remove(0);
    assert_eq!(reached(&world), "4");
    world.services[0].distribution = Distribution::Only(Scope::Node);
    assert_eq!(reached(&world), "-");
}

#[test]
fn where_zones_are_unknown_only_nodes_tell_near_from_far() {
    let unplaced = |distribution, places: &[&str]| {
        let mut world = world(distribution, places);
        world.pods.retain(|pod| *pod.name != *"web");
        world.pods.push(at("//n1", pod("web", "", &["10.0.0.1"])));
        reached(&world)
    };
    for distribution in [Distribution::Prefer(Scope::Zone), Distribution::Prefer(Scope::Node)] {
        assert_eq!(unplaced(distribution, &["//n1", "//n2", "eu/eu-a/n3"]), "2", "{distribution:?}");
        assert_eq!(unplaced(distribution, &["//n2", "eu/eu-a/n3"]), "2 3", "{distribution:?}");
    }
    assert_eq!(unplaced(Distribution::Only(Scope::Node), &["//n1", "//n2"]), "2");
}

#[test]
fn an_endpoint_without_a_pod_is_where_its_slice_says_and_as_its_node_is() {
    let node = |name: &str, region: &str, zone: &str| Node {
        name: name.into(),
        addresses: vec![],
        region: region.into(),
        zone: zone.into(),
        subzone: "".into(),
    };
    let endpoint = |address: &str, node: &str, zone: &str| Target {
        address: address.parse().unwrap(),
        workload: None,
        topology: Some(Arc::new(Topology { node: node.into(), zone: zone.into(), ..Topology::default() })),
        weight: NonZeroU32::MIN,
    };
    let targets = vec![
        endpoint("10.0.0.2:80", "n1", ""),
        endpoint("10.0.0.3:80", "n2", ""),
        endpoint("10.0.0.4:80", "", "eu-a"),
        endpoint("10.0.0.5:80", "n3", ""),
        Target { topology: None, ..endpoint("10.0.0.6:80", "", "") },
        // A pod of the mesh has this address: its own place counts.
        endpoint("10.0.0.7:80", "n1", "eu-a"),
    ];
    let port = ServicePort { members: targets.clone(), targets, ..port(80, &[]) };
    let pods = vec![web(), at("us/us-a/n4", pod("p7", "", &["10.0.0.7"]))];
    let world = |distribution, left_out: usize| {
        let mut port = port.clone();
        port.targets.drain(..left_out);
        let mut world = World::new(pods.clone(), vec![distributed(distribution, port)]);
        world.nodes = vec![node("n2", "eu", "eu-a"), node("n3", "eu", "eu-b")];
        reached(&world)
    };
    assert_eq!(world(Distribution::Only(Scope::Node), 0), "2");
    assert_eq!(world(Distribution::Prefer(Scope::Node), 0), "2");
    assert_eq!(world(Distribution::Prefer(Scope::Zone), 1), "3 4");
    assert_eq!(world(Distribution::Prefer(Scope::Zone), 3), "5");
    assert_eq!(world(Distribution::Prefer(Scope::Zone), 4), "6 7");
}

#[test]
fn the_nearest_endpoints_share_the_connections_evenly() {
    let world = world(Distribution::Prefer(Scope::Zone), &["us/us-a/n9", "eu/eu-a/n1", "us/us-a/n8", "eu/eu-a/n2"]);
    let snapshot = world.snapshot();
    let mut drawn = std::collections::BTreeMap::<SocketAddr, i32>::new();
    for draw in draws().take(2000) {
        let destination = "10.96.0.9:80".parse().unwrap();
        match decide(&snapshot, &Connection::Outbound { source: uid("web"), destination, draw }) {
            Decision::Local(upstream) | Decision::Tunnel(upstream) => *drawn.entry(upstream.address).or_default() += 1,
            other => panic!("{other:?}"),
        }
    }
    // Binomial, n = 2000, p = 1/2: the standard deviation is 22.4.
    assert_eq!(drawn.len(), 2);
    assert!(drawn.values().all(|count| (1000 - 112..=1000 + 112).contains(count)), "{drawn:?}");
}

#[test]
fn a_pods_own_address_is_dialled_wherever_it_is() {
    let world = world(Distribution::Only(Scope::Node), &["us/us-a/n9"]);
    assert_eq!(outbound_from_web(&world, "10.0.0.2:8080", 0), "Tunnel p2 10.0.0.2:8080 via shop/s");
}
