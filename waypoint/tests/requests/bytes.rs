//! Connections that carry bytes: their routes, their limits, and the end of the process.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    BYTES, Client, Listening, Mesh, RAW, REVIEWS, SOON, Server, destination_rule, listen, request, run, until,
};

/// Servers at `bytes` that say which they are, and then what they are told.
async fn servers() -> [Listening; 2] {
    let serve = |address: &'static str, name: &'static [u8]| {
        listen(address, move |mut stream, _| async move {
            stream.write_all(name).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
    };
    [serve("10.9.1.5:5432", b"v1").await, serve("10.9.1.6:5432", b"v2").await]
}

/// Who answers; none if nobody does.
async fn who(client: &Client, says: &[u8]) -> Option<String> {
    let mut stream = client.try_raw(BYTES).await.ok()?;
    stream.write_all(says).await.ok()?;
    let mut name = [0; 2];
    stream.read_exact(&mut name).await.ok()?;
    Some(String::from_utf8_lossy(&name).into_owned())
}

fn routes(spec: &str) -> String {
    let rule = super::support::virtual_service(spec).replace("reviews", "bytes");
    rule + &destination_rule("bytes", "{}")
}

#[test]
fn connections_go_where_their_routes_say_or_nowhere() {
    run(async {
        let tcp = "tcp: [{match: [{sourceLabels: {app: client}}], route: [{destination: {host: bytes, subset: v2}}]}]";
        let mesh = Mesh::new(&routes(tcp)).await;
        let _servers = servers().await;
        let (client, stranger) = (mesh.client("client").await, mesh.client("stranger").await);
        for _ in 0..10 {
            assert_eq!(who(&client, b"x").await.as_deref(), Some("v2"));
        }
        assert_eq!(who(&stranger, b"x").await, None);
        mesh.logged(&["no-route-matched", "stranger"]).await;
        let split = "tcp: [{route: [{destination: {host: bytes, subset: v1}, weight: 30}, {destination: {host: bytes, subset: v2}, weight: 70}]}]";
        mesh.apply(&routes(split)).await;
        let mut first = 0;
        for _ in 0..300 {
            first += usize::from(who(&client, b"x").await.as_deref() == Some("v1"));
        }
        super::support::near(first, 300, 30.0);
        let tls = "tls: [{match: [{port: 5432, sniHosts: [one.example]}], route: [{destination: {host: bytes, subset: v1}}]}, {match: [{port: 5432, sniHosts: ['*.two.example']}], route: [{destination: {host: bytes, subset: v2}}]}]";
        mesh.apply(&routes(tls).replace("hosts: [bytes]", "hosts: [bytes, one.example, '*.two.example']")).await;
        for (name, expected) in [("one.example", Some("v1")), ("a.two.example", Some("v2")), ("three.example", None)] {
            assert_eq!(who(&client, &hello(name)).await.as_deref(), expected, "{name}");
        }
    });
}

/// The first message of a TLS client that asks for `name` (RFC 8446 section 4.1.2).
fn hello(name: &str) -> Vec<u8> {
    let counted = |bytes: &[u8], width: usize| {
        let length = u64::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[8 - width..], bytes].concat()
    };
    let names = counted(&[&[0][..], &counted(name.as_bytes(), 2)].concat(), 2);
    let extensions = counted(&[&[0, 0][..], &counted(&names, 2)].concat(), 2);
    let body = [&[3, 3][..], &[7; 32], &[0], &counted(&[0x13, 1], 2), &counted(&[0], 1), &extensions].concat();
    [&[22, 3, 1][..], &counted(&[&[1][..], &counted(&body, 3)].concat(), 2)].concat()
}

#[test]
fn a_connection_lasts_no_longer_than_it_may() {
    run(async {
        let mesh = Mesh::new("").await;
        let _servers = servers().await;
        let client = mesh.client("client").await;
        for (limit, least, most) in [("idleTimeout: 0.5s", 500, 1500), ("maxConnectionDuration: 0.5s", 500, 900)] {
            mesh.apply(&destination_rule("bytes", &format!("{{connectionPool: {{tcp: {{{limit}}}}}}}"))).await;
            let begun = Instant::now();
            let mut stream = client.raw(BYTES).await;
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(least) && took < Duration::from_millis(most), "{limit} {took:?}");
            assert_eq!(said.len(), 2);
        }
    });
}

#[test]
fn who_speaks_first_is_heard_at_once() {
    run(async {
        let mesh = Mesh::new("").await;
        let _server = listen("10.9.1.4:7000", |mut stream, number| async move {
            if number % 2 == 0 {
                stream.write_all(b"220 hello").await.unwrap();
            }
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let client = mesh.client("client").await;
        let begun = Instant::now();
        let mut stream = client.raw(RAW).await;
        let mut banner = [0; 9];
        stream.read_exact(&mut banner).await.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
        let mut stream = client.raw(RAW).await;
        stream.write_all(b"\x00\x01opaque").await.unwrap();
        let mut echoed = [0; 8];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"\x00\x01opaque");
    });
}

#[test]
fn what_begins_like_a_request_and_stops_is_carried_as_bytes() {
    run(async {
        let mesh = Mesh::with("", &["--header-timeout", "1"]).await;
        let _server = listen("10.9.1.4:7000", |mut stream, _| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let client = mesh.client("client").await;
        for said in ["GE", "POST /a", "PRI * HTTP/2.0\r\n"] {
            let mut stream = client.raw(RAW).await;
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut echoed = vec![0; said.len() + 5];
            let echo = stream.read_exact(&mut echoed[..said.len()]);
            tokio::time::timeout(SOON, echo).await.expect("it is held").unwrap();
            // From then on nothing is waited for.
            stream.write_all(b"more\n").await.unwrap();
            stream.read_exact(&mut echoed[said.len()..]).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&echoed), format!("{said}more\n"));
        }
    });
}

#[test]
fn what_is_under_way_ends_before_the_process_does() {
    run(async {
        let mut mesh = Mesh::with("", &["--termination-drain-duration", "0.2"]).await;
        let mut servers = Vec::new();
        for address in ["10.9.1.1:9080", "10.9.1.2:9080", "10.9.1.3:9080"] {
            servers.push(
                Server::answering(address, |asked| async move {
                    if asked.path == "/slow" {
                        tokio::time::sleep(Duration::from_millis(700)).await;
                    }
                    http::Response::new("done".into())
                })
                .await,
            );
        }
        let client = mesh.client("client").await;
        // One that rests, and one that has not said anything yet, are not kept for longer than that.
        let mut resting = client.http1(REVIEWS).await;
        assert_eq!(resting.get("/", &[]).await.status, 200);
        let silent = client.raw(REVIEWS).await;
        let (mut one, mut two) = (client.http1(REVIEWS).await, client.http2(REVIEWS).await);
        let first = tokio::task::spawn_local(async move { one.send(request("GET", "/slow", &[], "")).await });
        let second = tokio::task::spawn_local(async move { two.send(request("GET", "/slow", &[], "")).await });
        let slow = || servers.iter().flat_map(Server::asked).filter(|asked| asked.path == "/slow").count();
        until("both have come", async || slow() == 2).await;
        let begun = Instant::now();
        mesh.terminate();
        for answer in [first.await.unwrap(), second.await.unwrap()] {
            assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
        }
        assert!(mesh.ended().await.success());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(tokio::net::TcpStream::connect("10.9.0.1:15008").await.is_err());
        drop(silent);
    });
}

#[test]
fn what_is_asked_on_an_open_connection_of_a_process_that_stops_is_answered_as_the_last() {
    run(async {
        let mut mesh = Mesh::new("").await;
        let _servers = [
            Server::named("10.9.1.1:9080", "v1").await,
            Server::named("10.9.1.2:9080", "v2").await,
            Server::named("10.9.1.3:9080", "v3").await,
        ];
        let client = mesh.client("client").await;
        let mut resting = client.http1(REVIEWS).await;
        assert_eq!(resting.get("/", &[]).await.field("connection"), "");
        let (mut silent, mut begun) = (client.raw(REVIEWS).await, client.raw(REVIEWS).await);
        begun.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let stopping = Instant::now();
        mesh.terminate();
        until("it takes no more tunnels", async || tokio::net::TcpStream::connect("10.9.0.1:15008").await.is_err())
            .await;
        let answer = resting.get("/", &[]).await;
        assert_eq!((answer.status, answer.field("connection")), (200, "close"));
        silent.write_all(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await.unwrap();
        begun.write_all(b"host: reviews\r\n\r\n").await.unwrap();
        for mut stream in [silent, begun] {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("it ends in good order");
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
        }
        assert!(mesh.ended().await.success());
        assert!(stopping.elapsed() < Duration::from_secs(5), "nobody is waited for who has been answered");
    });
}
