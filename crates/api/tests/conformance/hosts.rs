//! Which VirtualService counts for a host, and where (Istio `VirtualService`, `hosts`, `gateways`, `exportTo`).

use ambit_model::route::{Addressed, Draw, Gateway, Outcome, RuleKey};
use serde_json::{Value, json};

use crate::support::{Call, HOST, get, matched, read, routes, routes_of, to};

/// The name of the route that a request to `host` takes at `gateway`, or what else becomes of it.
fn route(services: &[(&str, &str, Value)], host: &str, viewer: &str, gateway: Gateway) -> String {
    let services = services.iter().map(|(namespace, name, spec)| {
        let mut spec = spec.clone();
        spec["http"] = json!([{"name": name, "route": [{"destination": {"host": "reviews"}}]}]);
        read(namespace, name, spec)
    });
    let (routes, call) = (routes_of(services), Call { gateway, ..get("/") });
    match routes.http(Addressed { host, viewer, owner: None, from: None }, &call.request(), Draw(0)) {
        Outcome::Unrouted => "-".to_owned(),
        outcome => matched(outcome).name.into_owned(),
    }
}

#[test]
fn the_closest_host_counts_and_a_short_name_is_of_its_own_namespace() {
    let hosts = |host: &str| json!({"hosts": [host]});
    let all = [
        ("shop", "short", hosts("reviews")),
        ("other", "whole", hosts("ratings.shop.svc.cluster.local")),
        ("shop", "namespace", hosts("*.shop.svc.cluster.local")),
        ("shop", "cluster", hosts("*.svc.cluster.local")),
        ("shop", "external", hosts("API.example.com")),
    ];
    for (host, expected) in [
        (HOST, "short"),
        ("reviews.other.svc.cluster.local", "cluster"),
        ("ratings.shop.svc.cluster.local", "whole"),
        ("details.shop.svc.cluster.local", "namespace"),
        ("details.bank.svc.cluster.local", "cluster"),
        ("api.example.com", "external"),
        ("www.example.com", "-"),
        ("example.com", "-"),
    ] {
        assert_eq!(route(&all, host, "shop", Gateway::Mesh), expected, "{host}");
    }
}

#[test]
fn it_applies_in_the_mesh_or_at_the_gateways_that_it_names() {
    let at = |name: &str| Gateway::Named(RuleKey::new("shop", name));
    let spec = |gateways: Value| json!({"hosts": ["reviews"], "gateways": gateways});
    let elsewhere = Gateway::Named(RuleKey::new("edge", "ingress"));
    for (gateways, mesh, ingress, far) in [
        (json!([]), "vs", "-", "-"),
        (json!(["mesh"]), "vs", "-", "-"),
        (json!(["ingress"]), "-", "vs", "-"),
        (json!(["shop/ingress"]), "-", "vs", "-"),
        (json!(["edge/ingress"]), "-", "-", "vs"),
        (json!(["ingress", "mesh"]), "vs", "vs", "-"),
    ] {
        let of = |gateway| route(&[("shop", "vs", spec(gateways.clone()))], HOST, "shop", gateway);
        assert_eq!(
            (of(Gateway::Mesh), of(at("ingress")), of(elsewhere.clone())),
            (mesh.into(), ingress.into(), far.into())
        );
    }
    let all = read("shop", "all", json!({"hosts": ["*"], "gateways": ["ingress"], "http": [{"route": to("v1")}]}));
    assert_eq!(Call { gateway: at("ingress"), ..get("/") }.subset(&routes_of([all])), "v1");
}

#[test]
fn a_matchs_gateways_override_those_of_the_virtual_service() {
    let at = Gateway::Named(RuleKey::new("shop", "ingress"));
    let routes = routes_of([read(
        "shop",
        "vs",
        json!({"hosts": ["reviews"], "gateways": ["ingress", "mesh"], "http": [
            {"match": [{"gateways": ["ingress"]}], "route": to("v2")},
            {"match": [{"gateways": ["mesh"], "uri": {"prefix": "/a"}}], "route": to("v1")},
        ]}),
    )]);
    assert_eq!(Call { gateway: at, ..get("/a") }.subset(&routes), "v2");
    assert_eq!(get("/a").subset(&routes), "v1");
    assert_eq!(get("/b").subset(&routes), "404");
}

#[test]
fn it_is_seen_by_the_namespaces_that_it_is_exported_to() {
    let spec = |export_to: Value| json!({"hosts": ["reviews"], "exportTo": export_to});
    for (export_to, shop, bank, third) in [
        (json!([]), "vs", "vs", "vs"),
        (json!(["*"]), "vs", "vs", "vs"),
        (json!(["."]), "vs", "-", "-"),
        (json!(["bank"]), "-", "vs", "-"),
        (json!([".", "bank"]), "vs", "vs", "-"),
    ] {
        let of = |viewer| route(&[("shop", "vs", spec(export_to.clone()))], HOST, viewer, Gateway::Mesh);
        assert_eq!((of("shop"), of("bank"), of("third")), (shop.into(), bank.into(), third.into()), "{export_to}");
    }
}

#[test]
fn without_a_rule_for_requests_they_go_where_they_were_addressed_to() {
    let tcp = json!({"hosts": ["reviews"], "tcp": [{"route": [{"destination": {"host": "reviews"}}]}]});
    assert_eq!(get("/").subset(&routes_of([read("shop", "tcp", tcp)])), "-");
    assert_eq!(get("/").subset(&routes_of([])), "-");
    // With one that is not for them, they go nowhere.
    assert_eq!(get("/").subset(&routes(json!([{"match": [{"uri": {"exact": "/a"}}], "route": to("v1")}]))), "404");
}

#[test]
fn the_routes_of_several_for_one_host_are_one_list_the_oldest_first() {
    let rule =
        |name: &str, path: &str| json!([{"name": name, "match": [{"uri": {"prefix": path}}], "route": to("v1")}]);
    let spec = |http: Value| json!({"hosts": ["reviews"], "http": http});
    let routes = routes_of([
        read("shop", "a", spec(rule("a", "/a"))),
        read("shop", "b", spec(rule("b", "/b"))),
        read("shop", "c", spec(rule("c", "/a/c"))),
    ]);
    let taken = |path: &'static str| match get(path).by(&routes, 0) {
        Outcome::NoRoute => "404".to_owned(),
        outcome => matched(outcome).name.into_owned(),
    };
    for (path, expected) in [("/a", "a"), ("/b", "b"), ("/a/c", "a"), ("/d", "404")] {
        assert_eq!(taken(path), expected, "{path}");
    }
}

#[test]
fn in_the_mesh_only_the_services_own_namespace_and_the_waypoints_say_where_it_goes() {
    let vs =
        json!({"hosts": [HOST], "gateways": ["mesh", "edge/ingress"], "http": [{"name": "vs", "route": to("v1")}]});
    let routes = |namespace: &str| routes_of([read(namespace, "vs", vs.clone())]);
    let ingress = Gateway::Named(RuleKey::new("edge", "ingress"));
    for (namespace, mesh, gateway) in [("shop", true, true), ("edge", true, true), ("consumer", false, true)] {
        let routes = routes(namespace);
        let at = |gateway| {
            let addressed = Addressed { host: HOST, viewer: "edge", owner: Some("shop"), from: None };
            !matches!(routes.http(addressed, &Call { gateway, ..get("/") }.request(), Draw(0)), Outcome::Unrouted)
        };
        assert_eq!((at(Gateway::Mesh), at(ingress.clone())), (mesh, gateway), "{namespace}");
    }
}
