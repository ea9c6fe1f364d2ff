//! No stream can stall another of its tunnel, and a sleeping reader costs no more than its window.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use ambit_hbone::{Config, ConnectRequest};
use ambit_net::stream::ByteSink;
use support::{Halves, Pair, pair, run};

const SLEEPERS: usize = 64;

/// The resident memory of this process in bytes (nextest gives every test a process of its own).
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Opens streams and fills each from one end until it takes no more, while the other end never reads.
async fn sleepers(pair: &mut Pair, client_sleeps: bool, piece: &[u8], count: usize) -> (Vec<(Halves, Halves)>, usize) {
    let (mut sleepers, mut taken) = (Vec::new(), 0);
    for _ in 0..count {
        let (mut client, mut server) = pair.stream().await;
        taken += if client_sleeps { server.fill(piece).await } else { client.fill(piece).await };
        sleepers.push((client, server));
    }
    (sleepers, taken)
}

fn a_tunnel_with_sleepers_answers_on(client_sleeps: bool) {
    run(async {
        let config = Config::default();
        let mut pair = pair(&config).await;
        let (mut old_client, mut old_server) = pair.stream().await;
        let before = resident();
        let (mut sleepers, taken) = sleepers(&mut pair, client_sleeps, &[7; 16 << 10], SLEEPERS).await;

        let window = config.stream_window as usize;
        assert!(taken >= SLEEPERS * window, "every stream has filled its window: {taken}");
        assert!(taken <= SLEEPERS * (window + config.send_buffer), "and taken no more: {taken}");
        let grown = resident().saturating_sub(before);
        assert!(grown < 2 * SLEEPERS * window, "memory grew by {grown}");

        old_client.round_trip(&mut old_server).await;
        for _ in 0..10 {
            pair.echoes().await;
        }
        // Awake again, they find everything.
        for (client, server) in &mut sleepers {
            let (writer, reader) = if client_sleeps { (server, client) } else { (client, server) };
            writer.sink_finish_after_all(reader, window).await;
        }
    });
}

impl Halves {
    async fn sink_finish_after_all(&mut self, reader: &mut Self, at_least: usize) {
        self.finish().await.unwrap();
        let received = reader.receive_all().await.unwrap();
        assert!(received.len() >= at_least && received.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn readers_asleep_at_the_server_stall_nobody() {
    a_tunnel_with_sleepers_answers_on(false);
}

#[test]
fn readers_asleep_at_the_client_stall_nobody() {
    a_tunnel_with_sleepers_answers_on(true);
}

#[test]
fn single_bytes_to_sleeping_readers_cost_their_bytes_and_end_no_tunnel() {
    run(async {
        let config = Config { stream_window: 64 << 10, ..Config::default() };
        let mut pair = pair(&config).await;
        let before = resident();
        let (mut sleepers, taken) = sleepers(&mut pair, false, &[7], 16).await;
        assert!(taken >= 16 << 16, "{taken}");
        let grown = resident().saturating_sub(before);
        assert!(grown < 48 << 20, "a million frames of a byte cost {grown}");
        pair.echoes().await;
        for (client, server) in &mut sleepers {
            client.sink_finish_after_all(server, 64 << 10).await;
        }
    });
}

#[test]
fn bytes_left_unread_by_streams_that_ended_give_their_credit_back() {
    run(async {
        let config =
            Config { stream_window: 64 << 10, connection_window: 1, max_concurrent_streams: 2, ..Config::default() };
        let mut pair = pair(&config).await;
        let window = config.stream_window as usize;
        for i in 0..40 {
            let (mut client, mut server) = pair.stream().await;
            assert!(client.fill(&[7; 1000]).await >= window, "stream {i} has no window");
            match i % 5 {
                0 => client.sink.reset(),
                1 => server.sink.reset(),
                2 => drop(server),
                3 => drop(client),
                _ => {
                    let Halves { source, sink } = server;
                    drop(source);
                    assert_eq!(client.broken().await.kind(), std::io::ErrorKind::ConnectionReset);
                    drop(sink);
                }
            }
        }
        pair.echoes().await;
    });
}

#[test]
fn streams_that_both_ends_have_finished_may_lie_unread_in_any_number() {
    run(async {
        let config =
            Config { stream_window: 64 << 10, connection_window: 1, max_concurrent_streams: 2, ..Config::default() };
        let mut pair = pair(&config).await;
        let mut unread = Vec::new();
        for _ in 0..40 {
            let (mut client, mut server) = pair.stream().await;
            client.send(vec![7; 64 << 10]).await.unwrap();
            client.finish().await.unwrap();
            server.finish().await.unwrap();
            assert_eq!(client.receive().await.unwrap(), None);
            unread.push(server);
        }
        pair.echoes().await;
        for server in &mut unread {
            assert_eq!(server.receive_all().await.unwrap().len(), 64 << 10);
            server.finish().await.unwrap();
        }
    });
}

#[test]
fn what_a_blocked_transport_keeps_waiting_costs_little_however_small_it_is() {
    run(async {
        // The far end of the pipe takes 64 KiB and then nothing, ever.
        let (near, _far) = tokio::io::duplex(64 << 10);
        let config = Config { send_buffer: 1 << 20, ..Config::default() };
        let (tunnel, driver) = ambit_hbone::client::handshake(near, &config).await.unwrap();
        let _driver = tokio::task::spawn_local(driver);
        let before = resident();
        let mut streams = Vec::new();
        for _ in 0..50 {
            let mut stream = Halves::from(tunnel.open(&ConnectRequest::to("a:1")).unwrap());
            stream.fill(&[7]).await;
            streams.push(stream);
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 << 20, "50 writers of single bytes cost {grown}");
    });
}
