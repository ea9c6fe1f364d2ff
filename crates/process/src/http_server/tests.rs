use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use super::*;

fn limits() -> Limits {
    Limits { body: 16, ..Limits::default() }
}

fn table() -> Routes {
    Routes::new("table")
        .get("/hello", "says hello", |_| async { text(StatusCode::OK, "hello") })
        .post("/echo", "says it again", |request| async move { text(StatusCode::OK, request.into_body()) })
        .get("/panic", "panics", |_| async { panic!("a handler panics, as this test wants") })
}

/// Runs `test` with the address of a server of [`table`].
async fn serving<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(SocketAddr) -> F) {
    let within = async {
        let server = Server::bind("test", "127.0.0.1:0".parse().unwrap()).await.unwrap().with_limits(limits);
        let address = server.address().unwrap();
        spawn_local(server.serve(table()));
        test(address).await;
    };
    LocalSet::new().run_until(within).await;
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// What the server says until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn exchange(address: SocketAddr, text: &str) -> String {
    rest(&mut connect(address, text).await).await
}

#[tokio::test]
async fn requests_are_answered_over_a_real_socket() {
    serving(limits(), |address| async move {
        let get = "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = exchange(address, get).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        let post = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfour";
        let answer = exchange(address, post).await;
        assert!(answer.ends_with("\r\n\r\nfour"), "{answer}");
        let head = "HEAD /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = exchange(address, head).await;
        assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        let two = format!("GET /hello HTTP/1.1\r\nhost: x\r\n\r\n{get}");
        assert_eq!(exchange(address, &two).await.matches("hello").count(), 2, "kept alive");
    })
    .await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    serving(limits(), |address| async move {
        let head = "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let declared = format!("{head}content-length: 17\r\n\r\n{}", "x".repeat(17));
        assert!(exchange(address, &declared).await.starts_with("HTTP/1.1 413 "));
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n11\r\n{}\r\n0\r\n\r\n", "x".repeat(17));
        assert!(exchange(address, &chunked).await.starts_with("HTTP/1.1 413 "));
        let fits = format!("{head}content-length: 16\r\n\r\n{}", "x".repeat(16));
        assert!(exchange(address, &fits).await.starts_with("HTTP/1.1 200 "));
    })
    .await;
}

#[tokio::test]
async fn who_does_not_finish_a_request_is_cut_off() {
    let patience = Duration::from_millis(300);
    serving(Limits { patience, ..limits() }, |address| async move {
        let mut idle = connect(address, "").await;
        let mut headless = connect(address, "GET /hello HTTP/1.1\r\nhos").await;
        let mut bodiless = connect(address, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nfo").await;
        // Each ends although the client never closes; what it is told does not matter.
        rest(&mut idle).await;
        rest(&mut headless).await;
        assert!(rest(&mut bodiless).await.starts_with("HTTP/1.1 408 "));
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_with_its_life() {
    let life = Duration::from_millis(300);
    serving(Limits { life, ..limits() }, |address| async move {
        let mut stream = connect(address, "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(rest(&mut stream).await.ends_with("hello"));
    })
    .await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    serving(Limits { connections: 1, ..limits() }, |address| async move {
        let get = "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let first = connect(address, "").await;
        let mut second = connect(address, get).await;
        let mut byte = [0];
        let waited = timeout(Duration::from_millis(100), second.read(&mut byte)).await;
        assert!(waited.is_err(), "the first holds the only place");
        drop(first);
        assert!(rest(&mut second).await.ends_with("hello"));
    })
    .await;
}

#[tokio::test]
async fn a_panicking_answer_costs_one_connection() {
    serving(limits(), |address| async move {
        assert_eq!(exchange(address, "GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await, "");
        let get = "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        assert!(exchange(address, get).await.ends_with("hello"));
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_purpose() {
    let first = Server::bind("first", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = first.address().unwrap();
    let error = Server::bind("readiness", address).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot serve readiness on {address}:")), "{error}");
}

#[tokio::test]
async fn who_is_kept_alive_is_let_go_when_it_is_closing_and_not_before_his_answer() {
    let (mut client, server) = tokio::io::duplex(1024);
    let (close, closing) = tokio::sync::oneshot::channel::<()>();
    let (began, mut begun) = tokio::sync::mpsc::channel(1);
    let (answer, wait) = tokio::sync::watch::channel(false);
    let routes = Routes::new("table").get("/slow", "answers when it may", move |_| {
        let (began, mut wait) = (began.clone(), wait.clone());
        async move {
            began.send(()).await.unwrap();
            wait.wait_for(|may| *may).await.unwrap();
            text(StatusCode::OK, "at last")
        }
    });
    let closing = async move { closing.await.unwrap() };
    let served = serve_stream(server, Rc::new(routes), limits(), closing);
    let asked = async move {
        client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        begun.recv().await.unwrap();
        close.send(()).unwrap();
        answer.send_replace(true);
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert!(said.ends_with("at last"), "{said}");
    };
    tokio::join!(served, asked);
}
