//! Where requests go by VirtualServices, and what is done to them on the way (H-01..H-19, H-29, H-30).

use super::support::{Answer, Mesh, REVIEWS, Server, destination_rule, near, request, run, subsets, virtual_service};

async fn versions() -> [Server; 3] {
    [
        Server::named("10.9.1.1:9080", "v1").await,
        Server::named("10.9.1.2:9080", "v2").await,
        Server::named("10.9.1.3:9080", "v3").await,
    ]
}

const TABLE: &str = "
http:
- match: [{uri: {exact: /exact}}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{uri: {prefix: /IGNORE}, ignoreUriCase: true}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{uri: {regex: '/r/[0-9]+'}}]
  route: [{destination: {host: reviews, subset: v2}}]
- name: jason
  match: [{headers: {end-user: {exact: jason}}}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{headers: {cookie: {regex: '^(.*?; ?)?(featureflag=on)(;.*)?$'}}}]
  route: [{destination: {host: reviews, subset: v3}}]
- match: [{uri: {prefix: /without}, withoutHeaders: {x-absent: {}}}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{queryParams: {user: {exact: tester}}}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{method: {exact: POST}, uri: {prefix: /method}}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{authority: {prefix: other.example}}]
  route: [{destination: {host: reviews, subset: v3}}]
- match: [{port: 9090}]
  route: [{destination: {host: reviews, subset: v2, port: {number: 9080}}}]
- match: [{uri: {prefix: /labels}, sourceLabels: {tier: front}}]
  route: [{destination: {host: reviews, subset: v2}}]
- match: [{uri: {prefix: /labels}, sourceNamespace: shop}]
  route: [{destination: {host: reviews, subset: v3}}]
- match: [{uri: {prefix: /namespace}, sourceNamespace: elsewhere}]
  route: [{destination: {host: reviews, subset: v3}}]
- match: [{uri: {prefix: /none}}]
  route: [{destination: {host: reviews, subset: none}}]
- match: [{uri: {prefix: /unknown-subset}}]
  route: [{destination: {host: reviews, subset: v9}}]
- match: [{uri: {prefix: /unknown-host}}]
  route: [{destination: {host: nobody}}]
- match: [{uri: {prefix: /known}}]
  route: [{destination: {host: reviews, subset: v1}}]
";

#[test]
fn a_request_is_matched_by_all_that_it_is() {
    run(async {
        let mesh = Mesh::new(&(virtual_service(TABLE) + &subsets())).await;
        let _servers = versions().await;
        let (client, stranger) = (mesh.client("client").await, mesh.client("stranger").await);
        let cookie = |value| ("cookie", value);
        let two = [cookie("a=b"), cookie("featureflag=on")];
        for (method, path, fields, expected) in [
            ("GET", "/exact", &[][..], "v2"),
            ("GET", "/exact?x=y", &[], "v2"),
            ("GET", "/exact/", &[], "404"),
            ("GET", "/ignore/x", &[], "v2"),
            ("GET", "/r/17", &[], "v2"),
            ("GET", "/r/17x", &[], "404"),
            ("GET", "/known", &[("end-user", "jason")], "v2"),
            ("GET", "/known", &[("End-User", "jason")], "v2"),
            ("GET", "/known", &[("end-user", "Jason")], "v1"),
            ("GET", "/known", &[("end-user", "jason2")], "v1"),
            ("GET", "/known", &[cookie("featureflag=on")], "v3"),
            ("GET", "/known", &[cookie("a=b;featureflag=on")], "v3"),
            ("GET", "/known", &[cookie("featureflag=only")], "v1"),
            ("GET", "/known", &[cookie("a=xfeatureflag=on")], "v1"),
            ("GET", "/known", &[cookie("FeatureFlag=on")], "v1"),
            ("GET", "/without", &[], "v2"),
            ("GET", "/without", &[("x-absent", "1")], "404"),
            ("GET", "/known?user=tester", &[], "v2"),
            ("GET", "/known?user=testers", &[], "v1"),
            ("POST", "/method", &[], "v2"),
            ("GET", "/method", &[], "404"),
            ("GET", "/known", &[("host", "other.example:1")], "v3"),
            ("GET", "/labels", &[], "v2"),
            ("GET", "/namespace", &[], "404"),
            ("GET", "/none", &[], "503"),
            ("GET", "/unknown-subset", &[], "503"),
            ("GET", "/unknown-host", &[], "503"),
            ("GET", "/other", &[], "404"),
        ] {
            for mut http in [client.http1(REVIEWS).await, client.http2(REVIEWS).await] {
                let answer = http.send(request(method, path, fields, "")).await;
                assert_eq!(outcome(&answer), expected, "{method} {path} {fields:?} {answer:?}");
            }
        }
        // The pieces that HTTP/2 may send a cookie in are one (RFC 9113 section 8.2.3).
        assert_eq!(client.http2(REVIEWS).await.get("/known", &two).await.body, "v3");
        assert_eq!(stranger.http1(REVIEWS).await.get("/labels", &[]).await.body, "v3");
        assert_eq!(client.http2("10.96.0.1:9090").await.get("/other", &[("host", "reviews:9090")]).await.body, "v2");
        mesh.logged(&["GET /other HTTP/1.1", " 404 NR route_not_found"]).await;
        mesh.logged(&["GET /none HTTP/1.1", " 503 UH no_healthy_upstream"]).await;
        mesh.logged(&["GET /unknown-subset HTTP/1.1", " 503 NC cluster_not_found"]).await;
        mesh.logged(&["GET /unknown-host HTTP/1.1", " 503 NC cluster_not_found"]).await;
        mesh.logged(&["GET /known HTTP/1.1", " 200 - via_upstream", "jason"]).await;
        assert!(!mesh.log_text().contains(" DC"), "{}", mesh.log_text());
    });
}

/// What answered, or the status.
fn outcome(answer: &Answer) -> String {
    if answer.status == 200 { answer.body.clone() } else { answer.status.to_string() }
}

#[test]
fn weights_share_requests_as_they_say() {
    run(async {
        let routes = |weights: [u32; 3]| {
            let to =
                |(subset, weight)| format!("{{destination: {{host: reviews, subset: v{subset}}}, weight: {weight}}}");
            let to: Vec<_> = (1..).zip(weights).map(to).collect();
            virtual_service(&format!("http: [{{route: [{}]}}]", to.join(", "))) + &subsets()
        };
        let mesh = Mesh::new("").await;
        let servers = versions().await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        for weights in [[50, 0, 50], [90, 10, 0], [50, 25, 25], [1, 0, 0]] {
            mesh.apply(&routes(weights)).await;
            let before = servers.each_ref().map(Server::count);
            for _ in 0..1000 {
                assert_eq!(http.get("/", &[]).await.status, 200);
            }
            let all: u32 = weights.iter().sum();
            for ((server, before), weight) in servers.iter().zip(before).zip(weights) {
                near(server.count() - before, 1000, 100.0 * f64::from(weight) / f64::from(all));
            }
        }
    });
}

const CHANGES: &str = "
http:
- match: [{uri: {prefix: /redirect}}]
  redirect: {uri: /there, authority: elsewhere.example, redirectCode: 308}
- match: [{uri: {prefix: /direct}}]
  directResponse: {status: 418, body: {string: short and stout}}
  headers: {response: {set: {x-pot: tea}}}
- match: [{uri: {prefix: /empty}}]
  directResponse: {status: 204}
- match: [{uri: {prefix: /old}}]
  rewrite: {uri: /new, authority: inside.example}
  route: [{destination: {host: reviews, subset: v1}}]
- match: [{uri: {prefix: /regex}}]
  rewrite: {uriRegexRewrite: {match: '/regex/(\\w+)/(\\w+)', rewrite: '/\\2/\\1'}}
  route: [{destination: {host: reviews, subset: v1}}]
- match: [{uri: {prefix: /fields}}]
  headers:
    request: {set: {x-set: new, host: set.example}, add: {x-add: '2'}, remove: [x-gone]}
    response: {set: {x-kind: route}, remove: [x-inside]}
  route:
  - destination: {host: reviews, subset: v1}
    headers: {request: {add: {x-add: '3'}}, response: {add: {x-kind: destination}}}
";

#[test]
fn routes_answer_themselves_and_change_what_they_forward() {
    run(async {
        let mesh = Mesh::new(&(virtual_service(CHANGES) + &subsets())).await;
        let server = Server::answering("10.9.1.1:9080", |_| async {
            http::Response::builder().header("x-inside", "secret").body("v1".into()).unwrap()
        })
        .await;
        let client = mesh.client("client").await;
        for mut http in [client.http1(REVIEWS).await, client.http2(REVIEWS).await] {
            let answer = http.get("/redirect/x", &[]).await;
            assert_eq!((answer.status, answer.field("location")), (308, "http://elsewhere.example/there"));
            let answer = http.get("/direct", &[]).await;
            assert_eq!((answer.status, answer.body.as_str(), answer.field("x-pot")), (418, "short and stout", "tea"));
            assert_eq!(answer.field("content-type"), "text/plain");
            assert_eq!(http.get("/empty", &[]).await.status, 204);
            for (path, seen, host) in [
                ("/old/a?b=c", "/new/a?b=c", "inside.example"),
                ("/regex/a/b?c", "/b/a?c", "reviews:9080"),
                ("/fields", "/fields", "set.example"),
            ] {
                let answer = http.get(path, &[("x-add", "1"), ("x-gone", "1"), ("x-set", "old")]).await;
                assert_eq!(answer.status, 200, "{path} {}", answer.body);
                let asked = server.asked().pop().unwrap();
                assert_eq!((asked.path.as_str(), asked.host.as_str()), (seen, host));
                if seen != path {
                    assert_eq!(asked.headers["x-envoy-original-path"], path);
                }
                if path == "/fields" {
                    // What is said of one destination comes first, as with Envoy.
                    assert_eq!(asked.headers.get_all("x-add").iter().collect::<Vec<_>>(), ["1", "3", "2"]);
                    assert_eq!(asked.headers.get_all("x-set").iter().collect::<Vec<_>>(), ["new"]);
                    assert!(!asked.headers.contains_key("x-gone") && !answer.headers.contains_key("x-inside"));
                    assert_eq!(answer.headers.get_all("x-kind").iter().collect::<Vec<_>>(), ["route"]);
                }
            }
        }
        mesh.logged(&["GET /redirect/x ", " 308 - direct_response"]).await;
        mesh.logged(&["GET /direct ", " 418 - direct_response"]).await;
    });
}

const NAMED: &str = "
http:
- match: [{uri: {exact: /exact}}]
  route: [{destination: {host: reviews, subset: v1}}]
- match: [{uri: {prefix: /prefix}}]
  route: [{destination: {host: reviews, subset: v1}}]
- match: [{uri: {regex: '/r/[0-9]+'}}]
  route: [{destination: {host: reviews, subset: v1, port: {number: 9080}}}]
- match: [{uri: {prefix: /several}}]
  route: [{destination: {host: reviews, subset: v1}, weight: 1}, {destination: {host: reviews, subset: v1}, weight: 1}]
- match: [{uri: {prefix: /own}}]
  headers: {request: {set: {x-envoy-decorator-operation: own}}}
  route: [{destination: {host: reviews, subset: v1}}]
- route: [{destination: {host: reviews, subset: v1}}]
";

#[test]
fn an_endpoint_is_told_what_a_request_is_called() {
    run(async {
        let mesh = Mesh::new(&(virtual_service(NAMED) + &subsets())).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        for (path, expected) in [
            ("/exact?x", "reviews.shop.svc.cluster.local:9080/exact"),
            ("/prefix/x", "reviews.shop.svc.cluster.local:9080/prefix*"),
            ("/r/17", "reviews.shop.svc.cluster.local:9080/r/[0-9]+"),
            // Of several destinations none is named, but what the VirtualService is called.
            ("/several", "reviews:9080/several*"),
            ("/own", "own"),
            ("/else", "reviews.shop.svc.cluster.local:9080/*"),
        ] {
            assert_eq!(http.get(path, &[]).await.status, 200, "{path}");
            assert_eq!(server.asked().pop().unwrap().headers["x-envoy-decorator-operation"], expected, "{path}");
        }
    });
}

#[test]
fn a_delegate_has_the_routes_of_its_root() {
    run(async {
        let root = virtual_service("http: [{match: [{uri: {prefix: /a}}], delegate: {name: inner, namespace: shop}}]");
        let inner = "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inner, namespace: shop}
spec:
  http:
  - match: [{uri: {prefix: /a/b}, headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: reviews, subset: v1}}]
";
        let mesh = Mesh::new(&(root + inner + &destination_rule("reviews", "{}"))).await;
        let _servers = versions().await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        for (path, fields, expected) in
            [("/a/b", &[("end-user", "jason")][..], "v2"), ("/a/b", &[], "v1"), ("/a", &[], "v1"), ("/b", &[], "404")]
        {
            assert_eq!(outcome(&http.get(path, fields).await), expected, "{path} {fields:?}");
        }
    });
}
