//! Tokens of end users: who is let in by them, what goes on of them, and where their issuers' keys come from (M-02, M-03, M-07,
//! M-08, H-31; scenario SC-004-08).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

use super::support::{
    Answer, Http, Issuer, Key, Mesh, Outside, REVIEWS, Server, jwks, now, request, run, subsets, until,
};

/// Where an issuer publishes his keys.
const KEYS: &str = "10.9.2.50:8080";
const KEYS_URL: &str = "http://10.9.2.50:8080/keys";
const SERVICE: &str = r#"targetRefs: [{kind: Service, group: "", name: reviews}]"#;
const AT_EDGE: &str = "selector: {matchLabels: {istio: ingressgateway}}";

/// An object of Istio's security.
fn security(kind: &str, (namespace, name): (&str, &str), whom: &str, spec: &str) -> String {
    format!(
        "
---
apiVersion: security.istio.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  {whom}
  {spec}
"
    )
}

/// A RequestAuthentication for `reviews`; its rules are JSON, which is YAML.
fn tokens(rules: &Value) -> String {
    security("RequestAuthentication", ("shop", "users"), SERVICE, &format!("jwtRules: {rules}"))
}

/// An AuthorizationPolicy for `reviews`.
fn policy(action: &str, rules: &Value) -> String {
    security("AuthorizationPolicy", ("shop", "users"), SERVICE, &format!("action: {action}\n  rules: {rules}"))
}

/// What the issuer says of Ann.
fn ann() -> Value {
    json!({"iss": "https://id.example", "sub": "ann", "aud": "shop", "exp": now() + 600})
}

/// The same and more.
fn with(more: Value) -> Value {
    let mut payload = ann();
    payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    payload
}

async fn reviews() -> [Server; 3] {
    [
        Server::named("10.9.1.1:9080", "v1").await,
        Server::named("10.9.1.2:9080", "v2").await,
        Server::named("10.9.1.3:9080", "v3").await,
    ]
}

async fn ask(http: &mut Http, path: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let fields = [("authorization", bearer.as_str())];
    http.get(path, if token.is_empty() { &[] } else { &fields }).await
}

fn said(answer: &Answer) -> (u16, &str) {
    (answer.status, &answer.body)
}

#[test]
fn who_shows_a_good_token_is_let_in_and_nobody_else() {
    run(async {
        let (key, other) = (Key::rsa("a"), Key::rsa("a"));
        let rules = json!([{"issuer": "https://id.example", "audiences": ["shop"], "jwks": jwks(&[&key])}]);
        let admitted = json!([
            {"from": [{"source": {"requestPrincipals": ["https://id.example/ann"]}}]},
            {"to": [{"operation": {"paths": ["/healthz"]}}]},
        ]);
        let mesh = Mesh::new(&(tokens(&rules) + &policy("ALLOW", &admitted))).await;
        let servers = reviews().await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        let good = key.sign(&ann());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        for (token, expected) in [
            (String::new(), (403, "RBAC: access denied")),
            (format!("{signed}.AAAA{}", &signature[4..]), (401, "Jwt verification fails")),
            (other.sign(&ann()), (401, "Jwt verification fails")),
            (key.sign(&with(json!({"exp": now() - 120}))), (401, "Jwt is expired")),
            (key.sign(&with(json!({"nbf": now() + 120}))), (401, "Jwt not yet valid")),
            (key.sign(&with(json!({"iss": "https://evil.example"}))), (401, "Jwt issuer is not configured")),
            (key.sign(&with(json!({"aud": "other"}))), (403, "Audiences in Jwt are not allowed")),
            (key.none(&ann()), (401, "Jwt header [alg] is not supported")),
            (key.confused(&ann()), (401, "Jwt header [alg] is not supported")),
            (Key::rsa("b").sign(&ann()), (401, "Jwks doesn't have key to match kid or alg from Jwt")),
            (Key::ed("a").sign(&ann()), (401, "Jwks doesn't have key to match kid or alg from Jwt")),
            ("x".to_owned(), (401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")),
            (key.sign(&with(json!({"sub": "bob"}))), (403, "RBAC: access denied")),
            (key.sign(&with(json!({"exp": now() - 30, "nbf": now() + 30}))), (200, "v")),
            (good.clone(), (200, "v")),
        ] {
            for _ in 0..2 {
                let answer = ask(&mut http, "/reviews/0?a=1", &token).await;
                let (status, body) = expected;
                assert!(answer.status == status && answer.body.starts_with(body), "{token}: {answer:?}");
                let realm = "Bearer realm=\"http://reviews:9080/reviews/0?a=1\", error=\"invalid_token\"";
                let told = status == 401 || body.starts_with("Audiences");
                assert_eq!(answer.field("www-authenticate"), if told { realm } else { "" }, "{token}");
            }
        }
        assert_eq!(ask(&mut http, "/healthz", "").await.status, 200);
        assert_eq!(ask(&mut http, "/healthz", "x").await.status, 401, "a bad token is refused wherever it comes to");
        mesh.logged(&[" 401 ", "jwt_authn_access_denied{Jwt_is_expired}"]).await;
        assert!(servers.iter().flat_map(Server::asked).all(|asked| !asked.headers.contains_key("authorization")));
        let call = [("content-type", "application/grpc"), ("authorization", "Bearer x")];
        let refused = client.http2(REVIEWS).await.send(request("POST", "/a.B/C", &call, "")).await;
        assert_eq!((refused.status, refused.field("grpc-status")), (200, "16"));
    });
}

#[test]
fn what_goes_on_is_what_the_rule_says_and_not_what_the_client_says() {
    run(async {
        let key = Key::ec("a");
        let mut rule = json!({
            "issuer": "https://id.example", "jwks": jwks(&[&key]), "outputPayloadToHeader": "x-payload",
            "outputClaimToHeaders": [
                {"header": "x-sub", "claim": "sub"}, {"header": "x-level", "claim": "realm.level"},
                {"header": "x-admin", "claim": "admin"}, {"header": "x-none", "claim": "none"},
            ],
        });
        let mesh = Mesh::new(&tokens(&json!([rule]))).await;
        let servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        let last = || servers.iter().flat_map(Server::asked).last().unwrap();
        let count = || servers.iter().map(Server::count).sum::<usize>();
        let token = key.sign(&with(json!({"realm": {"level": 3}, "admin": true})));
        let forged = [("x-payload", "forged"), ("x-sub", "root"), ("x-admin", "true"), ("x-none", "some")];
        let answer = http.get("/a?b=1", &forged).await;
        assert_eq!(answer.status, 200, "a missing token passes");
        let seen = servers.iter().flat_map(Server::asked).next().unwrap();
        assert!(forged.iter().all(|(name, _)| !seen.headers.contains_key(*name)), "{:?}", seen.headers);

        let bearer = format!("Bearer {token}");
        let fields = [&forged[..], &[("authorization", &bearer)]].concat();
        let only = super::support::virtual_service("http: [{route: [{destination: {host: reviews, subset: v3}}]}]");
        let only = subsets() + &only;
        mesh.apply(&(tokens(&json!([rule])) + &only)).await;
        assert_eq!(http.get("/a", &fields).await.status, 200);
        let seen = last().headers;
        let payload = token.split('.').nth(1).unwrap();
        for (name, value) in [("x-payload", payload), ("x-sub", "ann"), ("x-level", "3"), ("x-admin", "true")] {
            assert_eq!(seen[name], value, "{name}");
        }
        assert!(!seen.contains_key("x-none") && !seen.contains_key("authorization"), "{seen:?}");

        let answer = http.get(&format!("/secret?access_token={token}&b=1"), &[]).await;
        assert_eq!((answer.status, last().path.as_str()), (200, "/secret?b=1"));
        let line = mesh.logged(&["/secret?"]).await;
        assert!(!line.contains(&token), "{line}");

        rule["fromHeaders"] = json!([{"name": "x-token", "prefix": "JWT "}]);
        rule["fromCookies"] = json!(["session"]);
        rule["forwardOriginalToken"] = json!(true);
        mesh.apply(&(tokens(&json!([rule])) + &only)).await;
        let (own, cookie) = (format!("JWT {token}"), format!("a=b; session={token}"));
        assert_eq!(http.get("/", &[("x-token", &own), ("cookie", &cookie)]).await.status, 200);
        let seen = last().headers;
        assert_eq!((&seen["x-sub"], seen["x-token"].to_str().unwrap()), (&"ann".parse().unwrap(), own.as_str()));
        assert_eq!(seen["cookie"], cookie.as_str());
        let before = count();
        // One bad token beside a good one is one too many.
        assert_eq!(http.get("/", &[("x-token", &own), ("cookie", "session=x")]).await.status, 401);
        assert_eq!(count(), before);
        // Where it is not looked for it is no token.
        assert_eq!(http.get("/", &[("authorization", "Bearer x")]).await.status, 200);
        assert_eq!(last().headers["authorization"], "Bearer x");
        let preflight = [("origin", "http://a"), ("access-control-request-method", "GET"), ("x-token", "JWT x")];
        assert_eq!(http.send(request("OPTIONS", "/", &preflight, "")).await.status, 200);
    });
}

#[test]
fn policies_ask_what_a_token_says() {
    run(async {
        let key = Key::ed("a");
        let rule = json!([{"issuer": "https://id.example", "jwks": jwks(&[&key]), "spaceDelimitedClaims": ["roles"]}]);
        let mesh = Mesh::new(&tokens(&rule)).await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        let token = key.sign(&with(json!({
            "aud": ["shop", "desk"], "azp": "app", "scope": "read write", "roles": "buyer seller",
            "groups": ["dev", "ops"], "realm": {"roles": ["r1", "r2"]},
        })));
        let when = |key: &str, value: &str| json!([{"when": [{"key": key, "values": [value]}]}]);
        let from = |key: &str, value: &str| json!([{"from": [{"source": {key: [value]}}]}]);
        // A rule; whether it describes the request with the token, and the one without.
        for (rules, described, without) in [
            (from("requestPrincipals", "https://id.example/ann"), true, false),
            (from("requestPrincipals", "*"), true, false),
            (from("requestPrincipals", "*/bob"), false, false),
            (from("notRequestPrincipals", "*"), false, true),
            (from("notRequestPrincipals", "*/bob"), true, true),
            (when("request.auth.principal", "https://id.example/*"), true, false),
            (when("request.auth.audiences", "desk"), true, false),
            (when("request.auth.audiences", "other"), false, false),
            (when("request.auth.presenter", "app"), true, false),
            (when("request.auth.claims[scope]", "write"), true, false),
            (when("request.auth.claims[scope]", "read write"), false, false),
            (when("request.auth.claims[roles]", "seller"), true, false),
            (when("request.auth.claims[groups]", "ops"), true, false),
            (when("request.auth.claims[realm][roles]", "r2"), true, false),
            (when("request.auth.claims[realm][roles]", "r3"), false, false),
        ] {
            for action in ["ALLOW", "DENY"] {
                mesh.apply(&(tokens(&rule) + &policy(action, &rules))).await;
                let status = |described: bool| if described == (action == "ALLOW") { 200 } else { 403 };
                assert_eq!(ask(&mut http, "/", &token).await.status, status(described), "{action} {rules}");
                assert_eq!(ask(&mut http, "/", "").await.status, status(without), "{action} {rules}, no token");
            }
        }
    });
}

#[test]
fn each_issuer_has_his_own_keys_and_one_good_token_is_enough() {
    run(async {
        let (one, two) = (Key::ed("a"), Key::ed("a"));
        let rule = |issuer: &str, key: &Key| json!({"issuer": issuer, "jwks": jwks(&[key])});
        let gateway = "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}]";
        let other = format!("jwtRules: {}", json!([rule("https://other.example", &two)]));
        let objects = tokens(&json!([rule("https://id.example", &one)]))
            + &security("RequestAuthentication", ("shop", "others"), gateway, &other);
        let mesh = Mesh::new(&objects).await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        let foreign = with(json!({"iss": "https://other.example"}));
        for (token, status, body) in [
            (one.sign(&ann()), 200, "v"),
            (two.sign(&foreign), 200, "v"),
            (two.sign(&ann()), 401, "Jwt verification fails"),
            (one.sign(&foreign), 401, "Jwt verification fails"),
            (one.sign(&with(json!({"iss": "https://third.example"}))), 401, "Jwt issuer is not configured"),
        ] {
            let answer = ask(&mut http, "/", &token).await;
            assert!(answer.status == status && answer.body.starts_with(body), "{answer:?}");
        }
        let both = format!("/?access_token={}", two.sign(&ann()));
        assert_eq!(ask(&mut http, &both, &one.sign(&ann())).await.status, 401, "all tokens for an issuer must be good");
    });
}

/// What an issuer's page says now.
type Page = Rc<RefCell<(u16, String)>>;

/// A server that says `page`, later than a while.
async fn publishing(page: &Page, after: Duration) -> Server {
    let page = page.clone();
    Server::answering(KEYS, move |_| {
        let page = page.clone();
        async move {
            tokio::time::sleep(after).await;
            let (status, text) = page.borrow().clone();
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status.try_into().unwrap();
            response.headers_mut().insert("location", "http://10.9.2.51:8080/".parse().unwrap());
            response
        }
    })
    .await
}

fn page(keys: &[&Key]) -> Page {
    Rc::new(RefCell::new((200, jwks(keys))))
}

/// Tokens by the keys that are at the URL.
fn fetched(more: Value) -> String {
    let mut rule = json!({"issuer": "https://id.example", "jwksUri": KEYS_URL});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tokens(&json!([rule]))
}

#[test]
fn keys_that_are_changed_come_into_force_and_are_asked_for_no_more_often_than_is_good() {
    run(async {
        let (old, new) = (Key::ec("old"), Key::ec("new"));
        let page = page(&[&old]);
        let issuer = publishing(&page, Duration::ZERO).await;
        let mesh = Mesh::new(&fetched(json!({}))).await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        assert_eq!(ask(&mut http, "/", &old.sign(&ann())).await.status, 200);
        *page.borrow_mut() = (200, jwks(&[&new]));
        assert_eq!(ask(&mut http, "/", &old.sign(&ann())).await.status, 200, "they have been fetched");
        let begun = Instant::now();
        let token = new.sign(&ann());
        until("the new key is in force", async || ask(&mut http, "/", &token).await.status == 200).await;
        let unknown = (401, "Jwks doesn't have key to match kid or alg from Jwt");
        assert_eq!(said(&ask(&mut http, "/", &old.sign(&ann())).await), unknown);
        for _ in 0..50 {
            assert_eq!(said(&ask(&mut http, "/", &Key::ec("x").sign(&ann())).await), unknown);
        }
        let most = 2 + usize::try_from(begun.elapsed().as_secs() / 5).unwrap();
        assert!((2..=most).contains(&issuer.count()), "{} times", issuer.count());
        assert_eq!(issuer.asked()[0].path, "/keys");
        assert_eq!(issuer.asked()[0].host, KEYS);
    });
}

#[test]
fn while_keys_cannot_be_had_tokens_are_refused_and_those_that_were_had_stay_in_force() {
    run(async {
        let key = Key::ec("a");
        let token = key.sign(&ann());
        let mesh = Mesh::with(&fetched(json!({})), &["--jwks-refresh", "1"]).await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        let failed = (401, "Jwks remote fetch is failed");
        assert_eq!(said(&ask(&mut http, "/", &token).await), failed);
        assert_eq!(ask(&mut http, "/", "").await.status, 200, "who has no token needs no keys");
        mesh.logged(&["the keys at http://10.9.2.50:8080/keys cannot be used", "Connection refused"]).await;
        let shown = mesh.page("127.0.0.1:15000", "/tokens").await.unwrap();
        assert!(shown.contains(KEYS_URL) && shown.contains("Connection refused"), "{shown}");

        let page = page(&[&key]);
        for (status, text) in
            [(302, jwks(&[&key])), (500, jwks(&[&key])), (200, "<html>".to_owned()), (200, " ".repeat(2 << 20))]
        {
            *page.borrow_mut() = (status, text);
            let issuer = publishing(&page, Duration::ZERO).await;
            until("it has been asked", async || issuer.count() > 0).await;
            assert_eq!(said(&ask(&mut http, "/", &token).await), failed, "{status}");
            issuer.stop().await;
        }
        mesh.logged(&["answers 302"]).await;
        *page.borrow_mut() = (200, jwks(&[&key]));
        let issuer = publishing(&page, Duration::ZERO).await;
        until("they are had", async || ask(&mut http, "/", &token).await.status == 200).await;
        mesh.logged(&["resolved: the keys at"]).await;
        issuer.stop().await;
        mesh.logged(&["tokens are verified by those that were there before"]).await;
        assert_eq!(ask(&mut http, "/", &key.sign(&with(json!({"sub": "bob"})))).await.status, 200);
    });
}

#[test]
fn an_issuer_that_is_slow_holds_nobody_up_but_the_first() {
    run(async {
        let key = Key::ec("a");
        let _issuer = publishing(&page(&[&key]), Duration::from_secs(30)).await;
        let mesh = Mesh::new(&fetched(json!({"timeout": "300ms"}))).await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        let token = key.sign(&ann());
        assert_eq!(said(&ask(&mut http, "/", &token).await), (401, "Jwks remote fetch is failed"));
        mesh.logged(&["cannot be used", "no answer within 300 ms"]).await;
        let again = ask(&mut http, "/", &token).await;
        assert!(again.status == 401 && again.took < Duration::from_millis(250), "{again:?}");
    });
}

#[test]
fn nothing_is_fetched_from_where_only_the_machine_itself_can_reach() {
    run(async {
        let key = Key::ec("a");
        let keys = jwks(&[&key]);
        let own = Server::answering("127.0.0.1:8099", move |_| {
            let keys = keys.clone();
            async move { Response::new(Full::new(Bytes::from(keys))) }
        })
        .await;
        let mesh = Mesh::new("").await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        for (url, why) in [
            ("http://127.0.0.1:8099/keys", "127.0.0.0/8"),
            ("http://localhost:8099/keys", "127.0.0.0/8"),
            ("http://[::ffff:127.0.0.1]:8099/keys", "127.0.0.0/8"),
            ("http://0.0.0.0:8099/keys", "0.0.0.0/8"),
            ("http://169.254.169.254/latest/meta-data", "169.254.0.0/16"),
            ("http://[fe80::1]/keys", "fe80::/10"),
        ] {
            mesh.apply(&fetched(json!({ "jwksUri": url }))).await;
            assert_eq!(
                said(&ask(&mut http, "/", &key.sign(&ann())).await),
                (401, "Jwks remote fetch is failed"),
                "{url}"
            );
            mesh.logged(&[&format!("the keys at {url} cannot be used"), why]).await;
        }
        assert_eq!(own.count(), 0);
        drop(mesh);
        let objects = fetched(json!({"jwksUri": "http://127.0.0.1:8099/"}));
        let open = Mesh::with(&objects, &["--jwks-blocked-cidrs", "192.0.2.0/24"]).await;
        let mut http = open.client("client").await.http1(REVIEWS).await;
        assert_eq!(ask(&mut http, "/", &key.sign(&ann())).await.status, 200, "an operator may say otherwise");
    });
}

#[test]
fn keys_come_by_tls_from_whom_the_authorities_know_and_from_where_the_issuer_says() {
    run(async {
        let (key, issuer) = (Key::ec("a"), Issuer::new());
        let keys: &'static str = Box::leak(jwks(&[&key]).into_boxed_str());
        let acceptor = issuer.server(&["10.9.2.50"], &["http/1.1"], false);
        let secured = Server::secured("10.9.2.50:8443", acceptor, keys).await;
        let rule = json!({"issuer": "https://id.example", "jwksUri": "https://10.9.2.50:8443/keys"});
        let roots = issuer.path("ca.pem");
        let arguments = ["--jwks-roots", roots.to_str().unwrap()];
        let mesh = Mesh::with(&tokens(&json!([rule])), &arguments).await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        assert_eq!(ask(&mut http, "/", &key.sign(&ann())).await.status, 200);
        assert_eq!(secured.count(), 1);
        // OpenID Connect Discovery.
        let _issuer = Server::answering(KEYS, move |asked| async move {
            let text = match asked.path.as_str() {
                "/me/.well-known/openid-configuration" => json!({ "jwks_uri": KEYS_URL }).to_string(),
                "/keys" => keys.to_owned(),
                _ => String::new(),
            };
            Response::new(Full::new(Bytes::from(text)))
        })
        .await;
        mesh.apply(&tokens(&json!([{"issuer": "http://10.9.2.50:8080/me"}]))).await;
        let token = key.sign(&with(json!({"iss": "http://10.9.2.50:8080/me"})));
        assert_eq!(ask(&mut http, "/", &token).await.status, 200);
    });
}

/// A Gateway with a VirtualService whose routes are by claims.
fn tenants() -> String {
    let route = |version: &str| {
        format!("route: [{{destination: {{host: reviews, port: {{number: 9080}}, subset: {version}}}}}]")
    };
    subsets()
        + &format!(
            "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front, namespace: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: tenants, namespace: shop}}
spec:
  hosts: ['*']
  gateways: [front]
  http:
  - match: [{{headers: {{'@request.auth.claims.tenant': {{exact: a}}}}}}]
    {}
  - match: [{{headers: {{'@request.auth.claims[realm][tenant]': {{prefix: b}}}}}}]
    {}
  - match: [{{headers: {{'@request.auth.claims.groups': {{regex: 'x.z'}}}}}}, {{headers: {{'@request.auth.claims.any': {{}}}}}}]
    {}
  - match: [{{uri: {{prefix: /none}}, withoutHeaders: {{'@request.auth.claims.sub': {{}}}}}}]
    directResponse: {{status: 418}}
",
            route("v1"),
            route("v2"),
            route("v3")
        )
}

#[test]
fn a_gateway_routes_by_what_a_token_says_and_lets_in_whom_it_proves() {
    run(async {
        let key = Key::ed("a");
        let rules = format!("jwtRules: {}", json!([{"issuer": "https://id.example", "jwks": jwks(&[&key])}]));
        let at = |name: &str, whom: &str| security("RequestAuthentication", ("edge", name), whom, &rules);
        let mesh = Mesh::gateway(&(tenants() + &at("users", AT_EDGE)), &[]).await;
        let _servers = reviews().await;
        let mut http = Outside::http1(8080).await;
        let table = [
            (json!({"tenant": "a"}), "/", (200, "v1")),
            (json!({"tenant": "ab"}), "/", (404, "")),
            (json!({"realm": {"tenant": "bc"}}), "/", (200, "v2")),
            (json!({"groups": ["q", "xyz"]}), "/", (200, "v3")),
            (json!({"groups": ["xyzq"]}), "/", (404, "")),
            (json!({"any": "thing"}), "/", (200, "v3")),
            (json!({"sub": "ann"}), "/none", (404, "")),
        ];
        for (more, path, expected) in &table {
            let answer = ask(&mut http, path, &key.sign(&with(more.clone()))).await;
            assert_eq!(said(&answer), *expected, "{more}");
        }
        assert_eq!(ask(&mut http, "/", "").await.status, 404);
        assert_eq!(ask(&mut http, "/none", "").await.status, 418);
        assert_eq!(ask(&mut http, "/none", "x").await.status, 401);
        let forged = http.get("/", &[("@request.auth.claims.tenant".trim_start_matches('@'), "a")]).await;
        assert_eq!(forged.status, 404, "a field is no claim");

        let admitted = "action: ALLOW\n  rules: [{from: [{source: {requestPrincipals: ['*/ann']}}]}]";
        let policy = security("AuthorizationPolicy", ("edge", "users"), AT_EDGE, admitted);
        mesh.apply(&(tenants() + &at("users", AT_EDGE) + &policy)).await;
        let tenant = |sub: &str| key.sign(&with(json!({"tenant": "a", "sub": sub})));
        assert_eq!(ask(&mut http, "/", &tenant("ann")).await.status, 200);
        assert_eq!(ask(&mut http, "/", &tenant("bob")).await.status, 403);
        assert_eq!(ask(&mut http, "/", "").await.status, 403);

        // For all pods of the namespace, for all of the mesh; and for the Gateway API's gateways, and pods that are none of this
        // gateway's.
        for (objects, status) in [
            (at("users", "selector: {}").replace("  selector: {}\n", ""), 200),
            (at("users", "").replace("namespace: edge", "namespace: istio-system"), 200),
            (
                at("users", "targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: istio}]")
                    .replace("namespace: edge", "namespace: istio-system"),
                404,
            ),
            (at("users", "selector: {matchLabels: {istio: other}}"), 404),
            (String::new(), 404),
        ] {
            mesh.apply(&(tenants() + &objects)).await;
            assert_eq!(ask(&mut http, "/", &tenant("ann")).await.status, status, "{objects}");
        }
        mesh.logged(&["VirtualService shop/tenants", "IST0149"]).await;
    });
}

#[test]
fn a_waypoint_routes_by_what_a_token_says() {
    run(async {
        let key = Key::ed("a");
        let rules = json!([{"issuer": "https://id.example", "jwks": jwks(&[&key])}]);
        let routes = "http:
- match: [{headers: {'@request.auth.claims.tenant': {exact: a}}}]
  route: [{destination: {host: reviews, subset: v2}}]
- route: [{destination: {host: reviews, subset: v1}}]";
        let objects = tokens(&rules) + &subsets() + &super::support::virtual_service(routes);
        let mesh = Mesh::new(&objects).await;
        let _servers = reviews().await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        let token = key.sign(&with(json!({"tenant": "a"})));
        assert_eq!(said(&ask(&mut http, "/", &token).await), (200, "v2"));
        assert_eq!(said(&ask(&mut http, "/", &key.sign(&ann())).await), (200, "v1"));
        assert_eq!(said(&ask(&mut http, "/", "").await), (200, "v1"));
    });
}
