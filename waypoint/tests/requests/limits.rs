//! How many connections and requests there are at once, and who is ejected (J-05, J-08..J-10, J-14; SC-004-06, SC-004-07).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;

use super::support::{
    BYTES, Client, Mesh, REVIEWS, SOON, Server, destination_rule, listen, request, run, until, virtual_service,
};

fn limited(policy: &str) -> String {
    virtual_service("http: [{retries: {attempts: 0}, route: [{destination: {host: reviews, subset: v1}}]}]")
        + &destination_rule("reviews", policy)
}

/// A server at `address` whose requests wait for a permit.
async fn gated(address: &str) -> (Server, Rc<Semaphore>) {
    let gate = Rc::new(Semaphore::new(0));
    let opened = gate.clone();
    let server = Server::answering(address, move |_| {
        let gate = opened.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new("v".into())
        }
    })
    .await;
    (server, gate)
}

#[test]
fn a_connection_carries_as_many_requests_as_it_may() {
    run(async {
        let mesh =
            Mesh::new(&limited("{connectionPool: {tcp: {maxConnections: 100}, http: {maxRequestsPerConnection: 10}}}"))
                .await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        for _ in 0..1000 {
            assert_eq!(http.get("/", &[]).await.status, 200);
        }
        let mut carried = BTreeMap::<usize, usize>::new();
        server.asked().iter().for_each(|asked| *carried.entry(asked.connection).or_default() += 1);
        assert_eq!((carried.len(), carried.values().all(|count| *count == 10)), (100, true), "{carried:?}");
    });
}

#[test]
fn idle_connections_beyond_a_lowered_limit_are_closed() {
    run(async {
        // From a limit to a lower one, from none to one, and of both versions of HTTP.
        for (before, port, two) in [
            ("maxConnections: 6", "9080", false),
            ("tcpKeepalive: {}", "9080", false),
            ("maxConnections: 6", "9090", true),
        ] {
            let streams = "http: {maxConcurrentStreams: 1}";
            let with = |tcp: &str| limited(&format!("{{connectionPool: {{tcp: {{{tcp}}}, {streams}}}}}"));
            let mesh = Mesh::new(&with(before)).await;
            let gate = Rc::new(Semaphore::new(0));
            let opened = gate.clone();
            let answer = move |_| {
                let gate = opened.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    Response::new("v".into())
                }
            };
            let address = format!("10.9.1.1:{port}");
            let server = match two {
                false => Server::answering(&address, answer).await,
                true => Server::answering2(&address, answer).await,
            };
            let client = mesh.client("client").await;
            let to = format!("10.96.0.1:{port}");
            let mut asking = Vec::new();
            for _ in 0..6 {
                let mut http = if two { client.http2(&to).await } else { client.http1(&to).await };
                asking.push(async move { http.get("/", &[]).await.status });
            }
            let opened = async {
                until("six are open", async || server.open().0 == 6).await;
                gate.add_permits(6);
            };
            let (statuses, ()) = tokio::join!(join_all(asking), opened);
            assert_eq!((statuses, server.open().0), (vec![200; 6], 6));
            mesh.apply(&with("maxConnections: 2")).await;
            gate.add_permits(1);
            let mut http = if two { client.http2(&to).await } else { client.http1(&to).await };
            assert_eq!(http.get("/", &[]).await.status, 200);
            until("two are left", async || server.open().0 == 2).await;
        }
    });
}

#[test]
fn there_are_never_more_connections_than_there_may_be() {
    run(async {
        let mesh = Mesh::with(&limited("{connectionPool: {tcp: {maxConnections: 100}}}"), &["--workers", "2"]).await;
        let (server, gate) = gated("10.9.1.1:9080").await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(mesh.client("client").await);
        }
        let mut all = Vec::new();
        for client in &clients {
            for _ in 0..50 {
                let mut http = client.http1(REVIEWS).await;
                all.push(tokio::task::spawn_local(async move { http.get("/", &[]).await.status }));
            }
        }
        let waiting = async || mesh.metric(&["ambit_upstream_active{", "kind=\"pending\"", "reviews"]).await;
        until("two hundred wait", async || waiting().await >= 200.0).await;
        until("a hundred have come", async || server.count() == 100).await;
        // Later on the server may see a new connection before it sees the end of the one that made way for it.
        assert_eq!(server.open(), (100, 100));
        gate.add_permits(300);
        for answer in all {
            assert_eq!(answer.await.unwrap(), 200);
        }
        assert_eq!(server.count(), 300);
    });
}

#[test]
fn who_finds_no_room_is_told_at_once() {
    run(async {
        let mesh =
            Mesh::new(&limited("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}"))
                .await;
        let (server, gate) = gated("10.9.1.1:9080").await;
        let client = mesh.client("client").await;
        let mut answers = Vec::new();
        let mut ask = async |path: &'static str| {
            let mut http = client.http1(REVIEWS).await;
            answers.push(tokio::task::spawn_local(async move { http.get(path, &[]).await }));
        };
        ask("/first").await;
        until("the first has come", async || server.count() == 1).await;
        ask("/second").await;
        ask("/third").await;
        // One of the two waits, the other is told that it may not.
        let line = mesh.logged(&[" 503 UO upstream_reset_before_response_started{overflow}"]).await;
        assert!(line.contains("GET /second") || line.contains("GET /third"), "{line}");
        gate.add_permits(2);
        let mut codes = Vec::new();
        for answer in answers {
            let answer = answer.await.unwrap();
            if answer.status == 503 {
                assert_eq!(answer.field("x-envoy-overloaded"), "true");
            }
            codes.push(answer.status);
        }
        codes.sort_unstable();
        assert_eq!(codes, [200, 200, 503]);
    });
}

#[test]
fn an_idle_connection_makes_way_for_another_endpoints_and_another_workers() {
    run(async {
        let balanced = "{loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {tcp: {maxConnections: 1}}}";
        let rules =
            virtual_service("http: [{timeout: 5s, retries: {attempts: 0}, route: [{destination: {host: reviews}}]}]");
        let mesh = Mesh::with(&(rules + &destination_rule("reviews", balanced)), &["--workers", "2"]).await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(mesh.client("client").await);
        }
        {
            let mut servers = Vec::new();
            for address in ["10.9.1.1:9080", "10.9.1.2:9080", "10.9.1.3:9080"] {
                servers.push(Server::named(address, "v").await);
            }
            for round in 0..5 {
                for client in &clients {
                    let answer = client.http1(REVIEWS).await.get("/", &[]).await;
                    assert_eq!(answer.status, 200, "{round} {answer:?}");
                    assert!(answer.took < Duration::from_secs(1), "{:?}", answer.took);
                }
            }
            assert!(servers.iter().all(|server| server.count() > 0));
        }
        // The same where endpoints speak HTTP/2.
        let mut servers = Vec::new();
        for address in ["10.9.1.1:9090", "10.9.1.2:9090", "10.9.1.3:9090"] {
            servers.push(Server::answering2(address, |_| async { Response::new("v".into()) }).await);
        }
        for round in 0..5 {
            for client in &clients {
                let answer = client.http2("10.96.0.1:9090").await.get("/", &[]).await;
                assert_eq!(answer.status, 200, "{round} {answer:?}");
                assert!(answer.took < Duration::from_secs(1), "{:?}", answer.took);
            }
        }
        assert!(servers.iter().all(|server| server.count() > 0));
    });
}

/// A connection to `bytes`, if it carries any.
async fn echoed(client: &Client) -> Option<DuplexStream> {
    let mut stream = client.try_raw(BYTES).await.ok()?;
    stream.write_all(b"x").await.ok()?;
    stream.read_u8().await.ok()?;
    Some(stream)
}

#[test]
fn connections_of_bytes_beyond_the_limit_are_reset() {
    run(async {
        let mesh = Mesh::new(&destination_rule("bytes", "{connectionPool: {tcp: {maxConnections: 2}}}")).await;
        let mut servers = Vec::new();
        for address in ["10.9.1.5:5432", "10.9.1.6:5432"] {
            servers.push(
                listen(address, |mut stream, _| async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                })
                .await,
            );
        }
        let client = mesh.client("client").await;
        let mut open = Vec::new();
        for number in 0..3 {
            let stream = echoed(&client).await;
            assert_eq!(stream.is_some(), number < 2, "{number}");
            open.push(stream);
        }
        mesh.logged(&["too-many-connections"]).await;
        // As soon as one has ended there is room again.
        drop(open);
        let room = async { while echoed(&client).await.is_none() {} };
        tokio::time::timeout(SOON, room).await.expect("there is no room again");
    });
}

/// How many of `count` requests each version has answered with success.
async fn shares(http: &mut super::support::Http, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let answer = http.get("/", &[]).await;
        *shares.entry(if answer.status == 200 { answer.body } else { answer.status.to_string() }).or_default() += 1;
    }
    shares
}

#[test]
fn who_fails_is_ejected_and_returns() {
    run(async {
        let rules = |outliers: &str| {
            virtual_service("http: [{retries: {attempts: 0}, route: [{destination: {host: reviews}}]}]")
                + &destination_rule(
                    "reviews",
                    &format!("{{loadBalancer: {{simple: ROUND_ROBIN}}, outlierDetection: {{{outliers}}}}}"),
                )
        };
        let mesh = Mesh::new(&rules("consecutive5xxErrors: 7, interval: 1s, baseEjectionTime: 2s")).await;
        let bad = Rc::new(Cell::new(true));
        let fails = bad.clone();
        let first = Server::answering("10.9.1.1:9080", move |_| {
            let status = if fails.get() { 500 } else { 200 };
            async move { Response::builder().status(status).body("v1".into()).unwrap() }
        })
        .await;
        let _others = [Server::named("10.9.1.2:9080", "v2").await, Server::named("10.9.1.3:9080", "v3").await];
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        let got = shares(&mut http, 60).await;
        assert_eq!((got["500"], first.count()), (7, 7), "{got:?}");
        mesh.logged(&["10.9.1.1:9080", "ejected"]).await;
        bad.set(false);
        let begun = Instant::now();
        mesh.logged(&["10.9.1.1:9080", "returned"]).await;
        assert!(begun.elapsed() > Duration::from_millis(1900), "{:?}", begun.elapsed());
        let got = shares(&mut http, 30).await;
        assert_eq!(got.get("v1"), Some(&10), "{got:?}");
    });
}

#[test]
fn a_key_always_comes_to_the_same_endpoint() {
    run(async {
        let hash = |key: &str| {
            virtual_service("http: [{route: [{destination: {host: reviews}}]}]")
                + &destination_rule("reviews", &format!("{{loadBalancer: {{consistentHash: {{{key}}}}}}}"))
        };
        let mesh = Mesh::new(&hash("httpHeaderName: x-user")).await;
        let _servers = [
            Server::named("10.9.1.1:9080", "v1").await,
            Server::named("10.9.1.2:9080", "v2").await,
            Server::named("10.9.1.3:9080", "v3").await,
        ];
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        let mut seen = BTreeSet::new();
        for user in 0..30 {
            let user = user.to_string();
            let mut answers = BTreeSet::new();
            for _ in 0..5 {
                answers.insert(http.get("/", &[("x-user", &user)]).await.body);
            }
            assert_eq!(answers.len(), 1);
            seen.extend(answers);
        }
        assert_eq!(seen.len(), 3);
        mesh.apply(&hash("httpCookie: {name: user, path: /, ttl: 60s}")).await;
        for _ in 0..10 {
            let answer = http.get("/", &[]).await;
            let cookie = answer.field("set-cookie").to_owned();
            assert!(cookie.contains("Path=/") && cookie.contains("Max-Age=60"), "{cookie}");
            let pair = cookie.split(';').next().unwrap();
            for _ in 0..3 {
                let again = http.get("/", &[("cookie", pair)]).await;
                assert_eq!((again.body.as_str(), again.field("set-cookie")), (answer.body.as_str(), ""));
            }
        }
    });
}

#[test]
fn retries_are_no_more_than_their_budget() {
    run(async {
        let rules = |budget: &str| {
            virtual_service(
                "http: [{retries: {attempts: 1, retryOn: 5xx, backoff: 300ms}, route: [{destination: {host: reviews, subset: v1}}]}]",
            ) + &destination_rule("reviews", budget)
        };
        let mesh = Mesh::new("").await;
        let server = Server::answering("10.9.1.1:9080", |_| async {
            Response::builder().status(503).body("v1".into()).unwrap()
        })
        .await;
        let client = mesh.client("client").await;
        for (budget, most) in [
            ("{connectionPool: {http: {maxRetries: 2}}}", 2),
            ("{retryBudget: {percent: 10, minRetryConcurrency: 3, budgetInterval: 0s}}", 4),
        ] {
            mesh.apply(&rules(budget)).await;
            let before = server.count();
            let mut all = Vec::new();
            for _ in 0..40 {
                let mut http = client.http1(REVIEWS).await;
                all.push(async move { http.send(request("GET", "/", &[], "")).await.status });
            }
            assert!(join_all(all).await.iter().all(|status| *status == 503));
            let retried =
                server.asked()[before..].iter().filter(|asked| asked.headers["x-envoy-attempt-count"] == "2").count();
            assert!((1..=most).contains(&retried), "{budget}: {retried}");
        }
    });
}
