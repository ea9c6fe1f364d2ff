//! AuthorizationPolicies for requests and connections: who is refused, how he is told, and what a change cuts.

use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::spawn_local;

use super::support::{BYTES, Mesh, REVIEWS, Server, request, run};

/// A policy of this name for what `target` says (`kind`, `name`), with further lines of its spec.
fn policy(name: &str, target: &str, spec: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  targetRefs: [{target}]
{spec}
---"
    )
}

const SERVICE: &str = "{kind: Service, group: '', name: reviews}";
const GATEWAY: &str = "{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}";

/// The productpage of Bookinfo may GET reviews, and nobody may do anything else (SC-004-10).
fn only_clients_may_get() -> String {
    policy(
        "read-reviews",
        SERVICE,
        "  action: ALLOW
  rules:
  - from: [{source: {principals: ['cluster.local/ns/shop/sa/client']}}]
    to: [{operation: {methods: [GET], paths: ['/reviews/*']}}]",
    )
}

#[test]
fn who_may_not_is_told_so_in_his_own_words() {
    run(async {
        let mesh = Mesh::new(&only_clients_may_get()).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let _others = [Server::named("10.9.1.2:9080", "v2").await, Server::named("10.9.1.3:9080", "v3").await];
        let (client, stranger) = (mesh.client("client").await, mesh.client("stranger").await);
        let mut own = client.http1(REVIEWS).await;
        for (path, status) in [
            ("/reviews/0", 200),
            ("/reviews/0?x=/admin", 200),
            ("/admin", 403),
            ("/reviews/../admin", 403),
            ("/reviews/%2e%2e/admin", 403),
            ("/a/../reviews/0", 200),
        ] {
            assert_eq!(own.get(path, &[]).await.status, status, "{path}");
        }
        let posted = own.send(request("POST", "/reviews/0", &[], "x")).await;
        assert_eq!((posted.status, posted.body.as_str()), (403, "RBAC: access denied"));
        assert_eq!(posted.field("content-type"), "text/plain");
        let refused = stranger.http1(REVIEWS).await.get("/reviews/0", &[]).await;
        assert_eq!((refused.status, refused.body.as_str()), (403, "RBAC: access denied"));
        let call = request("POST", "/reviews.Reviews/Get", &[("content-type", "application/grpc")], "");
        let refused = stranger.http2(REVIEWS).await.send(call).await;
        assert_eq!((refused.status, refused.field("grpc-status")), (200, "7"));
        assert_eq!(refused.field("grpc-message"), "RBAC: access denied");
        let line = mesh.logged(&["POST /reviews/0 ", " 403 "]).await;
        assert!(line.contains("reason=\"no-policy-matched\"") || line.contains("no-policy-matched"), "{line}");
        assert!(line.contains("read-reviews"), "{line}");
        assert!(mesh.metric(&["ambit_refused_total{", "no-policy-matched"]).await >= 4.0);
        assert!(server.asked().iter().all(|asked| asked.path.starts_with("/reviews/")));
    });
}

#[test]
fn a_policy_is_for_the_service_the_waypoint_or_its_class() {
    run(async {
        let mesh = Mesh::new("").await;
        let _servers = [("10.9.1.1:9080"), ("10.9.1.2:9080"), ("10.9.1.3:9080")];
        let mut servers = Vec::new();
        for address in _servers {
            servers.push(Server::named(address, "v").await);
        }
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        let deny = "  action: DENY\n  rules: [{to: [{operation: {paths: ['/x']}}]}]";
        let class = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: class, namespace: istio-system}
spec:
  targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint}]
  action: DENY
  rules: [{to: [{operation: {paths: ['/x']}}]}]
";
        let elsewhere = policy("other", "{kind: Service, group: '', name: raw}", deny);
        for (objects, status) in [
            (policy("p", SERVICE, deny), 403),
            (policy("p", GATEWAY, deny), 403),
            (class.to_owned(), 403),
            (elsewhere, 200),
        ] {
            mesh.apply(&objects).await;
            assert_eq!(http.get("/x", &[]).await.status, status, "{objects}");
            assert_eq!(http.get("/y", &[]).await.status, 200, "{objects}");
        }
    });
}

#[test]
fn a_rehearsal_has_no_effect_but_to_be_noted() {
    run(async {
        let dry = policy("dry", SERVICE, "  action: DENY\n  rules: [{to: [{operation: {methods: [GET]}}]}]")
            .replace("{name: dry, ", "{name: dry, annotations: {istio.io/dry-run: 'true'}, ");
        let mesh = Mesh::new(&dry).await;
        let mut servers = Vec::new();
        for address in ["10.9.1.1:9080", "10.9.1.2:9080", "10.9.1.3:9080"] {
            servers.push(Server::named(address, "v").await);
        }
        let client = mesh.client("client").await;
        assert_eq!(client.http1(REVIEWS).await.get("/", &[]).await.status, 200);
        mesh.logged(&["policy on trial", "shop/dry"]).await;
        assert!(mesh.metric(&["policy=\"dry\"", "matched=\"true\""]).await >= 1.0);
    });
}

#[test]
fn a_change_of_policy_cuts_the_connections_that_it_refuses_and_no_others() {
    run(async {
        let mesh = Mesh::new("").await;
        for address in ["10.9.1.5:5432", "10.9.1.6:5432"] {
            let listener = TcpListener::bind(address).await.unwrap();
            spawn_local(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    spawn_local(async move {
                        let (mut read, mut write) = stream.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    });
                }
            });
        }
        let (client, stranger) = (mesh.client("client").await, mesh.client("stranger").await);
        let (mut own, mut other) = (client.raw(BYTES).await, stranger.raw(BYTES).await);
        let mut echo = [0; 2];
        for stream in [&mut own, &mut other] {
            stream.write_all(b"hi").await.unwrap();
            stream.read_exact(&mut echo).await.unwrap();
        }
        // By the labels of the client's pod: both have the same namespace, and could have the same service account.
        let by_label = policy(
            "tiers",
            "{kind: Service, group: '', name: bytes}",
            "  action: ALLOW
  rules: [{when: [{key: 'source.labels[tier]', values: [front]}]}]",
        );
        mesh.apply(&by_label).await;
        let mut rest = Vec::new();
        let _ = other.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        mesh.logged(&["policy-changed", "shop/tiers"]).await;
        own.write_all(b"ho").await.unwrap();
        own.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ho");
        let mut again = stranger.raw(BYTES).await;
        let _ = again.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        mesh.logged(&["no-policy-matched", "shop/tiers"]).await;
    });
}

#[test]
fn a_client_that_is_refused_may_ask_again_once_it_is_admitted() {
    run(async {
        let mesh = Mesh::new(&only_clients_may_get()).await;
        let answer = |_| async { http::Response::new(Full::from("v")) };
        let mut servers = Vec::new();
        for address in ["10.9.1.1:9080", "10.9.1.2:9080", "10.9.1.3:9080"] {
            servers.push(Server::answering(address, answer).await);
        }
        let mut http = mesh.client("stranger").await.http1(REVIEWS).await;
        assert_eq!(http.get("/reviews/0", &[]).await.status, 403);
        mesh.apply("").await;
        // The same connection: it is the request that was refused.
        assert_eq!(http.get("/reviews/0", &[]).await.status, 200);
    });
}
