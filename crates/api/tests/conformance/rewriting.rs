//! What requests and responses become (Istio `HTTPRewrite`, `HTTPRedirect`, `HTTPDirectResponse`, `Headers`).

use ambit_model::route::{Action, Operation};
use serde_json::{Value, json};

use crate::support::{Call, forward, get, matched, routes, to};

#[test]
fn rewrites_replace_what_matched_and_keep_the_query() {
    for (block, rewrite, path, expected) in [
        (
            json!({"uri": {"prefix": "/ratings"}}),
            json!({"uri": "/v1/bookRatings"}),
            "/ratings/0?a=b",
            "/v1/bookRatings/0?a=b",
        ),
        (json!({"uri": {"prefix": "/ratings"}}), json!({"uri": "/"}), "/ratings/0", "//0"),
        (json!({"uri": {"prefix": "/ratings/"}}), json!({"uri": "/"}), "/ratings/0", "/0"),
        (json!({"uri": {"exact": "/a"}}), json!({"uri": "/b"}), "/a?x", "/b?x"),
        (json!({"uri": {"regex": "/a.*"}}), json!({"uri": "/b"}), "/abc?x", "/b?x"),
        (json!({"uri": {"prefix": "/Ra"}, "ignoreUriCase": true}), json!({"uri": "/x"}), "/rAtings", "/xtings"),
        // What asks for no path has matched the slash that it begins with.
        (json!({}), json!({"uri": "/new/"}), "/a", "/new/a"),
        // The examples of the API.
        (
            json!({}),
            json!({"uriRegexRewrite": {"match": "^/service/([^/]+)(/.*)$", "rewrite": "/customprefix/\\2/\\1"}}),
            "/service/update/v1/api",
            "/customprefix//v1/api/update",
        ),
        (
            json!({}),
            json!({"uriRegexRewrite": {"match": "(?i)/xxx/", "rewrite": "/yyy/"}}),
            "/aaa/XxX/bbb?xxx/",
            "/aaa/yyy/bbb?xxx/",
        ),
        // Every part, and text as it stands.
        (json!({}), json!({"uriRegexRewrite": {"match": "a", "rewrite": "$1\\0\\\\"}}), "/a/a", "/$1a\\/$1a\\"),
        (json!({}), json!({"uriRegexRewrite": {"match": "b", "rewrite": "c"}}), "/a?b", "/a?b"),
        (json!({}), json!({"authority": "x"}), "/a?b", "/a?b"),
    ] {
        let routes = routes(json!([{"match": [block], "rewrite": rewrite, "route": to("v1")}]));
        assert_eq!(forward(get(path).by(&routes, 0)).path, expected, "{block} {rewrite} {path}");
    }
}

#[test]
fn the_authority_is_rewritten_where_one_place_says_so_the_destination_first() {
    let headers = |host: &str| json!({"request": {"set": {"Host": host}}});
    for (rewrite, route, destination, expected) in [
        (Value::Null, Value::Null, Value::Null, None),
        (json!({"authority": "a"}), Value::Null, Value::Null, Some("a")),
        (Value::Null, headers("b"), Value::Null, Some("b")),
        (Value::Null, headers("b"), headers("c"), Some("c")),
        (json!({"authority": "a"}), Value::Null, json!({"request": {"add": {":authority": "d"}}}), Some("d")),
    ] {
        let mut to = to("v1");
        to[0]["headers"] = destination;
        let routes = routes(json!([{"rewrite": rewrite, "headers": route, "route": to}]));
        let call = get("/");
        let forward = forward(call.by(&routes, 0));
        assert_eq!(forward.authority, expected);
        assert!(forward.request_headers.iter().all(|operations| operations.steps().count() == 0));
    }
}

/// The field `location`, and the status.
fn redirected(block: Value, redirect: Value, call: &Call) -> (String, u16) {
    let routes = routes(json!([{"match": [block], "redirect": redirect}]));
    match matched(call.by(&routes, 0)).action {
        Action::Redirect { code, location } => (location, code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn redirects_change_what_they_name() {
    let (http, https) = (Call { authority: "example.com", ..get("/foo/bar?a=b") }, "https");
    let secure = Call { scheme: https, ..http.clone() };
    let on = |authority, port| Call { authority, port, ..http.clone() };
    let foo = json!({"uri": {"prefix": "/foo"}});
    for (redirect, call, expected) in [
        (json!({"uri": "/new"}), &http, "http://example.com/new?a=b"),
        (json!({"uri": "/new?c=d"}), &http, "http://example.com/new?c=d"),
        (json!({"authority": "foo.example.com", "prefixRewrite": "/"}), &http, "http://foo.example.com//bar?a=b"),
        (json!({"prefixRewrite": "/x"}), &http, "http://example.com/x/bar?a=b"),
        (json!({"authority": "other.example"}), &http, "http://other.example/foo/bar?a=b"),
        (json!({"authority": "other.example:8443"}), &secure, "https://other.example:8443/foo/bar?a=b"),
        (json!({"scheme": "https"}), &http, "https://example.com/foo/bar?a=b"),
        // The port that the client did not have to write is of the scheme that it leaves.
        (json!({"scheme": "https"}), &on("example.com:80", 80), "https://example.com/foo/bar?a=b"),
        (json!({"scheme": "https"}), &on("example.com:8080", 8080), "https://example.com:8080/foo/bar?a=b"),
        (json!({"port": 8080}), &http, "http://example.com:8080/foo/bar?a=b"),
        (json!({"port": 8080}), &on("example.com:9", 9), "http://example.com:8080/foo/bar?a=b"),
        // What the scheme implies is not written.
        (json!({"port": 80}), &http, "http://example.com/foo/bar?a=b"),
        (json!({"port": 443}), &secure, "https://example.com/foo/bar?a=b"),
        (json!({"port": 443}), &http, "http://example.com:443/foo/bar?a=b"),
        (json!({"port": 443, "scheme": "https"}), &http, "https://example.com/foo/bar?a=b"),
        (json!({"derivePort": "FROM_REQUEST_PORT"}), &on("example.com", 8080), "http://example.com:8080/foo/bar?a=b"),
        (json!({"derivePort": "FROM_REQUEST_PORT"}), &on("example.com", 80), "http://example.com/foo/bar?a=b"),
        (
            json!({"derivePort": "FROM_PROTOCOL_DEFAULT"}),
            &on("example.com:8080", 8080),
            "http://example.com/foo/bar?a=b",
        ),
        (
            json!({"derivePort": "FROM_PROTOCOL_DEFAULT", "scheme": "https"}),
            &on("[fd00::1]:8080", 8080),
            "https://[fd00::1]/foo/bar?a=b",
        ),
    ] {
        assert_eq!(redirected(foo.clone(), redirect.clone(), call), (expected.to_owned(), 301), "{redirect}");
    }
    for code in [301, 302, 303, 307, 308] {
        assert_eq!(redirected(json!({}), json!({"uri": "/a", "redirectCode": code}), &http).1, code);
    }
}

#[test]
fn direct_responses_have_a_status_and_a_body_of_text_or_bytes() {
    for (body, expected) in [
        (json!({"string": "unknown error"}), &b"unknown error"[..]),
        (json!({"bytes": "AAEC/w=="}), &[0, 1, 2, 255]),
        (json!({}), &[]),
    ] {
        let routes = routes(json!([{
            "directResponse": {"status": 503, "body": body},
            "headers": {"response": {"set": {"content-type": "text/plain"}}},
        }]));
        let call = get("/");
        let matched = matched(call.by(&routes, 0));
        let Action::Respond(response) = matched.action else { panic!("{matched:?}") };
        assert_eq!((response.status, &*response.body), (503, expected));
        let steps: Vec<_> = matched.response_headers.iter().flat_map(|operations| operations.steps()).collect();
        assert_eq!(steps, [Operation::Set("content-type", "text/plain")]);
    }
}

#[test]
fn fields_are_removed_then_set_then_added_the_destinations_before_the_routes() {
    let operations = |of: &str| {
        let all = |message: &str| json!({"set": {"X-Set": format!("{of}-{message}")}, "add": {"x-add": "100%%"}, "remove": ["X-Gone"]});
        json!({"request": all("request"), "response": all("response")})
    };
    let mut to = to("v1");
    to[0]["headers"] = operations("destination");
    let routes = routes(json!([{"headers": operations("route"), "route": to}]));
    let call = get("/");
    let matched = matched(call.by(&routes, 0));
    let steps = |all: &[&'static str; 2]| {
        all.map(|value| {
            [Operation::Remove("x-gone"), Operation::Set("x-set", value), Operation::Append("x-add", "100%")]
        })
        .concat()
    };
    let response: Vec<_> = matched.response_headers.iter().flat_map(|operations| operations.steps()).collect();
    assert_eq!(response, steps(&["destination-response", "route-response"]));
    let Action::Forward(forward) = matched.action else { panic!() };
    let request: Vec<_> = forward.request_headers.iter().flat_map(|operations| operations.steps()).collect();
    assert_eq!(request, steps(&["destination-request", "route-request"]));
}
