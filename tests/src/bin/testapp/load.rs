//! Load and its measure: bytes in bulk, requests on kept connections by HTTP/1.1 or HTTP/2, or new connections, for a fixed
//! time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::dial::dial;
use crate::summary::{Latency, Tally};
use crate::{failure, http2, print};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: ambit-load\r\n\r\n";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(clap::Subcommand)]
enum Kind {
    /// Sends zeros to a `discard` server on every connection.
    Bulk(Shape),
    /// Sends one request after the other to an `http` server on every connection.
    Requests(Shape),
    /// Sends one request after the other to an `http2` server on every stream of every connection.
    Streams {
        #[command(flatten)]
        shape: Shape,
        /// Streams of each connection at once.
        #[arg(long, default_value_t = 10)]
        streams: usize,
    },
    /// Makes one connection after the other to an `http` server, with one request each.
    Connections(Shape),
}

#[derive(clap::Args, Clone, Copy)]
struct Shape {
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// Connections at once.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// How long, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// What was done: bytes, requests or connections.
#[derive(Serialize)]
struct Report {
    units: u64,
    seconds: f64,
    per_second: f64,
    latency: Latency,
    #[serde(flatten)]
    tally: Tally,
}

#[derive(Default)]
struct Done {
    units: u64,
    durations: Vec<Duration>,
    tally: Tally,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (Kind::Bulk(shape) | Kind::Requests(shape) | Kind::Streams { shape, .. } | Kind::Connections(shape)) =
        args.kind;
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(shape.seconds);
    let mut running = JoinSet::new();
    for _ in 0..shape.connections {
        match args.kind {
            Kind::Bulk(_) => running.spawn_local(bulk(shape.to, until)),
            Kind::Requests(_) => running.spawn_local(requests(shape.to, until)),
            Kind::Streams { streams, .. } => running.spawn_local(multiplexed(shape.to, until, streams)),
            Kind::Connections(_) => running.spawn_local(connections(shape.to, until)),
        };
    }
    let mut all = Done::default();
    while let Some(done) = running.join_next().await {
        let done = done??;
        all.units += done.units;
        all.durations.extend(done.durations);
        all.tally.add(done.tally);
    }
    let seconds = started.elapsed().as_secs_f64();
    // Bytes and requests are counts far below 2^52, where f64 is exact.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let per_second = all.units as f64 / seconds;
    let latency = Latency::of(all.durations);
    print(&Report { units: all.units, seconds, per_second, latency, tally: all.tally })
}

/// Counts what the server has taken: it closes once it has read everything.
async fn bulk(to: SocketAddr, until: Instant) -> anyhow::Result<Done> {
    let mut stream = dial(to, Duration::from_secs(10)).await?;
    let chunk = vec![0; 128 << 10];
    let mut done = Done::default();
    while Instant::now() < until {
        stream.write_all(&chunk).await?;
        done.units += chunk.len() as u64;
    }
    stream.shutdown().await?;
    ensure!(stream.read(&mut [0]).await? == 0, "a discard server answers nothing");
    done.tally.ok = 1;
    Ok(done)
}

async fn requests(to: SocketAddr, until: Instant) -> anyhow::Result<Done> {
    let mut stream = dial(to, Duration::from_secs(10)).await?;
    let mut done = Done::default();
    while Instant::now() < until {
        let begun = Instant::now();
        request(&mut stream).await?;
        done.durations.push(begun.elapsed());
        done.units += 1;
    }
    done.tally.ok = done.units;
    Ok(done)
}

async fn multiplexed(to: SocketAddr, until: Instant, streams: usize) -> anyhow::Result<Done> {
    let client = http2::connect(to).await?;
    let mut running = JoinSet::new();
    for _ in 0..streams {
        let client = client.clone();
        running.spawn_local(async move {
            let mut durations = Vec::new();
            while Instant::now() < until {
                durations.push(http2::request(client.clone(), to).await?);
            }
            anyhow::Ok(durations)
        });
    }
    let mut done = Done::default();
    while let Some(durations) = running.join_next().await {
        done.durations.extend(durations??);
    }
    done.units = done.durations.len() as u64;
    done.tally.ok = done.units;
    Ok(done)
}

async fn connections(to: SocketAddr, until: Instant) -> anyhow::Result<Done> {
    let mut done = Done::default();
    while Instant::now() < until {
        let begun = Instant::now();
        match connection(to).await {
            Ok(()) => {
                done.durations.push(begun.elapsed());
                done.units += 1;
                done.tally.ok += 1;
            }
            Err(error) => done.tally.failure(failure::name_any(&error)),
        }
    }
    Ok(done)
}

async fn connection(to: SocketAddr) -> anyhow::Result<()> {
    let mut stream = dial(to, Duration::from_secs(10)).await?;
    request(&mut stream).await?;
    // Closed by reset, so that a long run does not end for want of local ports in TIME_WAIT.
    Ok(SockRef::from(&stream).set_linger(Some(Duration::ZERO))?)
}

async fn request(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(REQUEST).await?;
    let (mut buffer, mut filled) = ([0; 1024], 0);
    loop {
        let length = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if length == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        filled += length;
        // The body of an `http` server is one line, and its head has no line end of that kind alone.
        let received = buffer.get(..filled).unwrap_or_default();
        if received.ends_with(b"\n") && !received.ends_with(b"\r\n") {
            ensure!(received.starts_with(b"HTTP/1.1 200 "), "not an answer");
            return Ok(());
        }
    }
}
