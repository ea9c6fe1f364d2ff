//! HBONE with a peer that is not ours: Envoy as server to our client and as client to our server, over mutual TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "envoy/certificates.rs"]
mod certificates;
#[path = "envoy/process.rs"]
mod process;
mod support;

use std::future::{pending, poll_fn};
use std::rc::Rc;

use ambit_hbone::client::{Tunnel, handshake};
use ambit_hbone::headers::{Baggage, Forwarded, WorkloadKind};
use ambit_hbone::server::Incoming;
use ambit_hbone::{Code, Config, ConnectRequest, ConnectResponse, Error, server};
use ambit_net::stream::{ByteSink, ByteSource};
use certificates::{client_tls, server_tls};
use process::Envoy;
use support::{Halves, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const BULK: usize = 8 << 20;

fn pattern(salt: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + i / 65_521 + salt) % 256) as u8).collect()
}

/// Envoy as a server, the application behind it, and our tunnel to it.
async fn to_envoy() -> (Envoy, UnixListener, Tunnel) {
    let envoy = Envoy::start(include_str!("envoy/server.yaml"), "hbone.sock").await;
    let application = UnixListener::bind(envoy.path("application.sock")).unwrap();
    let tunnel = tunnel_to(&envoy).await;
    (envoy, application, tunnel)
}

async fn tunnel_to(envoy: &Envoy) -> Tunnel {
    let transport = UnixStream::connect(envoy.path("hbone.sock")).await.unwrap();
    let tls = TlsConnector::from(client_tls(&envoy.path("")));
    let transport = tls.connect("server.test".try_into().unwrap(), transport).await.unwrap();
    let (tunnel, driver) = handshake(transport, &Config::default()).await.unwrap();
    spawn_local(driver);
    tunnel
}

fn open(tunnel: &Tunnel, authority: &str) -> Halves {
    tunnel.open(&ConnectRequest::to(authority)).unwrap().into()
}

/// Envoy as a client of our server, which hands each request to `on_request`.
async fn from_envoy(on_request: impl Fn(Incoming) + 'static) -> Envoy {
    let envoy = Envoy::start(include_str!("envoy/client.yaml"), "application.sock").await;
    let listener = UnixListener::bind(envoy.path("hbone.sock")).unwrap();
    let (tls, on_request) = (TlsAcceptor::from(server_tls(&envoy.path(""))), Rc::new(on_request));
    spawn_local(async move {
        while let Ok((transport, _)) = listener.accept().await {
            let (tls, on_request) = (tls.clone(), Rc::clone(&on_request));
            spawn_local(async move {
                // Envoy's readiness probe of ours may leave connections that never speak.
                let Ok(transport) = tls.accept(transport).await else { return };
                let _ = server::serve(transport, &Config::default(), pending(), |incoming| on_request(incoming)).await;
            });
        }
    });
    envoy
}

fn accept(incoming: Incoming) -> Halves {
    incoming.accept(&ConnectResponse::default()).unwrap().into()
}

async fn echo(mut stream: Halves) {
    while let Some(piece) = stream.receive().await.unwrap() {
        stream.send(piece).await.unwrap();
    }
    stream.finish().await.unwrap();
}

async fn echo_application(mut socket: UnixStream) {
    let (mut read, mut write) = socket.split();
    tokio::io::copy(&mut read, &mut write).await.unwrap();
    write.shutdown().await.unwrap();
}

async fn application_of(envoy: &Envoy) -> UnixStream {
    UnixStream::connect(envoy.path("application.sock")).await.unwrap()
}

#[test]
fn our_client_moves_megabytes_both_ways_through_envoy() {
    run(async {
        let (_envoy, application, tunnel) = to_envoy().await;
        let mut stream = open(&tunnel, "10.0.0.7:80");
        stream.send("ahead of the answer: ").await.unwrap();
        let (mut socket, _) = application.accept().await.unwrap();
        let theirs = spawn_local(async move {
            let (mut read, mut write) = socket.split();
            let mut received = Vec::new();
            let (down, up) = (pattern(1, BULK), async { read.read_to_end(&mut received).await });
            let (sent, read) = tokio::join!(write.write_all(&down), up);
            sent.unwrap();
            read.unwrap();
            write.shutdown().await.unwrap();
            received
        });
        assert!(stream.source.answer().await.is_ok());
        let Halves { mut source, mut sink } = stream;
        let sending = spawn_local(async move {
            let mut data = pattern(2, BULK).into();
            poll_fn(|cx| sink.poll_send(cx, &mut data)).await.unwrap();
            poll_fn(|cx| sink.poll_finish(cx)).await.unwrap();
        });
        let mut received = Vec::new();
        while let Some(piece) = poll_fn(|cx| source.poll_receive(cx)).await.unwrap() {
            received.extend_from_slice(&piece);
        }
        assert!(received == pattern(1, BULK));
        let expected = [b"ahead of the answer: ".as_slice(), &pattern(2, BULK)].concat();
        assert!(theirs.await.unwrap() == expected);
        sending.await.unwrap();
    });
}

#[test]
fn our_client_gets_a_banner_and_half_closes_in_both_orders_through_envoy() {
    run(async {
        let (_envoy, application, tunnel) = to_envoy().await;
        // The client finishes first.
        let mut stream = open(&tunnel, "10.0.0.7:80");
        let (mut socket, _) = application.accept().await.unwrap();
        socket.write_all(b"220 banner").await.unwrap();
        stream.expect(b"220 banner").await;
        stream.send("question").await.unwrap();
        stream.finish().await.unwrap();
        let mut question = String::new();
        socket.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        socket.write_all(b"answer").await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(stream.receive_all().await.unwrap(), b"answer");

        // The server finishes first. Envoy gives up the other direction then (RST_STREAM with NO_ERROR after its
        // END_STREAM), which must not spoil what had arrived in good order.
        let mut stream = open(&tunnel, "10.0.0.7:80");
        let (mut socket, _) = application.accept().await.unwrap();
        socket.write_all(b"all I say").await.unwrap();
        socket.shutdown().await.unwrap();
        let broken = support::inside(&stream.broken().await);
        assert!(matches!(broken, Error::Reset { code: Code::NO_ERROR }), "{broken:?}");
        assert_eq!(stream.receive_all().await.unwrap(), b"all I say");
    });
}

#[test]
fn our_client_carries_many_streams_at_once_through_envoy() {
    run(async {
        let (_envoy, application, tunnel) = to_envoy().await;
        spawn_local(async move {
            while let Ok((socket, _)) = application.accept().await {
                spawn_local(echo_application(socket));
            }
        });
        for round in 0..3 {
            let streams: Vec<_> = (0..100)
                .map(|i| {
                    let mut stream = open(&tunnel, "10.0.0.7:80");
                    spawn_local(async move {
                        let data = pattern(round * 100 + i, 50_000);
                        stream.send(data.clone()).await.unwrap();
                        stream.finish().await.unwrap();
                        assert!(stream.receive_all().await.unwrap() == data);
                    })
                })
                .collect();
            for stream in streams {
                stream.await.unwrap();
            }
        }
    });
}

#[test]
fn a_refusal_or_a_reset_by_envoy_is_told_apart() {
    run(async {
        let (envoy, application, tunnel) = to_envoy().await;
        for (authority, expected) in [("denied.test:80", 403), ("gone.test:80", 503)] {
            // One each: Envoy closes the tunnel along with a reply of its own.
            let tunnel = tunnel_to(&envoy).await;
            let mut stream = open(&tunnel, authority);
            let error = stream.source.answer().await.unwrap_err();
            assert!(
                matches!(error, Error::Refused { status, reason: None, policy: None } if status == expected),
                "{authority}: {error:?}"
            );
            assert!(matches!(support::inside(&stream.broken().await), Error::Refused { .. }));
        }
        let mut stream = open(&tunnel, "10.0.0.7:80");
        let (socket, _) = application.accept().await.unwrap();
        stream.send("never read").await.unwrap();
        stream.source.answer().await.unwrap();
        socket.readable().await.unwrap();
        // Closed with bytes unread: the kernel resets a TCP connection for that, and a Unix socket likewise.
        drop(socket);
        let ended = stream.receive().await;
        assert!(ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset), "{ended:?}");
    });
}

#[test]
fn our_server_reads_the_request_of_envoy_and_moves_megabytes_both_ways() {
    run(async {
        let envoy = from_envoy(|incoming| {
            let baggage = Baggage {
                cluster: Some("Kubernetes".to_owned()),
                namespace: Some("shop".to_owned()),
                workload: Some((WorkloadKind::Deployment, "web".to_owned())),
                ..Baggage::default()
            };
            let client = "10.0.0.1:41000".parse().ok();
            let forwarded = Forwarded { client, host: Some("db.shop.svc.cluster.local".to_owned()) };
            let request = incoming.request().unwrap();
            assert_eq!(request.authority, "10.0.0.7:8080");
            assert_eq!((request.baggage.as_ref(), request.forwarded.as_ref()), (Some(&baggage), Some(&forwarded)));
            assert_eq!(request.traceparent.unwrap().parent_id(), 0x00f0_67aa_0ba9_02b7);
            spawn_local(echo(accept(incoming)));
        })
        .await;
        let mut application = application_of(&envoy).await;
        let (mut read, mut write) = application.split();
        let data = pattern(3, BULK);
        let mut received = Vec::new();
        let (sent, read) = tokio::join!(
            async {
                write.write_all(&data).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut received)
        );
        sent.unwrap();
        read.unwrap();
        assert!(received == data);
    });
}

#[test]
fn our_server_sends_envoy_a_banner_and_half_closes_in_both_orders() {
    run(async {
        let envoy = from_envoy(|incoming| {
            let mut stream = accept(incoming);
            spawn_local(async move {
                stream.send("220 banner").await.unwrap();
                let question = stream.receive().await.unwrap().unwrap();
                if question == "you first" {
                    stream.finish().await.unwrap();
                    assert_eq!(stream.receive_all().await.unwrap(), b"still here");
                } else {
                    assert_eq!(stream.receive_all().await.unwrap(), b"");
                    stream.send("answer").await.unwrap();
                    stream.finish().await.unwrap();
                }
            });
        })
        .await;
        for (says, hears) in [("question", "answer"), ("you first", "")] {
            let mut application = application_of(&envoy).await;
            let mut banner = [0; 10];
            application.read_exact(&mut banner).await.unwrap();
            assert_eq!(&banner, b"220 banner");
            application.write_all(says.as_bytes()).await.unwrap();
            let mut heard = String::new();
            if says == "question" {
                application.shutdown().await.unwrap();
            }
            application.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, hears);
            if says == "you first" {
                application.write_all(b"still here").await.unwrap();
                application.shutdown().await.unwrap();
            }
        }
    });
}

#[test]
fn our_server_carries_many_streams_of_envoy_at_once() {
    run(async {
        let envoy = from_envoy(|incoming| drop(spawn_local(echo(accept(incoming))))).await;
        let mut applications = Vec::new();
        for i in 0..250 {
            let mut application = application_of(&envoy).await;
            applications.push(spawn_local(async move {
                let data = pattern(i, 20_000);
                application.write_all(&data).await.unwrap();
                let mut received = vec![0; data.len()];
                application.read_exact(&mut received).await.unwrap();
                assert!(received == data);
                application
            }));
        }
        let mut open = Vec::new();
        for application in applications {
            open.push(application.await.unwrap());
        }
        assert_eq!(open.len(), 250);
    });
}

#[test]
fn our_refusal_and_our_reset_reach_the_application_behind_envoy() {
    run(async {
        let envoy = from_envoy(|incoming| {
            let mut stream = accept(incoming);
            spawn_local(async move {
                let Ok(Some(wish)) = stream.receive().await else { return };
                assert_eq!(wish, "reset me");
                stream.sink.reset();
            });
        })
        .await;
        let mut application = application_of(&envoy).await;
        application.write_all(b"reset me").await.unwrap();
        let mut rest = Vec::new();
        let ended = application.read_to_end(&mut rest).await;
        assert!(ended.is_err() || rest.is_empty(), "{ended:?} {rest:?}");

        let envoy = from_envoy(|incoming| incoming.refuse(401, Some("untrusted-domain"))).await;
        let ended = application_of(&envoy).await.read_to_end(&mut rest).await;
        assert!(ended.is_err() || rest.is_empty(), "{ended:?} {rest:?}");
    });
}
