//! The tunnels of a worker: how many are made, who waits, what is replaced, when they are closed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ambit_hbone::pool::Settings;
use ambit_hbone::{Config, ConnectRequest, ConnectResponse, Connector, Error, StreamSink, StreamSource, Tunnels};
use support::{Halves, run, run_in_virtual_time, serve};
use tokio::io::DuplexStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::sleep;

/// Peers that send back what they receive, each tunnel to one served here.
#[derive(Default)]
struct Peers {
    /// The transports made.
    made: Cell<usize>,
    /// How the next transports fail, if they do.
    failing: Cell<bool>,
    /// A transport takes a permit; without this it is made at once.
    gate: Option<Semaphore>,
    limit: Option<u32>,
    drains: RefCell<Vec<Rc<Notify>>>,
    servers: RefCell<Vec<JoinHandle<Result<(), Error>>>>,
}

#[derive(Clone, Default)]
struct Dial(Rc<Peers>);

impl Connector<u8> for Dial {
    type Transport = DuplexStream;
    type Error = io::Error;

    async fn connect(&self, _: &u8) -> io::Result<DuplexStream> {
        let peers = &self.0;
        peers.made.set(peers.made.get() + 1);
        if let Some(gate) = &peers.gate {
            gate.acquire().await.unwrap().forget();
        }
        if peers.failing.get() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(64 << 10);
        let max_concurrent_streams = peers.limit.unwrap_or(200);
        let (mut requests, serving, drain) = serve(far, &Config { max_concurrent_streams, ..Config::default() });
        peers.servers.borrow_mut().push(serving);
        peers.drains.borrow_mut().push(drain);
        spawn_local(async move {
            while let Some(incoming) = requests.recv().await {
                let Ok(stream) = incoming.accept(&ConnectResponse::default()) else { continue };
                spawn_local(echo(stream.into()));
            }
        });
        Ok(near)
    }
}

async fn echo(mut stream: Halves) {
    while let Ok(Some(piece)) = stream.receive().await {
        if stream.send(piece).await.is_err() {
            return;
        }
    }
    let _ = stream.finish().await;
}

fn tunnels(dial: &Dial) -> Tunnels<u8, Dial> {
    Tunnels::new(dial.clone(), Config::default(), Settings::default())
}

async fn open(tunnels: &Tunnels<u8, Dial>) -> Result<(StreamSource, StreamSink), Error> {
    tunnels.open(&1, &ConnectRequest::to("a:1")).await
}

async fn echoes(stream: &mut Halves) {
    stream.send("echo").await.unwrap();
    stream.expect(b"echo").await;
}

#[test]
fn five_thousand_first_connections_make_fifty_tunnels() {
    run(async {
        let dial = Dial(Rc::new(Peers { gate: Some(Semaphore::new(0)), ..Peers::default() }));
        let tunnels = tunnels(&dial);
        let opening: Vec<_> = (0..5000)
            .map(|_| {
                let tunnels = tunnels.clone();
                spawn_local(async move { open(&tunnels).await })
            })
            .collect();
        while dial.0.made.get() < 50 {
            yield_now().await;
        }
        dial.0.gate.as_ref().unwrap().add_permits(1000);
        let mut streams = Vec::new();
        for stream in opening {
            streams.push(Halves::from(stream.await.unwrap().unwrap()));
        }
        assert_eq!((dial.0.made.get(), tunnels.len()), (50, 50));
        for stream in streams.iter_mut().step_by(77) {
            echoes(stream).await;
        }
    });
}

#[test]
fn two_hundred_and_fifty_streams_are_three_tunnels_and_ended_ones_make_room() {
    run(async {
        let dial = Dial::default();
        let tunnels = tunnels(&dial);
        let mut streams = Vec::new();
        for _ in 0..250 {
            streams.push(Halves::from(open(&tunnels).await.unwrap()));
        }
        assert_eq!(dial.0.made.get(), 3);
        streams.drain(..150);
        for _ in 0..150 {
            streams.push(Halves::from(open(&tunnels).await.unwrap()));
        }
        assert_eq!(dial.0.made.get(), 3);
        for stream in streams.iter_mut().step_by(7) {
            echoes(stream).await;
        }
        let _elsewhere = tunnels.open(&2, &ConnectRequest::to("a:1")).await.unwrap();
        assert_eq!(dial.0.made.get(), 4, "another key has a tunnel of its own");
    });
}

#[test]
fn a_peer_that_grants_fewer_streams_gets_more_tunnels() {
    run(async {
        let dial = Dial(Rc::new(Peers { limit: Some(10), ..Peers::default() }));
        let tunnels = tunnels(&dial);
        let mut streams = Vec::new();
        for _ in 0..45 {
            let mut stream = Halves::from(open(&tunnels).await.unwrap());
            echoes(&mut stream).await;
            streams.push(stream);
        }
        assert_eq!(dial.0.made.get(), 5);
    });
}

#[test]
fn a_failed_attempt_fails_those_who_wait_and_nobody_after() {
    run(async {
        let dial = Dial(Rc::new(Peers { gate: Some(Semaphore::new(0)), ..Peers::default() }));
        dial.0.failing.set(true);
        let tunnels = tunnels(&dial);
        let waiting: Vec<_> = (0..30)
            .map(|_| {
                let tunnels = tunnels.clone();
                spawn_local(async move { open(&tunnels).await })
            })
            .collect();
        while dial.0.made.get() == 0 {
            yield_now().await;
        }
        dial.0.gate.as_ref().unwrap().add_permits(2);
        for waiter in waiting {
            let Err(Error::Connect(why)) = waiter.await.unwrap() else { panic!() };
            let why: &io::Error = why.downcast_ref().unwrap();
            assert_eq!(why.kind(), io::ErrorKind::ConnectionRefused);
        }
        assert_eq!((dial.0.made.get(), tunnels.len()), (1, 0));
        dial.0.failing.set(false);
        echoes(&mut open(&tunnels).await.unwrap().into()).await;
    });
}

#[test]
fn one_who_stops_waiting_leaves_the_tunnel_to_the_others() {
    run(async {
        let dial = Dial(Rc::new(Peers { gate: Some(Semaphore::new(0)), ..Peers::default() }));
        let tunnels = tunnels(&dial);
        let opening = |tunnels: Tunnels<u8, Dial>| spawn_local(async move { open(&tunnels).await });
        let (first, second) = (opening(tunnels.clone()), opening(tunnels.clone()));
        while dial.0.made.get() == 0 {
            yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        dial.0.gate.as_ref().unwrap().add_permits(1);
        let mut stream = Halves::from(second.await.unwrap().unwrap());
        echoes(&mut stream).await;
        assert_eq!(dial.0.made.get(), 1);
    });
}

#[test]
fn a_tunnel_is_closed_after_five_minutes_without_streams() {
    run_in_virtual_time(async {
        let dial = Dial::default();
        let tunnels = tunnels(&dial);
        let mut stream = Halves::from(open(&tunnels).await.unwrap());
        sleep(Duration::from_secs(7300)).await;
        echoes(&mut stream).await;
        drop(stream);
        sleep(Duration::from_secs(299)).await;
        echoes(&mut open(&tunnels).await.unwrap().into()).await;
        assert_eq!((dial.0.made.get(), tunnels.len()), (1, 1));
        sleep(Duration::from_secs(299)).await;
        assert_eq!(tunnels.len(), 1);
        sleep(Duration::from_secs(2)).await;
        assert!(tunnels.is_empty());
        let served = dial.0.servers.borrow_mut().remove(0);
        served.await.unwrap().unwrap();
        echoes(&mut open(&tunnels).await.unwrap().into()).await;
        assert_eq!(dial.0.made.get(), 2);
    });
}

#[test]
fn a_tunnel_whose_peer_leaves_is_replaced_unnoticed() {
    run(async {
        let dial = Dial::default();
        let tunnels = tunnels(&dial);
        let mut old = Halves::from(open(&tunnels).await.unwrap());
        echoes(&mut old).await;
        dial.0.drains.borrow()[0].notify_one();
        while dial.0.made.get() == 1 {
            // Until the GOAWAY is here, streams may still go on the old tunnel.
            if let Ok(stream) = open(&tunnels).await {
                drop(Halves::from(stream));
            }
            yield_now().await;
        }
        echoes(&mut open(&tunnels).await.unwrap().into()).await;
        echoes(&mut old).await;
        assert_eq!((dial.0.made.get(), tunnels.len()), (2, 1));
    });
}

#[test]
fn a_tunnel_that_broke_is_replaced() {
    run(async {
        let dial = Dial::default();
        let tunnels = tunnels(&dial);
        let mut old = Halves::from(open(&tunnels).await.unwrap());
        echoes(&mut old).await;
        dial.0.servers.borrow()[0].abort();
        assert_eq!(old.broken().await.kind(), io::ErrorKind::ConnectionReset);
        echoes(&mut open(&tunnels).await.unwrap().into()).await;
        assert_eq!((dial.0.made.get(), tunnels.len()), (2, 1));
    });
}

#[test]
fn draining_waits_for_streams_and_whoever_comes_late_has_one_still() {
    run(async {
        let dial = Dial::default();
        let tunnels = tunnels(&dial);
        let mut stream = Halves::from(open(&tunnels).await.unwrap());
        let draining = spawn_local({
            let tunnels = tunnels.clone();
            async move { tunnels.drain().await }
        });
        yield_now().await;
        // On the tunnel that is there, as long as there is one.
        let mut late = Halves::from(open(&tunnels).await.unwrap());
        echoes(&mut late).await;
        assert_eq!(dial.0.made.get(), 1);
        for stream in [&mut stream, &mut late] {
            echoes(stream).await;
            assert!(!draining.is_finished());
            stream.finish().await.unwrap();
            assert_eq!(stream.receive_all().await.unwrap(), b"");
        }
        drop((stream, late));
        draining.await.unwrap();
        assert!(tunnels.is_empty());
        // And on one of its own after that, which ends with it.
        let mut last = Halves::from(open(&tunnels).await.unwrap());
        echoes(&mut last).await;
        drop(last);
        tunnels.drain().await;
        assert_eq!((dial.0.made.get(), tunnels.len()), (2, 0));
        let served = dial.0.servers.borrow_mut().remove(0);
        served.await.unwrap().unwrap();
    });
}

#[test]
fn with_the_last_handle_gone_each_tunnel_ends_with_its_streams() {
    run(async {
        let dial = Dial::default();
        let tunnels = tunnels(&dial);
        let mut stream = Halves::from(open(&tunnels).await.unwrap());
        drop(tunnels);
        echoes(&mut stream).await;
        let served = dial.0.servers.borrow_mut().remove(0);
        assert!(!served.is_finished());
        drop(stream);
        served.await.unwrap().unwrap();
    });
}
