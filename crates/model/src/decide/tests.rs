//! What `decide` answers, as tables to read; `reference` holds it against a second, naive decision.

use super::*;
use crate::fixtures::{World, identity, on_host_network, pod, port, service, uid, unenrolled};
use crate::snapshot::Mesh;

mod distribution;
mod entries;
mod reference;
mod waypoints;

/// Two nodes. `web` runs on `east` and dials; `near` is beside it, `far` on `west`, `plain` and `host` are not in the
/// mesh. Each of the four is behind a service of its name on port 80, its own port being 8080.
fn shop() -> World {
    let pods = vec![
        pod("web", "east", &["10.0.0.1", "fd00::1"]),
        pod("near", "east", &["10.0.0.2", "fd00::2"]),
        pod("far", "west", &["10.0.0.3", "fd00::3"]),
        unenrolled(pod("plain", "west", &["10.0.0.4"])),
        on_host_network(pod("host", "west", &["192.168.0.2"])),
    ];
    let services = vec![
        service("near", &["10.96.0.2"], vec![port(80, &[("near", "10.0.0.2:8080")])]),
        service("far", &["10.96.0.3"], vec![port(80, &[("far", "10.0.0.3:8080")])]),
        service("plain", &["10.96.0.4"], vec![port(80, &[("plain", "10.0.0.4:8080")])]),
        service("host", &["10.96.0.5"], vec![port(80, &[("host", "192.168.0.2:8080")])]),
        service("outside", &["10.96.0.6"], vec![port(80, &[("", "203.0.113.9:8080")])]),
    ];
    World::new(pods, services)
}

/// `Tunnel far 10.0.0.3:8080 via shop/far`: a decision in one line.
fn told(decision: &Decision) -> String {
    let (kind, upstream) = match decision {
        Decision::Local(upstream) => ("Local", upstream),
        Decision::Tunnel(upstream) => ("Tunnel", upstream),
        Decision::Waypoint { upstream, authority, .. } => {
            return format!(
                "{} for {authority}",
                told(&Decision::Tunnel(upstream.clone())).replace("Tunnel", "Waypoint")
            );
        }
        Decision::Passthrough(upstream) => ("Passthrough", upstream),
        Decision::Refuse(reason) => return format!("Refuse {}", reason.code()),
        Decision::Deny(_, denial) => return format!("Deny {} by {denial}", denial.reason.code()),
    };
    let name = upstream.workload.as_ref().map_or("-", |workload| &*workload.name);
    let via = upstream.service.as_ref().map_or("-".to_owned(), |service| service.key.to_string());
    format!("{kind} {name} {} via {via}", upstream.address)
}

fn outbound_from_web(world: &World, destination: &str, draw: u64) -> String {
    let destination = destination.parse().unwrap();
    told(&decide(&world.snapshot(), &Connection::Outbound { source: uid("web"), destination, draw }))
}

fn hbone(world: &World, pod: &str, peer: (&str, &Identity), authority: &str) -> String {
    let (peer, identity) = (peer.0.parse().unwrap(), peer.1.clone());
    let authority = authority.parse().unwrap();
    told(&decide(&world.snapshot(), &Connection::InboundHbone { pod: uid(pod), peer, identity, authority }))
}

fn check(answer: impl Fn(&str) -> String, table: &[(&str, &str)]) {
    for (question, expected) in table {
        assert_eq!(answer(question), *expected, "{question}");
    }
}

#[test]
fn outbound_goes_where_the_destination_is_and_by_what_it_speaks() {
    let shop = shop();
    check(
        |destination| outbound_from_web(&shop, destination, 0),
        &[
            // A service of the mesh, one outside it, one of a pod on the host network, one of an address.
            ("10.96.0.3:80", "Tunnel far 10.0.0.3:8080 via shop/far"),
            ("10.96.0.4:80", "Passthrough plain 10.0.0.4:8080 via shop/plain"),
            ("10.96.0.5:80", "Passthrough host 192.168.0.2:8080 via shop/host"),
            ("10.96.0.6:80", "Passthrough - 203.0.113.9:8080 via shop/outside"),
            // A pod's own address, as headless services hand it out; over v6, and as a v6 socket writes a v4 address.
            ("10.0.0.3:8080", "Tunnel far 10.0.0.3:8080 via shop/far"),
            ("10.0.0.3:9999", "Tunnel far 10.0.0.3:9999 via -"),
            ("[fd00::3]:8080", "Tunnel far [fd00::3]:8080 via -"),
            ("[::ffff:10.0.0.3]:8080", "Tunnel far 10.0.0.3:8080 via shop/far"),
            ("[::ffff:10.96.0.3]:80", "Tunnel far 10.0.0.3:8080 via shop/far"),
            ("10.0.0.4:8080", "Passthrough plain 10.0.0.4:8080 via shop/plain"),
            // What the mesh does not know, a node's address included.
            ("192.168.0.2:8080", "Passthrough - 192.168.0.2:8080 via -"),
            ("203.0.113.9:443", "Passthrough - 203.0.113.9:443 via -"),
            ("203.0.113.9:15008", "Passthrough - 203.0.113.9:15008 via -"),
            // Neither is a service's other port anybody's.
            ("10.96.0.3:81", "Refuse no-such-service-port"),
        ],
    );
}

#[test]
fn enrolled_pods_of_one_node_meet_there_unless_the_mesh_wants_tls() {
    let mut shop = shop();
    assert_eq!(outbound_from_web(&shop, "10.96.0.2:80", 0), "Local near 10.0.0.2:8080 via shop/near");
    assert_eq!(outbound_from_web(&shop, "[fd00::2]:8080", 0), "Local near [fd00::2]:8080 via -");
    shop.mesh = Mesh { same_node: SameNode::Tls, ..Mesh::default() };
    assert_eq!(outbound_from_web(&shop, "10.96.0.2:80", 0), "Tunnel near 10.0.0.2:8080 via shop/near");
}

#[test]
fn pods_that_are_not_scheduled_yet_share_no_node() {
    let world = World::new(vec![pod("web", "", &["10.0.0.1"]), pod("near", "", &["10.0.0.2"])], vec![]);
    assert_eq!(outbound_from_web(&world, "10.0.0.2:80", 0), "Tunnel near 10.0.0.2:80 via -");
}

#[test]
fn a_service_without_ready_endpoints_refuses() {
    let mut shop = shop();
    shop.services[1].ports[0].targets.clear();
    assert_eq!(outbound_from_web(&shop, "10.96.0.3:80", 7), "Refuse no-healthy-upstream");
    assert_eq!(outbound_from_web(&shop, "10.0.0.3:8080", 7), "Tunnel far 10.0.0.3:8080 via shop/far");
}

#[test]
fn every_port_of_a_service_has_endpoints_of_its_own() {
    let ports = vec![port(80, &[("far", "10.0.0.3:8080")]), port(9090, &[("near", "10.0.0.2:9000")])];
    let world = World { services: vec![service("both", &["10.96.0.9"], ports)], ..shop() };
    assert_eq!(outbound_from_web(&world, "10.96.0.9:80", 0), "Tunnel far 10.0.0.3:8080 via shop/both");
    assert_eq!(outbound_from_web(&world, "10.96.0.9:9090", 0), "Local near 10.0.0.2:9000 via shop/both");
}

#[test]
fn a_dual_stack_service_answers_in_the_family_dialled() {
    let endpoints = [("far", "10.0.0.3:80"), ("near", "10.0.0.2:80"), ("far", "[fd00::3]:80")];
    let dual = service("dual", &["10.96.0.9", "fd96::9"], vec![port(80, &endpoints), port(81, &endpoints[..2])]);
    let world = World { services: vec![dual], ..shop() };
    for draw in 0..6 {
        assert!(outbound_from_web(&world, "10.96.0.9:80", draw).contains(" 10.0.0."), "{draw}");
        assert_eq!(outbound_from_web(&world, "[fd96::9]:80", draw), "Tunnel far [fd00::3]:80 via shop/dual");
        assert_eq!(outbound_from_web(&world, "[fd96::9]:81", draw), "Refuse no-healthy-upstream");
    }
}

#[test]
fn a_service_of_one_family_reaches_pods_of_the_other_where_it_has_no_others() {
    let single = service("v6", &["10.96.0.9"], vec![port(80, &[("far", "[fd00::3]:80")])]);
    let world = World { services: vec![single], ..shop() };
    assert_eq!(outbound_from_web(&world, "10.96.0.9:80", 5), "Tunnel far [fd00::3]:80 via shop/v6");
}

#[test]
fn three_thousand_connections_spread_evenly_over_three_endpoints() {
    let endpoints = [("near", "10.0.0.2:80"), ("far", "10.0.0.3:80"), ("plain", "10.0.0.4:80")];
    let world = World { services: vec![service("three", &["10.96.0.9"], vec![port(80, &endpoints)])], ..shop() };
    let snapshot = world.snapshot();
    let mut drawn = std::collections::BTreeMap::<SocketAddr, i32>::new();
    for draw in draws().take(3000) {
        let dialled = Connection::Outbound { source: uid("web"), destination: "10.96.0.9:80".parse().unwrap(), draw };
        let (Decision::Local(upstream) | Decision::Tunnel(upstream) | Decision::Passthrough(upstream)) =
            decide(&snapshot, &dialled)
        else {
            panic!("refused")
        };
        *drawn.entry(upstream.address).or_default() += 1;
    }
    // Binomial, n = 3000, p = 1/3: the standard deviation is 25.8.
    assert_eq!(drawn.len(), 3);
    assert!(drawn.values().all(|count| (1000 - 129..=1000 + 129).contains(count)), "{drawn:?}");
}

/// Where a connection of `web` goes that has found nobody at `tried`, whatever is drawn.
fn again_from_web(world: &World, destination: &str, tried: &[(Way, &str)]) -> Vec<String> {
    let tried: Vec<_> =
        tried.iter().map(|(way, address)| Tried { address: address.parse().unwrap(), way: *way }).collect();
    let again = |draw| {
        let dialled = Connection::Outbound { source: uid("web"), destination: destination.parse().unwrap(), draw };
        decide_again(&world.snapshot(), &dialled, &tried).map(|decision| told(&decision))
    };
    (0..12).filter_map(again).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

#[test]
fn who_finds_nobody_asks_another_endpoint_of_the_same_service_and_nobody_else() {
    let endpoints = [("near", "10.0.0.2:80"), ("far", "10.0.0.3:80"), ("plain", "10.0.0.4:80"), ("", "203.0.113.9:80")];
    let world = World { services: vec![service("four", &["10.96.0.9"], vec![port(80, &endpoints)])], ..shop() };
    let four = "10.96.0.9:80";
    let [near, far, plain, outside] = [
        "Local near 10.0.0.2:80",
        "Tunnel far 10.0.0.3:80",
        "Passthrough plain 10.0.0.4:80",
        "Passthrough - 203.0.113.9:80",
    ]
    .map(|to| format!("{to} via shop/four"));
    let [near_tried, far_tried] = ["10.0.0.2:80", "10.0.0.3:80"].map(|address| (Way::Mesh, address));
    let [plain_tried, outside_tried] = ["10.0.0.4:80", "203.0.113.9:80"].map(|address| (Way::Clear, address));
    assert_eq!(again_from_web(&world, four, &[plain_tried]), [near.clone(), outside, far.clone()]);
    assert_eq!(again_from_web(&world, four, &[plain_tried, outside_tried]), [near.clone(), far.clone()]);
    // What was to go by the mesh goes by the mesh, or not at all.
    assert_eq!(again_from_web(&world, four, &[near_tried]), [far]);
    assert_eq!(again_from_web(&world, four, &[far_tried]), [near]);
    assert_eq!(again_from_web(&world, four, &[near_tried, far_tried]), [] as [&str; 0]);
    assert!(again_from_web(&world, four, &[outside_tried]).contains(&plain));
    // A pod that was dialled is the one that was meant, and what is refused is refused for good.
    assert_eq!(again_from_web(&world, "10.0.0.3:80", &[far_tried]), [] as [&str; 0]);
    assert_eq!(again_from_web(&world, "10.96.0.9:81", &[far_tried]), [] as [&str; 0]);
    assert_eq!(again_from_web(&world, "203.0.113.9:80", &[outside_tried]), [] as [&str; 0]);
}

/// Uniform numbers, the same in every run: SplitMix64 (Steele, Lea, Flood 2014).
fn draws() -> impl Iterator<Item = u64> {
    (1..).map(|n: u64| {
        let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[test]
fn nothing_is_relayed_back_to_the_proxy() {
    let shop = shop();
    for own in [15001, 15006, 15008, 15053, 15080] {
        for address in ["10.0.0.3", "10.0.0.1", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"] {
            let dialled = format!("{address}:{own}");
            assert_eq!(outbound_from_web(&shop, &dialled, 0), "Refuse recursive-call", "{dialled}");
        }
        let authority = format!("10.0.0.3:{own}");
        let peer = ("10.0.0.1:40000", &identity("web"));
        assert_eq!(hbone(&shop, "far", peer, &authority), "Refuse recursive-call", "{authority}");
    }
}

#[test]
fn an_unknown_pod_is_refused() {
    let destination = "10.0.0.3:80".parse().unwrap();
    let peer = "10.0.0.1:40000".parse().unwrap();
    let pod = uid("ghost");
    let (identity, authority) = (identity("web"), Authority::Address(destination));
    for connection in [
        Connection::Outbound { source: pod.clone(), destination, draw: 0 },
        Connection::InboundPlaintext { pod: pod.clone(), peer, destination, by_node: false },
        Connection::InboundHbone { pod, peer, identity, authority },
    ] {
        assert_eq!(decide(&shop().snapshot(), &connection), Decision::Refuse(Reason::UnknownWorkload));
    }
}

#[test]
fn a_tunnel_leads_to_the_pod_it_reached_and_nowhere_else() {
    let mut shop = shop();
    let named = vec![port(80, &[("far", "10.0.0.3:8080"), ("near", "10.0.0.2:9999")]), port(81, &[])];
    shop.services.push(service("named", &[], named));
    let stray = vec![port(80, &[("far", "203.0.113.9:80")])];
    shop.services.push(service("stray", &[], stray));
    let web = identity("web");
    check(
        |authority| hbone(&shop, "far", ("10.0.0.1:40000", &web), authority),
        &[
            ("10.0.0.3:9999", "Local far 10.0.0.3:9999 via -"),
            ("[fd00::3]:8080", "Local far [fd00::3]:8080 via -"),
            ("[::ffff:10.0.0.3]:9999", "Local far 10.0.0.3:9999 via -"),
            // By hostname: its own target port of the service port.
            ("named.shop.svc.cluster.local:80", "Local far 10.0.0.3:8080 via shop/named"),
            ("far.shop.svc.cluster.local:80", "Local far 10.0.0.3:8080 via shop/far"),
            // Forged: another pod, nobody's address, a service's, a service that it is not in, a port it has not, an
            // endpoint that carries the pod's name and a stranger's address.
            ("10.0.0.2:8080", "Refuse authority-mismatch"),
            ("203.0.113.9:80", "Refuse authority-mismatch"),
            ("10.96.0.3:80", "Refuse authority-mismatch"),
            ("127.0.0.1:8080", "Refuse authority-mismatch"),
            ("near.shop.svc.cluster.local:80", "Refuse authority-mismatch"),
            ("named.shop.svc.cluster.local:81", "Refuse authority-mismatch"),
            ("named.shop.svc.cluster.local:82", "Refuse authority-mismatch"),
            ("nobody.example:80", "Refuse authority-mismatch"),
            ("stray.shop.svc.cluster.local:80", "Refuse authority-mismatch"),
        ],
    );
    assert_eq!(hbone(&shop, "host", ("10.0.0.1:4000", &web), "192.168.0.2:80"), "Refuse authority-mismatch");
}

#[test]
fn clear_text_reaches_the_pod_that_was_dialled() {
    let snapshot = shop().snapshot();
    let opened = |by_node, destination: &str| {
        let (peer, destination) = ("203.0.113.1:40000".parse().unwrap(), destination.parse().unwrap());
        let connection = Connection::InboundPlaintext { pod: uid("far"), peer, destination, by_node };
        told(&decide(&snapshot, &connection))
    };
    // The kubelet knows an address before the API tells of it.
    check(
        |destination| opened(true, destination),
        &[
            ("10.0.0.3:8080", "Local far 10.0.0.3:8080 via shop/far"),
            ("10.0.0.33:8080", "Local far 10.0.0.33:8080 via -"),
            ("10.0.0.33:15006", "Refuse recursive-call"),
        ],
    );
    check(
        |destination| opened(false, destination),
        &[
            ("10.0.0.3:8080", "Local far 10.0.0.3:8080 via shop/far"),
            ("10.0.0.2:8080", "Refuse authority-mismatch"),
            ("10.0.0.3:15006", "Refuse recursive-call"),
        ],
    );
}

#[test]
fn a_peer_proves_the_identity_of_its_address() {
    let mut shop = shop();
    shop.mesh.trust_domains.aliases = vec!["old.example".parse().unwrap()];
    let of = |domain: &str, account: &str| Identity::new(domain.parse().unwrap(), "shop", account);
    let admitted = "Local far 10.0.0.3:9999 via -";
    for (peer, identity, expected) in [
        ("10.0.0.1:4000", of("cluster.local", "web"), admitted),
        ("[::ffff:10.0.0.1]:4000", of("cluster.local", "web"), admitted),
        ("10.0.0.1:4000", of("old.example", "web"), admitted),
        ("10.0.0.1:4000", of("cluster.local", "near"), "Refuse peer-identity-mismatch"),
        ("[::ffff:10.0.0.1]:4000", of("cluster.local", "near"), "Refuse peer-identity-mismatch"),
        ("10.0.0.1:4000", of("foreign.example", "web"), "Refuse untrusted-domain"),
        // A gateway's or a node's address: the certificate alone says who it is.
        ("203.0.113.1:4000", of("cluster.local", "gateway"), admitted),
        ("203.0.113.1:4000", of("foreign.example", "gateway"), "Refuse untrusted-domain"),
    ] {
        assert_eq!(hbone(&shop, "far", (peer, &identity), "10.0.0.3:9999"), expected, "{peer} {identity}");
    }
}

#[test]
fn while_an_address_changes_hands_either_owner_may_speak_from_it() {
    let mut shop = shop();
    shop.pods.push(pod("old", "east", &["10.0.0.1"]));
    for (account, expected) in [
        ("old", "Local far 10.0.0.3:9999 via -"),
        ("web", "Local far 10.0.0.3:9999 via -"),
        ("near", "Refuse peer-identity-mismatch"),
    ] {
        assert_eq!(hbone(&shop, "far", ("10.0.0.1:4000", &identity(account)), "10.0.0.3:9999"), expected, "{account}");
    }
}

#[test]
fn an_endpoint_belongs_to_whoever_has_its_address_and_a_stale_name_is_never_dialled_in_clear() {
    let endpoint = |pod: &str, address: &str| World {
        services: vec![service("s", &["10.96.0.9"], vec![port(80, &[(pod, address)])])],
        ..shop()
    };
    for (named, address, expected) in [
        // Without a targetRef, and with one that names another pod than the one there.
        ("", "10.0.0.3:80", "Tunnel far 10.0.0.3:80 via shop/s"),
        ("plain", "10.0.0.3:80", "Tunnel far 10.0.0.3:80 via shop/s"),
        // The pod came back with another address and the endpoint is still to follow.
        ("far", "10.0.0.99:80", "Tunnel far 10.0.0.99:80 via shop/s"),
        ("ghost", "10.0.0.99:80", "Passthrough - 10.0.0.99:80 via shop/s"),
    ] {
        let told = outbound_from_web(&endpoint(named, address), "10.96.0.9:80", 0);
        assert_eq!(told, expected, "{named} {address}");
    }
}

#[test]
fn an_address_that_several_services_send_to_names_none_of_them() {
    let mut shop = shop();
    shop.services.push(service("also-far", &[], vec![port(8000, &[("far", "10.0.0.3:8080")])]));
    assert_eq!(outbound_from_web(&shop, "10.0.0.3:8080", 0), "Tunnel far 10.0.0.3:8080 via -");
}
