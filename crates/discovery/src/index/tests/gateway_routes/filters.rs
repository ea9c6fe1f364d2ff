//! What is done to requests, where they go, and for how long.

use std::time::Duration;

use ambit_model::route::cors::Cross;
use ambit_model::route::{Attempt, HeaderOperations};

use super::*;

/// A rule for `matches` that leads to `a`, with these filters.
fn filtered(matches: &str, filters: &str) -> String {
    format!("{{matches: [{matches}], filters: [{filters}], backendRefs: [{{name: a, port: 9080}}]}}")
}

fn steps(operations: &[&HeaderOperations]) -> Vec<String> {
    let told = |step: Operation<'_>| match step {
        Operation::Remove(name) => format!("-{name}"),
        Operation::Set(name, value) => format!("{name}={value}"),
        Operation::Append(name, value) => format!("{name}+={value}"),
    };
    operations.iter().flat_map(|operations| operations.steps().map(told)).collect()
}

#[test]
fn header_fields_become_what_is_written() {
    let modifier = "{set: [{name: X-Set, value: '100%'}, {name: x-set, value: again}], add: [{name: x-add, value: 'a,b'}], \
                    remove: [X-Gone]}";
    let rules = [
        filtered(
            "",
            &format!(
                "{{type: RequestHeaderModifier, requestHeaderModifier: {modifier}}}, \
                 {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-answer, value: \"1\"}}]}}}}"
            ),
        ),
        "{matches: [{path: {value: /own}}], backendRefs: [{name: a, port: 9080, filters: [{type: RequestHeaderModifier, \
         requestHeaderModifier: {set: [{name: x-own, value: a}]}}, {type: ResponseHeaderModifier, \
         responseHeaderModifier: {remove: [x-inner]}}]}]}"
            .to_owned(),
        filtered(
            "{path: {value: /host}}",
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: other.example}]}}",
        ),
    ];
    let index = mesh(&rules.join(", "));
    let told = |path| {
        get(path).forwarded(&index, |matched, forward| {
            let authority = forward.authority.map(ToOwned::to_owned);
            (steps(&forward.request_headers), steps(&matched.response_headers), authority)
        })
    };
    let (request, response, authority) = told("/");
    // Of several for one name the first counts, and a percent sign is one.
    assert_eq!(request, ["-x-gone", "x-set=100%", "x-add+=a,b"]);
    assert_eq!((response, authority), (vec!["x-answer=1".to_owned()], None));
    let (request, response, _) = told("/own");
    assert_eq!((request, response), (vec!["x-own=a".to_owned()], vec!["-x-inner".to_owned()]));
    assert_eq!(told("/host").2.as_deref(), Some("other.example"));
}

/// The table of `HTTPPathModifier.replacePrefixMatch`: path, prefix, what takes its place, and what the path becomes.
const PREFIXES: [(&str, &str, &str, &str); 14] = [
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"),
    ("/foo/", "/foo", "", "/"),
    ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
    ("/foo?a=b", "/foo", "/", "/?a=b"),
    ("/foo/bar?a=b", "/foo", "/xyz", "/xyz/bar?a=b"),
    ("/bar", "/", "/xyz", "/xyz/bar"),
];

#[test]
fn a_rewrite_replaces_the_prefix_by_elements_or_the_whole_path() {
    let rewritten = |matches: &str, rewrite: &str, path| {
        let index = mesh(&filtered(matches, &format!("{{type: URLRewrite, urlRewrite: {{{rewrite}}}}}")));
        get(path).forwarded(&index, |_, forward| (forward.path.to_string(), forward.authority.map(ToOwned::to_owned)))
    };
    for (path, prefix, replacement, expected) in PREFIXES {
        let rewrite = format!("path: {{type: ReplacePrefixMatch, replacePrefixMatch: \"{replacement}\"}}");
        let (path_now, authority) = rewritten(&format!("{{path: {{value: {prefix}}}}}"), &rewrite, path);
        assert_eq!((path_now.as_str(), authority), (expected, None), "{path} {prefix} {replacement}");
    }
    let whole = "hostname: other.example, path: {type: ReplaceFullPath, replaceFullPath: /all}";
    let (path, authority) = rewritten("{path: {value: /foo}}", whole, "/foo/bar?a=b");
    assert_eq!((path.as_str(), authority.as_deref()), ("/all?a=b", Some("other.example")));
}

#[test]
fn a_redirect_names_what_it_changes() {
    let redirect = |matches: &str, redirect: &str| {
        format!("{{matches: [{matches}], filters: [{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]}}")
    };
    for (spec, path, expected) in [
        // The status is 302 where none is written; the port is the one that was addressed, but for a scheme's own.
        ("hostname: other.example", "/a?b=c", "302 http://other.example:9080/a?b=c"),
        ("hostname: other.example, statusCode: 301, port: 8443", "/a", "301 http://other.example:8443/a"),
        ("scheme: https", "/a", "302 https://reviews/a"),
        ("scheme: https, port: 8443", "/a", "302 https://reviews:8443/a"),
        ("scheme: http, port: 80", "/a", "302 http://reviews/a"),
        ("statusCode: 308, path: {type: ReplaceFullPath, replaceFullPath: /b}", "/a?c", "308 http://reviews:9080/b?c"),
    ] {
        assert_eq!(get(path).to(&mesh(&redirect("", spec))), expected, "{spec}");
    }
    for (path, prefix, replacement, expected) in PREFIXES {
        let spec = format!("scheme: http, path: {{type: ReplacePrefixMatch, replacePrefixMatch: \"{replacement}\"}}");
        let index = mesh(&redirect(&format!("{{path: {{value: {prefix}}}}}"), &spec));
        assert_eq!(get(path).to(&index), format!("302 http://reviews{expected}"), "{path} {prefix} {replacement}");
    }
}

#[test]
fn mirrors_get_their_share_and_one_that_is_not_there_none() {
    let mirror = |share: &str, to: &str| {
        format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: {to}, port: 9080}}{share}}}}}")
    };
    for (filters, percent) in [
        (mirror("", "b"), 100.0),
        (mirror(", percent: 10", "b"), 10.0),
        (mirror(", percent: 0", "b"), 0.0),
        (mirror(", fraction: {numerator: 50}", "b"), 50.0),
        (mirror(", fraction: {numerator: 1, denominator: 4}", "b"), 25.0),
        (mirror("", "nobody"), 0.0),
    ] {
        let index = mesh(&filtered("", &filters));
        let copies = |draw| Call { draw, ..get("/") }.forwarded(&index, |_, forward| forward.mirrors.len());
        let count: usize = (0..1000).map(copies).sum();
        assert!(is_near(u32::try_from(count).unwrap(), percent), "{filters} {count}");
    }
    let both = mesh(&filtered("", &[mirror("", "b"), mirror("", "c")].join(", ")));
    get("/").forwarded(&both, |_, forward| assert_eq!(forward.mirrors.len(), 2));
}

#[test]
fn pages_from_elsewhere_are_told_what_the_filter_says() {
    let judged = |cors: &str, method: &'static str, fields: &[(&'static str, &'static str)]| {
        let index = mesh(&filtered("", &format!("{{type: CORS, cors: {{{cors}}}}}")));
        let call = Call { method, fields: fields.to_vec(), ..get("/") };
        let told = |given: Vec<(&'static str, Vec<u8>)>| {
            let one = |(name, value): (&str, Vec<u8>)| format!("{name}: {}", String::from_utf8(value).unwrap());
            given.into_iter().map(one).collect::<Vec<_>>().join("; ")
        };
        call.by(&index, |outcome, request| {
            let Outcome::Matched(matched) = outcome else { panic!("{outcome:?}") };
            match matched.cors.unwrap().judge(request) {
                Cross::Untouched => "untouched".to_owned(),
                Cross::Marked(given) => format!("marked {}", told(given)),
                Cross::Answered(given) => format!("answered {}", told(given)),
            }
        })
        .replace("access-control-", "")
    };
    let page = |origin| ("origin", origin);
    let preflight = |origin| vec![page(origin), ("access-control-request-method", "PUT")];
    let some = "allowOrigins: ['https://a.example', 'http://b.example:80', 'https://*.c.example']";
    for (cors, origin, expected) in [
        (some, "https://a.example", "marked allow-origin: https://a.example"),
        (some, "http://a.example", "untouched"),
        // A scheme's own port is none that a browser writes.
        (some, "http://b.example", "marked allow-origin: http://b.example"),
        (some, "https://x.y.c.example", "marked allow-origin: https://x.y.c.example"),
        (some, "https://c.example", "untouched"),
        (some, "https://x.cxexample", "untouched"),
        ("allowOrigins: ['*']", "https://any.example", "marked allow-origin: https://any.example"),
        (
            "allowOrigins: ['*'], exposeHeaders: [x-a, x-b]",
            "https://any.example",
            "marked allow-origin: https://any.example; expose-headers: x-a,x-b",
        ),
        (
            "allowOrigins: ['*'], allowCredentials: true, exposeHeaders: ['*']",
            "https://any.example",
            "marked allow-origin: https://any.example; allow-credentials: true",
        ),
    ] {
        assert_eq!(judged(cors, "GET", &[page(origin)]), expected, "{cors} {origin}");
    }
    let full = "allowOrigins: ['https://a.example'], allowMethods: [PUT, POST], allowHeaders: [x-a], maxAge: 600";
    let any = "allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], allowCredentials: true";
    for (cors, origin, expected) in [
        (
            full,
            "https://a.example",
            "allow-origin: https://a.example; allow-methods: PUT,POST; allow-headers: x-a; max-age: 600",
        ),
        // Who may not is told nothing, and what it asks for goes no further.
        (full, "https://b.example", ""),
        // With credentials, for which an asterisk is none, it is told what it asks for.
        (
            any,
            "https://b.example",
            "allow-origin: https://b.example; allow-credentials: true; allow-methods: PUT; max-age: 5",
        ),
    ] {
        assert_eq!(judged(cors, "OPTIONS", &preflight(origin)), format!("answered {expected}"), "{cors} {origin}");
    }
}

#[test]
fn backends_get_their_weights_share_and_what_cannot_be_had_is_answered() {
    let rule = |backends: &str| format!("{{backendRefs: [{backends}]}}");
    for (backends, expected) in [
        ("{name: a, port: 9080}, {name: b, port: 9080}", vec![("a", 50.0), ("b", 50.0)]),
        ("{name: a, port: 9080, weight: 90}, {name: b, port: 9080, weight: 10}", vec![("a", 90.0), ("b", 10.0)]),
        ("{name: a, port: 9080, weight: 0}, {name: b, port: 9080}", vec![("b", 100.0)]),
        // Not there, or without that port.
        ("{name: a, port: 9080}, {name: nobody, port: 9080}", vec![("a", 50.0), ("500", 50.0)]),
        ("{name: a, port: 9080, weight: 3}, {name: b, port: 1, weight: 1}", vec![("a", 75.0), ("500", 25.0)]),
        ("{name: nobody, port: 9080}", vec![("500", 100.0)]),
        // Nothing that requests can go to, and a filter that cannot be done for one backend alone.
        ("{name: a, port: 9080}, {group: storage.example, kind: Bucket, name: b}", vec![("a", 50.0), ("500", 50.0)]),
        (
            "{name: a, port: 9080}, {name: b, port: 9080, filters: [{type: URLRewrite, urlRewrite: {hostname: c.example}}]}",
            vec![("a", 50.0), ("500", 50.0)],
        ),
        // A single one that has no share is asked nothing either.
        ("{name: a, port: 9080, weight: 0}", vec![("500", 100.0)]),
        ("", vec![("500", 100.0)]),
    ] {
        let shares = shares(&mesh(&rule(backends)), &get("/"));
        assert_eq!(shares.len(), expected.len(), "{backends} {shares:?}");
        for (to, percent) in expected {
            assert!(is_near(shares[to], percent), "{backends} {shares:?}");
        }
    }
}

#[test]
fn what_cannot_be_had_is_unavailable_to_calls_of_grpc() {
    let services = ["reviews", "a"].map(|name| service("shop", name)).concat();
    let rules = "{backendRefs: [{name: nobody, port: 9080}]}";
    let index = joined(&(services + &route("GRPCRoute", "calls", "", rules)));
    // 503 is what a call is told as UNAVAILABLE.
    assert_eq!(get("/a.B/C").to(&index), "503");
}

#[test]
fn a_rule_with_a_filter_that_cannot_be_done_is_answered() {
    for filter in [
        "{type: ExtensionRef, extensionRef: {group: example.net, kind: Filter, name: mine}}",
        "{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: b, port: 9080}}}",
        "{type: Another}",
    ] {
        let index = mesh(&[filtered("{path: {value: /x}}", filter), rule("", "b")].join(", "));
        assert_eq!([get("/x").to(&index), get("/").to(&index)], ["500", "b"], "{filter}");
    }
}

#[test]
fn time_and_retries_are_limited_as_written() {
    let limits = |rest: &str| {
        let index = mesh(&format!("{{backendRefs: [{{name: a, port: 9080}}]{rest}}}"));
        get("/").forwarded(&index, |_, forward| (forward.timeout, forward.retries.clone()))
    };
    let milliseconds = |number| Some(Duration::from_millis(number));
    for (rest, timeout, each, attempts) in [
        ("", None, None, 2),
        (", timeouts: {request: 10s}", milliseconds(10_000), None, 2),
        (", timeouts: {request: 1m30s, backendRequest: 500ms}", milliseconds(90_000), milliseconds(500), 2),
        // 0 is no limit.
        (", timeouts: {request: 0s, backendRequest: 2s}", None, milliseconds(2000), 2),
        (", retry: {attempts: 5}, timeouts: {backendRequest: 1s}", None, milliseconds(1000), 5),
        (", retry: {attempts: 0}", None, None, 0),
        (", retry: {codes: [500]}", None, None, 2),
    ] {
        let (found, retries) = limits(rest);
        assert_eq!((found, retries.per_try_timeout, retries.attempts), (timeout, each, attempts), "{rest}");
    }
    let (_, retries) = limits(", retry: {codes: [500, 504], backoff: 100ms}");
    let none: &[(&str, &str)] = &[];
    let again = |attempt: Attempt<'_, [(&str, &str)]>| retries.should_retry(&attempt, 0);
    assert!(again(Attempt::Answered(500, none)) && again(Attempt::Answered(504, none)));
    assert!(!again(Attempt::Answered(503, none)));
    // What never began is tried again whatever is written; what may have been done is not.
    assert!(again(Attempt::Unconnected) && again(Attempt::RefusedStream));
    assert!(!again(Attempt::Unanswered { sent: true }));
    assert_eq!(retries.backoff, Duration::from_millis(100));
}
