//! VirtualServices that others delegate to (Istio `Delegate`); which conditions are within which is as Istio's own unit
//! test has it.

use ambit_model::route::{Action, Routes};
use serde_json::{Value, json};

use crate::support::{Call, forward, get, matched, read, routes_of, to};

/// The routes of a root that delegates with `root`, and of its delegate with the rules `delegate`.
fn with(root: Value, delegate: Value) -> Routes {
    let mut rule = root;
    rule["delegate"] = json!({"name": "child", "namespace": "other"});
    routes_of([
        read("shop", "root", json!({"hosts": ["reviews"], "http": [rule]})),
        read("other", "child", json!({ "http": delegate })),
    ])
}

/// Whether a delegate that matches by `own` is within a root that matches by `root`.
fn fits(root: Value, own: Value) -> bool {
    let routes = with(json!({ "match": [root] }), json!([{"match": [own], "route": to("v1")}]));
    // What does not fit leaves no route that anything could match.
    let calls = ["/a/b", "/a", "/b", "/A/b"].into_iter().flat_map(|path| {
        let plain = get(path).from("shop", "web");
        [plain.clone().with("x", "ab"), plain.clone().with("x", "a"), Call { method: "POST", port: 80, ..plain }]
    });
    calls.into_iter().any(|call| call.subset(&routes) == "v1")
}

#[test]
fn a_delegates_conditions_are_within_the_roots_or_have_no_effect() {
    let (exact, prefix) = (|uri: &str| json!({"uri": {"exact": uri}}), |uri: &str| json!({"uri": {"prefix": uri}}));
    let regex = |uri: &str| json!({"uri": {"regex": uri}});
    let header = |text: Value| json!({"headers": {"x": text}});
    for (root, own, expected) in [
        (prefix("/a"), prefix("/a/b"), true),
        (prefix("/a"), exact("/a/b"), true),
        (prefix("/a/b"), prefix("/a"), false),
        (prefix("/a"), exact("/b"), false),
        (exact("/a"), exact("/a"), true),
        (exact("/a"), exact("/b"), false),
        (exact("/a"), prefix("/a"), false),
        // Of a regex nobody can tell.
        (regex("/a.*"), prefix("/a"), false),
        (prefix("/a"), regex("/a.*"), false),
        (regex("/a"), regex("/a"), false),
        (regex("/a.*"), json!({"method": {"exact": "POST"}}), true),
        (prefix("/a"), json!({}), true),
        (json!({}), prefix("/a"), true),
        (header(json!({"prefix": "a"})), header(json!({"exact": "ab"})), true),
        (header(json!({"exact": "a"})), header(json!({"exact": "ab"})), false),
        (header(json!({"exact": "ab"})), prefix("/a"), true),
        (json!({"port": 80}), json!({"port": 81}), false),
        (json!({"port": 80}), prefix("/a"), true),
        (json!({"ignoreUriCase": true, "uri": {"prefix": "/A"}}), prefix("/A"), false),
        (json!({"sourceLabels": {"app": "web"}}), json!({"sourceLabels": {"app": "web"}}), true),
        (json!({"sourceLabels": {"app": "web"}}), json!({"sourceLabels": {"app": "db"}}), false),
        (json!({"sourceNamespace": "shop"}), json!({"sourceNamespace": "bank"}), false),
    ] {
        assert_eq!(fits(root.clone(), own.clone()), expected, "{root} {own}");
    }
}

#[test]
fn both_conditions_hold_and_each_of_the_delegates_has_its_place() {
    let routes = with(
        json!({"match": [{"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/c"}}]}),
        json!([
            {"match": [{"uri": {"prefix": "/a/b"}, "headers": {"x": {"exact": "1"}}}], "route": to("v2")},
            {"match": [{"headers": {"x": {"exact": "1"}}}], "route": to("v3")},
            {"route": to("v1")},
        ]),
    );
    for (call, expected) in [
        (get("/a/b").with("x", "1"), "v2"),
        (get("/a").with("x", "1"), "v3"),
        (get("/c").with("x", "1"), "v3"),
        (get("/a/b"), "v1"),
        (get("/b"), "404"),
    ] {
        assert_eq!(call.subset(&routes), expected, "{}", call.path);
    }
}

#[test]
fn what_the_delegate_does_not_say_the_root_does() {
    let root = json!({"name": "root", "timeout": "1s", "retries": {"attempts": 5}, "headers": {"request": {"set": {"a": "root"}}}});
    let routes = with(
        root,
        json!([
            {"name": "own", "match": [{"uri": {"exact": "/a"}}], "timeout": "2s", "route": to("v1")},
            {"route": to("v2")},
        ]),
    );
    let (own, rest) = (get("/a"), get("/b"));
    let first = matched(own.by(&routes, 0));
    assert_eq!(first.name, "root-own");
    let Action::Forward(first) = first.action else { panic!() };
    assert_eq!((first.timeout.unwrap().as_secs(), first.retries.attempts, first.request_headers.len()), (2, 5, 2));
    assert_eq!(matched(rest.by(&routes, 0)).name, "root");
    assert_eq!(forward(rest.by(&routes, 0)).timeout.unwrap().as_secs(), 1);
}

#[test]
fn delegates_come_and_go_are_seen_by_export_and_are_no_routes_of_their_own() {
    let root = json!({"hosts": ["reviews"], "http": [{"delegate": {"name": "child", "namespace": "other"}}]});
    let child =
        |export_to: Value| read("other", "child", json!({"exportTo": export_to, "http": [{"route": to("v1")}]}));
    let mut routes = routes_of([read("shop", "root", root)]);
    let call = get("/");
    assert_eq!(call.subset(&routes), "404");
    let key = child(json!([])).key.clone();
    for (export_to, expected) in [(json!([]), "v1"), (json!(["."]), "404"), (json!(["shop"]), "v1")] {
        routes.set(&key, Some(child(export_to.clone())));
        assert_eq!(call.subset(&routes), expected, "{export_to}");
    }
    routes.set(&key, None);
    assert_eq!(call.subset(&routes), "404");
    assert_eq!(call.subset(&routes_of([child(json!([]))])), "-");
}
