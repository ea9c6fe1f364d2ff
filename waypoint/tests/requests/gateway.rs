//! A gateway: what comes from outside, and is let in as Gateways and the VirtualServices bound to them say (K-01 to K-12,
//! G-05; scenarios SC-000-05, SC-001-05, SC-002-08).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    Answer, Asked, Beside, Http, Issuer, Mesh, Outside, Roots, Server, Shown, listen, request, run, subsets, until,
};

const V1: &str = "10.9.1.1:9080";
const V2: &str = "10.9.1.2:9080";
const V3: &str = "10.9.1.3:9080";
/// Where the Service in front of the gateway leads to from port 80, and from 443.
const PLAIN: u16 = 8080;
const SECURED: u16 = 8443;

/// A Gateway of the namespace `shop` that the gateway's pod serves.
fn gateway(name: &str, servers: &str) -> String {
    object("Gateway", ("shop", name), &format!("selector: {{istio: ingressgateway}}\nservers:\n{servers}"))
}

/// A VirtualService of the namespace `shop`, bound to the Gateway `gateway`.
fn bound(name: &str, hosts: &str, gateway: &str, rest: &str) -> String {
    object("VirtualService", ("shop", name), &format!("hosts: {hosts}\ngateways: [{gateway}]\n{rest}"))
}

fn object(kind: &str, (namespace, name): (&str, &str), spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "
---
apiVersion: networking.istio.io/v1alpha3
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  {spec}
"
    )
}

/// A server on port 80 for `hosts`.
fn http(hosts: &str) -> String {
    format!("- {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: {hosts}}}")
}

/// A server on port 443 for `hosts`, with these settings of TLS.
fn https(name: &str, hosts: &str, tls: &str) -> String {
    format!("- {{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: {hosts}, tls: {tls}}}")
}

/// Everything goes to `reviews`.
const TO_REVIEWS: &str = "http: [{route: [{destination: {host: reviews, port: {number: 9080}}}]}]";

/// A Secret of the gateway's namespace.
fn secret(name: &str, keys: [&str; 2], Shown { certificate, key }: &Shown) -> String {
    let block = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let [certificate_key, key_key] = keys;
    format!(
        "
---
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: edge}}
stringData:
  {certificate_key}: |
{}  {key_key}: |
{}",
        block(certificate),
        block(key)
    )
}

static TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
static TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The keys of a Secret of the type `kubernetes.io/tls`.
const OF_TLS: [&str; 2] = ["tls.crt", "tls.key"];

/// Bookinfo's own.
fn bookinfo() -> String {
    let routes = "\
http:
- match:
  - uri: {exact: /productpage}
  - uri: {exact: /login}
  - uri: {exact: /logout}
  - uri: {prefix: /api/v1/products}
  route:
  - destination: {host: reviews, port: {number: 9080}}";
    gateway("bookinfo-gateway", &http("['*']")) + &bound("bookinfo", "['*']", "bookinfo-gateway", routes)
}

async fn get(client: &mut Http, host: &str, path: &str) -> Answer {
    client.get(path, &[("host", host)]).await
}

/// The status that a request of its own connection is answered with.
async fn status(host: &str, path: &str) -> u16 {
    get(&mut Outside::http1(PLAIN).await, host, path).await.status
}

/// Three servers of the service `reviews`.
async fn reviews() -> [Server; 3] {
    [Server::named(V1, "v1").await, Server::named(V2, "v2").await, Server::named(V3, "v3").await]
}

#[test]
fn bookinfos_gateway_serves_what_its_virtual_service_says_and_nothing_else() {
    run(async {
        let mesh = Mesh::gateway(&bookinfo(), &[]).await;
        let servers = reviews().await;
        for (path, expected) in [
            ("/productpage", 200),
            ("/productpage?u=normal", 200),
            ("/productpage/", 404),
            ("/Productpage", 404),
            ("/productpageX", 404),
            ("/login", 200),
            ("/logout", 200),
            ("/api/v1/products", 200),
            ("/api/v1/products/0/reviews", 200),
            ("/api/v1/productsX", 200),
            ("/", 404),
            ("/static/x", 404),
            ("/details/0", 404),
        ] {
            for host in ["shop.example", "10.9.0.2:80", "x"] {
                assert_eq!(status(host, path).await, expected, "{host}{path}");
            }
            let answer = Outside::http2(PLAIN).await.get(path, &[("host", "shop.example")]).await;
            assert_eq!(answer.status, expected, "{path} by HTTP/2");
        }
        let asked: Vec<_> = servers.iter().flat_map(Server::asked).collect();
        for asked in &asked {
            assert_eq!(asked.headers["x-forwarded-proto"], "http");
            assert_eq!(asked.headers["x-forwarded-for"], "10.9.2.9");
            let operation = asked.headers["x-envoy-decorator-operation"].to_str().unwrap();
            assert!(operation.starts_with("reviews.shop.svc.cluster.local:9080/"), "{operation}");
        }
        // To the mesh the gateway is the client: what Kiali draws comes from here.
        let line = mesh.logged(&["GET /productpage HTTP/1.1", " 200 - via_upstream "]).await;
        assert!(line.contains("10.9.2.9:"), "{line}");
        mesh.logged(&["GET /details/0 HTTP/1.1", " 404 NR route_not_found "]).await;
        let labels = [
            "istio_requests_total{",
            "reporter=\"source\"",
            "source_workload=\"ingress-1\"",
            "source_workload_namespace=\"edge\"",
            "destination_service=\"reviews.shop.svc.cluster.local\"",
            "response_code=\"200\"",
        ];
        assert!(mesh.metric(&labels).await >= 1.0);
        // Without the VirtualService nobody is served; without the Gateway nobody is let in.
        mesh.apply(&gateway("bookinfo-gateway", &http("['*']"))).await;
        assert_eq!(status("shop.example", "/productpage").await, 404);
        mesh.apply("").await;
        until("nobody listens", async || Outside::dial(PLAIN).await.is_err()).await;
        mesh.apply(&bookinfo()).await;
        until("somebody listens", async || Outside::dial(PLAIN).await.is_ok()).await;
        assert_eq!(status("shop.example", "/productpage").await, 200);
    });
}

#[test]
fn only_gateways_that_select_the_pod_are_served() {
    run(async {
        let others = bookinfo().replace("istio: ingressgateway", "istio: other");
        let mesh = Mesh::gateway(&others, &[]).await;
        let served = async || mesh.page("127.0.0.1:15000", "/listeners").await.unwrap();
        let nobody = served().await.replace(char::is_whitespace, "");
        assert!(nobody.contains("\"listeners\":[]"), "{nobody}");
        assert!(Outside::dial(PLAIN).await.is_err());
        // All labels have to be the pod's, and a server may be on a port that no Service leads to.
        let servers = "- {port: {number: 8899, name: http, protocol: HTTP2}, hosts: ['*']}";
        let _servers = reviews().await;
        let selective = gateway("selective", &http("['*']")).replace("ingressgateway}", "ingressgateway, tier: other}");
        mesh.apply(&(selective + &gateway("own", servers) + &bound("own", "['*']", "own", TO_REVIEWS))).await;
        until("it listens on the port itself", async || Outside::dial(8899).await.is_ok()).await;
        let answer = get(&mut Outside::http1(8899).await, "x", "/").await;
        assert_eq!(answer.status, 200);
        assert!(!served().await.contains("selective"), "{}", served().await);
    });
}

#[test]
fn hosts_decide_who_is_served_whatever_port_they_come_with_and_whose_virtual_services_may() {
    run(async {
        let own = bound("own", "[emoji-istio.test.net]", "emojivoto-gateway", TO_REVIEWS);
        let wider = bound("wider", "['*.test.net']", "emojivoto-gateway", TO_REVIEWS);
        let elsewhere = object(
            "VirtualService",
            ("other", "foreign"),
            "hosts: [theirs.example, free.example]\ngateways: [shop/limits]\nhttp: [{directResponse: {status: 299}}]",
        );
        let objects = gateway("emojivoto-gateway", &http("[emoji-istio.test.net]"))
            + &gateway("limits", &http("[./theirs.example, '*/free.example']"))
            + &own
            + &wider
            + &elsewhere;
        let _mesh = Mesh::gateway(&objects, &[]).await;
        let _servers = reviews().await;
        for (host, expected) in [
            ("emoji-istio.test.net", 200),
            ("emoji-istio.test.net:30080", 200),
            ("Emoji-Istio.Test.Net", 200),
            // Its VirtualService has it, the Gateway has not.
            ("other.test.net", 404),
            ("theirs.example", 404),
            ("free.example", 299),
            ("free.example:80", 299),
            ("x", 404),
            ("[fd00::1]:80", 404),
        ] {
            assert_eq!(status(host, "/").await, expected, "{host}");
        }
    });
}

#[test]
fn a_virtual_service_is_for_the_mesh_or_for_the_gateway_as_it_says() {
    run(async {
        let mesh_only = "hosts: [reviews]\nhttp: [{directResponse: {status: 298}}]";
        let both = "hosts: [both.example]\ngateways: [edge, mesh]\nhttp:\n\
            - {match: [{gateways: [edge], uri: {prefix: /edge}}], directResponse: {status: 297}}\n\
            - {match: [{gateways: [mesh]}], directResponse: {status: 296}}";
        let objects = gateway("edge", &http("['*']"))
            + &object("VirtualService", ("shop", "inside"), mesh_only)
            + &object("VirtualService", ("shop", "both"), both);
        let _mesh = Mesh::gateway(&objects, &[]).await;
        for (host, path, expected) in [
            ("reviews.shop.svc.cluster.local", "/", 404),
            ("reviews", "/", 404),
            ("both.example", "/edge", 297),
            ("both.example", "/", 404),
        ] {
            assert_eq!(status(host, path).await, expected, "{host}{path}");
        }
    });
}

/// The Gateway of the todo application, and its Secret in either form.
fn todo(shown: &Shown, keys: [&str; 2], version: &str) -> String {
    let redirect =
        "- {port: {number: 80, name: http, protocol: HTTP}, hosts: [todo.example], tls: {httpsRedirect: true}}";
    let tls = format!("{{mode: SIMPLE, minProtocolVersion: {version}, credentialName: todo-secret}}");
    let plain = "- {port: {number: 80, name: http-2, protocol: HTTP}, hosts: [plain.example]}";
    gateway("todoui", &[redirect, plain, &https("https", "[todo.example]", &tls)].join("\n"))
        + &bound("todoui", "[todo.example, plain.example]", "todoui", TO_REVIEWS)
        + &secret("todo-secret", keys, shown)
}

/// The status that a request is answered with by TLS with the server `name`, and its certificate.
async fn secured(name: &str, how: &Roots<'_>) -> std::io::Result<(u16, Vec<u8>)> {
    let stream = Outside::tls(SECURED, name, how).await?;
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let mut http = if agreed.as_deref() == Some(b"h2") { Http::two(stream).await } else { Http::one(stream).await };
    Ok((get(&mut http, name, "/").await.status, certificate))
}

#[test]
fn http_is_sent_to_https_which_is_served_by_name_with_the_certificate_of_a_secret() {
    run(async {
        let issuer = Issuer::new();
        let how = Roots::of(&issuer);
        let (first, second) = (issuer.certify(&["todo.example"]), issuer.certify(&["todo.example"]));
        let mesh = Mesh::gateway(&todo(&first, ["cert", "key"], "TLSV1_2"), &[]).await;
        let servers = reviews().await;
        for (method, host, path, location) in [
            ("GET", "todo.example", "/a?b=c", "https://todo.example/a?b=c"),
            ("POST", "todo.example", "/", "https://todo.example/"),
        ] {
            let request = request(method, path, &[("host", host)], "");
            let answer = Outside::http1(PLAIN).await.send(request).await;
            assert_eq!((answer.status, answer.field("location")), (301, location), "{method} {host}{path}");
        }
        assert_eq!(status("plain.example", "/").await, 200);
        assert_eq!(status("other.example", "/").await, 404);
        until("the Secret is there", async || secured("todo.example", &how).await.is_ok()).await;
        for protocols in [&["http/1.1"][..], &["h2"], &["h2", "http/1.1"]] {
            let how = Roots { protocols, ..Roots::of(&issuer) };
            assert_eq!(secured("todo.example", &how).await.unwrap().0, 200, "{protocols:?}");
        }
        assert_eq!(servers.iter().flat_map(Server::asked).last().unwrap().headers["x-forwarded-proto"], "https");
        // Nobody else's name gets this certificate.
        assert!(secured("other.example", &how).await.is_err());
        mesh.logged(&["unknown-server-name", "other.example"]).await;
        // What is served by another name on this connection is not served here.
        let stream = Outside::tls(SECURED, "todo.example", &how).await.unwrap();
        let mut open = Http::one(stream).await;
        assert_eq!(get(&mut open, "plain.example", "/").await.status, 404);
        assert_eq!(get(&mut open, "todo.example", "/").await.status, 200);
        let before = secured("todo.example", &how).await.unwrap().1;
        // The Secret is replaced, in its other form: whoever comes gets the new one, whoever is there stays.
        mesh.write(&todo(&second, OF_TLS, "TLSV1_2"));
        until("the new certificate is shown", async || {
            secured("todo.example", &how).await.is_ok_and(|(_, now)| now != before)
        })
        .await;
        assert_eq!(get(&mut open, "todo.example", "/").await.status, 200);
    });
}

#[test]
fn versions_below_the_least_are_refused() {
    run(async {
        let issuer = Issuer::new();
        let shown = issuer.certify(&["todo.example"]);
        let mesh = Mesh::gateway(&todo(&shown, OF_TLS, "TLSV1_2"), &[]).await;
        let _servers = reviews().await;
        let one_two = Roots { versions: TLS12, ..Roots::of(&issuer) };
        let one_three = Roots { versions: TLS13, ..Roots::of(&issuer) };
        until("the Secret is there", async || secured("todo.example", &one_three).await.is_ok()).await;
        assert_eq!(secured("todo.example", &one_two).await.unwrap().0, 200);
        mesh.apply(&todo(&shown, OF_TLS, "TLSV1_3")).await;
        until("TLS 1.2 is refused", async || secured("todo.example", &one_two).await.is_err()).await;
        assert_eq!(secured("todo.example", &one_three).await.unwrap().0, 200);
    });
}

#[test]
fn a_secret_that_is_missing_or_spoilt_harms_nobody_else_and_the_last_good_one_stays() {
    run(async {
        let issuer = Issuer::new();
        let how = Roots::of(&issuer);
        let (good, other) = (issuer.certify(&["good.example"]), issuer.certify(&["late.example"]));
        let simple = |secret: &str| format!("{{mode: SIMPLE, credentialName: {secret}}}");
        let servers =
            [https("good", "[good.example]", &simple("good")), https("late", "[late.example]", &simple("late"))];
        let rules = gateway("both", &servers.join("\n")) + &bound("both", "['*']", "both", TO_REVIEWS);
        let mesh = Mesh::gateway(&(rules.clone() + &secret("good", OF_TLS, &good)), &[]).await;
        let _servers = reviews().await;
        until("one is served", async || secured("good.example", &how).await.is_ok()).await;
        assert!(secured("late.example", &how).await.is_err());
        mesh.logged(&["credential-unavailable", "late"]).await;
        assert!(mesh.page("127.0.0.1:15000", "/listeners").await.unwrap().contains("late"));
        // It comes, and is served without a restart.
        mesh.write(&(rules.clone() + &secret("good", OF_TLS, &good) + &secret("late", OF_TLS, &other)));
        until("the other is served", async || secured("late.example", &how).await.is_ok()).await;
        // Its successor has a key that does not fit.
        let spoilt = Shown { certificate: other.certificate.clone(), key: good.key.clone() };
        mesh.write(&(rules + &secret("good", OF_TLS, &good) + &secret("late", OF_TLS, &spoilt)));
        until("it is told", async || {
            secured("late.example", &how).await.is_ok()
                && mesh.page("127.0.0.1:15000", "/listeners").await.unwrap().contains("\"of\"")
        })
        .await;
        assert_eq!(secured("good.example", &how).await.unwrap().0, 200);
    });
}

#[test]
fn clients_prove_who_they_are_where_a_server_asks_for_it() {
    run(async {
        let (issuer, clients, strangers) = (Issuer::new(), Issuer::new(), Issuer::new());
        let shown = issuer.certify(&["a.example", "b.example"]);
        let (known, unknown) = (clients.certify(&["client.example"]), strangers.certify(&["client.example"]));
        let tls = |mode: &str| format!("{{mode: {mode}, credentialName: pair}}");
        let servers = [https("a", "[a.example]", &tls("MUTUAL")), https("b", "[b.example]", &tls("OPTIONAL_MUTUAL"))];
        let authority = clients.pem().lines().map(|line| format!("    {line}\n")).collect::<String>();
        let objects = gateway("both", &servers.join("\n"))
            + &bound("both", "['*']", "both", TO_REVIEWS)
            + &secret("pair", OF_TLS, &shown)
            + &format!("  ca.crt: |\n{authority}");
        let _mesh = Mesh::gateway(&objects, &[]).await;
        let servers = reviews().await;
        let with = |shown| Roots { shown, ..Roots::of(&issuer) };
        until("it is served", async || secured("a.example", &with(Some(&known))).await.is_ok()).await;
        for (name, shown, served) in [
            ("a.example", Some(&known), true),
            ("a.example", Some(&unknown), false),
            ("a.example", None, false),
            ("b.example", Some(&known), true),
            ("b.example", Some(&unknown), false),
            ("b.example", None, true),
        ] {
            // By TLS 1.3 the client learns of it with the first answer.
            let how = Roots { versions: TLS12, ..with(shown) };
            assert_eq!(secured(name, &how).await.is_ok(), served, "{name} {}", shown.is_some());
        }
        let proved = |asked: &Asked| {
            asked.headers.get("x-forwarded-client-cert").is_some_and(|told| {
                let told = told.to_str().unwrap();
                told.starts_with("Hash=") && told.contains(";Subject=\"CN=rcgen self signed cert\"")
            })
        };
        let asked: Vec<_> = servers.iter().flat_map(Server::asked).collect();
        let told = asked.iter().filter(|asked| asked.headers.contains_key("x-forwarded-client-cert")).count();
        assert!(told == asked.len() - 1 && asked.iter().filter(|asked| proved(asked)).count() == told, "{asked:?}");
    });
}

#[test]
fn tls_passes_through_to_where_its_name_leads() {
    run(async {
        let issuer = Issuer::new();
        let servers =
            "- {port: {number: 443, name: tls, protocol: TLS}, hosts: ['*.shop.example'], tls: {mode: PASSTHROUGH}}";
        let rule = |name: &str, subset: &str| {
            format!(
                "- {{match: [{{sniHosts: [{name}.shop.example]}}], route: [{{destination: {{host: reviews, subset: {subset}, port: {{number: 9080}}}}}}]}}"
            )
        };
        let routes = format!("tls:\n{}\n{}", rule("one", "v1"), rule("two", "v2"));
        let objects =
            gateway("through", servers) + &bound("through", "['*.shop.example']", "through", &routes) + &subsets();
        let mesh = Mesh::gateway(&objects, &[]).await;
        let _one = Server::secured(V1, issuer.server(&["one.shop.example"], &["http/1.1"], false), "v1").await;
        let _two = Server::secured(V2, issuer.server(&["two.shop.example"], &["http/1.1"], false), "v2").await;
        let how = Roots::of(&issuer);
        for (name, body) in [("one.shop.example", "v1"), ("two.shop.example", "v2")] {
            let mut http = Http::one(Outside::tls(SECURED, name, &how).await.unwrap()).await;
            assert_eq!(get(&mut http, name, "/").await.body, body, "{name}");
        }
        for name in ["three.shop.example", "elsewhere.example"] {
            assert!(Outside::tls(SECURED, name, &how).await.is_err(), "{name}");
        }
        mesh.logged(&["no-route-matched"]).await;
        mesh.logged(&["unknown-server-name", "elsewhere.example"]).await;
    });
}

#[test]
fn bytes_are_let_in_in_clear_and_out_of_tls() {
    run(async {
        let issuer = Issuer::new();
        let servers = "\
- {port: {number: 6431, name: tcp-db, protocol: TCP}, hosts: ['*']}
- {port: {number: 6432, name: tls-db, protocol: TLS}, hosts: [db.example], tls: {mode: SIMPLE, credentialName: db}}";
        let route = "tcp: [{route: [{destination: {host: bytes, port: {number: 5432}}}]}]";
        let objects = gateway("db", servers)
            + &bound("db", "[db.example]", "db", route)
            + &secret("db", OF_TLS, &issuer.certify(&["db.example"]));
        let _mesh = Mesh::gateway(&objects, &[]).await;
        let mut servers = Vec::new();
        for address in ["10.9.1.5:5432", "10.9.1.6:5432"] {
            let server = listen(address, |mut stream, _| async move {
                let mut word = [0; 5];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            servers.push(server.await);
        }
        let mut clear = Outside::dial(6431).await.unwrap();
        clear.write_all(b"hello").await.unwrap();
        let mut said = Vec::new();
        clear.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"hello");
        let how = Roots { protocols: &[], ..Roots::of(&issuer) };
        until("the Secret is there", async || Outside::tls(6432, "db.example", &how).await.is_ok()).await;
        let mut secured = Outside::tls(6432, "db.example", &how).await.unwrap();
        secured.write_all(b"again").await.unwrap();
        said.clear();
        secured.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"again");
    });
}

#[test]
fn gateways_share_a_port_and_the_older_one_counts_where_they_disagree() {
    run(async {
        let dated = |text: String, name: &str, date: &str| {
            text.replace(
                &format!("{{name: {name}, namespace: shop}}"),
                &format!("{{name: {name}, namespace: shop, creationTimestamp: '{date}'}}"),
            )
        };
        let old = dated(gateway("old", &http("[one.example]")), "old", "2020-01-01T00:00:00Z");
        let new = dated(gateway("new", &http("[two.example]")), "new", "2021-01-01T00:00:00Z");
        let odd = "- {port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}";
        let odd = dated(gateway("odd", odd), "odd", "2022-01-01T00:00:00Z");
        let answers = |name: &str, gateway: &str, status: u16| {
            bound(name, "['*']", gateway, &format!("http: [{{directResponse: {{status: {status}}}}}]"))
        };
        let objects = old + &new + &odd + &answers("one", "old", 291) + &answers("two", "new", 292);
        let mesh = Mesh::gateway(&objects, &[]).await;
        assert_eq!(status("one.example", "/").await, 291);
        assert_eq!(status("two.example", "/").await, 292);
        assert_eq!(status("three.example", "/").await, 404);
        let page = mesh.page("127.0.0.1:15000", "/listeners").await.unwrap();
        assert!(page.contains("shop/odd") && page.contains("older Gateway shop/old"), "{page}");
    });
}

#[test]
fn policies_for_the_gateways_pod_hold_for_what_comes_in() {
    run(async {
        let policy = "
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: edge}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{to: [{operation: {paths: [/admin*]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: from, namespace: edge}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{from: [{source: {remoteIpBlocks: [192.0.2.0/24]}}]}]
";
        let objects = gateway("edge", &http("['*']")) + &bound("edge", "['*']", "edge", TO_REVIEWS) + policy;
        let _mesh = Mesh::gateway(&objects, &["--trusted-proxies", "1"]).await;
        let _servers = reviews().await;
        for (path, forwarded, expected) in [
            ("/", "198.51.100.7", 200),
            ("/admin/x", "198.51.100.7", 403),
            ("/", "192.0.2.7", 403),
            ("/", "192.0.2.7, 198.51.100.7", 200),
        ] {
            let mut http = Outside::http1(PLAIN).await;
            let answer = http.get(path, &[("host", "x"), ("x-forwarded-for", forwarded)]).await;
            assert_eq!(answer.status, expected, "{path} {forwarded}");
        }
    });
}

#[test]
fn what_has_a_waypoint_is_reached_through_it_and_a_subset_is_asked_for_there() {
    run(async {
        let routes = "\
http:
- {match: [{uri: {prefix: /two}}], route: [{destination: {host: reviews, subset: v2, port: {number: 9080}}}]}
- {route: [{destination: {host: reviews, port: {number: 9080}}}]}";
        let objects = gateway("edge", &http("['*']")) + &bound("edge", "['*']", "edge", routes) + &subsets();
        let (mesh, waypoint): (Mesh, Beside) = Mesh::gateway_before_waypoint(&objects).await;
        let _servers = reviews().await;
        for _ in 0..6 {
            let answer = get(&mut Outside::http1(PLAIN).await, "shop.example", "/two").await;
            assert_eq!((answer.status, &*answer.body), (200, "v2"), "{}\n{}", mesh.log_text(), waypoint.log_text());
        }
        assert_eq!(status("shop.example", "/any").await, 200);
        let seen = || waypoint.log_text().lines().filter(|line| line.contains(" 200 - via_upstream ")).count();
        until("the waypoint has told of all", async || seen() == 7).await;
        assert!(waypoint.log_text().contains("GET /two HTTP/1.1"), "{}", waypoint.log_text());
        // Where the waypoint is gone nobody goes around it, unless the service says that gateways do.
        drop(waypoint);
        assert_eq!(status("shop.example", "/any").await, 503);
        mesh.relabel("reviews", "istio.io/ingress-use-waypoint: 'false'").await;
        until("the pods are asked", async || status("shop.example", "/any").await == 200).await;
    });
}

#[test]
fn what_is_open_stays_while_other_gateways_come_and_go() {
    run(async {
        let own = gateway("own", &http("[own.example]")) + &bound("own", "['*']", "own", TO_REVIEWS);
        let mesh = Mesh::gateway(&own, &[]).await;
        let _servers = reviews().await;
        let mut open = Outside::http1(PLAIN).await;
        assert_eq!(get(&mut open, "own.example", "/").await.status, 200);
        assert_eq!(get(&mut open, "new.example", "/").await.status, 404);
        let new = gateway("new", &http("[new.example]")) + &bound("new", "[new.example]", "new", TO_REVIEWS);
        mesh.apply(&(own.clone() + &new)).await;
        until("it is served on this connection, too", async || get(&mut open, "new.example", "/").await.status == 200)
            .await;
        mesh.apply(&own).await;
        until("it is not any more", async || get(&mut open, "new.example", "/").await.status == 404).await;
        assert_eq!(get(&mut open, "own.example", "/").await.status, 200);
    });
}

#[test]
fn one_that_stops_takes_whoever_is_still_sent_to_it_for_a_while() {
    run(async {
        let objects = gateway("edge", &http("['*']")) + &bound("edge", "['*']", "edge", TO_REVIEWS);
        let mesh = Mesh::gateway(&objects, &["--termination-drain-duration", "30"]).await;
        let _servers = reviews().await;
        let mut open = Outside::http1(PLAIN).await;
        assert_eq!(get(&mut open, "x", "/").await.field("connection"), "");
        mesh.terminate();
        until("it is not ready any more", async || {
            mesh.page("127.0.0.1:15021", "/healthz/ready").await.is_none_or(|page| !page.starts_with("HTTP/1.1 200"))
        })
        .await;
        for http in [&mut open, &mut Outside::http1(PLAIN).await] {
            let answer = get(http, "x", "/").await;
            assert_eq!((answer.status, answer.field("connection")), (200, "close"));
        }
    });
}

#[test]
fn what_a_server_asks_of_its_clients_nobody_goes_around_by_another_name_or_from_before() {
    run(async {
        let (issuer, clients) = (Issuer::new(), Issuer::new());
        let (shown, known) = (issuer.certify(&["any.example", "admin.example"]), clients.certify(&["client.example"]));
        let authority = clients.pem().lines().map(|line| format!("    {line}\n")).collect::<String>();
        let objects = |admin: &str| {
            let simple = https("any", "['*.example']", "{mode: SIMPLE, credentialName: pair}");
            let server = https("admin", "[admin.example]", &format!("{{mode: {admin}, credentialName: pair}}"));
            gateway("edge", &[simple, server].join("\n"))
                + &bound("edge", "['*']", "edge", TO_REVIEWS)
                + &secret("pair", OF_TLS, &shown)
                + &format!("  ca.crt: |\n{authority}")
        };
        let mesh = Mesh::gateway(&objects("MUTUAL"), &[]).await;
        let _servers = reviews().await;
        let (anybody, proven) = (Roots::of(&issuer), Roots { shown: Some(&known), ..Roots::of(&issuer) });
        assert_eq!(secured("admin.example", &proven).await.unwrap().0, 200);
        let mut other = Http::one(Outside::tls(SECURED, "any.example", &anybody).await.unwrap()).await;
        assert_eq!(get(&mut other, "any.example", "/").await.status, 200);
        // The other server's host on this one's connection.
        let answer = get(&mut other, "admin.example", "/").await;
        assert_eq!((answer.status, answer.field("connection")), (421, "close"));
        // A server that comes to ask for more is not reached by who came before, nor is one that has gone.
        mesh.apply(&objects("SIMPLE")).await;
        let mut before = None;
        until("nothing is asked for", async || {
            let stream = Outside::tls(SECURED, "admin.example", &anybody).await;
            let Ok(stream) = stream else { return false };
            let mut http = Http::one(stream).await;
            let served = get(&mut http, "admin.example", "/").await.status == 200;
            before = Some(http);
            served
        })
        .await;
        let mut before = before.unwrap();
        mesh.apply(&objects("MUTUAL")).await;
        until("it is asked for again", async || get(&mut before, "admin.example", "/").await.status == 421).await;
    });
}

#[test]
fn who_wastes_a_gateways_time_is_given_none() {
    run(async {
        let issuer = Issuer::new();
        let objects = gateway("edge", &https("any", "['*']", "{mode: SIMPLE, credentialName: pair}"))
            + &bound("edge", "['*']", "edge", TO_REVIEWS)
            + &secret("pair", OF_TLS, &issuer.certify(&["any.example"]));
        let mesh = Mesh::gateway(&objects, &[]).await;
        let _servers = reviews().await;
        // Records of which none says anything.
        let mut stream = Outside::dial(SECURED).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.write_all(&[22, 3, 1, 0, 0].repeat(1000)).await;
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.len() < 100, "{rest:?}");
        // Who only looks is no news.
        drop(Outside::dial(SECURED).await.unwrap());
        assert_eq!(secured("any.example", &Roots::of(&issuer)).await.unwrap().0, 200);
        assert!(!mesh.log_text().contains("unknown-server-name"), "{}", mesh.log_text());
    });
}
