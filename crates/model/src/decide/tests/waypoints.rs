//! Ways through waypoints, and what does not come through them (G-04, G-10, F-14, F-15).

use super::*;
use crate::fixtures::waypoint;
use crate::policy::PolicyKey;
use crate::waypoint::{Binding, Serves, UseWaypoint, WaypointKey};
use crate::workload::{Enrolment, Excluded};
use crate::{Node, ServiceKey};

/// The shop, with a waypoint of two pods: one near `web`, one far. The Services `near` and `far` ask for it, and their pods
/// inherit it.
fn bound(serves: Serves) -> World {
    let mut shop = shop();
    let wish =
        |inherited| Some(UseWaypoint { key: WaypointKey::new("shop", "wp"), inherited, passed_by_gateways: false });
    shop.pods[1..3].iter_mut().for_each(|pod| pod.waypoint = wish(true));
    shop.services[..2].iter_mut().for_each(|service| service.waypoint = wish(false));
    let own = |name: &str, node: &str, address: &str| Workload {
        enrolment: Enrolment::Outside(Excluded::Waypoint),
        identity: identity("wp"),
        ..pod(name, node, &[address])
    };
    shop.pods.extend([own("wp-0", "east", "10.0.0.8"), own("wp-1", "west", "10.0.0.9")]);
    let endpoints = [("wp-0", "10.0.0.8:15008"), ("wp-1", "10.0.0.9:15008")];
    shop.services.push(service("wp", &["10.96.0.8"], vec![port(15008, &endpoints)]));
    shop.waypoints = vec![Waypoint { serves, ..waypoint("wp") }];
    shop
}

/// The shop of which the waypoint named is misspelt.
fn misspelt() -> World {
    World { waypoints: vec![], ..bound(Serves::Services) }
}

fn preferred(mut world: World) -> World {
    world.mesh.waypoints = Waypoints::Preferred;
    world
}

#[test]
fn what_is_addressed_to_a_service_goes_to_its_waypoint_and_to_a_pod_to_the_pods() {
    let (far, near) = ("10.96.0.3:80", "10.96.0.2:80");
    let through = |authority: &str, via: &str| format!("Waypoint wp-0 10.0.0.8:15008 via {via} for {authority}");
    let services = bound(Serves::Services);
    assert_eq!(outbound_from_web(&services, far, 0), through(far, "shop/far"));
    assert_eq!(outbound_from_web(&services, far, 1), through(far, "shop/far").replace("-0 10.0.0.8", "-1 10.0.0.9"));
    // On one node, too.
    assert_eq!(outbound_from_web(&services, near, 0), through(near, "shop/near"));
    assert_eq!(outbound_from_web(&services, "10.0.0.3:8080", 0), "Tunnel far 10.0.0.3:8080 via shop/far");
    assert_eq!(outbound_from_web(&services, "10.96.0.4:80", 0), "Passthrough plain 10.0.0.4:8080 via shop/plain");
    let workloads = bound(Serves::Workloads);
    let direct = through("10.0.0.3:9999", "-");
    assert_eq!(outbound_from_web(&workloads, "10.0.0.3:9999", 0), direct);
    // The pod takes nothing else, so that its service leads there as well.
    assert_eq!(outbound_from_web(&workloads, far, 0), through("10.0.0.3:8080", "shop/far"));
    let all = bound(Serves::All);
    assert_eq!(outbound_from_web(&all, far, 0), through(far, "shop/far"));
    assert_eq!(outbound_from_web(&all, "10.0.0.3:9999", 0), direct);
    let none = bound(Serves::Nothing);
    assert_eq!(outbound_from_web(&none, far, 0), "Tunnel far 10.0.0.3:8080 via shop/far");
    assert_eq!(outbound_from_web(&none, "10.0.0.3:9999", 0), "Tunnel far 10.0.0.3:9999 via -");
}

#[test]
fn a_waypoint_is_chosen_as_its_service_distributes() {
    let mut world = bound(Serves::Services);
    world.services.last_mut().unwrap().distribution = crate::Distribution::Prefer(crate::Scope::Node);
    let near = "Waypoint wp-0 10.0.0.8:15008 via shop/far for 10.96.0.3:80";
    for draw in 0..4 {
        assert_eq!(outbound_from_web(&world, "10.96.0.3:80", draw), near);
    }
}

#[test]
fn a_service_is_refused_whose_waypoint_cannot_serve_unless_it_is_only_preferred() {
    let unready = |mut world: World| {
        world.services.last_mut().unwrap().ports[0].targets.clear();
        world
    };
    let captured = |mut world: World| {
        world.pods[5..].iter_mut().for_each(|pod| pod.enrolment = Enrolment::Enrolled);
        world
    };
    let denied = |mut world: World| {
        world.services[1].key = ServiceKey::new("other", "far");
        world
    };
    for world in [
        misspelt(),
        unready(bound(Serves::Services)),
        captured(bound(Serves::Services)),
        denied(bound(Serves::Services)),
    ] {
        assert_eq!(outbound_from_web(&world, "10.96.0.3:80", 0), "Refuse waypoint-unavailable");
        let around = outbound_from_web(&preferred(world), "10.96.0.3:80", 0);
        assert!(around.starts_with("Tunnel far 10.0.0.3:8080"), "{around}");
    }
    // A port that the service has not is that before anything else.
    assert_eq!(outbound_from_web(&misspelt(), "10.96.0.3:81", 0), "Refuse no-such-service-port");
    // The waypoint itself is not sent to itself.
    let mut world = bound(Serves::Services);
    world.pods.iter_mut().find(|pod| &*pod.name == "web").unwrap().enrolment = Enrolment::Outside(Excluded::Waypoint);
    world.services.last_mut().unwrap().ports[0] = port(15008, &[("web", "10.0.0.1:15008")]);
    assert_eq!(outbound_from_web(&world, "10.96.0.3:80", 0), "Tunnel far 10.0.0.3:8080 via shop/far");
}

#[test]
fn the_endpoints_of_a_headless_service_are_dialled_by_its_waypoint() {
    let mut world = bound(Serves::Services);
    world.services[1].vips.clear();
    let through = "Waypoint wp-0 10.0.0.8:15008 via shop/far for 10.0.0.3:8080";
    assert_eq!(outbound_from_web(&world, "10.0.0.3:8080", 0), through);
    assert_eq!(outbound_from_web(&world, "10.0.0.3:9999", 0), "Tunnel far 10.0.0.3:9999 via -");
}

#[test]
fn a_pod_is_reached_by_its_services_waypoint_alone_and_at_other_ports_by_anybody() {
    let (wp, web) = (("10.0.0.8:40000", &identity("wp")), ("10.0.0.1:40000", &identity("web")));
    let refused = "Deny waypoint-required by Gateway shop/wp";
    let (local, other) = ("Local far 10.0.0.3:8080 via shop/far", "Local far 10.0.0.3:9999 via -");
    let world = bound(Serves::Services);
    for world in [world.clone(), misspelt()] {
        assert_eq!(hbone(&world, "far", web, "10.0.0.3:8080"), refused);
        assert_eq!(hbone(&world, "far", web, "far.shop.svc.cluster.local:80"), refused);
        assert_eq!(hbone(&world, "far", web, "10.0.0.3:9999"), other);
        assert_eq!(hbone(&preferred(world), "far", web, "10.0.0.3:8080"), local);
    }
    assert_eq!(hbone(&world, "far", wp, "10.0.0.3:8080"), local);
    assert_eq!(hbone(&misspelt(), "far", wp, "10.0.0.3:8080"), refused);
    // An address of the waypoint's proves nothing without its certificate; its certificate is enough from elsewhere, but
    // not from where another pod is known to be.
    assert_eq!(
        hbone(&world, "far", ("10.0.0.8:1", &identity("web")), "10.0.0.3:8080"),
        "Refuse peer-identity-mismatch"
    );
    assert_eq!(hbone(&world, "far", ("10.9.9.9:1", &identity("wp")), "10.0.0.3:8080"), local);
    assert_eq!(hbone(&world, "far", ("10.0.0.1:1", &identity("wp")), "10.0.0.3:8080"), "Refuse peer-identity-mismatch");
    // Within the node.
    assert_eq!(outbound_from_web(&world, "10.0.0.2:8080", 0), refused);
    assert_eq!(outbound_from_web(&world, "10.0.0.2:9999", 0), "Local near 10.0.0.2:9999 via -");
    // A workload's, at every port.
    let all = bound(Serves::All);
    assert_eq!(hbone(&all, "far", web, "10.0.0.3:9999"), refused);
    assert_eq!(hbone(&all, "far", wp, "10.0.0.3:9999"), other);
}

#[test]
fn a_gateway_goes_past_the_waypoint_of_a_service_that_says_so_and_nobody_else_does() {
    let mut world = bound(Serves::Services);
    world.pods[0].labels.insert("istio".into(), "ingressgateway".into());
    world.pods[0].enrolment = Enrolment::Outside(Excluded::OptedOut);
    let selecting = |key: &str| crate::gateway::Gateway {
        key: PolicyKey::new("shop", "edge"),
        created: None,
        selector: [(key.into(), "ingressgateway".into())].into(),
        servers: Vec::new(),
    };
    let from_web = |world: &World, gateway: Option<crate::gateway::Gateway>| {
        let mut snapshot = world.snapshot();
        snapshot.gateways.set(&PolicyKey::new("shop", "edge"), gateway.map(Arc::new));
        let (peer, identity, pod) = ("10.0.0.1:40000".parse().unwrap(), identity("web"), uid("far"));
        let authority = "10.0.0.3:8080".parse().unwrap();
        told(&decide(&snapshot, &Connection::InboundHbone { pod, peer, identity, authority }))
    };
    let (refused, local) = ("Deny waypoint-required by Gateway shop/wp", "Local far 10.0.0.3:8080 via shop/far");
    assert_eq!(from_web(&world, Some(selecting("istio"))), refused, "the service says nothing of it");
    world.services[1].waypoint.as_mut().unwrap().passed_by_gateways = true;
    assert_eq!(from_web(&world, Some(selecting("istio"))), local);
    assert_eq!(from_web(&world, Some(selecting("other"))), refused, "it serves no Gateway");
    assert_eq!(from_web(&world, None), refused);
    let anybodys = crate::gateway::Gateway { selector: Default::default(), ..selecting("istio") };
    assert_eq!(from_web(&world, Some(anybodys)), refused, "who selects everybody makes nobody a gateway");
    let with = |change: &dyn Fn(&mut World)| {
        let mut other = world.clone();
        change(&mut other);
        from_web(&other, Some(selecting("istio")))
    };
    assert_eq!(with(&|other| other.pods[0].enrolment = Enrolment::Enrolled), refused, "labels make no gateway");
    assert_eq!(with(&|other| other.pods[0].namespace = "evil".into()), refused, "nor in anybody's namespace");
    assert_eq!(with(&|other| other.pods[0].namespace = "istio-system".into()), local);
    let twin = Service { waypoint: bound(Serves::Services).services[1].waypoint.clone(), ..world.services[1].clone() };
    let twin = Service { key: ServiceKey::new("shop", "twin"), hostname: "twin".into(), vips: vec![], ..twin };
    assert_eq!(with(&|other| other.services.push(twin.clone())), refused, "another service of the pod says nothing");
    assert_eq!(with(&|other| other.waypoints[0].serves = Serves::All), refused, "the pod has a waypoint itself");
}

#[test]
fn in_clear_nobody_is_a_waypoint_and_the_kubelet_need_not_be() {
    let mut world = bound(Serves::Services);
    let addresses = vec!["192.168.0.2".parse().unwrap()];
    let place = || "".into();
    world.nodes = vec![Node { name: "west".into(), addresses, region: place(), zone: place(), subzone: place() }];
    let plain = |world: &World, peer: &str, by_node| {
        let (peer, destination) = (peer.parse().unwrap(), "10.0.0.3:8080".parse().unwrap());
        let connection = Connection::InboundPlaintext { pod: uid("far"), peer, destination, by_node };
        told(&decide(&world.snapshot(), &connection))
    };
    let refused = "Deny waypoint-required by Gateway shop/wp";
    assert_eq!(plain(&world, "10.0.0.8:1", false), refused);
    assert_eq!(plain(&world, "203.0.113.9:1", false), refused);
    for address in ["192.168.0.2:1", "10.244.1.1:1"] {
        assert_eq!(plain(&world, address, true), "Local far 10.0.0.3:8080 via shop/far");
        assert_eq!(plain(&world, address, false), refused, "an address proves nothing");
    }
}

#[test]
fn who_is_not_known_yet_may_be_the_waypoints_new_pod() {
    let mut world = bound(Serves::Services);
    world.pods.retain(|pod| !pod.name.starts_with("wp"));
    let early = |world: &World, peer: (&str, &str)| {
        let (peer, identity) = (peer.0.parse().unwrap(), identity(peer.1));
        let authority = "10.0.0.3:8080".parse().unwrap();
        match decide(&world.snapshot(), &Connection::InboundHbone { pod: uid("far"), peer, identity, authority }) {
            Decision::Deny(_, denial) => denial.early,
            other => panic!("{other:?}"),
        }
    };
    assert!(early(&world, ("10.0.0.8:1", "wp")));
    assert!(!early(&world, ("10.0.0.1:1", "web")));
}

#[test]
fn a_pod_that_speaks_hbone_itself_is_reached_by_it() {
    let mut shop = shop();
    shop.pods[1].enrolment = Enrolment::Outside(Excluded::SpeaksHbone);
    assert_eq!(outbound_from_web(&shop, "10.96.0.2:80", 0), "Tunnel near 10.0.0.2:8080 via shop/near");
    shop.pods[1].enrolment = Enrolment::Outside(Excluded::Waypoint);
    assert_eq!(outbound_from_web(&shop, "10.96.0.2:80", 0), "Passthrough near 10.0.0.2:8080 via shop/near");
}

/// The waypoint's pods are in the mesh, and their agents take HBONE for them.
fn behind_agents(binding: Binding, serves: Serves) -> World {
    let mut world = bound(serves);
    world.waypoints = vec![Waypoint { binding, serves, ..waypoint("wp") }];
    world.pods[5..].iter_mut().for_each(|pod| pod.enrolment = Enrolment::Enrolled);
    world
}

#[test]
fn a_waypoint_behind_its_agent_is_reached_there_and_told_what_was_dialled() {
    let world = behind_agents(Binding::Proxy(15088), Serves::All);
    let far = "10.96.0.3:80";
    let expected = format!("Waypoint wp-0 10.0.0.8:15008 via shop/far for {far}");
    assert_eq!(outbound_from_web(&world, far, 0), expected);
    let asked = |world: &World, authority: &str| {
        let (peer, identity) = ("10.0.0.1:40000".parse().unwrap(), identity("web"));
        let authority = authority.parse().unwrap();
        let connection = Connection::InboundHbone { pod: uid("wp-0"), peer, identity, authority };
        let decision = decide(&world.snapshot(), &connection);
        let announced = match &decision {
            Decision::Local(Upstream { announced: Some(announced), .. }) => {
                format!(" {} {}", announced.address, announced.host.as_deref().unwrap_or("-"))
            }
            _ => String::new(),
        };
        told(&decision) + &announced
    };
    let host = "far.shop.svc.cluster.local";
    let told = format!("Local wp-0 10.0.0.8:15088 via shop/far {far} {host}");
    for (authority, expected) in [
        (far, &*told),
        (&*format!("{host}:80"), &*told),
        ("10.0.0.3:9999", "Local wp-0 10.0.0.8:15088 via - 10.0.0.3:9999 -"),
        // What it does not serve, and what is its own.
        ("10.96.0.4:80", "Refuse authority-mismatch"),
        ("10.96.0.3:81", "Refuse authority-mismatch"),
        ("10.0.0.8:8080", "Local wp-0 10.0.0.8:8080 via -"),
    ] {
        assert_eq!(asked(&world, authority), expected, "{authority}");
    }
    for (binding, port) in [(Binding::Raw(Some(9000)), 9000), (Binding::Raw(None), 80)] {
        let world = behind_agents(binding, Serves::All);
        assert_eq!(asked(&world, far), format!("Local wp-0 10.0.0.8:{port} via shop/far"), "{binding:?}");
    }
    // Another pod is told nothing, and nobody takes it for a waypoint.
    let connect = |world: &World| hbone(world, "near", ("10.0.0.1:40000", &identity("web")), far);
    assert_eq!(connect(&world), "Refuse authority-mismatch");
}

#[test]
fn a_waypoint_behind_its_agent_is_believed_by_its_certificate_and_goes_straight_to_what_it_serves() {
    let world = behind_agents(Binding::Proxy(15088), Serves::Services);
    let dialled = Connection::Outbound { source: uid("wp-1"), destination: "10.96.0.3:80".parse().unwrap(), draw: 0 };
    assert_eq!(told(&decide(&world.snapshot(), &dialled)), "Local far 10.0.0.3:8080 via shop/far");
    let from = |account: &str, peer: &str| hbone(&world, "far", (peer, &identity(account)), "10.0.0.3:8080");
    assert_eq!(from("wp", "10.0.0.9:4000"), "Local far 10.0.0.3:8080 via shop/far");
    assert!(from("web", "10.0.0.1:4000").starts_with("Deny waypoint-required"));
    // One that is not in the mesh has nobody to take HBONE for it.
    let mut stray = behind_agents(Binding::Proxy(15088), Serves::Services);
    stray.pods[5..].iter_mut().for_each(|pod| pod.enrolment = Enrolment::Outside(Excluded::Waypoint));
    assert_eq!(outbound_from_web(&stray, "10.96.0.3:80", 0), "Refuse waypoint-unavailable");
}

#[test]
fn a_waypoint_behind_its_agent_may_have_a_port_of_its_own_in_its_service() {
    let mut world = behind_agents(Binding::Proxy(15088), Serves::Services);
    let endpoints = [("wp-0", "10.0.0.8:15088"), ("wp-1", "10.0.0.9:15088")];
    *world.services.last_mut().unwrap() = service("wp", &["10.96.0.8"], vec![port(15088, &endpoints)]);
    let expected = "Waypoint wp-0 10.0.0.8:15008 via shop/far for 10.96.0.3:80";
    assert_eq!(outbound_from_web(&world, "10.96.0.3:80", 0), expected);
}

#[test]
fn of_a_waypoint_another_pod_is_asked_and_it_is_never_gone_around() {
    let far = "10.96.0.3:80";
    let [first, second] = ["10.0.0.8:15008", "10.0.0.9:15008"].map(|address| (Way::Waypoint, address));
    for world in [bound(Serves::Services), preferred(bound(Serves::Services))] {
        let other = format!("Waypoint wp-1 {} via shop/far for {far}", second.1);
        assert_eq!(again_from_web(&world, far, &[first]), [other]);
        assert_eq!(again_from_web(&world, far, &[first, second]), [] as [&str; 0]);
    }
}
