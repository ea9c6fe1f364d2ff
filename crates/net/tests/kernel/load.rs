//! Much data and many connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;

use ambit_model::traffic::Traffic;
use ambit_net::{Closed, relay, tcp};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

use crate::place::block_on;

/// Pseudo-random bytes, the same for the same seed (xorshift64).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}

fn send(mut stream: &TcpStream, seed: u64, total: usize) {
    let (mut noise, mut buffer) = (Noise(seed), vec![0; 64 << 10]);
    for _ in 0..total / buffer.len() {
        noise.fill(&mut buffer);
        stream.write_all(&buffer).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Reads in pieces of `piece` bytes, a divisor of 64 Ki, and compares.
fn receive(mut stream: &TcpStream, seed: u64, total: usize, piece: usize) {
    let (mut noise, mut expected, mut buffer) = (Noise(seed), vec![0; 64 << 10], vec![0; piece]);
    for _ in 0..total / expected.len() {
        noise.fill(&mut expected);
        for expected in expected.chunks(piece) {
            stream.read_exact(&mut buffer).unwrap();
            assert!(buffer == expected, "bytes differ");
        }
    }
    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
}

#[test]
fn a_quarter_of_a_gibibyte_each_way_at_once_past_a_slow_reader() {
    const TOTAL: usize = 256 << 20;
    let (entry, exit) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    // The server reads little at a time from a small buffer, so that what is sent to it backs up to the client.
    SockRef::from(&exit).set_recv_buffer_size(8 << 10).unwrap();
    let client = TcpStream::connect(entry.local_addr().unwrap()).unwrap();
    let relayed = [entry.accept().unwrap().0, TcpStream::connect(exit.local_addr().unwrap()).unwrap()];
    let (server, _) = exit.accept().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| send(&client, 1, TOTAL));
        scope.spawn(|| receive(&client, 2, TOTAL, 64 << 10));
        scope.spawn(|| send(&server, 2, TOTAL));
        scope.spawn(|| receive(&server, 1, TOTAL, 4 << 10));
        let traffic = Traffic::default();
        let closed = block_on(async {
            let [client, server] = relayed.map(|stream| {
                stream.set_nonblocking(true).unwrap();
                tcp::split(tokio::net::TcpStream::from_std(stream).unwrap())
            });
            relay(client, server, &traffic).await
        });
        assert!(matches!(closed, Closed::Finished), "{closed:?}");
        assert_eq!((traffic.sent(), traffic.received()), (TOTAL as u64, TOTAL as u64));
    });
}

/// Resident memory of this process, in bytes (proc_pid_statm(5)).
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn idle_connections_hold_no_buffers() {
    const CONNECTIONS: usize = 1500;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(20_000), hard.min(20_000).max(hard)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pair = || {
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().0;
        accepted.set_nonblocking(true).unwrap();
        (dialled, accepted)
    };
    let pairs: Vec<_> = (0..CONNECTIONS).map(|_| (pair(), pair())).collect();
    let mut ends = Vec::with_capacity(CONNECTIONS);
    let local = tokio::task::LocalSet::new();
    block_on(local.run_until(async {
        let before = resident();
        let finished = Rc::new(tokio::sync::Notify::new());
        for ((client, near), (server, far)) in pairs {
            let halves = |stream| tcp::split(tokio::net::TcpStream::from_std(stream).unwrap());
            let (near, far) = (halves(near), halves(far));
            let finished = Rc::clone(&finished);
            tokio::task::spawn_local(async move {
                let traffic = Traffic::default();
                relay(near, far, &traffic).await;
                finished.notify_one();
            });
            ends.push((client, server));
        }
        // Each has carried something both ways, more than is copied.
        let mut bytes = vec![7; 12_000];
        for (client, server) in &mut ends {
            for (from, to) in [(&*client, &*server), (&*server, &*client)] {
                (&mut &*from).write_all(&bytes).unwrap();
                to.set_nonblocking(true).unwrap();
                let mut read = 0;
                while read < bytes.len() {
                    tokio::task::yield_now().await;
                    read += (&mut &*to).read(&mut bytes[read..]).unwrap_or(0);
                }
                to.set_nonblocking(false).unwrap();
            }
        }
        let each = resident().saturating_sub(before) / CONNECTIONS;
        println!("{each} bytes of resident memory for an idle connection");
        assert!(each < 3 << 10, "{each} bytes for an idle connection");
        ends.clear();
        finished.notified().await;
    }));
}
