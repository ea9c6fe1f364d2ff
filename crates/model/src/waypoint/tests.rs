//! Who is bound to which waypoint, as a table of Gateways; what a waypoint may be asked for.

use super::*;
use crate::fixtures::{World, pod, port, service, unenrolled, waypoint};
use crate::snapshot::{Mesh, Waypoints};

/// `web` on node `east`, and the Service `web` in front of it; the waypoint `shop/wp` with its pod and its Service.
fn shop(waypoint: Waypoint) -> World {
    let wanted =
        |inherited| Some(UseWaypoint { key: WaypointKey::new("shop", "wp"), inherited, passed_by_gateways: false });
    let web = Workload { waypoint: wanted(true), ..pod("web", "east", &["10.0.0.1"]) };
    let of_web = Service {
        waypoint: wanted(true),
        ..service("web", &["10.96.0.1"], vec![port(80, &[("web", "10.0.0.1:8080")])])
    };
    let of_wp = Service {
        waypoint: wanted(true),
        ..service("wp", &["10.96.0.9"], vec![port(15008, &[("wp-0", "10.0.0.9:15008")])])
    };
    let wp = unenrolled(pod("wp-0", "east", &["10.0.0.9"]));
    World { waypoints: vec![waypoint], ..World::new(vec![web, wp], vec![of_web, of_wp]) }
}

fn told(bound: Bound<'_>) -> String {
    match bound {
        Bound::None => "none".to_owned(),
        Bound::Waypoint(waypoint) => waypoint.key.to_string(),
        Bound::Unavailable(why) => format!("{why:?}"),
    }
}

fn bound(world: &World) -> [String; 2] {
    let snapshot = world.snapshot();
    let (workload, service) = (&world.pods[0], &world.services[0]);
    [told(of_service(&snapshot, service)), told(of_workload(&snapshot, workload))]
}

#[test]
fn a_waypoint_serves_what_it_is_for_and_no_other_namespaces_than_it_allows() {
    let wp = || waypoint("wp");
    for (serves, expected) in [
        (Serves::Services, ["shop/wp", "none"]),
        (Serves::Workloads, ["none", "shop/wp"]),
        (Serves::All, ["shop/wp", "shop/wp"]),
        (Serves::Nothing, ["none", "none"]),
    ] {
        assert_eq!(bound(&shop(Waypoint { serves, ..wp() })), expected, "{serves:?}");
    }
    let selected = |names: &[&str]| Allowed::Selected(names.iter().map(|name| Arc::from(*name)).collect());
    for (allowed, expected) in [
        (Allowed::Same, "AttachmentDenied"),
        (Allowed::All, "infra/wp"),
        (selected(&["shop"]), "infra/wp"),
        (selected(&["infra"]), "AttachmentDenied"),
    ] {
        let key = WaypointKey::new("infra", "wp");
        let mut world = shop(Waypoint { key: key.clone(), allowed: allowed.clone(), ..wp() });
        world.services[0].waypoint = Some(UseWaypoint { key, inherited: false, passed_by_gateways: false });
        assert_eq!(bound(&world)[0], expected, "{allowed:?}");
    }
}

#[test]
fn a_waypoint_that_is_missing_shuts_services_and_those_pods_that_name_it_themselves() {
    let mut world = World { waypoints: vec![], ..shop(waypoint("wp")) };
    assert_eq!(bound(&world), ["Missing", "none"]);
    world.pods[0].waypoint.as_mut().unwrap().inherited = false;
    assert_eq!(bound(&world), ["Missing", "Missing"]);
}

#[test]
fn a_waypoints_own_service_is_reached_by_none() {
    let mut world = shop(waypoint("wp"));
    world.waypoints.push(waypoint("other"));
    let snapshot = world.snapshot();
    assert_eq!(told(of_service(&snapshot, &world.services[1])), "none");
    // Nor is that of another waypoint of the namespace.
    world.services[1].waypoint.as_mut().unwrap().key = WaypointKey::new("shop", "other");
    assert_eq!(told(of_service(&world.snapshot(), &world.services[1])), "none");
}

#[test]
fn who_has_the_identity_of_one_of_its_pods_is_the_waypoint() {
    let world = shop(waypoint("wp"));
    let is = |world: &World, name: &str| waypoint("wp").is(&world.snapshot(), &crate::fixtures::identity(name));
    assert!(is(&world, "wp-0") && !is(&world, "web"));
    // A pod whose port 15008 is ztunnel's is no waypoint's.
    let mut enrolled = world.clone();
    enrolled.pods[1] = pod("wp-0", "east", &["10.0.0.9"]);
    assert!(!is(&enrolled, "wp-0"));
    let scaled_to_none = World { pods: vec![world.pods[0].clone()], ..world };
    assert!(!is(&scaled_to_none, "wp-0"));
}

#[test]
fn a_waypoint_answers_for_what_it_serves_alone() {
    let asked_by = |world: &World, authority: &str| {
        let snapshot = world.snapshot();
        let key = WaypointKey::new("shop", "wp");
        match asked(&snapshot, &key, "shop", &authority.parse().unwrap()) {
            Some(Asked::Service(service, port)) => format!("{} {port}", service.key),
            Some(Asked::Workload(workload, address)) => format!("{} {address}", workload.name),
            None => "-".to_owned(),
        }
    };
    let services = shop(waypoint("wp"));
    let workloads = shop(Waypoint { serves: Serves::Workloads, ..waypoint("wp") });
    let mut headless = services.clone();
    headless.services[0].vips.clear();
    for (authority, of_services, of_workloads, of_headless) in [
        ("10.96.0.1:80", "shop/web 80", "-", "-"),
        ("[::ffff:10.96.0.1]:80", "shop/web 80", "-", "-"),
        ("web.shop.svc.cluster.local:80", "shop/web 80", "-", "shop/web 80"),
        ("10.96.0.1:81", "-", "-", "-"),
        // A pod's own address: of a workload, or where a headless service has no other.
        ("10.0.0.1:8080", "-", "web 10.0.0.1:8080", "web 10.0.0.1:8080"),
        ("10.0.0.1:9999", "-", "web 10.0.0.1:9999", "-"),
        // Its own address, and what nobody knows.
        ("10.96.0.9:15008", "-", "-", "-"),
        ("10.0.0.9:15008", "-", "-", "-"),
        ("203.0.113.9:80", "-", "-", "-"),
        ("example.com:80", "-", "-", "-"),
    ] {
        assert_eq!(asked_by(&services, authority), of_services, "services {authority}");
        assert_eq!(asked_by(&workloads, authority), of_workloads, "workloads {authority}");
        assert_eq!(asked_by(&headless, authority), of_headless, "headless {authority}");
    }
    // Of two services of one host it is the one that the client sees.
    let mut hidden = services.clone();
    let web = hidden.services[0].clone();
    let only = |namespace: &str| crate::route::Visibility::Namespaces(vec![namespace.into()]);
    let key = crate::ServiceKey::new("aaa", "web");
    hidden.services.push(Service { key, vips: vec![], visibility: only("aaa"), ..web });
    assert_eq!(asked_by(&hidden, "web.shop.svc.cluster.local:80"), "shop/web 80");
    hidden.services[0].visibility = only("bbb");
    assert_eq!(asked_by(&hidden, "web.shop.svc.cluster.local:80"), "-");
}

#[test]
fn an_endpoint_of_a_service_without_waypoint_is_reached_as_one_likes() {
    let mut world = shop(waypoint("wp"));
    let demands = |world: &World, address: &str| {
        let snapshot = world.snapshot();
        let workload = snapshot.workload(&world.pods[0].uid).unwrap();
        demanded(&snapshot, workload, address.parse().unwrap()).map(|demand| format!("{demand:?}"))
    };
    assert!(demands(&world, "10.0.0.1:8080").is_some());
    assert_eq!(demands(&world, "10.0.0.1:9999"), None);
    let second = Service { waypoint: None, ..service("second", &["10.96.0.2"], world.services[0].ports.clone()) };
    world.services.push(second);
    assert_eq!(demands(&world, "10.0.0.1:8080"), None);
    // But what the pod itself demands it demands of everybody.
    world.waypoints[0].serves = Serves::All;
    assert!(demands(&world, "10.0.0.1:8080").is_some() && demands(&world, "10.0.0.1:9999").is_some());
    world.mesh = Mesh { waypoints: Waypoints::Preferred, ..Mesh::default() };
    assert_eq!(demands(&world, "10.0.0.1:8080"), None);
}
