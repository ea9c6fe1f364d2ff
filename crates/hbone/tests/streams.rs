//! Streams of a tunnel between our own client and server: what goes in comes out, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll, Waker};

use ambit_hbone::headers::{Baggage, Forwarded, Traceparent};
use ambit_hbone::{BadRequest, Code, Config, ConnectRequest, ConnectResponse, Error};
use ambit_net::stream::{ByteSink, ByteSource};
use bytes::Bytes;
use support::{Halves, inside, pair, run};
use tokio::task::spawn_local;

fn pattern(len: usize, salt: usize) -> Bytes {
    (0..len).map(|i| ((i * 31 + i / 251 + salt) % 256) as u8).collect()
}

#[test]
fn a_request_arrives_with_its_headers_and_is_answered_with_some() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let request = ConnectRequest {
            baggage: Some(Baggage { service: Some("web".to_owned()), ..Baggage::default() }),
            forwarded: Some(Forwarded { client: "10.1.1.1:9".parse().ok(), host: None }),
            traceparent: Some(Traceparent::new([3; 24])),
            ..ConnectRequest::to("[fd00::7]:8080")
        };
        let mut client = Halves::from(pair.tunnel.open(&request).unwrap());
        let incoming = pair.requests.recv().await.unwrap();
        assert_eq!(incoming.request(), Ok(&request));
        let response =
            ConnectResponse { baggage: Some(Baggage { service: Some("db".to_owned()), ..Baggage::default() }) };
        let mut server = Halves::from(incoming.accept(&response).unwrap());
        assert_eq!(client.source.answer().await.unwrap(), response);
        client.round_trip(&mut server).await;
    });
}

#[test]
fn megabytes_go_both_ways_at_once_on_many_streams() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let mut tasks = Vec::new();
        for i in 0..20 {
            let (client, server) = pair.stream().await;
            for (half, sends, expects) in [(client, 2 * i, 2 * i + 1), (server, 2 * i + 1, 2 * i)] {
                let Halves { source, sink } = half;
                tasks.push(spawn_local(async move {
                    let mut data = pattern(1 << 20, sends);
                    let mut sink = sink;
                    poll_fn(|cx| sink.poll_send(cx, &mut data)).await.unwrap();
                    poll_fn(|cx| sink.poll_finish(cx)).await.unwrap();
                }));
                tasks.push(spawn_local(async move {
                    let (mut source, mut received) = (source, Vec::new());
                    while let Some(piece) = poll_fn(|cx| source.poll_receive(cx)).await.unwrap() {
                        received.extend_from_slice(&piece);
                    }
                    assert!(received == pattern(1 << 20, expects));
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn the_client_may_finish_first_and_still_receive() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, mut server) = pair.stream().await;
        client.send("question").await.unwrap();
        client.finish().await.unwrap();
        assert_eq!(server.receive_all().await.unwrap(), b"question");
        server.send("answer").await.unwrap();
        server.finish().await.unwrap();
        assert_eq!(client.receive_all().await.unwrap(), b"answer");
        assert_eq!(client.receive().await.unwrap(), None, "the end stays the end");
    });
}

#[test]
fn the_server_may_speak_first_and_finish_first() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, mut server) = pair.stream().await;
        server.send("220 banner").await.unwrap();
        client.expect(b"220 banner").await;
        server.finish().await.unwrap();
        assert_eq!(client.receive().await.unwrap(), None);
        client.send("still here").await.unwrap();
        client.finish().await.unwrap();
        assert_eq!(server.receive_all().await.unwrap(), b"still here");
        drop((client, server));
        pair.echoes().await;
    });
}

#[test]
fn bytes_sent_ahead_of_the_answer_are_kept_for_the_reader() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let mut client = Halves::from(pair.tunnel.open(&ConnectRequest::to("a:1")).unwrap());
        client.send("early").await.unwrap();
        client.finish().await.unwrap();
        let incoming = pair.requests.recv().await.unwrap();
        let mut server = Halves::from(incoming.accept(&ConnectResponse::default()).unwrap());
        assert_eq!(server.receive_all().await.unwrap(), b"early");
    });
}

#[test]
fn a_refusal_reaches_both_halves_with_status_and_reason() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        for first in ["answer", "receive", "broken", "send"] {
            let mut client = Halves::from(pair.tunnel.open(&ConnectRequest::to("a:1")).unwrap());
            pair.requests.recv().await.unwrap().refuse(503, Some("connection-refused"));
            let error = match first {
                "answer" => client.source.answer().await.unwrap_err(),
                "receive" => inside(&client.receive().await.unwrap_err()),
                "broken" => inside(&client.broken().await),
                _ => loop {
                    if let Err(error) = client.send("x").await {
                        break inside(&error);
                    }
                    tokio::task::yield_now().await;
                },
            };
            assert!(
                matches!(&error, Error::Refused { status: 503, reason: Some(reason), .. } if reason == "connection-refused"),
                "{first}: {error:?}"
            );
            assert_eq!(client.receive().await.unwrap_err().kind(), ErrorKind::ConnectionRefused, "{first}");
            assert_eq!(client.broken().await.kind(), ErrorKind::ConnectionRefused, "{first}");
        }
        pair.echoes().await;
    });
}

#[test]
fn what_is_no_connect_is_answered_400_and_reported() {
    run(async {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (mut requests, _serving, _drain) = support::serve(far, &Config::default());
        let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
        spawn_local(connection);
        let get = http::Request::get("http://a:80/path").body(()).unwrap();
        let (response, _) = sender.send_request(get, true).unwrap();
        let incoming = requests.recv().await.unwrap();
        assert_eq!(incoming.request(), Err(&BadRequest::NotConnect("GET".to_owned())));
        assert!(matches!(incoming.accept(&ConnectResponse::default()), Err(Error::BadRequest(_))));
        let response = response.await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-ambit-reason"]),
            (400, &"bad-request".parse().unwrap())
        );

        let portless = http::Request::connect("host-without-port").body(()).unwrap();
        let (response, _) = sender.send_request(portless, false).unwrap();
        let incoming = requests.recv().await.unwrap();
        assert_eq!(incoming.request(), Err(&BadRequest::Authority("host-without-port".to_owned())));
        assert_eq!(response.await.unwrap().status(), 400);
    });
}

#[test]
fn a_reset_is_a_reset_at_the_other_end_in_both_directions() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        for client_resets in [true, false] {
            let (client, server) = pair.stream().await;
            let (mut resets, mut other) = if client_resets { (client, server) } else { (server, client) };
            resets.sink.reset();
            resets.sink.reset();
            let broken = other.broken().await;
            assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
            assert!(matches!(inside(&broken), Error::Reset { code: Code::CONNECT_ERROR }), "{broken:?}");
            assert_eq!(other.receive().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(other.send("x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(other.finish().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(matches!(inside(&resets.receive().await.unwrap_err()), Error::Aborted));
            assert!(matches!(inside(&resets.send("x").await.unwrap_err()), Error::Aborted));
        }
        pair.echoes().await;
    });
}

#[test]
fn a_reset_is_noticed_while_the_stream_is_full() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, mut server) = pair.stream().await;
        assert!(client.fill(&[7; 10_000]).await > 100_000);
        server.sink.reset();
        assert_eq!(client.send("more").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_half_dropped_before_its_end_resets_the_stream() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, Halves { source, sink }) = pair.stream().await;
        drop(sink);
        assert_eq!(client.broken().await.kind(), ErrorKind::ConnectionReset);
        drop(source);

        let (mut client, Halves { source, sink: _sink }) = pair.stream().await;
        drop(source);
        assert_eq!(client.broken().await.kind(), ErrorKind::ConnectionReset);

        let incoming_dropped = pair.tunnel.open(&ConnectRequest::to("a:1")).unwrap();
        drop(pair.requests.recv().await.unwrap());
        assert_eq!(Halves::from(incoming_dropped).broken().await.kind(), ErrorKind::ConnectionReset);
        pair.echoes().await;
    });
}

#[test]
fn a_half_dropped_after_its_end_resets_nothing() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let (mut client, mut server) = pair.stream().await;
        client.send("last words").await.unwrap();
        client.finish().await.unwrap();
        let Halves { source, sink } = client;
        drop(sink);
        server.expect(b"last words").await;
        assert_eq!(server.receive().await.unwrap(), None);
        server.send("reply").await.unwrap();
        server.finish().await.unwrap();
        drop(server);
        let mut source = source;
        let reply = poll_fn(|cx| source.poll_receive(cx)).await.unwrap();
        assert_eq!(reply.as_deref(), Some(b"reply".as_slice()));
        assert_eq!(poll_fn(|cx| source.poll_receive(cx)).await.unwrap(), None);
    });
}

#[test]
fn a_client_that_gives_up_is_noticed_before_the_answer() {
    run(async {
        let mut pair = pair(&Config::default()).await;
        let client = pair.tunnel.open(&ConnectRequest::to("a:1")).unwrap();
        let mut incoming = pair.requests.recv().await.unwrap();
        assert!(incoming.poll_broken(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(client);
        let error = poll_fn(|cx| incoming.poll_broken(cx)).await;
        assert!(matches!(error, Error::Reset { code: Code::CONNECT_ERROR }), "{error:?}");
    });
}

#[test]
fn a_stream_that_is_full_is_pending_and_goes_on_when_it_is_read() {
    run(async {
        let config = Config { stream_window: 70_000, send_buffer: 10_000, ..Config::default() };
        let mut pair = pair(&config).await;
        let (mut client, mut server) = pair.stream().await;
        let taken = client.fill(&[1; 999]).await;
        assert!((70_000..=80_000).contains(&taken), "{taken}");
        let mut more = Bytes::from_static(b"the end");
        let sent = client.sink.poll_send(&mut Context::from_waker(Waker::noop()), &mut more);
        assert!(matches!(sent, Poll::Pending));
        let reader = spawn_local(async move { server.receive_all().await.unwrap().len() });
        poll_fn(|cx| client.sink.poll_send(cx, &mut more)).await.unwrap();
        client.finish().await.unwrap();
        // What `fill` had begun to send and then given up is cut off within a piece.
        assert_eq!(reader.await.unwrap(), taken + 7);
    });
}

#[test]
fn a_tunnel_carries_no_more_streams_than_either_side_allows() {
    run(async {
        let (few, many) = (Config { max_concurrent_streams: 2, ..Config::default() }, Config::default());
        for (client, server) in [(&few, &many), (&many, &few)] {
            let mut pair = support::pair_of(client, server).await;
            let first = pair.stream().await;
            let _second = pair.stream().await;
            assert_eq!(pair.tunnel.limit(), 2);
            assert!(matches!(pair.tunnel.open(&ConnectRequest::to("a:1")), Err(Error::TunnelFull)));
            drop(first);
            pair.echoes().await;
        }
    });
}
