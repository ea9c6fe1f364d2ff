//! What a route is attached to, what it may name, and what is told of it.

use super::*;

const OLD: &str = "2024-01-01T00:00:00Z";

fn every(to: &str) -> String {
    rule("", to)
}

fn services() -> String {
    ["reviews", "a", "b", "c"].map(|name| service("shop", name)).concat()
}

/// A VirtualService for `reviews` that answers requests with 204.
const VIRTUAL_SERVICE: &str = "---\n{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: vs, \
                               namespace: shop}, spec: {hosts: [reviews], http: [{directResponse: {status: 204}}]}}\n";

/// A waypoint, and what has the services of `shop` go through it.
const WAYPOINT: &str = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wp, namespace: shop}, \
                        spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}}\n\
                        ---\n{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/use-waypoint: wp}}}\n";

#[test]
fn a_route_holds_in_place_of_a_virtual_service_which_is_told() {
    let mut index = joined(&(services() + WAYPOINT + VIRTUAL_SERVICE));
    assert_eq!((get("/x").to(&index).as_str(), found(&index)), ("204", vec![]));
    index.apply(upserts(&route("HTTPRoute", "routes", OLD, &rule("{path: {value: /x}}", "a"))));
    // Also where none of its rules is for a request.
    assert_eq!([get("/x").to(&index), get("/y").to(&index)], ["a", "404"]);
    assert_eq!(
        found(&index),
        [
            "VirtualService shop/vs spec.hosts[0] has no effect for requests to reviews.shop.svc.cluster.local: HTTPRoute \
          shop/routes is attached there, and holds in its place"
        ]
    );
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::HttpRoute, "shop", "routes"))]);
    assert_eq!((get("/x").to(&index).as_str(), found(&index)), ("204", vec![]));
}

#[test]
fn a_route_for_one_port_leaves_the_others_alone() {
    let at = |parent: &str| attached("HTTPRoute", ("shop", "routes", OLD), parent, &every("a"));
    let admin = Call { port: 9090, ..get("/") };
    for parent in [
        "{group: '', kind: Service, name: reviews, port: 9090}",
        "{group: '', kind: Service, name: reviews, sectionName: http-admin}",
    ] {
        let index = joined(&(services() + VIRTUAL_SERVICE + &at(parent)));
        assert_eq!([get("/").to(&index), admin.to(&index)], ["204", "a"], "{parent}");
    }
    // Routes for all ports and for one are merged there.
    let both = [
        route("HTTPRoute", "all", OLD, &every("b")),
        attached(
            "HTTPRoute",
            ("shop", "one", OLD),
            "{group: '', kind: Service, name: reviews, port: 9090}",
            &rule("{path: {value: /x}}", "a"),
        ),
    ];
    let index = joined(&(services() + &both.concat()));
    let there = |path| Call { port: 9090, ..get(path) }.to(&index);
    assert_eq!([get("/x").to(&index), there("/x"), there("/y")], ["b", "a", "b"]);
    let nowhere = joined(&(services() + &at("{group: '', kind: Service, name: reviews, port: 1}")));
    assert_eq!(admin.to(&nowhere), "-");
    assert!(found(&nowhere)[0].contains("spec.parentRefs[0] has no such port"), "{:?}", found(&nowhere));
}

#[test]
fn a_route_for_a_service_of_another_namespace_is_for_its_own_clients_alone() {
    let parent = "{group: '', kind: Service, name: reviews, namespace: shop}";
    let back = "{backendRefs: [{name: reviews, namespace: shop, port: 9080}]}";
    let consumer = |rules: &str| attached("HTTPRoute", ("office", "own", OLD), parent, rules);
    let producer = route("HTTPRoute", "routes", OLD, &every("a"));
    let theirs = Call { namespace: "office", ..get("/") };
    let index = joined(&(services() + &service("office", "proxy") + &producer + &consumer(&every("proxy"))));
    assert_eq!([get("/").to(&index), theirs.to(&index)], ["a", "proxy.office"]);
    // What it is attached to is what its clients have asked for: nobody has to grant that.
    let index = joined(&(services() + &consumer(back)));
    assert_eq!([get("/").to(&index), theirs.to(&index)], ["-", "reviews"]);
}

#[test]
fn a_backend_of_another_namespace_takes_a_grant() {
    let grant = |spec: &str| {
        format!(
            "---\n{{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {{name: grant, \
             namespace: far}}, spec: {{{spec}}}}}\n"
        )
    };
    let from = "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]";
    let rules = "{backendRefs: [{name: web, namespace: far, port: 9080}]}";
    let mut index = joined(&(services() + &service("far", "web") + &route("HTTPRoute", "routes", OLD, rules)));
    assert_eq!(get("/").to(&index), "500");
    assert!(found(&index).iter().any(|told| told.contains("rules[0].backendRefs[0] is of another namespace")));
    for (spec, expected) in [
        (format!("{from}, to: [{{group: '', kind: Service}}]"), "web.far"),
        (format!("{from}, to: [{{group: '', kind: Service, name: web}}]"), "web.far"),
        (format!("{from}, to: [{{group: '', kind: Service, name: other}}]"), "500"),
        (format!("{from}, to: [{{group: '', kind: Secret}}]"), "500"),
        (format!("{}, to: [{{group: '', kind: Service}}]", from.replace("HTTPRoute", "GRPCRoute")), "500"),
        (format!("{}, to: [{{group: '', kind: Service}}]", from.replace("shop", "office")), "500"),
    ] {
        index.apply(upserts(&grant(&spec)));
        assert_eq!(get("/").to(&index), expected, "{spec}");
        index.apply(vec![Event::Delete(ObjectRef::new(Kind::ReferenceGrant, "far", "grant"))]);
        assert_eq!(get("/").to(&index), "500", "{spec}");
    }
}

#[test]
fn a_service_that_comes_and_goes_is_seen() {
    let mut index = joined(&(service("shop", "reviews") + &route("HTTPRoute", "routes", OLD, &every("a"))));
    assert_eq!(get("/").to(&index), "500");
    index.apply(upserts(&service("shop", "a")));
    assert_eq!(get("/").to(&index), "a");
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Service, "shop", "a"))]);
    assert_eq!(get("/").to(&index), "500");
    // What it is attached to, as well.
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Service, "shop", "reviews"))]);
    assert_eq!(get("/").to(&index), "-");
    index.apply(upserts(&service("shop", "reviews")));
    assert_eq!(get("/").to(&index), "500");
}

#[test]
fn a_route_can_be_attached_to_the_hosts_of_a_service_entry_and_lead_to_one() {
    let entry = |hosts: &str| {
        format!(
            "---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: ext, namespace: shop}}, spec: \
             {{hosts: [{hosts}], resolution: STATIC, location: MESH_EXTERNAL, ports: [{{number: 9080, name: http, protocol: \
             HTTP}}], endpoints: [{{address: 192.0.2.1}}]}}}}\n"
        )
    };
    let parent = "{group: networking.istio.io, kind: ServiceEntry, name: ext}";
    let to = "{backendRefs: [{group: networking.istio.io, kind: Hostname, name: b.example, port: 9080}]}";
    let mut index =
        joined(&(entry("a.example, b.example") + &attached("HTTPRoute", ("shop", "routes", OLD), parent, to)));
    let hosts = |index: &Index| {
        let snapshot = index.snapshot();
        let route = snapshot.routes.service_routes().next().cloned();
        route.map(|route| route.parents.iter().map(|parent| parent.host.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(hosts(&index).unwrap(), ["a.example", "b.example"]);
    index.apply(upserts(&entry("a.example")));
    assert_eq!(hosts(&index).unwrap(), ["a.example"]);
    assert!(found(&index).iter().any(|told| told.contains("BackendNotFound")), "{:?}", found(&index));
}

#[test]
fn of_two_kinds_for_one_port_that_of_grpc_holds() {
    let routes = [
        route("HTTPRoute", "http", OLD, &every("a")),
        route("GRPCRoute", "calls", "2025-01-01T00:00:00Z", &every("b")),
    ];
    let mut index = joined(&(services() + WAYPOINT + &routes.concat()));
    assert_eq!(get("/").to(&index), "b");
    assert_eq!(
        found(&index),
        [
            "HTTPRoute shop/http spec.parentRefs reviews.shop.svc.cluster.local is not in effect beside GRPCRoute shop/calls, which \
          is attached to the same port (Conflicted)"
        ]
    );
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::GrpcRoute, "shop", "calls"))]);
    assert_eq!((get("/").to(&index).as_str(), found(&index)), ("a", vec![]));
}

#[test]
fn what_a_route_has_no_effect_on_is_told() {
    let parent = |parent: &str| attached("HTTPRoute", ("shop", "routes", OLD), parent, &every("a"));
    for (waypoint, parent, expected) in [
        (WAYPOINT, parent("{group: '', kind: Service, name: reviews}"), vec![]),
        (
            "",
            parent("{group: '', kind: Service, name: reviews}"),
            vec!["spec.parentRefs reviews.shop.svc.cluster.local is for a waypoint, and the service has none"],
        ),
        (WAYPOINT, parent("{group: '', kind: Service, name: nobody}"), vec!["spec.parentRefs[0] is not there"]),
        (WAYPOINT, parent("{name: wp}"), vec!["spec.parentRefs[0] is a waypoint, whose listener takes no routes"]),
        (WAYPOINT, parent("{name: ingress}"), vec!["spec.parentRefs[0] is for a gateway"]),
        (
            WAYPOINT,
            parent("{group: '', kind: Service, name: reviews}, {name: ingress}"),
            vec!["spec.parentRefs[1] is for a gateway"],
        ),
    ] {
        let told = found(&joined(&(services() + waypoint + &parent)));
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(&format!("HTTPRoute shop/routes {expected}")), "{told}");
        }
    }
}
