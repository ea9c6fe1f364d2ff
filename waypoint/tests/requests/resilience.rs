//! Timeouts, retries and what is injected (H-20..H-26).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    Mesh, REVIEWS, Server, destination_rule, listen, near, read_head, request, run, subsets, virtual_service,
};

const MS: Duration = Duration::from_millis(1);

/// All of `reviews` by v1, with further lines.
fn to_v1(lines: &str) -> String {
    virtual_service(&format!("http:\n- route: [{{destination: {{host: reviews, subset: v1}}}}]\n{lines}")) + &subsets()
}

fn status(status: u16) -> Response<http_body_util::Full<bytes::Bytes>> {
    Response::builder().status(status).body("said".into()).unwrap()
}

#[test]
fn a_request_takes_no_longer_than_its_route_allows() {
    run(async {
        let mesh = Mesh::new(&to_v1("  timeout: 0.4s")).await;
        let _server = Server::answering("10.9.1.1:9080", |asked| async move {
            if asked.path == "/slow" {
                tokio::time::sleep(2000 * MS).await;
            }
            status(200)
        })
        .await;
        let client = mesh.client("client").await;
        for mut http in [client.http1(REVIEWS).await, client.http2(REVIEWS).await] {
            for method in ["GET", "POST"] {
                let answer = http.send(request(method, "/slow", &[], if method == "GET" { "" } else { "body" })).await;
                assert_eq!((answer.status, answer.body.as_str()), (504, "upstream request timeout"));
                assert!(answer.took >= 400 * MS && answer.took < 900 * MS, "{:?}", answer.took);
            }
        }
        mesh.logged(&["POST /slow HTTP/2", " 504 UT response_timeout"]).await;
        // What the client takes for its own request does not count.
        let mut raw = client.raw(REVIEWS).await;
        raw.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsl").await.unwrap();
        tokio::time::sleep(900 * MS).await;
        raw.write_all(b"ow").await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("said"), "{answer}");
        // A call of gRPC may say so itself, but no more than its route.
        let grpc = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "150m")];
        let _grpc = Server::answering2("10.9.1.1:9090", |_| std::future::pending()).await;
        let answer = client.http2("10.96.0.1:9090").await.send(request("POST", "/slow", &grpc, "x")).await;
        assert_eq!((answer.status, answer.field("grpc-message")), (200, "upstream request timeout"));
        assert!(["4", "14"].contains(&answer.field("grpc-status")), "{answer:?}");
        assert!(answer.took >= 150 * MS && answer.took < 390 * MS, "{:?}", answer.took);
    });
}

#[test]
fn a_response_that_stalls_or_breaks_off_is_broken_off_and_never_tried_again() {
    run(async {
        let rules = to_v1("  timeout: 0.4s\n  retries: {attempts: 3, retryOn: '5xx,reset'}");
        let mesh = Mesh::new(&rules).await;
        let server = listen("10.9.1.1:9080", |mut stream, _| async move {
            let head = read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
            if head.contains("/stall") {
                let _ = stream.read_u8().await;
            }
        })
        .await;
        let client = mesh.client("client").await;
        for mut http in [client.http1(REVIEWS).await, client.http2(REVIEWS).await] {
            for path in ["/stall", "/break"] {
                let answer = http.get(path, &[]).await;
                assert_eq!(answer.status, 200);
                assert!(answer.body.starts_with("broken: "), "{}", answer.body);
                http = client.http1(REVIEWS).await;
            }
        }
        mesh.logged(&["GET /stall ", " 200 UT response_timeout"]).await;
        mesh.logged(&["GET /break ", " 200 UC "]).await;
        assert_eq!(server.connections(), 4);
    });
}

#[test]
fn what_waits_for_a_connection_waits_no_longer_than_its_route_allows() {
    run(async {
        let rules = virtual_service("http: [{timeout: 0.4s, route: [{destination: {host: reviews, subset: v1}}]}]")
            + &destination_rule("reviews", "{connectionPool: {tcp: {maxConnections: 1}}}");
        let mesh = Mesh::new(&rules).await;
        let _server = Server::answering("10.9.1.1:9080", |_| std::future::pending()).await;
        let client = mesh.client("client").await;
        let [mut first, mut second] = [client.http1(REVIEWS).await, client.http1(REVIEWS).await];
        let ask = || request("POST", "/", &[], "body");
        let (first, second) = tokio::join!(first.send(ask()), second.send(ask()));
        for answer in [first, second] {
            assert_eq!(answer.status, 504);
            assert!(answer.took < 900 * MS, "{:?}", answer.took);
        }
    });
}

#[test]
fn a_request_is_tried_again_for_what_its_route_says_and_with_its_whole_body() {
    run(async {
        let mesh = Mesh::new("").await;
        let client = mesh.client("client").await;
        // The statuses that the next requests are answered with, the last one first.
        let next = Rc::new(RefCell::new(Vec::new()));
        let said = next.clone();
        let server = Server::answering("10.9.1.1:9080", move |_| {
            let answer = status(said.borrow_mut().pop().unwrap());
            async move { answer }
        })
        .await;
        for (retries, answers, body, expected, calls) in [
            ("{attempts: 3, retryOn: 5xx, backoff: 1ms}", [500, 503, 200], 10, 200, 3),
            ("{attempts: 1, retryOn: 5xx, backoff: 2ms}", [500, 503, 200], 10, 503, 2),
            ("{attempts: 3, retryOn: gateway-error, backoff: 1ms}", [500, 200, 200], 10, 500, 1),
            ("{attempts: 2, retryOn: gateway-error, backoff: 1ms}", [502, 504, 200], 10, 200, 3),
            ("{attempts: 3, retryOn: retriable-4xx, backoff: 1ms}", [409, 404, 200], 10, 404, 2),
            ("{attempts: 3, retryOn: '418,503', backoff: 1ms}", [418, 503, 200], 10, 200, 3),
            ("{attempts: 0}", [503, 200, 200], 10, 503, 1),
            ("{attempts: 3, retryOn: 5xx, backoff: 1ms}", [503, 503, 200], 60 << 10, 200, 3),
            ("{attempts: 2, retryOn: 5xx, backoff: 1ms}", [503, 503, 200], 70 << 10, 503, 1),
        ] {
            mesh.apply(&to_v1(&format!("  retries: {retries}"))).await;
            for two in [false, true] {
                *next.borrow_mut() = answers.iter().rev().copied().collect();
                let before = server.count();
                let mut http = if two { client.http2(REVIEWS).await } else { client.http1(REVIEWS).await };
                let body = "x".repeat(body);
                let answer = http.send(request("POST", "/", &[], &body)).await;
                assert_eq!((answer.status, server.count() - before), (expected, calls), "{retries} {answers:?}");
                let asked = &server.asked()[before..];
                assert!(asked.iter().all(|asked| asked.body == body), "a body was not whole");
                let numbers: Vec<_> = asked
                    .iter()
                    .map(|asked| asked.headers["x-envoy-attempt-count"].to_str().unwrap().to_owned())
                    .collect();
                assert_eq!(numbers, (1..=calls).map(|number| number.to_string()).collect::<Vec<_>>());
            }
        }
        mesh.logged(&["POST / HTTP/1.1", " 503 URX via_upstream"]).await;
    });
}

#[test]
fn what_is_not_answered_is_tried_again_elsewhere() {
    run(async {
        let rules = "http: [{route: [{destination: {host: reviews}}], retries: {attempts: 2, retryOn: 'RETRYON', backoff: 1ms}}]";
        let rules = |on: &str| virtual_service(&rules.replace("RETRYON", on)) + &subsets();
        let mesh = Mesh::new(&rules("connect-failure,reset")).await;
        // v1 refuses, v2 hangs up without a word, v3 answers.
        let ended = listen("10.9.1.2:9080", |mut stream, _| async move { drop(read_head(&mut stream).await) }).await;
        let server = Server::named("10.9.1.3:9080", "v3").await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        for _ in 0..60 {
            let answer = http.send(request("POST", "/", &[], "body")).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "v3"));
        }
        assert!(ended.connections() > 0);
        assert!(server.asked().iter().all(|asked| asked.body == "body"));
        // Who has read the request may have done what it asks for.
        mesh.apply(&rules("connect-failure")).await;
        let mut codes = Vec::new();
        for _ in 0..60 {
            codes.push(http.send(request("POST", "/", &[], "body")).await.status);
        }
        assert!(codes.contains(&200) && codes.contains(&503));
        mesh.logged(&[" 503 UC upstream_reset_before_response_started{connection_termination}"]).await;
    });
}

#[test]
fn a_try_has_its_own_time() {
    run(async {
        let mesh = Mesh::new(&to_v1("  retries: {attempts: 2, retryOn: 5xx, perTryTimeout: 0.3s, backoff: 1ms}")).await;
        let made = Rc::new(Cell::new(0));
        let server = Server::answering("10.9.1.1:9080", move |_| {
            let number = made.replace(made.get() + 1);
            async move {
                if number == 0 {
                    std::future::pending::<()>().await;
                }
                status(200)
            }
        })
        .await;
        let client = mesh.client("client").await;
        let answer = client.http1(REVIEWS).await.send(request("POST", "/", &[], "body")).await;
        assert_eq!((answer.status, server.count()), (200, 2));
        assert!(answer.took >= 300 * MS && answer.took < 800 * MS, "{:?}", answer.took);
        assert!(server.asked().iter().all(|asked| asked.body == "body"));
        let mut raw = client.raw(REVIEWS).await;
        raw.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsl").await.unwrap();
        tokio::time::sleep(700 * MS).await;
        raw.write_all(b"ow").await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(server.count(), 3, "a slow client has its request tried once");
    });
}

#[test]
fn a_client_that_breaks_off_its_body_has_nothing_tried_again() {
    run(async {
        let mesh = Mesh::new(&to_v1("  retries: {attempts: 3, retryOn: '5xx,reset', backoff: 1ms}")).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        let mut raw = client.raw(REVIEWS).await;
        raw.write_all(b"POST /half HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await
            .unwrap();
        raw.shutdown().await.unwrap();
        mesh.logged(&["POST /half ", " DC "]).await;
        assert_eq!(client.http1(REVIEWS).await.get("/whole", &[]).await.status, 200);
        let asked: Vec<_> = server.asked().into_iter().filter(|asked| asked.path == "/half").collect();
        assert!(asked.len() <= 1 && asked.iter().all(|asked| asked.body.is_empty()), "{asked:?}");
    });
}

#[test]
fn faults_are_injected_before_anything_is_forwarded() {
    run(async {
        let fault = |lines: &str| {
            to_v1(&format!("  timeout: 0.1s\n  retries: {{attempts: 2, retryOn: 5xx}}\n  fault: {lines}"))
        };
        let mesh = Mesh::new(&fault("{abort: {httpStatus: 500, percentage: {value: 50}}}")).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        let mut aborted = 0;
        for _ in 0..1000 {
            let answer = http.get("/", &[]).await;
            if answer.status == 500 {
                aborted += 1;
                assert_eq!((answer.body.as_str(), answer.field("content-type")), ("fault filter abort", "text/plain"));
                assert_eq!((answer.field("content-length"), answer.field("server")), ("18", "istio-envoy"));
            }
        }
        near(aborted, 1000, 50.0);
        assert_eq!(server.count(), 1000 - aborted);
        mesh.logged(&[" 500 FI fault_filter_abort"]).await;
        for (lines, expected) in [
            ("{abort: {httpStatus: 503, percentage: {value: 100}}}", 503),
            ("{abort: {httpStatus: 503, percentage: {value: 0}}}", 200),
            ("{abort: {httpStatus: 504, percentage: {value: 100}}}", 504),
            ("{abort: {httpStatus: 503}}", 200),
        ] {
            mesh.apply(&fault(lines)).await;
            let before = server.count();
            for _ in 0..20 {
                assert_eq!(http.get("/", &[]).await.status, expected, "{lines}");
            }
            assert_eq!(server.count() - before, if expected == 200 { 20 } else { 0 });
        }
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        for (abort, expected) in [("httpStatus: 500", "2"), ("grpcStatus: UNAVAILABLE", "14")] {
            mesh.apply(&fault(&format!("{{abort: {{{abort}, percentage: {{value: 100}}}}}}"))).await;
            let answer = client.http2(REVIEWS).await.send(request("POST", "/a/b", &grpc, "")).await;
            assert_eq!((answer.status, answer.field("grpc-status")), (200, expected), "{abort}");
        }
        // The delay is not the route's time, and holds up nobody else.
        mesh.apply(&fault("{delay: {fixedDelay: 0.5s, percentage: {value: 100}}}")).await;
        let mut all = Vec::new();
        for _ in 0..50 {
            let mut http = client.http1(REVIEWS).await;
            all.push(async move { http.get("/delayed", &[]).await });
        }
        for answer in futures_util::future::join_all(all).await {
            assert_eq!((answer.status, answer.body.as_str()), (200, "v1"));
            assert!(answer.took >= 500 * MS && answer.took < 1200 * MS, "{:?}", answer.took);
            assert!(answer.field("x-envoy-upstream-service-time").parse::<u64>().unwrap() < 400);
        }
        mesh.logged(&["GET /delayed ", " 200 DI via_upstream"]).await;
    });
}
