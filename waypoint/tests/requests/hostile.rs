//! Clients that break the rules, or keep to them in a way that costs more than it should: each is refused or cut, and nobody
//! else notices.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::support::{Client, Mesh, REVIEWS, SOON, Server, read, read_head, run, subsets, until, virtual_service};

fn to_v1() -> String {
    virtual_service("http: [{route: [{destination: {host: reviews, subset: v1}}]}]") + &subsets()
}

/// Bytes that the waypoint's process has in memory.
fn resident(mesh: &Mesh) -> u64 {
    let status = read(&PathBuf::from(format!("/proc/{}/status", mesh.pid())));
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Says `text` and ends; what comes until the connection has ended.
async fn whole(client: &Client, text: &[u8]) -> String {
    let mut stream = client.raw(REVIEWS).await;
    let (mut from, mut to) = tokio::io::split(&mut stream);
    let said = async {
        // It may be cut before all is said.
        let _ = to.write_all(text).await;
    };
    let mut answer = Vec::new();
    let heard = from.read_to_end(&mut answer);
    let both = async { tokio::join!(said, heard) };
    let (_, heard) = tokio::time::timeout(SOON, both)
        .await
        .unwrap_or_else(|_| panic!("not cut: {}", text[..text.len().min(200)].escape_ascii()));
    heard.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn serves(client: &Client) {
    let answer = client.http1(REVIEWS).await.get("/fine", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "v1"));
    assert!(answer.took < Duration::from_secs(1), "{:?}", answer.took);
}

#[test]
fn a_request_that_two_could_read_differently_is_refused() {
    run(async {
        let mesh = Mesh::with(&to_v1(), &["--header-timeout", "2"]).await;
        let server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        let post = |fields: &str| {
            format!(
                "POST /bad HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
            )
        };
        let corpus = [
            post("content-length: 5\r\ncontent-length: 6"),
            post("content-length: 5, 6"),
            post("content-length: +5"),
            post("content-length: 5 5"),
            post("content-length: -1"),
            post("content-length: 99999999999999999999"),
            post("transfer-encoding: chunked, identity"),
            post("transfer-encoding: xchunked"),
            post("transfer-encoding : chunked"),
            post("x-a: b\r\n folded: c"),
            post("x-a: b\0c"),
            post("x a: b"),
            "GET /bad\r\n\r\n".to_owned(),
            "GET /bad HTTP/1.1\r\n\r\n".to_owned(),
            "GET /bad HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
            "GET /bad HTTP/1.1\r\nhost: a@b\r\n\r\n".to_owned(),
            "GET /bad HTTP/9.9\r\nhost: a\r\n\r\n".to_owned(),
            "\x01\x02\x03\x04 nothing\r\n\r\n".to_owned(),
            "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n".to_owned(),
            "POST /bad HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx".to_owned(),
            format!("GET /bad HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(10_000)),
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(100 << 10)),
        ];
        for text in corpus {
            let answer = whole(&client, text.as_bytes()).await;
            let shown = text.chars().take(120).collect::<String>();
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5");
            assert!(refused && !answer.contains("v1"), "{shown:?}\n{answer}");
            serves(&client).await;
        }
        // hyper leaves out a length that stands beside a coding: the endpoint sees each request framed once (RFC 9112
        // section 6.1, the coding counts).
        for fields in
            ["transfer-encoding: chunked\r\ncontent-length: 5", "content-length: 5\r\ntransfer-encoding: chunked"]
        {
            let text = post(fields).replace("/smuggled HTTP/1.1\r\n", "/next HTTP/1.1\r\nconnection: close\r\n");
            let before = server.count();
            whole(&client, text.as_bytes()).await;
            let asked = server.asked().split_off(before);
            assert!(asked.iter().all(|asked| ["/bad", "/next"].contains(&asked.path.as_str())), "{asked:?}");
            for bad in asked.iter().filter(|asked| asked.path == "/bad") {
                assert!(bad.body.is_empty() && !bad.headers.contains_key("content-length"), "{bad:?}");
            }
        }
        assert!(!server.asked().iter().any(|asked| asked.path == "/smuggled"));
    });
}

#[test]
fn a_head_that_cannot_be_read_is_told_once() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let _server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        let counted = async |code: &str| {
            let code = format!("response_code=\"{code}\"");
            mesh.metric(&["istio_requests_total{", &code, "response_flags=\"DPE\""]).await
        };
        let unreadable = ["GET / HTTP/1.1\r\nhost: a\r\nx a: b\r\n\r\n", "GET / HTTP/9.9\r\nhost: a\r\n\r\n"];
        for (text, count) in unreadable.into_iter().zip([1.0, 2.0]) {
            let answer = whole(&client, text.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            until("it is counted", async || counted("400").await == count).await;
        }
        mesh.logged(&[" 400 DPE http1.codec_error "]).await;
        let fields = "x: y\r\n".repeat(300);
        let answer = whole(&client, format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        until("it is counted", async || counted("431").await == 1.0).await;
        // By HTTP/2, too.
        let big = "x".repeat(61 << 10);
        let answer = client.http2(REVIEWS).await.get("/", &[("x-big", &big)]).await;
        assert_eq!(answer.status, 431);
        until("it is counted", async || counted("431").await == 2.0).await;
        mesh.logged(&["GET / HTTP/2", " 431 DPE "]).await;
        let lines = mesh.log_text().lines().filter(|line| line.contains(" DPE ")).count();
        assert_eq!((lines, counted("400").await, counted("431").await), (4, 2.0, 2.0));
    });
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for_but_a_body_is() {
    run(async {
        let mesh = Mesh::with(&to_v1(), &["--header-timeout", "1"]).await;
        let _server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        let mut idle = client.http1(REVIEWS).await;
        assert_eq!(idle.get("/", &[]).await.status, 200);
        let mut body = client.raw(REVIEWS).await;
        body.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsl")
            .await
            .unwrap();
        for begun in ["G", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
            let mut stream = client.raw(REVIEWS).await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let cut = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
            assert!(cut.is_ok(), "{begun:?}");
        }
        assert_eq!(idle.get("/", &[]).await.status, 200);
        body.write_all(b"ow").await.unwrap();
        assert!(read_head(&mut body).await.starts_with("HTTP/1.1 200 "));
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of `GET /` for the host `a` (RFC 7541 section 6).
const HEAD: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

/// Says `frames` one after the other as long as anybody listens.
async fn flood(client: &Client, frames: impl Iterator<Item = Vec<u8>>) {
    let stream: DuplexStream = client.raw(REVIEWS).await;
    let (mut from, mut to) = tokio::io::split(stream);
    let listening = tokio::task::spawn_local(async move {
        let mut sink = vec![0; 64 << 10];
        while matches!(from.read(&mut sink).await, Ok(1..)) {}
    });
    to.write_all(PREFACE).await.unwrap();
    to.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    for frame in frames {
        if to.write_all(&frame).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    drop(to);
    tokio::time::timeout(SOON, listening).await.expect("it goes on").unwrap();
}

#[test]
fn floods_of_frames_are_cut_and_cost_little() {
    run(async {
        let mesh = Mesh::with(&to_v1(), &["--header-timeout", "2"]).await;
        let _server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        serves(&client).await;
        let before = resident(&mesh);
        let odd = |number: u32| 2 * number + 1;
        // Rapid reset (CVE-2023-44487).
        flood(
            &client,
            (0..20_000).map(|number| {
                let mut both = frame(1, 5, odd(number), HEAD);
                both.extend(frame(3, 0, odd(number), &8_u32.to_be_bytes()));
                both
            }),
        )
        .await;
        serves(&client).await;
        // CONTINUATION without end (CVE-2024-27316).
        let field = [&[0x40, 1, b'x', 0x7f, 0x81, 0x07][..], &[b'y'; 1024]].concat();
        let fields = field.repeat(8);
        let continued = std::iter::once(frame(1, 1, 1, HEAD)).chain((0..5_000).map(|_| frame(9, 0, 1, &fields)));
        flood(&client, continued).await;
        serves(&client).await;
        // SETTINGS, PING, empty DATA, PRIORITY and WINDOW_UPDATE.
        flood(&client, (0..50_000).map(|_| frame(4, 0, 0, &[]))).await;
        serves(&client).await;
        flood(&client, (0..50_000).map(|_| frame(6, 0, 0, &[0; 8]))).await;
        serves(&client).await;
        let data = std::iter::once(frame(1, 4, 1, HEAD)).chain((0..50_000).map(|_| frame(0, 0, 1, &[])));
        flood(&client, data).await;
        serves(&client).await;
        // What is no HTTP/2 behind its preface.
        flood(&client, std::iter::once(b"nonsense that is no frame at all".repeat(100))).await;
        serves(&client).await;
        let more = resident(&mesh).saturating_sub(before);
        assert!(more < 30 << 20, "{more} more");
    });
}

#[test]
fn who_does_not_read_holds_up_nobody() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let _server = Server::answering("10.9.1.1:9080", |asked| async move {
            http::Response::new(if asked.path == "/fine" { "v1".into() } else { "x".repeat(1 << 20).into() })
        })
        .await;
        let client = mesh.client("client").await;
        serves(&client).await;
        let before = resident(&mesh);
        let mut open = Vec::new();
        for _ in 0..50 {
            let mut stream = client.raw(REVIEWS).await;
            stream.write_all(PREFACE).await.unwrap();
            // A window of nothing.
            stream.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
            for number in 0..4 {
                stream.write_all(&frame(1, 5, 2 * number + 1, HEAD)).await.unwrap();
            }
            open.push(stream);
        }
        for _ in 0..5 {
            serves(&client).await;
        }
        let more = resident(&mesh).saturating_sub(before);
        assert!(more < 100 << 20, "{more} more");
    });
}
