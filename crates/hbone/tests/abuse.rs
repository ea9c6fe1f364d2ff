//! What a peer that means ill can do, and what it costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use ambit_hbone::{Code, Config, ConnectResponse, Error};
use support::raw::{self, read_until};
use support::{Halves, run, run_in_virtual_time, serve};
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_local;

#[test]
fn streams_reset_as_soon_as_opened_end_the_tunnel() {
    run(async {
        let (mut near, far) = tokio::io::duplex(4 << 20);
        let mut flood = raw::preface();
        for i in 0..10_000 {
            flood.extend(raw::connect(2 * i + 1, "a:1"));
            flood.extend(raw::frame(raw::RST_STREAM, 0, 2 * i + 1, &[0, 0, 0, 8]));
        }
        raw::write(&mut near, &flood).await;
        let (mut requests, serving, _drain) = serve(far, &Config::default());
        assert_eq!(read_until(&mut near, raw::GOAWAY).await.code(), Code::ENHANCE_YOUR_CALM.0);
        assert!(matches!(serving.await.unwrap(), Err(Error::Protocol { code: Code::ENHANCE_YOUR_CALM })));
        let mut seen = 0;
        while requests.try_recv().is_ok() {
            seen += 1;
        }
        assert!(seen <= 100, "{seen} requests were taken up");
    });
}

#[test]
fn a_stream_above_the_limit_is_refused_and_may_be_tried_elsewhere() {
    run(async {
        let (mut near, far) = tokio::io::duplex(64 << 10);
        let (mut requests, _serving, _drain) = serve(far, &Config { max_concurrent_streams: 2, ..Config::default() });
        let mut bytes = raw::preface();
        (0..3).for_each(|i| bytes.extend(raw::connect(2 * i + 1, "a:1")));
        raw::write(&mut near, &bytes).await;
        let reset = read_until(&mut near, raw::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (5, Code::REFUSED_STREAM.0));
        for _ in 0..2 {
            assert!(requests.recv().await.unwrap().request().is_ok());
        }
        assert!(requests.try_recv().is_err());
    });
}

#[test]
fn headers_above_the_limit_are_refused_and_the_others_go_on() {
    run(async {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (mut requests, _serving, _drain) = serve(far, &Config::default());
        let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
        spawn_local(connection);
        let connect = || http::Request::connect("a:1");
        let large = connect().header("baggage", "x".repeat(20_000)).body(()).unwrap();
        let (response, _stream) = sender.send_request(large, false).unwrap();
        assert_eq!(response.await.unwrap().status(), 431);
        let (response, _stream) = sender.send_request(connect().body(()).unwrap(), false).unwrap();
        let mut server = Halves::from(requests.recv().await.unwrap().accept(&ConnectResponse::default()).unwrap());
        assert_eq!(response.await.unwrap().status(), 200);
        server.send("here").await.unwrap();
    });
}

#[test]
fn pings_whose_answers_nobody_reads_are_no_longer_read() {
    run_in_virtual_time(async {
        let (mut near, far) = tokio::io::duplex(64 << 10);
        let (_requests, serving, _drain) = serve(far, &Config::default());
        raw::write(&mut near, &raw::preface()).await;
        let ping = raw::frame(raw::PING, 0, 0, &[7; 8]);
        let pings = ping.repeat(1000);
        let mut written = 0;
        // Both pipes and what lies between them hold some; then the server takes no more.
        while let Ok(more) = tokio::time::timeout(Duration::from_secs(1), near.write_all(&pings)).await {
            more.unwrap();
            written += pings.len();
            assert!(written < 1 << 20, "pings are taken without end");
        }
        assert!(!serving.is_finished());
        let pong = read_until(&mut near, raw::PING).await;
        assert_eq!((pong.flags, pong.payload), (1, vec![7; 8]), "and answers on when they are read");
    });
}

#[test]
fn nonsense_in_place_of_the_preface_ends_the_tunnel() {
    run(async {
        for nonsense in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &[0x16, 3, 1, 0, 200, 1], &[0; 64]] {
            let (mut near, far) = tokio::io::duplex(64 << 10);
            let (_requests, serving, _drain) = serve(far, &Config::default());
            raw::write(&mut near, nonsense).await;
            near.shutdown().await.unwrap();
            assert!(serving.await.unwrap().is_err());
        }
    });
}
