//! What the relay and the visits to a namespace cost, over loopback: `cargo run --release --example relay_cost`
//! (root). Direct and relayed alternate; the median of the rounds is printed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement stops at the first surprise, and its product is text"
)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ambit_model::traffic::Traffic;
use ambit_net::socket::{ConnectOptions, ListenOptions, connect, listen};
use ambit_net::{NetNs, relay, tcp};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::task::LocalSet;

const ROUNDS: usize = 7;
const BULK: usize = 2 << 30;
const TURNS: u32 = 30_000;
const VISITS: u32 = 20_000;

fn main() {
    let server = serve();
    let proxy = proxy_to(server);
    for streams in [1, 4] {
        compare(&format!("bulk, {streams} streams, Gb/s"), server, proxy, |address| bulk(address, streams));
    }
    compare("128 B there and back, us", server, proxy, ping_pong);
    visits();
}

/// Takes in what is sent after a `b`, and sends back what is sent after a `p`.
fn serve() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                stream.read_exact(&mut buffer[..1]).unwrap();
                let answers = buffer[0] == b'p';
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if answers {
                        stream.write_all(&buffer[..read]).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// A worker that relays to `server`.
fn proxy_to(server: std::net::SocketAddr) -> std::net::SocketAddr {
    let here = NetNs::current().unwrap();
    let listener = listen(&here, "127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let here = here.clone();
                tokio::task::spawn_local(async move {
                    let server = connect(&here, server, &ConnectOptions::outward()).await.unwrap();
                    relay(tcp::split(client), tcp::split(server), &Traffic::default()).await;
                });
            }
        });
    });
    address
}

fn bulk(address: std::net::SocketAddr, streams: usize) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..streams {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(address).unwrap();
                let data = vec![7; 256 << 10];
                stream.write_all(b"b").unwrap();
                for _ in 0..BULK / streams / data.len() {
                    stream.write_all(&data).unwrap();
                }
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            });
        }
    });
    BULK as f64 * 8.0 / 1e9 / started.elapsed().as_secs_f64()
}

fn ping_pong(address: std::net::SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"p").unwrap();
    let mut buffer = [0; 128];
    let started = Instant::now();
    for _ in 0..TURNS {
        stream.write_all(&buffer).unwrap();
        stream.read_exact(&mut buffer).unwrap();
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(TURNS)
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.try_into().unwrap())
}

fn compare(
    what: &str,
    direct: std::net::SocketAddr,
    relayed: std::net::SocketAddr,
    measure: impl Fn(std::net::SocketAddr) -> f64,
) {
    let mut results = [Vec::new(), Vec::new()];
    let mut spent = [Duration::ZERO; 2];
    for _ in 0..ROUNDS {
        for (index, address) in [direct, relayed].into_iter().enumerate() {
            let before = cpu();
            results[index].push(measure(address));
            spent[index] += cpu() - before;
        }
    }
    for result in &mut results {
        result.sort_unstable_by(f64::total_cmp);
    }
    let [direct, relayed] = results.map(|result| result[ROUNDS / 2]);
    let rounds = f64::from(u32::try_from(ROUNDS).unwrap());
    let [direct_cpu, relayed_cpu] = spent.map(|spent| spent.as_secs_f64() / rounds);
    println!(
        "{what}: direct {direct:.2}, relayed {relayed:.2}, ratio {:.2}; CPU-s a round {direct_cpu:.2}, {relayed_cpu:.2}",
        relayed / direct
    );
}

fn time(what: &str, work: impl Fn()) {
    let started = Instant::now();
    (0..VISITS).for_each(|_| work());
    println!("{what}: {:.2} us", started.elapsed().as_secs_f64() * 1e6 / f64::from(VISITS));
}

fn visits() {
    let elsewhere = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        NetNs::current().unwrap()
    });
    let (here, elsewhere) = (NetNs::current().unwrap(), elsewhere.join().unwrap());
    let socket = || drop(black_box(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()));
    time("a namespace's file opened", || drop(black_box(std::fs::File::open("/proc/thread-self/ns/net").unwrap())));
    time("a visit to a namespace", || elsewhere.run(|| ()).unwrap());
    time("a socket made and closed here", || here.run(socket).unwrap());
    time("a socket made and closed elsewhere", || elsewhere.run(socket).unwrap());
}
