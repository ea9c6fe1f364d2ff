//! Both ends of a tunnel in one task set, and short words for what tests do with streams.
#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub(crate) mod cut;
pub(crate) mod raw;

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ambit_hbone::client::{self, Tunnel};
use ambit_hbone::server::{self, Incoming};
use ambit_hbone::{Config, ConnectRequest, ConnectResponse, Error, StreamSink, StreamSource};
use ambit_net::stream::{ByteSink, ByteSource};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// What is received before a test is given up as hanging.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// Runs a test on one thread, as a worker does.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async { tokio::time::timeout(GUARD, test).await.expect("hangs") }));
}

/// Runs a test whose clock moves on by itself when nothing else does.
pub(crate) fn run_in_virtual_time(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

/// Both ends of one tunnel.
pub(crate) struct Pair {
    pub(crate) tunnel: Tunnel,
    pub(crate) driver: JoinHandle<Result<(), Error>>,
    pub(crate) requests: mpsc::UnboundedReceiver<Incoming>,
    pub(crate) serving: JoinHandle<Result<(), Error>>,
    pub(crate) drain: Rc<Notify>,
}

/// A tunnel over a pipe in memory.
pub(crate) async fn pair(config: &Config) -> Pair {
    pair_of(config, config).await
}

pub(crate) async fn pair_of(client: &Config, server: &Config) -> Pair {
    let (near, far) = tokio::io::duplex(256 << 10);
    let (requests, serving, drain) = serve(far, server);
    let (tunnel, driver) = client::handshake(near, client).await.unwrap();
    Pair { tunnel, driver: spawn_local(driver), requests, serving, drain }
}

type Served = (mpsc::UnboundedReceiver<Incoming>, JoinHandle<Result<(), Error>>, Rc<Notify>);

/// Serves a transport; requests come out of the channel.
pub(crate) fn serve<T: AsyncRead + AsyncWrite + Unpin + 'static>(transport: T, config: &Config) -> Served {
    let (sender, requests) = mpsc::unbounded_channel();
    let drain = Rc::new(Notify::new());
    let (config, draining) = (config.clone(), Rc::clone(&drain));
    let serving = spawn_local(async move {
        let on_request = |incoming| drop(sender.send(incoming));
        server::serve(transport, &config, draining.notified(), on_request).await
    });
    (requests, serving, drain)
}

impl Pair {
    /// Opens a stream; returns its halves at the client and at the server.
    pub(crate) async fn stream(&mut self) -> (Halves, Halves) {
        let client = self.tunnel.open(&ConnectRequest::to("10.0.0.7:80")).unwrap();
        let incoming = self.requests.recv().await.unwrap();
        (client.into(), incoming.accept(&ConnectResponse::default()).unwrap().into())
    }

    /// Proves that the tunnel is alive: a new stream carries bytes both ways.
    pub(crate) async fn echoes(&mut self) {
        let (mut client, mut server) = self.stream().await;
        client.round_trip(&mut server).await;
    }
}

/// Both halves of a stream.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) source: StreamSource,
    pub(crate) sink: StreamSink,
}

impl From<(StreamSource, StreamSink)> for Halves {
    fn from((source, sink): (StreamSource, StreamSink)) -> Self {
        Self { source, sink }
    }
}

impl Halves {
    pub(crate) async fn send(&mut self, data: impl Into<Bytes>) -> io::Result<()> {
        let mut data = data.into();
        poll_fn(|cx| self.sink.poll_send(cx, &mut data)).await
    }

    /// Sends copies of `piece` until the stream takes no more; returns the bytes taken. Gives the tunnel its turns.
    pub(crate) async fn fill(&mut self, piece: &[u8]) -> usize {
        let (mut taken, mut stuck_for) = (0, 0);
        let piece = Bytes::copy_from_slice(piece);
        let mut left = piece.clone();
        while stuck_for < 50 {
            let sent = poll_fn(|cx| std::task::Poll::Ready(self.sink.poll_send(cx, &mut left))).await;
            if sent.is_ready() {
                taken += piece.len();
                left = piece.clone();
                stuck_for = 0;
            } else {
                stuck_for += 1;
                tokio::task::yield_now().await;
            }
        }
        taken + piece.len() - left.len()
    }

    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.sink.poll_finish(cx)).await
    }

    pub(crate) async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.source.poll_receive(cx)).await
    }

    pub(crate) async fn broken(&mut self) -> io::Error {
        poll_fn(|cx| self.sink.poll_broken(cx)).await
    }

    /// Receives exactly as many bytes as `expected` has, and compares.
    pub(crate) async fn expect(&mut self, expected: &[u8]) {
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let piece = self.receive().await.unwrap().expect("ended early");
            assert!(!piece.is_empty());
            received.extend_from_slice(&piece);
        }
        assert!(received == expected, "received {} bytes, other than expected", received.len());
    }

    /// Receives until the orderly end.
    pub(crate) async fn receive_all(&mut self) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        while let Some(piece) = self.receive().await? {
            received.extend_from_slice(&piece);
        }
        Ok(received)
    }

    pub(crate) async fn round_trip(&mut self, other: &mut Self) {
        self.send("ping").await.unwrap();
        other.expect(b"ping").await;
        other.send("pong").await.unwrap();
        self.expect(b"pong").await;
    }
}

/// The error of this crate inside of another.
pub(crate) fn inside(error: &io::Error) -> Error {
    Error::inside(error).cloned().unwrap_or_else(|| panic!("no hbone error in {error:?}"))
}
