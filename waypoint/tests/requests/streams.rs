//! Connections and bodies: one request after the other and side by side, upgrades, trailers, and what breaks off (H-32).

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2 as client2;
use hyper::server::conn::http2 as server2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use super::support::{
    Here, Mesh, RAW, REVIEWS, Server, destination_rule, listen, read, read_head, request, run, subsets, virtual_service,
};

const GRPC: &str = "10.96.0.1:9090";

fn to_v1() -> String {
    virtual_service("http: [{route: [{destination: {host: reviews, subset: v1}}]}]") + &subsets()
}

/// Says `text` and reads until the connection has ended.
async fn whole(mut stream: DuplexStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn http1_is_spoken_in_all_its_forms() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let server = Server::answering("10.9.1.1:9080", |asked| async move {
            let answer = Response::builder();
            match asked.path.as_str() {
                "/204" => answer.status(204).body("".into()),
                "/304" => answer.status(304).header("etag", "\"x\"").body("".into()),
                "/empty" => answer.body("".into()),
                _ => answer.body(format!("{}:{}", asked.path, asked.body).into()),
            }
            .unwrap()
        })
        .await;
        let client = mesh.client("client").await;
        // Several at once are answered in their order.
        let many: String = (0..20).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        let last = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answer = whole(client.raw(REVIEWS).await, &(many + last)).await;
        let order: Vec<_> =
            (0..20).map(|number| answer.find(&format!("\r\n\r\n/{number}:")).expect("no answer")).collect();
        assert!(order.is_sorted() && answer.ends_with("/last:"), "{answer}");
        for (text, begins, ends) in [
            ("GET /old HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n", "\r\n\r\n/old:"),
            (
                "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                "HTTP/1.1 200 OK\r\n",
                "/c:abcde",
            ),
            ("HEAD /head HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
            ("GET /204 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "HTTP/1.1 204 No Content\r\n", "\r\n\r\n"),
            ("GET /304 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n", "\r\n\r\n"),
            ("GET /empty HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
            ("GET http://a/abs HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n", "/abs:"),
            (
                "GET /h2c HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\nGET /n HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
                "HTTP/1.1 200 OK\r\n",
                "/n:",
            ),
        ] {
            let answer = whole(client.raw(REVIEWS).await, text).await;
            assert!(answer.starts_with(begins) && answer.ends_with(ends), "{text}\n{answer}");
        }
        let abs = server.asked().into_iter().find(|asked| asked.path == "/abs").unwrap();
        assert_eq!(abs.host, "a");
        for path in ["HEAD /head", "GET /204", "GET /304", "GET /empty"] {
            mesh.logged(&[path, " - via_upstream "]).await;
        }
        // Who asks whether to go on is told to before he does.
        let mut stream = client.raw(REVIEWS).await;
        stream.write_all(b"POST /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 100 Continue\r\n"));
        assert!(whole(stream, "ok").await.ends_with("/e:ok"));
    });
}

#[test]
fn the_head_of_a_request_may_be_large_but_not_too_large() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let _server = Server::named("10.9.1.1:9080", "v1").await;
        let client = mesh.client("client").await;
        for (length, status) in [(59 << 10, "200"), (61 << 10, "431")] {
            let text =
                format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-big: {}\r\n\r\n", "x".repeat(length));
            let answer = whole(client.raw(REVIEWS).await, &text).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{length} {answer}");
            let big = "x".repeat(length);
            let answer = client.http2(REVIEWS).await.begin(request("GET", "/", &[("x-big", &big)], "")).await;
            assert_eq!(answer.unwrap().status().as_str(), status, "{length}");
        }
    });
}

#[test]
fn trailers_go_both_ways() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let (sender, mut seen) = mpsc::unbounded_channel();
        let _server = listen("10.9.1.1:9080", move |mut stream, _| {
            let sender = sender.clone();
            async move {
                let head = read_head(&mut stream).await;
                let mut body = head;
                while !body.ends_with("0\r\nx-sum: 1\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    body.push(char::from(byte));
                }
                sender.send(body).unwrap();
                let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n2\r\nok\r\n0\r\nx-end: 1\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.read_u8().await;
            }
        })
        .await;
        let client = mesh.client("client").await;
        let text = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\nconnection: te, close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n";
        let answer = whole(client.raw(REVIEWS).await, text).await;
        assert!(seen.recv().await.unwrap().ends_with("2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n"));
        assert!(answer.ends_with("2\r\nok\r\n0\r\nx-end: 1\r\n\r\n"), "{answer}");
    });
}

/// A server that sends back the frames of a request while they come, with trailers behind.
async fn echo2(address: &str) -> super::support::Listening {
    listen(address, |stream, _| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let (sender, receiver) = mpsc::channel::<Frame<Bytes>>(1);
            let mut body = request.into_body();
            spawn_local(async move {
                while let Some(Ok(frame)) = body.frame().await {
                    // The end of a body may be a frame without bytes, of which h2 takes no hundred in a response.
                    if frame.data_ref().is_some_and(Bytes::is_empty) {
                        continue;
                    }
                    if sender.send(frame).await.is_err() {
                        return;
                    }
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                let _ = sender.send(Frame::trailers(trailers)).await;
            });
            let answer = Response::builder().header("content-type", "application/grpc");
            Ok::<_, Infallible>(answer.body(frames(receiver)).unwrap())
        });
        let _ = server2::Builder::new(Here).serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

type Frames = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn frames(mut receiver: mpsc::Receiver<Frame<Bytes>>) -> Frames {
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|frame| frame.map(Ok)));
    StreamBody::new(stream).boxed_unsync()
}

async fn streaming(mesh: &Mesh, authority: &str) -> client2::SendRequest<Frames> {
    let stream = mesh.client("client").await.raw(authority).await;
    let (sender, connection) = client2::handshake(Here, TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    sender
}

fn call(body: Frames) -> Request<Frames> {
    let call = Request::builder().method("POST").uri("http://reviews:9090/a.B/C");
    call.header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap()
}

#[test]
fn a_call_of_grpc_streams_both_ways_at_once() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let _server = echo2("10.9.1.1:9090").await;
        let mut sender = streaming(&mesh, GRPC).await;
        // More at once than one connection of the endpoint takes (200 with hyper).
        let mut calls = Vec::new();
        for _ in 0..300 {
            let (to, receiver) = mpsc::channel(1);
            let response = sender.send_request(call(frames(receiver)));
            calls.push((to, spawn_local(response)));
        }
        let mut open = Vec::new();
        for (to, response) in calls {
            let body = response.await.unwrap().unwrap().into_body();
            open.push((to, body));
        }
        for round in 0..3 {
            for (to, body) in &mut open {
                let message = Bytes::from(format!("\0\0\0\0\x01{round}"));
                to.send(Frame::data(message.clone())).await.unwrap();
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), message);
            }
        }
        for (to, mut body) in open {
            drop(to);
            let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
            assert_eq!(trailers["grpc-status"], "0");
        }
        let line = mesh.logged(&["POST /a.B/C HTTP/2"]).await;
        assert!(line.contains(" 200 - via_upstream"), "{line}");
    });
}

#[test]
fn a_websocket_is_relayed_both_ways_and_a_refusal_is_an_answer() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let _server = listen("10.9.1.1:9080", |mut stream, _| async move {
            let head = read_head(&mut stream).await.to_ascii_lowercase();
            assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
            if head.starts_with("get /refused") {
                return stream.write_all(b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
            }
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: x\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            // The client has ended its half, and still hears.
            stream.write_all(format!("[{said}]").as_bytes()).await.unwrap();
        })
        .await;
        let client = mesh.client("client").await;
        let ask = |path| {
            format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: x\r\n\r\n"
            )
        };
        let mut stream = client.raw(REVIEWS).await;
        // What comes right behind a request must not hold up its answer.
        stream.write_all((ask("/ws") + "early ").as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-accept: x"), "{head}");
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        stream.write_all(b"late").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "[early late]");
        mesh.logged(&["GET /ws ", " 101 - via_upstream"]).await;
        let mut stream = client.raw(REVIEWS).await;
        stream.write_all(ask("/refused").as_bytes()).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 426 "));
    });
}

/// Bytes that the waypoint's process has in memory.
fn resident(mesh: &Mesh) -> u64 {
    let status = read(&PathBuf::from(format!("/proc/{}/status", mesh.pid())));
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn large_bodies_are_streamed_in_little_memory() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        const LENGTH: usize = 100 << 20;
        let _server = listen("10.9.1.1:9080", |mut stream, _| async move {
            read_head(&mut stream).await;
            let (mut read, mut write) = stream.split();
            write.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes()).await.unwrap();
            let copied = tokio::io::copy(&mut (&mut read).take(LENGTH as u64), &mut write).await;
            let _ = copied;
        })
        .await;
        let client = mesh.client("client").await;
        let _ = client.http1(REVIEWS).await;
        let before = resident(&mesh);
        for _ in 0..2 {
            let stream = client.raw(REVIEWS).await;
            let (mut from, mut to) = tokio::io::split(stream);
            let sending = spawn_local(async move {
                to.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
                let chunk = vec![b'x'; 64 << 10];
                for _ in 0..LENGTH / chunk.len() {
                    to.write_all(&chunk).await.unwrap();
                }
                to
            });
            read_head(&mut from).await;
            let (mut got, mut buffer, mut most) = (0, vec![0; 256 << 10], 0);
            while got < LENGTH {
                let count = from.read(&mut buffer).await.unwrap();
                assert!(count > 0, "it ended after {got}");
                got += count;
                most = most.max(resident(&mesh));
            }
            drop(sending.await.unwrap());
            assert!(most.saturating_sub(before) < 20 << 20, "{} more", most - before);
        }
    });
}

#[test]
fn a_client_that_goes_away_has_its_request_cancelled() {
    run(async {
        let mesh = Mesh::new(&to_v1()).await;
        let (came, mut coming) = mpsc::unbounded_channel();
        let _server = listen("10.9.1.1:9080", move |mut stream, _| {
            let came = came.clone();
            async move {
                let head = read_head(&mut stream).await;
                let (gone, going) = oneshot::channel();
                came.send((head.clone(), going)).unwrap();
                if head.contains("/body") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
                }
                // It ends, whatever it says before.
                while !matches!(stream.read_u8().await, Err(_)) {}
                let _ = gone.send(());
            }
        })
        .await;
        for (number, path) in ["/wait", "/body"].into_iter().enumerate() {
            // By HTTP/1.1, by HTTP/2, and with the whole tunnel.
            for way in 0..3 {
                let client = mesh.client("client").await;
                let path = format!("{path}-{number}-{way}");
                if way == 1 {
                    let mut http = client.http2(REVIEWS).await;
                    let asked = spawn_local({
                        let path = path.clone();
                        async move { http.get(&path, &[]).await }
                    });
                    let (_, gone) = coming.recv().await.unwrap();
                    asked.abort();
                    gone.await.unwrap();
                } else {
                    let mut stream = client.raw(REVIEWS).await;
                    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
                    let (_, gone) = coming.recv().await.unwrap();
                    if way == 0 {
                        drop(stream);
                    } else {
                        drop(client);
                        drop(stream);
                    }
                    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("it goes on").unwrap();
                }
                mesh.logged(&[&format!("GET {path} "), " DC "]).await;
            }
        }
    });
}

#[test]
fn an_idle_connection_that_the_endpoint_closes_fails_nobody() {
    run(async {
        let rules =
            virtual_service("http: [{retries: {attempts: 0}, route: [{destination: {host: reviews, subset: v1}}]}]");
        let mesh = Mesh::new(&(rules + &destination_rule("reviews", "{}"))).await;
        let _server = listen("10.9.1.1:9080", |mut stream, _| async move {
            // One answer a connection, and the end comes right behind it, without a word.
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        })
        .await;
        let client = mesh.client("client").await;
        let mut http = client.http1(REVIEWS).await;
        let mut failed = 0;
        for _ in 0..300 {
            failed += u32::from(http.get("/", &[]).await.status != 200);
            // As long as it takes for the end to come.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert_eq!(failed, 0);
    });
}

#[test]
fn http_is_found_on_a_port_that_says_nothing() {
    run(async {
        let mesh = Mesh::new("").await;
        let _server = Server::named("10.9.1.4:7000", "raw").await;
        let client = mesh.client("client").await;
        let answer = client.http1(RAW).await.get("/", &[("host", "raw:7000")]).await;
        assert_eq!((answer.body.as_str(), answer.field("server")), ("raw", "istio-envoy"));
        // A part of a request is not waited for without end where nobody has said that it is one.
        let mut stream = client.raw(RAW).await;
        stream.write_all(b"GE").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = whole(stream, "T / HTTP/1.1\r\nhost: raw\r\nconnection: close\r\n\r\n").await;
        assert!(answer.ends_with("raw"), "{answer}");
    });
}
