//! Where requests go by weight, who gets copies, and what pages from elsewhere are told (Istio `HTTPRouteDestination`,
//! `HTTPMirrorPolicy`, `CorsPolicy`).

use std::collections::BTreeMap;
use std::ops::Range;

use ambit_model::route::cors::Cross;
use serde_json::{Value, json};

use crate::support::{Call, forward, get, matched, routes, to};

/// How many of a thousand requests go to each subset.
fn shares(weights: &[(&str, i64)]) -> BTreeMap<String, u32> {
    let to: Vec<Value> = weights
        .iter()
        .map(|(subset, weight)| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight}))
        .collect();
    let (routes, call) = (routes(json!([{ "route": to }])), get("/"));
    let mut shares = BTreeMap::new();
    for number in 0..1000 {
        let subset = forward(call.by(&routes, number)).destination.subset.clone().unwrap();
        *shares.entry(subset.to_string()).or_default() += 1;
    }
    shares
}

#[test]
fn destinations_get_their_weights_share_of_the_sum() {
    // Five standard deviations around N p, of a thousand.
    type Weight = (&'static str, i64);
    type Share = (&'static str, Range<u32>);
    let rows: [(&[Weight], Vec<Share>); 7] = [
        (&[("v1", 50), ("v3", 50)], vec![("v1", 421..579), ("v3", 421..579)]),
        (&[("v1", 1), ("v3", 1)], vec![("v1", 421..579), ("v3", 421..579)]),
        (&[("v1", 0), ("v3", 100)], vec![("v3", 1000..1001)]),
        (&[("v3", 10), ("v2", 90)], vec![("v2", 853..947), ("v3", 53..147)]),
        (&[("v3", 20), ("v2", 80)], vec![("v2", 737..863), ("v3", 137..263)]),
        (&[("v1", 50), ("v2", 25), ("v3", 25)], vec![("v1", 421..579), ("v2", 182..318), ("v3", 182..318)]),
        // A single one gets all, whatever it weighs.
        (&[("v1", 0)], vec![("v1", 1000..1001)]),
    ];
    for (weights, expected) in rows {
        let shares = shares(weights);
        assert_eq!(shares.len(), expected.len(), "{weights:?} {shares:?}");
        for (subset, range) in expected {
            assert!(range.contains(&shares[subset]), "{weights:?} {shares:?}");
        }
    }
}

#[test]
fn a_canary_for_those_who_opted_in_is_weighted_among_them_alone() {
    let cookie = json!({"uri": {"prefix": "/"}, "headers": {"cookie": {"regex": "^(.*?; ?)?(featureflag=on)(;.*)?$"}}});
    let to = |subset: &str, weight: u32| json!({"destination": {"host": "todoui", "subset": subset, "port": {"number": 8090}}, "weight": weight});
    let routes = routes(json!([
        {"match": [cookie], "route": [to("v0-3", 20), to("v0-2", 80)]},
        {"match": [{"uri": {"prefix": "/"}}], "route": [to("v0-2", 0)]},
    ]));
    let count = |call: &Call| {
        let new = |number: &u64| forward(call.by(&routes, *number)).destination.subset.as_deref() == Some("v0-3");
        (0..1000).filter(new).count()
    };
    assert!((137..263).contains(&count(&get("/").with("cookie", "featureflag=on"))));
    assert_eq!(count(&get("/").with("cookie", "featureflag=off")), 0);
    let call = get("/");
    let destination = forward(call.by(&routes, 0)).destination;
    assert_eq!((destination.host.as_str(), destination.port), ("todoui.shop.svc.cluster.local", Some(8090)));
}

#[test]
fn mirrors_get_as_many_copies_as_they_ask_for_and_all_where_they_say_nothing() {
    let v3 = json!({"host": "reviews", "subset": "v3"});
    for (mirror, expected) in [
        (json!({"mirror": v3}), 1000..1001),
        (json!({"mirror": v3, "mirrorPercentage": {"value": 100}}), 1000..1001),
        (json!({"mirror": v3, "mirrorPercentage": {"value": 10}}), 53..147),
        (json!({"mirror": v3, "mirrorPercentage": {"value": 0}}), 0..1),
        (json!({"mirror": v3, "mirrorPercent": 50}), 421..579),
        (json!({"mirrors": [{"destination": v3}, {"destination": v3, "percentage": {"value": 50}}]}), 1421..1579),
        (json!({}), 0..1),
    ] {
        let mut rule = mirror.clone();
        rule["route"] = to("v1");
        let (routes, call) = (routes(json!([rule])), get("/"));
        let copies: u32 = (0..1000).map(|number| forward(call.by(&routes, number)).mirrors.len() as u32).sum();
        assert!(expected.contains(&copies), "{mirror} {copies}");
        assert_eq!(forward(call.by(&routes, 0)).destination.subset.as_deref(), Some("v1"));
    }
}

fn policy() -> Value {
    json!({
        "allowOrigins": [{"exact": "https://example.com"}, {"regex": "https://.*\\.shop\\.example"}],
        "allowMethods": ["POST", "GET"],
        "allowHeaders": ["X-Foo-Bar"],
        "exposeHeaders": ["x-seen", "x-other"],
        "maxAge": "24h",
        "allowCredentials": true,
    })
}

fn judged(policy: Value, call: &Call) -> Cross {
    let routes = routes(json!([{"corsPolicy": policy, "route": to("v1")}]));
    matched(call.by(&routes, 0)).cors.unwrap().judge(&call.request())
}

fn given(fields: &[(&'static str, &str)]) -> Vec<(&'static str, Vec<u8>)> {
    fields.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect()
}

#[test]
fn pages_that_may_are_told_so_and_preflights_are_answered() {
    let from = |origin| get("/").with("origin", origin);
    let preflight = |origin| Call { method: "OPTIONS", ..from(origin).with("access-control-request-method", "POST") };
    let (good, bad) = ("https://example.com", "https://evil.example");
    let allowed = |origin| [("access-control-allow-origin", origin), ("access-control-allow-credentials", "true")];
    let marked = |origin| {
        Cross::Marked(given(&[&allowed(origin)[..], &[("access-control-expose-headers", "x-seen,x-other")]].concat()))
    };
    let described = [
        ("access-control-allow-methods", "POST,GET"),
        ("access-control-allow-headers", "X-Foo-Bar"),
        ("access-control-max-age", "86400"),
    ];
    let mut ignoring = policy();
    ignoring["unmatchedPreflights"] = json!("IGNORE");
    for (policy, call, expected) in [
        (policy(), get("/"), Cross::Untouched),
        (policy(), from(good), marked(good)),
        (policy(), from("https://a.shop.example"), marked("https://a.shop.example")),
        (policy(), from(bad), Cross::Untouched),
        (policy(), from("https://a.shop.example.evil"), Cross::Untouched),
        (policy(), preflight(good), Cross::Answered(given(&[&allowed(good)[..], &described].concat()))),
        // A preflight of a page that may not goes on, unless it is to be ignored.
        (policy(), preflight(bad), Cross::Untouched),
        (ignoring.clone(), preflight(bad), Cross::Answered(vec![])),
        (ignoring.clone(), from(bad), Cross::Untouched),
        // OPTIONS alone is no preflight.
        (ignoring, Call { method: "OPTIONS", ..from(good) }, marked(good)),
        (
            json!({"allowOrigins": [{"exact": "*"}]}),
            from(bad),
            Cross::Marked(given(&[("access-control-allow-origin", bad)])),
        ),
        (json!({"allowOrigin": [good]}), from(good), Cross::Marked(given(&[("access-control-allow-origin", good)]))),
        (
            json!({"allowOrigins": [{"prefix": "https://e"}], "allowCredentials": false}),
            from(good),
            Cross::Marked(given(&[("access-control-allow-origin", good)])),
        ),
    ] {
        assert_eq!(judged(policy.clone(), &call), expected, "{policy} {} {:?}", call.method, call.fields);
    }
}
