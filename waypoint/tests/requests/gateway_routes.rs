//! Where requests go by routes that are attached to services, and what is done to them on the way (H-34, P-02, P-03).

use super::support::{Mesh, REVIEWS, Server, near, request, run, until, virtual_service};

/// A Service for each version, without slices: its pods are those that it selects.
fn versions() -> String {
    let one = |version: &str| {
        format!(
            "
---
apiVersion: v1
kind: Service
metadata: {{name: reviews-{version}, namespace: shop}}
spec: {{clusterIP: None, selector: {{app: reviews, version: {version}}}, ports: [{{name: http, port: 9080}}, {{name: grpc, port: 9090}}]}}
"
        )
    };
    ["v1", "v2", "v3"].map(one).concat()
}

/// A route of this kind that is attached to `reviews`.
fn route(kind: &str, rules: &str) -> String {
    format!(
        "
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: reviews, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: reviews}}]
  rules:{}
",
        rules.replace('\n', "\n  ")
    )
}

const RULES: &str = "
- matches: [{path: {value: /old}}]
  filters:
  - {type: URLRewrite, urlRewrite: {hostname: inside.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}
  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: new}], remove: [x-gone]}}
  - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-kind, value: route}], remove: [x-inside]}}
  backendRefs: [{name: reviews-v1, port: 9080}]
- matches: [{path: {value: /old}, headers: [{name: end-user, value: jason}]}]
  backendRefs: [{name: reviews-v2, port: 9080}]
- matches: [{path: {value: /away}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: other.example, statusCode: 301}}]
- name: shares
  matches: [{path: {value: /shares}}]
  backendRefs: [{name: reviews-v2, port: 9080, weight: 3}, {name: nobody, port: 9080, weight: 1}]
- matches: [{path: {value: /copied}}]
  filters: [{type: RequestMirror, requestMirror: {backendRef: {name: reviews-v3, port: 9080}}}]
  backendRefs: [{name: reviews-v2, port: 9080}]
- matches: [{path: {value: /slow}}]
  timeouts: {request: 100ms}
  backendRefs: [{name: reviews-v3, port: 9080}]
- matches: [{path: {value: /beyond}}]
  filters: [{type: ExtensionRef, extensionRef: {group: example.net, kind: Filter, name: mine}}]
  backendRefs: [{name: reviews-v1, port: 9080}]
";

#[test]
fn requests_go_by_the_route_that_is_attached_and_not_by_the_virtual_service() {
    run(async {
        let other = virtual_service("http: [{directResponse: {status: 418}}]");
        let mesh = Mesh::new(&(versions() + &other + &route("HTTPRoute", RULES))).await;
        let first = Server::answering("10.9.1.1:9080", |_| async {
            http::Response::builder().header("x-inside", "secret").body("v1".into()).unwrap()
        })
        .await;
        let second = Server::named("10.9.1.2:9080", "v2").await;
        let third = Server::answering("10.9.1.3:9080", |asked| async move {
            if asked.path == "/slow" {
                std::future::pending::<()>().await;
            }
            http::Response::new("v3".into())
        })
        .await;
        let client = mesh.client("client").await;
        for mut http in [client.http1(REVIEWS).await, client.http2(REVIEWS).await] {
            let answer = http.get("/old/a?b=c", &[("x-set", "old"), ("x-gone", "1")]).await;
            assert_eq!((answer.status, answer.body.as_str(), answer.field("x-kind")), (200, "v1", "route"));
            assert!(!answer.headers.contains_key("x-inside"));
            let asked = first.asked().pop().unwrap();
            assert_eq!((asked.path.as_str(), asked.host.as_str()), ("/new/a?b=c", "inside.example"));
            assert_eq!(asked.headers["x-set"], "new");
            assert!(!asked.headers.contains_key("x-gone"));
            // The rule that says more counts, though it stands behind.
            assert_eq!(http.get("/old", &[("end-user", "jason")]).await.body, "v2");
            let answer = http.get("/away?b=c", &[]).await;
            assert_eq!((answer.status, answer.field("location")), (301, "https://other.example/away?b=c"));
            let copies = third.count();
            assert_eq!(http.get("/copied", &[]).await.body, "v2");
            until("it is copied", async || third.count() == copies + 1).await;
            assert_eq!(http.get("/slow", &[]).await.status, 504);
            assert_eq!(http.get("/beyond", &[]).await.status, 500);
            assert_eq!(http.get("/elsewhere", &[]).await.status, 404);
            let before = second.count();
            let mut lost = 0;
            for _ in 0..400 {
                match http.get("/shares", &[]).await.status {
                    200 => {}
                    500 => lost += 1,
                    other => panic!("{other}"),
                }
            }
            near(lost, 400, 25.0);
            assert_eq!(second.count() - before, 400 - lost);
        }
        mesh.logged(&["GET /shares ", " 500 - direct_response"]).await;
        // A rule is called by its name, and one that has none by its route's.
        mesh.logged(&["GET /shares ", "shares"]).await;
        mesh.logged(&["GET /copied ", "shop.reviews.4"]).await;
        mesh.logged(&["VirtualService shop/reviews", "HTTPRoute shop/reviews is attached there"]).await;
        mesh.logged(&["spec.rules[6].filters[0].type", "ExtensionRef"]).await;
        // Without the route, the VirtualService holds.
        mesh.apply(&(versions() + &other)).await;
        assert_eq!(client.http1(REVIEWS).await.get("/old", &[]).await.status, 418);
    });
}

#[test]
fn calls_go_by_the_route_for_their_service_and_are_told_what_is_unavailable() {
    run(async {
        let rules = "
- matches: [{method: {service: shop.Reviews, method: List}}]
  backendRefs: [{name: reviews-v2, port: 9090}]
- matches: [{method: {service: shop.Reviews}}]
  backendRefs: [{name: nobody, port: 9090}]
";
        let mesh = Mesh::new(&(versions() + &route("GRPCRoute", rules))).await;
        let server = Server::answering2("10.9.1.2:9090", |_| async { http::Response::new("v2".into()) }).await;
        let client = mesh.client("client").await;
        let mut http = client.http2("10.96.0.1:9090").await;
        let call = |path| request("POST", path, &[("content-type", "application/grpc"), ("te", "trailers")], "");
        let answer = http.send(call("/shop.Reviews/List")).await;
        assert_eq!((answer.status, server.count()), (200, 1));
        let answer = http.send(call("/shop.Reviews/Get")).await;
        assert_eq!((answer.status, answer.field("grpc-status")), (200, "14"));
        // No rule is for it: UNIMPLEMENTED.
        let answer = http.send(call("/other.Service/Get")).await;
        assert_eq!((answer.status, answer.field("grpc-status")), (200, "12"));
    });
}
