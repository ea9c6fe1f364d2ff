//! Mirrors and pages from elsewhere (H-27, H-28).

use std::time::Duration;

use super::support::{Asked, Mesh, REVIEWS, Server, near, request, run, subsets, until, virtual_service};

fn mirroring(lines: &str) -> String {
    virtual_service(&format!("http:\n- route: [{{destination: {{host: reviews, subset: v1}}}}]\n{lines}")) + &subsets()
}

/// Waits until `server` has been asked `count` times.
async fn asked(server: &Server, count: usize) -> Vec<Asked> {
    until(&format!("{count} have come"), async || server.count() >= count).await;
    server.asked()
}

#[test]
fn copies_go_to_mirrors_whole_and_by_their_share() {
    run(async {
        let mesh =
            Mesh::new(&mirroring("  mirror: {host: reviews, subset: v3}\n  mirrorPercentage: {value: 100}")).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let (second, third) = (Server::named("10.9.1.2:9080", "v2").await, Server::named("10.9.1.3:9080", "v3").await);
        let client = mesh.client("client").await;
        for (mut http, length) in [(client.http1(REVIEWS).await, 10), (client.http2(REVIEWS).await, 300 << 10)] {
            let before = third.count();
            let body = "abcdefghij".repeat(length / 10);
            let answer = http.send(request("POST", "/x?y=z", &[("x-own", "1")], &body)).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "v1"));
            let copy = asked(&third, before + 1).await.pop().unwrap();
            assert_eq!(
                (copy.method.as_str(), copy.path.as_str(), copy.host.as_str()),
                ("POST", "/x?y=z", "reviews-shadow:9080")
            );
            assert_eq!((copy.body == body, copy.headers["x-own"].to_str().unwrap()), (true, "1"));
            assert_eq!(server.asked().pop().unwrap().body, body);
        }
        let mut http = client.http1(REVIEWS).await;
        let rule = "  mirrors:\n  - {destination: {host: reviews, subset: v3}, percentage: {value: 10}}\n  - {destination: {host: reviews, subset: v2}}";
        mesh.apply(&mirroring(rule)).await;
        let before = [server.count(), second.count(), third.count()];
        for _ in 0..1000 {
            assert_eq!(http.get("/", &[]).await.body, "v1");
        }
        asked(&second, before[1] + 1000).await;
        assert_eq!([server.count() - before[0], second.count() - before[1]], [1000, 1000]);
        near(third.count() - before[2], 1000, 10.0);
    });
}

#[test]
fn a_mirror_that_is_slow_or_dead_makes_no_difference() {
    run(async {
        let rule = "  mirrors:\n  - {destination: {host: reviews, subset: v3}}\n  - {destination: {host: reviews, subset: v2}}\n  - {destination: {host: nobody}}";
        let mesh = Mesh::new(&mirroring(rule)).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        // v2 refuses; v3 does not even read.
        let _silent = super::support::listen("10.9.1.3:9080", |stream, _| async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        let body = "x".repeat(4 << 20);
        for _ in 0..3 {
            let answer = http.send(request("POST", "/", &[], &body)).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "v1"));
            assert!(answer.took < Duration::from_secs(3), "{:?}", answer.took);
        }
        assert!(server.asked().iter().all(|asked| asked.body.len() == body.len()));
    });
}

#[test]
fn pages_from_elsewhere_are_told_what_they_may() {
    run(async {
        let rule = "  corsPolicy: {allowOrigins: [{exact: 'https://a.example'}], allowMethods: [POST], allowHeaders: [x-a], maxAge: 60s, allowCredentials: true, exposeHeaders: [x-b]}";
        let mesh = Mesh::new(&mirroring(rule)).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        for mut http in [client.http1(REVIEWS).await, client.http2(REVIEWS).await] {
            let before = server.count();
            let fields = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
            let answer = http.send(request("OPTIONS", "/", &fields, "")).await;
            assert_eq!((answer.status, server.count()), (200, before));
            assert_eq!(answer.field("access-control-allow-origin"), "https://a.example");
            assert_eq!(
                (answer.field("access-control-allow-methods"), answer.field("access-control-max-age")),
                ("POST", "60")
            );
            let answer = http.get("/", &fields[..1]).await;
            assert_eq!((answer.body.as_str(), answer.field("access-control-expose-headers")), ("v1", "x-b"));
            assert_eq!(answer.field("access-control-allow-origin"), "https://a.example");
            let answer = http.get("/", &[("origin", "https://b.example")]).await;
            assert_eq!((answer.body.as_str(), answer.field("access-control-allow-origin")), ("v1", ""));
        }
    });
}
