//! How a tunnel ends: by agreement, by a cable that was cut, by a peer that closes or breaks the rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use ambit_hbone::client::handshake;
use ambit_hbone::{Code, Config, ConnectRequest, ConnectResponse, Error};
use ambit_net::stream::ByteSink;
use support::cut::Cable;
use support::raw::{self, read_until};
use support::{Halves, inside, pair, run, run_in_virtual_time, serve};
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

#[test]
fn a_draining_server_takes_no_new_streams_and_leaves_with_its_last() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, mut server) = pair.stream().await;
        pair.drain.notify_one();
        while pair.tunnel.is_usable() {
            tokio::task::yield_now().await;
        }
        let error = pair.tunnel.open(&ConnectRequest::to("a:1")).unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        client.round_trip(&mut server).await;
        assert!(!pair.serving.is_finished());
        client.finish().await.unwrap();
        assert_eq!(server.receive_all().await.unwrap(), b"");
        server.send("last").await.unwrap();
        server.finish().await.unwrap();
        assert_eq!(client.receive_all().await.unwrap(), b"last");
        pair.serving.await.unwrap().unwrap();
        pair.driver.await.unwrap().unwrap();
    });
}

#[test]
fn a_draining_server_with_a_deadline_ends_what_is_left_then() {
    run_in_virtual_time(async {
        let config = Config { drain_timeout: Some(Duration::from_secs(5)), ..Config::default() };
        let mut pair = pair(&config).await;
        let (mut client, mut server) = pair.stream().await;
        let start = Instant::now();
        pair.drain.notify_one();
        assert!(matches!(inside(&server.receive().await.unwrap_err()), Error::Drained));
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert!(client.receive().await.is_err());
        pair.serving.await.unwrap().unwrap();
    });
}

#[test]
fn a_tunnel_without_handles_and_streams_ends_in_good_order() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, mut server) = pair.stream().await;
        pair.tunnel.close_when_idle();
        assert!(!pair.tunnel.is_usable());
        assert!(matches!(pair.tunnel.open(&ConnectRequest::to("a:1")), Err(Error::TunnelClosed)));
        client.round_trip(&mut server).await;
        drop((client, server));
        pair.driver.await.unwrap().unwrap();
        pair.serving.await.unwrap().unwrap();
    });
}

#[test]
fn a_peer_that_vanishes_breaks_every_stream_with_the_reason() {
    run(async {
        for server_vanishes in [true, false] {
            let mut pair = pair(&Config::default()).await;
            let (client, server) = pair.stream().await;
            let mut survivor = if server_vanishes {
                pair.serving.abort();
                client
            } else {
                pair.driver.abort();
                server
            };
            let broken = survivor.broken().await;
            assert_eq!(broken.kind(), ErrorKind::ConnectionReset, "{broken:?}");
            assert!(matches!(inside(&broken), Error::TransportClosed));
            assert!(matches!(inside(&survivor.receive().await.unwrap_err()), Error::TransportClosed));
        }
    });
}

#[test]
fn a_driver_that_is_dropped_says_so_to_its_streams() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, _server) = pair.stream().await;
        pair.driver.abort();
        assert!(matches!(inside(&client.receive().await.unwrap_err()), Error::TunnelClosed));
        assert!(matches!(pair.tunnel.open(&ConnectRequest::to("a:1")), Err(Error::TunnelClosed)));
    });
}

#[test]
fn an_idle_tunnel_lives_on_and_a_cut_one_is_given_up_in_time() {
    run_in_virtual_time(async {
        let (near, far) = tokio::io::duplex(64 << 10);
        let is_cut = Rc::new(Cell::new(false));
        let cable = |end| Cable { end, is_cut: Rc::clone(&is_cut) };
        let config = Config::default();
        let (mut requests, serving, _drain) = serve(cable(far), &config);
        let (tunnel, driver) = handshake(cable(near), &config).await.unwrap();
        let driver = spawn_local(driver);
        let mut client = Halves::from(tunnel.open(&ConnectRequest::to("a:1")).unwrap());
        let mut server = Halves::from(requests.recv().await.unwrap().accept(&ConnectResponse::default()).unwrap());
        sleep(Duration::from_secs(3600)).await;
        client.round_trip(&mut server).await;

        is_cut.set(true);
        let start = Instant::now();
        for mut end in [client, server] {
            let broken = end.broken().await;
            assert_eq!(broken.kind(), ErrorKind::TimedOut);
            assert!(matches!(inside(&broken), Error::PeerGone { .. }));
            assert_eq!(end.receive().await.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        let (least, most) = (config.ping_timeout, config.ping_timeout + 2 * config.ping_interval);
        assert!((least..=most).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert!(matches!(driver.await.unwrap(), Err(Error::PeerGone { .. })));
        assert!(matches!(serving.await.unwrap(), Err(Error::PeerGone { .. })));
    });
}

#[test]
fn a_peer_that_does_not_start_is_given_up() {
    run_in_virtual_time(async {
        let config = Config::default();
        let (near, far) = tokio::io::duplex(64 << 10);
        let (_requests, serving, _drain) = serve(far, &config);
        assert!(matches!(serving.await.unwrap(), Err(Error::HandshakeTimeout { .. })));
        drop(near);

        let (near, far) = tokio::io::duplex(64 << 10);
        let (tunnel, driver) = handshake(near, &config).await.unwrap();
        let mut stream = Halves::from(tunnel.open(&ConnectRequest::to("a:1")).unwrap());
        assert!(matches!(driver.await, Err(Error::HandshakeTimeout { .. })));
        assert!(matches!(stream.source.answer().await, Err(Error::HandshakeTimeout { .. })));
        drop(far);

        let (near, _far) = tokio::io::duplex(8);
        assert!(matches!(handshake(near, &config).await, Err(Error::HandshakeTimeout { .. })));
    });
}

#[test]
fn client_bytes_are_on_the_wire_ahead_of_any_answer() {
    run(async {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let (tunnel, driver) = handshake(near, &Config::default()).await.unwrap();
        spawn_local(driver);
        let mut client = Halves::from(tunnel.open(&ConnectRequest::to("a:1")).unwrap());
        client.send("hello").await.unwrap();
        let mut preface = [0; 24];
        tokio::io::AsyncReadExt::read_exact(&mut far, &mut preface).await.unwrap();
        assert_eq!(read_until(&mut far, raw::HEADERS).await.stream, 1);
        assert_eq!(read_until(&mut far, raw::DATA).await.payload, b"hello");
        client.sink.reset();
        let reset = read_until(&mut far, raw::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, Code::CONNECT_ERROR.0));
    });
}

#[test]
fn what_was_sent_before_a_reset_is_on_the_wire_before_it() {
    run(async {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let (tunnel, driver) = handshake(near, &Config::default()).await.unwrap();
        spawn_local(driver);
        let mut client = Halves::from(tunnel.open(&ConnectRequest::to("a:1")).unwrap());
        // Neither has been written when the stream is reset.
        client.send("413 ").await.unwrap();
        client.send("too large").await.unwrap();
        client.sink.reset();
        assert!(matches!(inside(&client.broken().await), Error::Aborted));
        assert!(matches!(inside(&client.finish().await.unwrap_err()), Error::Aborted));
        drop(client);
        let mut preface = [0; 24];
        tokio::io::AsyncReadExt::read_exact(&mut far, &mut preface).await.unwrap();
        assert_eq!(read_until(&mut far, raw::DATA).await.payload, b"413 ");
        assert_eq!(read_until(&mut far, raw::DATA).await.payload, b"too large");
        let reset = read_until(&mut far, raw::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, Code::CONNECT_ERROR.0));
    });
}

#[test]
fn a_goaway_says_which_streams_may_be_tried_elsewhere() {
    run(async {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let (tunnel, driver) = handshake(near, &Config::default()).await.unwrap();
        let driver = spawn_local(driver);
        raw::write(&mut far, &raw::frame(raw::SETTINGS, 0, 0, &[])).await;
        let open = || Halves::from(tunnel.open(&ConnectRequest::to("a:1")).unwrap());
        let (mut first, mut second, mut third) = (open(), open(), open());
        // Stream 1 may have been processed, 3 and 5 were not; then 1 is refused as well.
        raw::write(&mut far, &raw::frame(raw::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await;
        for unprocessed in [second.source.answer().await.unwrap_err(), inside(&third.broken().await)] {
            assert!(matches!(unprocessed, Error::NotProcessed { .. }) && unprocessed.is_retryable(), "{unprocessed:?}");
        }
        assert!(!tunnel.is_usable());
        raw::write(&mut far, &raw::frame(raw::RST_STREAM, 0, 1, &[0, 0, 0, 7])).await;
        assert!(inside(&first.broken().await).is_retryable());
        drop((first, second, third));
        driver.await.unwrap().unwrap();
    });
}

#[test]
fn an_error_of_the_tunnel_is_told_to_its_streams() {
    run(async {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let (tunnel, driver) = handshake(near, &Config::default()).await.unwrap();
        let driver = spawn_local(driver);
        let mut client = Halves::from(tunnel.open(&ConnectRequest::to("a:1")).unwrap());
        raw::write(&mut far, &raw::frame(raw::SETTINGS, 0, 0, &[])).await;
        raw::write(&mut far, &raw::frame(raw::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 2, b'o', b'o', b'p', b's'])).await;
        far.shutdown().await.unwrap();
        let Err(Error::GoAway { code: Code(2), debug }) = driver.await.unwrap() else { panic!() };
        assert!(debug.contains("oops"), "{debug}");
        assert!(matches!(inside(&client.broken().await), Error::GoAway { code: Code(2), .. }));
        assert!(matches!(client.source.answer().await, Err(Error::GoAway { code: Code(2), .. })));
    });
}
