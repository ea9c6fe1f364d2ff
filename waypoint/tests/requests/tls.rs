//! TLS towards applications (`tls.mode` SIMPLE and MUTUAL): who they must be, what they are shown, and what its files say
//! later (J-11).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    Answer, BYTES, Handshake, Http, Issuer, Mesh, REVIEWS, Server, destination_rule, listen, request, run, until,
};

const V1: &str = "10.9.1.1:9080";

/// TLS to `reviews`, its authority being the issuer's, with further settings.
fn tls(issuer: &Issuer, mode: &str, further: &str) -> String {
    let authorities = issuer.path("ca.pem");
    let settings = format!("{{mode: {mode}, caCertificates: {}{further}}}", authorities.display());
    // One endpoint is enough to be told apart from nobody.
    destination_rule("reviews", &format!("{{tls: {settings}}}")) + &only_v1()
}

/// Requests go to the first version.
fn only_v1() -> String {
    super::support::virtual_service("http: [{route: [{destination: {host: reviews, subset: v1}}]}]")
}

async fn ask(http: &mut Http, host: &str) -> Answer {
    http.send(request("GET", "/", &[("host", host)], "")).await
}

fn shown(name: &str, protocol: &str) -> Option<Handshake> {
    Some(Handshake { name: name.to_owned(), protocol: protocol.to_owned(), proved: false })
}

#[test]
fn the_application_proves_to_be_whom_the_client_asked_for() {
    run(async {
        let (issuer, other) = (Issuer::new(), Issuer::new());
        let mesh = Mesh::new(&tls(&issuer, "SIMPLE", "")).await;
        let server =
            Server::secured(V1, issuer.server(&["reviews", "*.shop.example"], &["http/1.1"], false), "v1").await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        for host in ["reviews:9080", "reviews", "a.shop.example:9080", "reviews:9080"] {
            let answer = ask(&mut http, host).await;
            assert_eq!((answer.status, &*answer.body), (200, "v1"), "{host}");
        }
        let asked = server.asked();
        let seen: Vec<_> = asked.iter().map(|asked| (asked.connection, asked.tls.clone())).collect();
        let (reviews, wild) = (shown("reviews", "http/1.1"), shown("a.shop.example", "http/1.1"));
        // A connection is for the name that it was made by.
        assert_eq!(seen, [(0, reviews.clone()), (0, reviews.clone()), (1, wild), (0, reviews)]);
        let answer = ask(&mut http, "ratings:9080").await;
        assert_eq!(answer.status, 503);
        mesh.logged(&["peer-identity-mismatch", "expected [ratings]", "UF"]).await;
        mesh.apply(&tls(&other, "SIMPLE", "")).await;
        assert_eq!(ask(&mut http, "reviews").await.status, 503);
        mesh.logged(&["untrusted-issuer", "UF"]).await;
        mesh.apply(&tls(&other, "SIMPLE", "").replace("caCertificates", "sni: reviews, caCertificates")).await;
        assert_eq!(ask(&mut http, "reviews").await.status, 503);
        let anybody = "{tls: {mode: SIMPLE, insecureSkipVerify: true}}";
        mesh.apply(&(destination_rule("reviews", anybody) + &only_v1())).await;
        assert_eq!(ask(&mut http, "ratings").await.status, 200);
    });
}

#[test]
fn names_can_be_given_and_a_client_certificate_is_shown() {
    run(async {
        let issuer = Issuer::new();
        issuer.certify_client("waypoint.example");
        let names = ", sni: inner.example, subjectAltNames: [outer.example]";
        let mesh = Mesh::new(&tls(&issuer, "SIMPLE", names)).await;
        let acceptor = issuer.server(&["outer.example"], &["http/1.1"], true);
        let server = Server::secured(V1, acceptor, "v1").await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        assert_eq!(ask(&mut http, "reviews").await.status, 503, "it shows no certificate");
        assert_eq!(server.count(), 0);
        let shows = format!(
            "{names}, clientCertificate: {}, privateKey: {}",
            issuer.path("client.pem").display(),
            issuer.path("client.key").display()
        );
        mesh.apply(&tls(&issuer, "MUTUAL", &shows)).await;
        assert_eq!(ask(&mut http, "reviews").await.status, 200);
        let expected = shown("inner.example", "http/1.1").map(|seen| Handshake { proved: true, ..seen });
        assert_eq!(server.asked().last().unwrap().tls, expected);
    });
}

#[test]
fn http2_is_agreed_on_and_says_that_it_is_secure() {
    run(async {
        let issuer = Issuer::new();
        let mesh = Mesh::new(&tls(&issuer, "SIMPLE", "")).await;
        let acceptor = issuer.server(&["reviews"], &["h2", "http/1.1"], false);
        let server = Server::secured("10.9.1.1:9090", acceptor, "v1").await;
        let mut http = mesh.client("client").await.http2("10.96.0.1:9090").await;
        for _ in 0..3 {
            assert_eq!(ask(&mut http, "reviews").await.status, 200);
        }
        let asked = server.asked();
        assert!(asked.iter().all(|asked| asked.connection == 0 && asked.scheme == "https"), "{asked:?}");
        assert_eq!(asked[0].tls, shown("reviews", "h2"));
    });
}

#[test]
fn no_connection_from_before_is_used_when_tls_is_asked_for_or_not_any_more() {
    run(async {
        let issuer = Issuer::new();
        let plain = destination_rule("reviews", "{}") + &only_v1();
        let mesh = Mesh::new(&plain).await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        let server = Server::named(V1, "in clear").await;
        assert_eq!(ask(&mut http, "reviews").await.body, "in clear");
        server.stop().await;
        let server = Server::secured(V1, issuer.server(&["reviews"], &[], false), "secured").await;
        mesh.apply(&tls(&issuer, "SIMPLE", "")).await;
        assert_eq!(ask(&mut http, "reviews").await.body, "secured");
        server.stop().await;
        let _server = Server::named(V1, "in clear again").await;
        mesh.apply(&plain).await;
        // By a connection of before TLS, if that is still open.
        let body = ask(&mut http, "reviews").await.body;
        assert!(body.starts_with("in clear"), "{body}");
    });
}

#[test]
fn files_hold_as_soon_as_they_are_there_and_when_they_are_replaced_but_not_when_they_are_spoilt() {
    run(async {
        let (issuer, next) = (Issuer::new(), Issuer::new());
        std::fs::remove_file(issuer.path("ca.pem")).unwrap();
        let mesh = Mesh::new(&tls(&issuer, "SIMPLE", "")).await;
        // Each answer ends its connection, so that every request is a handshake.
        let serve = |issuer: &Issuer| {
            let acceptor = issuer.server(&["reviews"], &[], false);
            listen(V1, move |stream, _| {
                let acceptor = acceptor.clone();
                async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    super::support::read_head(&mut stream).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                }
            })
        };
        let server = serve(&issuer).await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        assert_eq!(ask(&mut http, "reviews").await.status, 503);
        mesh.logged(&["tls-failure", "caCertificates", "cannot be read"]).await;
        issuer.write("ca.pem", &issuer.pem());
        until("it is read", async || ask(&mut http, "reviews").await.status == 200).await;
        issuer.write("ca.pem", "no certificate");
        mesh_logs_while_asked(&mesh, &mut http).await;
        assert_eq!(ask(&mut http, "reviews").await.status, 200);
        issuer.write("ca.pem", &next.pem());
        until("it is replaced", async || ask(&mut http, "reviews").await.status == 503).await;
        server.stop().await;
        let _server = serve(&next).await;
        assert_eq!(ask(&mut http, "reviews").await.status, 200);
    });
}

/// Asks until the log says that a file is spoilt.
async fn mesh_logs_while_asked(mesh: &Mesh, http: &mut Http) {
    let spoilt = "goes on with what its files said before";
    until("it is noticed", async || {
        assert_eq!(ask(http, "reviews").await.status, 200);
        mesh.log_text().contains(spoilt)
    })
    .await;
}

#[test]
fn bytes_and_upgraded_connections_go_by_tls_both_ways_to_their_ends() {
    run(async {
        let issuer = Issuer::new();
        let by = format!("{{tls: {{mode: SIMPLE, caCertificates: {}}}}}", issuer.path("ca.pem").display());
        let bytes = super::support::virtual_service("tcp: [{route: [{destination: {host: bytes, subset: v1}}]}]");
        let rules = tls(&issuer, "SIMPLE", "") + &bytes.replace("reviews", "bytes") + &destination_rule("bytes", &by);
        let mesh = Mesh::new(&rules).await;
        let acceptor = issuer.server(&["bytes.shop.svc.cluster.local"], &[], false);
        let _echo = listen("10.9.1.5:5432", move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let (mut read, mut write) = tokio::io::split(acceptor.accept(stream).await.unwrap());
                // Goes on to send after the client's end.
                let mut all = Vec::new();
                read.read_to_end(&mut all).await.unwrap();
                write.write_all(&all).await.unwrap();
                write.shutdown().await.unwrap();
            }
        })
        .await;
        let client = mesh.client("client").await;
        let mut stream = client.raw(BYTES).await;
        let sent: Vec<u8> =
            (0..3_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
        let acceptor = issuer.server(&["reviews"], &["http/1.1"], false);
        let _chat = listen(V1, move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                super::support::read_head(&mut stream).await;
                let answer =
                    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello";
                stream.write_all(answer).await.unwrap();
                let mut said = [0; 4];
                stream.read_exact(&mut said).await.unwrap();
                stream.write_all(&said).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        })
        .await;
        let mut stream = client.raw(REVIEWS).await;
        let head = "GET / HTTP/1.1\r\nhost: reviews\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = super::support::read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        stream.write_all(b"ping").await.unwrap();
        let mut rest = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest, "helloping");
    });
}

#[test]
fn a_secret_is_not_read_and_that_is_said() {
    run(async {
        let named = "{tls: {mode: SIMPLE, credentialName: reviews-tls}}";
        let mesh = Mesh::new(&(destination_rule("reviews", named) + &only_v1())).await;
        mesh.logged(&["credentialName", "not read by this version"]).await;
        let server = Server::named(V1, "in clear").await;
        let mut http = mesh.client("client").await.http1(REVIEWS).await;
        // Nothing goes in clear that was to go by TLS.
        assert_eq!(ask(&mut http, "reviews").await.status, 503);
        assert_eq!(server.count(), 0);
    });
}
