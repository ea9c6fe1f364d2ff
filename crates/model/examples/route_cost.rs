//! What it costs to find a route among a thousand, next to finding it among one: `cargo run --release -p ambit-model
//! --example route_cost`. Each shape is measured in turns, and the median of the rounds is told.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "its product is text, and a measurement may panic")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use ambit_model::route::{
    Addressed, Arrival, Client, Destination, Draw, Gateway, Headers, Host, HttpAction, HttpMatch, HttpRoute, Regex,
    Request, Routes, RuleKey, Text, VirtualService, Visibility, Weighted,
};

const ROUNDS: usize = 15;
const LOOKUPS: u32 = 20_000;

/// A way in which routes differ from one another.
type Shape = (&'static str, fn(usize) -> HttpMatch);

fn main() {
    let shapes: [Shape; 5] = [
        ("exact paths", |n| HttpMatch { uri: Some(Text::Exact(path(n))), ..HttpMatch::default() }),
        ("prefixes", |n| HttpMatch { uri: Some(Text::Prefix(path(n))), ..HttpMatch::default() }),
        ("one prefix, a header's values", |n| HttpMatch {
            uri: Some(Text::Prefix("/".into())),
            headers: BTreeMap::from([("x-tenant".into(), Text::Exact(tenant(n)))]),
            ..HttpMatch::default()
        }),
        ("regexes of the path", |n| HttpMatch {
            uri: Some(Text::Regex(Regex::whole(&format!("{}/[0-9]+", path(n))).expect("an expression"))),
            ..HttpMatch::default()
        }),
        ("VirtualServices of one route", |n| HttpMatch { uri: Some(Text::Prefix(path(n))), ..HttpMatch::default() }),
    ];
    println!("| routes differ by | 1 | 1,000 | ratio |\n|---|---|---|---|");
    for (shape, block) in shapes {
        let apart = shape.starts_with("VirtualServices");
        let (one, many) = (routes(999..1000, block, apart), routes(0..1000, block, apart));
        let mut told = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (routes, told) in [&one, &many].into_iter().zip(&mut told) {
                told.push(nanoseconds(routes, apart));
            }
        }
        let [one, many] = told.map(|mut all| {
            all.sort_by(f64::total_cmp);
            all.get(ROUNDS / 2).copied().unwrap_or_default()
        });
        println!("| {shape} | {one:.0} ns | {many:.0} ns | {:.2} |", many / one);
    }
}

fn path(number: usize) -> Arc<str> {
    Arc::from(format!("/api/v1/resource-{number}"))
}

fn tenant(number: usize) -> Arc<str> {
    Arc::from(format!("tenant-{number}"))
}

/// Routes numbered so, in one VirtualService or each in its own.
fn routes(numbers: std::ops::Range<usize>, block: fn(usize) -> HttpMatch, apart: bool) -> Routes {
    let mut routes = Routes::default();
    let mut set = |name: usize, http: Vec<Arc<HttpRoute>>| {
        let key = RuleKey::new("shop", &format!("vs-{name}"));
        let service = VirtualService {
            key: key.clone(),
            created: None,
            hosts: vec![Host::literal(&host(name))],
            gateways: vec![Gateway::Mesh],
            visibility: Visibility::Public,
            http,
            tls: Vec::new(),
            tcp: Vec::new(),
        };
        routes.set(&key, Some(Arc::new(service)));
    };
    if apart {
        numbers.for_each(|number| set(number, vec![route(block(number))]));
    } else {
        set(999, numbers.map(|number| route(block(number))).collect());
    }
    routes
}

fn host(number: usize) -> String {
    format!("service-{number}.shop.svc.cluster.local")
}

fn route(block: HttpMatch) -> Arc<HttpRoute> {
    let weighted = |subset: &str, weight| Weighted {
        destination: Destination { host: Host::literal("reviews"), subset: Some(subset.into()), port: None },
        weight,
        headers: Headers::default(),
    };
    Arc::new(HttpRoute {
        name: None,
        matches: vec![block],
        action: HttpAction::Forward(vec![weighted("v1", 90), weighted("v2", 10)]),
        rewrite: None,
        timeout: None,
        retries: None,
        fault: None,
        mirrors: Vec::new(),
        cors: None,
        headers: None,
    })
}

/// What a lookup of the last route costs, from the request's head to where it goes.
fn nanoseconds(routes: &Routes, apart: bool) -> f64 {
    let fields = [("user-agent", "curl"), ("accept", "*/*"), ("x-tenant", "tenant-999")];
    let request = Request {
        arrival: Arrival { gateway: &Gateway::Mesh, port: 80, client: Client::default() },
        method: "GET",
        scheme: "http",
        authority: "reviews",
        path: "/api/v1/resource-999",
        claims: None,
        fields: &fields[..],
    };
    let with_id = Request { path: "/api/v1/resource-999/7", ..request };
    let addressed = Addressed { host: &host(999), viewer: "shop", owner: None, from: None };
    let found = |request| !matches!(routes.http(addressed, request, Draw(1)), ambit_model::route::Outcome::NoRoute);
    let request = if found(&request) { request } else { with_id };
    assert!(found(&request), "the last route is not found, apart: {apart}");
    let begun = Instant::now();
    for number in 0..LOOKUPS {
        black_box(routes.http(black_box(addressed), black_box(&request), Draw(number.into())));
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}
