//! What the addresses of ServiceEntries lead to, as tables to read.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::*;
use crate::route::Visibility;
use crate::{Cidr, Resolution, ServiceKey, ServicePort};

/// The host of an entry in `namespace` with these addresses and ranges.
fn entry(namespace: &str, name: &str, addresses: &[&str], ports: Vec<ServicePort>) -> Service {
    let ranges: Vec<Cidr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Service {
        key: ServiceKey { host: Some(format!("{name}.example").into()), ..ServiceKey::new(namespace, name) },
        hostname: format!("{name}.example").into(),
        vips: ranges.iter().filter_map(Cidr::single).collect(),
        ranges: ranges.into_iter().filter(|range| range.single().is_none()).collect(),
        ..service(name, &[], ports)
    }
}

fn as_dialled(entry: Service) -> Service {
    Service { resolution: Resolution::AsDialled, ..entry }
}

/// `web` in namespace `shop`, enrolled pods `near` and `far`, and an unenrolled one at 10.0.0.9.
fn world(services: Vec<Service>) -> World {
    let stranger = unenrolled(pod("stranger", "west", &["10.0.0.9"]));
    let mut world = World { services, ..shop() };
    world.pods.push(stranger);
    world
}

#[test]
fn the_longest_range_answers_and_an_address_before_any_range() {
    let to = |name: &str, address: &str| {
        let endpoint = format!("192.0.2.{}:80", name.len());
        entry("shop", name, &[address], vec![port(80, &[("", &endpoint)])])
    };
    let services = vec![
        to("x", "198.51.0.0/16"),
        to("xx", "198.51.100.0/24"),
        to("xxx", "198.51.100.16/28"),
        to("xxxx", "198.51.100.17"),
        Service { key: ServiceKey::new("shop", "svc"), ..to("xxxxx", "198.51.100.18") },
        to("xxxxxx", "198.51.100.18"),
        to("xxxxxxx", "2001:db8::/32"),
        to("xxxxxxxx", "2001:db8:0:1::/64"),
    ];
    for (dialled, endpoint) in [
        ("198.51.7.7:80", "192.0.2.1:80"),
        ("198.51.100.7:80", "192.0.2.2:80"),
        ("198.51.100.16:80", "192.0.2.3:80"),
        ("[::ffff:198.51.100.16]:80", "192.0.2.3:80"),
        ("198.51.100.17:80", "192.0.2.4:80"),
        // A Service is not hidden by an entry with its address.
        ("198.51.100.18:80", "192.0.2.5:80"),
        ("[2001:db8::7]:80", "192.0.2.7:80"),
        ("[2001:db8:0:1::7]:80", "192.0.2.8:80"),
    ] {
        let decided = outbound_from_web(&world(services.clone()), dialled, 0);
        assert!(decided.starts_with(&format!("Passthrough - {endpoint} via ")), "{dialled}: {decided}");
    }
    assert_eq!(outbound_from_web(&world(services), "198.52.0.1:80", 0), "Passthrough - 198.52.0.1:80 via -");
}

#[test]
fn the_clients_own_namespace_comes_before_others_and_before_longer_ranges() {
    let services = vec![
        entry("bank", "b", &["198.51.100.0/28", "198.51.100.200"], vec![port(80, &[("", "192.0.2.1:80")])]),
        entry("shop", "s", &["198.51.100.0/24", "198.51.100.200"], vec![port(80, &[("", "192.0.2.2:80")])]),
    ];
    for dialled in ["198.51.100.1:80", "198.51.100.200:80"] {
        assert_eq!(
            outbound_from_web(&world(services.clone()), dialled, 0),
            "Passthrough - 192.0.2.2:80 via shop/s/s.example"
        );
    }
    let others = world(services[..1].to_vec());
    assert_eq!(outbound_from_web(&others, "198.51.100.1:80", 0), "Passthrough - 192.0.2.1:80 via bank/b/b.example");
}

#[test]
fn endpoints_that_are_pods_of_the_mesh_are_dialled_as_such_and_others_in_clear() {
    let endpoints = [("", "10.0.0.2:8080"), ("", "10.0.0.3:8080"), ("", "10.0.0.9:8080"), ("", "192.0.2.7:443")];
    let table = [
        "Local near 10.0.0.2:8080 via shop/s/s.example",
        "Tunnel far 10.0.0.3:8080 via shop/s/s.example",
        "Passthrough stranger 10.0.0.9:8080 via shop/s/s.example",
        "Passthrough - 192.0.2.7:443 via shop/s/s.example",
    ];
    let world = world(vec![entry("shop", "s", &["240.240.0.1", "2001:2::1"], vec![port(80, &endpoints)])]);
    for (draw, expected) in (0..).zip(table) {
        // The endpoints' family is their own, whatever addresses the entry was given.
        for dialled in ["240.240.0.1:80", "[2001:2::1]:80"] {
            assert_eq!(outbound_from_web(&world, dialled, draw), expected);
        }
    }
    assert_eq!(outbound_from_web(&world, "240.240.0.1:81", 0), "Refuse no-such-service-port");
}

#[test]
fn without_resolution_a_connection_goes_where_it_was_dialled() {
    let world = world(vec![as_dialled(entry("shop", "s", &["192.0.2.0/24", "10.0.0.0/24"], vec![port(443, &[])]))]);
    for (dialled, expected) in [
        ("192.0.2.7:443", "Passthrough - 192.0.2.7:443 via shop/s/s.example"),
        // The entry's ports say what is spoken there, not what may be dialled.
        ("192.0.2.7:80", "Passthrough - 192.0.2.7:80 via shop/s/s.example"),
        // Never in clear to a pod of the mesh, nor back to the proxy.
        ("10.0.0.3:443", "Tunnel far 10.0.0.3:443 via shop/s/s.example"),
        ("10.0.0.3:15008", "Refuse recursive-call"),
    ] {
        assert_eq!(outbound_from_web(&world, dialled, 3), expected, "{dialled}");
    }
}

#[test]
fn a_pod_that_is_behind_a_service_and_a_host_is_known_by_the_service() {
    let by_both = || {
        let ports = || vec![port(80, &[("far", "10.0.0.3:9000")])];
        vec![entry("shop", "s", &["198.51.100.1"], ports()), service("far", &["10.96.0.3"], ports())]
    };
    let told = |services| outbound_from_web(&world(services), "10.0.0.3:9000", 0);
    assert_eq!(told(by_both()), "Tunnel far 10.0.0.3:9000 via shop/far");
    assert_eq!(told(by_both()[..1].to_vec()), "Tunnel far 10.0.0.3:9000 via shop/s/s.example");
}

#[test]
fn weights_say_how_many_of_the_connections_an_endpoint_takes() {
    let mut ports = vec![port(80, &[("", "192.0.2.1:80"), ("", "192.0.2.2:80"), ("", "192.0.2.3:80")])];
    for (target, weight) in ports[0].targets.iter_mut().zip([1, 7, 2]) {
        target.weight = NonZeroU32::new(weight).unwrap();
    }
    let world = world(vec![entry("shop", "s", &["198.51.100.1"], ports)]);
    let mut taken = BTreeMap::<String, usize>::new();
    for draw in 0..1000 {
        *taken.entry(outbound_from_web(&world, "198.51.100.1:80", draw)).or_default() += 1;
    }
    assert_eq!(taken.into_values().collect::<Vec<_>>(), [100, 700, 200]);
}

#[test]
fn who_does_not_see_a_service_goes_past_it() {
    let seen_by = |namespaces: &[&str]| {
        let to = vec![port(80, &[("", "192.0.2.1:80")])];
        let visibility = Visibility::Namespaces(namespaces.iter().map(|name| Arc::from(*name)).collect());
        vec![Service { visibility, ..entry("other", "hidden", &["198.51.100.1", "203.0.113.0/24"], to) }]
    };
    for (namespaces, exact, ranged) in [
        (&["shop"][..], "Passthrough - 192.0.2.1:80 via other/hidden/hidden.example", "192.0.2.1:80"),
        (&["other"], "Passthrough - 198.51.100.1:80 via -", "203.0.113.9:80"),
    ] {
        let world = world(seen_by(namespaces));
        assert_eq!(outbound_from_web(&world, "198.51.100.1:80", 0), exact);
        let told = outbound_from_web(&world, "203.0.113.9:80", 0);
        assert!(told.contains(ranged), "{told}");
    }
    // One that is seen answers in its place.
    let mut services = seen_by(&["other"]);
    services.push(entry("far-away", "open", &["198.51.100.1"], vec![port(80, &[("", "192.0.2.2:80")])]));
    let told = outbound_from_web(&world(services), "198.51.100.1:80", 0);
    assert!(told.starts_with("Passthrough - 192.0.2.2:80 via far-away/open"), "{told}");
}
