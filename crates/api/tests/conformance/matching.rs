//! Which requests a rule is for (Istio `HTTPMatchRequest`).

use serde_json::{Value, json};

use crate::support::{Call, get, routes, to};

/// True if `call` is one that a block of `match` describes.
fn describes(block: Value, call: &Call) -> bool {
    let routes = routes(json!([{"match": [block], "route": to("v2")}]));
    match call.subset(&routes).as_str() {
        "v2" => true,
        "404" => false,
        other => panic!("{other}"),
    }
}

fn check(rows: Vec<(Value, Vec<Call>, Vec<Call>)>) {
    for (block, meant, not_meant) in rows {
        for (calls, expected) in [(meant, true), (not_meant, false)] {
            for call in calls {
                let shown = (call.method, call.path, &call.fields);
                assert_eq!(describes(block.clone(), &call), expected, "{block} {shown:?}");
            }
        }
    }
}

fn paths<const N: usize>(paths: [&'static str; N]) -> Vec<Call> {
    paths.map(get).to_vec()
}

#[test]
fn by_path() {
    let uri = |uri: Value| json!({ "uri": uri });
    check(vec![
        (
            uri(json!({"exact": "/login"})),
            paths(["/login", "/login?a=b", "/login#x"]),
            paths(["/login/", "/Login", "/"]),
        ),
        // The letters count, not the segments.
        (
            uri(json!({"prefix": "/api/v1/products"})),
            paths(["/api/v1/products", "/api/v1/products/0", "/api/v1/productsX", "/api/v1/products?x"]),
            paths(["/api/v1/product", "/API/v1/products", "/x/api/v1/products"]),
        ),
        (uri(json!({"prefix": "/"})), paths(["/", "/a"]), vec![]),
        (uri(json!({"prefix": ""})), paths(["/", "/a"]), vec![]),
        (uri(json!({})), paths(["/", "/a"]), vec![]),
        // The whole path, and nothing of the query.
        (uri(json!({"regex": "/v[0-9]+"})), paths(["/v1", "/v12?v=x"]), paths(["/v1/a", "/a/v1", "/v"])),
        (json!({"uri": {"exact": "/a"}, "ignoreUriCase": true}), paths(["/a", "/A"]), paths(["/b"])),
        (
            json!({"uri": {"prefix": "/Product"}, "ignoreUriCase": true}),
            paths(["/productpage", "/PRODUCT"]),
            paths(["/a"]),
        ),
        // The case is ignored but by a regex.
        (json!({"uri": {"regex": "/a"}, "ignoreUriCase": true}), paths(["/a"]), paths(["/A"])),
        (json!({"uri": {"regex": "(?i)/a"}}), paths(["/a", "/A"]), paths(["/b"])),
    ]);
}

#[test]
fn by_the_fourteen_urls_of_bookinfos_gateway() {
    let blocks = json!([
        {"uri": {"exact": "/productpage"}},
        {"uri": {"prefix": "/static"}},
        {"uri": {"exact": "/login"}},
        {"uri": {"exact": "/logout"}},
        {"uri": {"prefix": "/api/v1/products"}},
    ]);
    let routes = routes(json!([{"match": blocks, "route": to("v1")}]));
    for (path, expected) in [
        ("/productpage", "v1"),
        ("/productpage?u=normal", "v1"),
        ("/productpage/", "404"),
        ("/static", "v1"),
        ("/static/bootstrap.css", "v1"),
        ("/staticX", "v1"),
        ("/login", "v1"),
        ("/logout", "v1"),
        ("/loginX", "404"),
        ("/api/v1/products", "v1"),
        ("/api/v1/products/0/reviews", "v1"),
        ("/api/v1/productsX", "v1"),
        ("/api/v1", "404"),
        ("/", "404"),
    ] {
        assert_eq!(get(path).subset(&routes), expected, "{path}");
    }
}

#[test]
fn by_header_fields() {
    let headers = |headers: Value| json!({ "headers": headers });
    let with = |name, value| get("/").with(name, value);
    check(vec![
        (
            headers(json!({"end-user": {"exact": "jason"}})),
            vec![with("end-user", "jason"), with("End-User", "jason")],
            vec![get("/"), with("end-user", "Jason"), with("end-user", "jason2"), with("user", "jason")],
        ),
        // Keys are in lower case on the wire of HTTP/2, and matched so.
        (headers(json!({"End-User": {"exact": "jason"}})), vec![with("end-user", "jason")], vec![get("/")]),
        (headers(json!({"x": {"prefix": "ab"}})), vec![with("x", "abc")], vec![with("x", "xab"), get("/")]),
        (
            headers(json!({"user-agent": {"regex": ".*Firefox.*"}})),
            vec![with("user-agent", "Mozilla/5.0 Firefox/128.0")],
            vec![with("user-agent", "Chrome"), get("/")],
        ),
        // All of a value is meant.
        (headers(json!({"x": {"regex": "a"}})), vec![with("x", "a")], vec![with("x", "ab")]),
        // Only the name: presence, also of an empty value.
        (headers(json!({"x": {}})), vec![with("x", "a"), with("x", "")], vec![get("/")]),
        (headers(json!({"x": {}})), vec![with("x", "a")], vec![get("/")]),
        (headers(json!({"x": {"regex": "*"}})), vec![with("x", "a")], vec![get("/")]),
        (headers(json!({"x": {"exact": ""}})), vec![with("x", "")], vec![get("/"), with("x", "a")]),
        // All that is asked.
        (
            headers(json!({"a": {"exact": "1"}, "b": {"exact": "2"}})),
            vec![with("a", "1").with("b", "2")],
            vec![with("a", "1"), with("b", "2")],
        ),
        // Several fields are one list.
        (headers(json!({"x": {"exact": "a,b"}})), vec![with("x", "a").with("x", "b")], vec![with("x", "a")]),
        // These are no fields, and are left out.
        (headers(json!({"method": {"exact": "POST"}, "uri": {"exact": "/b"}})), vec![get("/")], vec![]),
    ]);
}

#[test]
fn by_the_whole_cookie_with_its_crumbs_joined() {
    let block = json!({"headers": {"cookie": {"regex": "^(.*?; ?)?(featureflag=on)(;.*)?$"}}});
    let cookie = |value| get("/").with("cookie", value);
    let spaces: &'static str = Box::leak("; ".repeat(8_000).into_boxed_str());
    check(vec![(
        block,
        vec![
            cookie("featureflag=on"),
            cookie("a=b; featureflag=on"),
            cookie("a=b;featureflag=on"),
            cookie("featureflag=on; c=d"),
            cookie("a=b; featureflag=on; c=d"),
            cookie("featureflag=off; featureflag=on"),
            cookie("a=b").with("cookie", "featureflag=on"),
        ],
        vec![
            get("/"),
            cookie("featureflag=only"),
            cookie("xfeatureflag=on"),
            cookie("a=xfeatureflag=on"),
            cookie("FeatureFlag=on"),
            cookie(spaces),
        ],
    )]);
}

#[test]
fn by_what_header_fields_are_not() {
    let without = |headers: Value| json!({ "withoutHeaders": headers });
    let with = |name, value| get("/").with(name, value);
    check(vec![
        (without(json!({"x": {"exact": "a"}})), vec![get("/"), with("x", "b")], vec![with("x", "a")]),
        (without(json!({"x": {"prefix": "a"}})), vec![get("/"), with("x", "ba")], vec![with("x", "ab")]),
        (without(json!({"x": {"regex": "a+"}})), vec![get("/"), with("x", "ab")], vec![with("x", "aa")]),
        // Presence.
        (without(json!({"x": {}})), vec![get("/")], vec![with("x", "a"), with("x", "")]),
        (without(json!({"x": {"regex": "*"}})), vec![get("/")], vec![with("x", "a")]),
        // A field that is missing is empty.
        (without(json!({"x": {"exact": ""}})), vec![with("x", "a")], vec![get("/"), with("x", "")]),
        // Not one of them.
        (
            without(json!({"a": {"exact": "1"}, "b": {"exact": "2"}})),
            vec![get("/")],
            vec![with("a", "1"), with("b", "2")],
        ),
    ]);
}

#[test]
fn by_query_parameters() {
    let query = |parameters: Value| json!({ "queryParams": parameters });
    check(vec![
        (
            query(json!({"key": {"exact": "true"}})),
            paths(["/?key=true", "/?a=b&key=true#x"]),
            paths(["/", "/?key=1", "/?key"]),
        ),
        (query(json!({"key": {"exact": ""}})), paths(["/?key", "/?key=", "/?a&key&b"]), paths(["/?key=a", "/"])),
        (query(json!({"key": {"prefix": "ab"}})), paths(["/?key=abc", "/?key=abx"]), paths(["/?key=xab"])),
        (query(json!({"key": {"regex": "\\d+$"}})), paths(["/?key=123"]), paths(["/?key=a123", "/?key=123a", "/?key"])),
        (query(json!({"key": {}})), paths(["/?key", "/?key=a"]), paths(["/?kex", "/"])),
        // The first of several.
        (query(json!({"key": {"exact": "1"}})), paths(["/?key=1&key=2"]), paths(["/?key=2&key=1"])),
        (query(json!({"a": {"exact": "1"}, "b": {"exact": "2"}})), paths(["/?b=2&a=1"]), paths(["/?a=1", "/?b=2"])),
    ]);
}

#[test]
fn by_method_authority_scheme_and_port() {
    let call = |method, authority, scheme, port| Call { method, authority, scheme, port, ..get("/") };
    let (get, post) = (call("GET", "a.example", "http", 80), call("POST", "b.example", "https", 443));
    for (block, meant, not_meant) in [
        (json!({"method": {"exact": "POST"}}), &post, &get),
        (json!({"method": {"regex": "PO.*|PUT"}}), &post, &get),
        (json!({"method": {"prefix": "G"}}), &get, &post),
        (json!({"authority": {"exact": "b.example"}}), &post, &get),
        (json!({"authority": {"prefix": "a."}}), &get, &post),
        (json!({"authority": {"regex": "[b-z].*"}}), &post, &get),
        (json!({"scheme": {"exact": "https"}}), &post, &get),
        (json!({"port": 443}), &post, &get),
        (json!({"port": 80, "method": {"exact": "GET"}, "scheme": {"prefix": "http"}}), &get, &post),
    ] {
        check(vec![(block, vec![meant.clone()], vec![not_meant.clone()])]);
    }
    check(vec![(json!({"method": {"exact": "get"}}), vec![], vec![get])]);
}

#[test]
fn by_the_clients_labels_and_namespace() {
    let (todoui, intruder) = (get("/").from("shop", "todoui"), get("/").from("shop", "intruder"));
    let elsewhere = get("/").from("other", "todoui");
    check(vec![
        (
            json!({"sourceLabels": {"app": "todoui"}}),
            vec![todoui.clone(), elsewhere.clone()],
            vec![intruder.clone(), get("/")],
        ),
        (json!({"sourceLabels": {"app": "todoui", "version": "1"}}), vec![], vec![todoui.clone()]),
        (json!({"sourceNamespace": "shop"}), vec![todoui.clone(), intruder], vec![elsewhere.clone(), get("/")]),
        (
            json!({"sourceNamespace": "shop", "sourceLabels": {"app": "todoui"}}),
            vec![todoui],
            vec![elsewhere, get("/")],
        ),
    ]);
}

#[test]
fn the_first_rule_that_matches_wins_and_any_of_its_blocks_will_do() {
    let jason = json!({"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": to("v2")});
    let rest = json!({"route": to("v1")});
    let (call, other) = (get("/").with("end-user", "jason"), get("/"));
    let in_order = routes(json!([jason, rest]));
    assert_eq!((call.subset(&in_order), other.subset(&in_order)), ("v2".to_owned(), "v1".to_owned()));
    let swapped = routes(json!([rest, jason]));
    assert_eq!((call.subset(&swapped), other.subset(&swapped)), ("v1".to_owned(), "v1".to_owned()));
    let either = routes(json!([
        {"match": [{"uri": {"prefix": "/a"}, "method": {"exact": "POST"}}, {"uri": {"exact": "/a"}}], "route": to("v1")},
        {"match": [{"uri": {"prefix": "/"}}], "route": to("v2")},
        {"match": [{"uri": {"exact": "/b"}}], "route": to("v3")},
    ]));
    let subset = |method, path| Call { method, ..get(path) }.subset(&either);
    assert_eq!(subset("POST", "/ab"), "v1");
    assert_eq!(subset("GET", "/a"), "v1");
    assert_eq!(subset("GET", "/ab"), "v2");
    // Behind what takes everything, the exact path is never reached.
    assert_eq!(subset("GET", "/b"), "v2");
}

#[test]
fn names_of_route_and_match_are_for_the_log() {
    for (route, block, expected) in [("r", "m", "r.m"), ("r", "", "r"), ("", "m", "m"), ("", "", "")] {
        let routes = routes(json!([{"name": route, "match": [{"name": block}], "route": to("v1")}]));
        assert_eq!(crate::support::matched(get("/").by(&routes, 0)).name, expected);
    }
}
