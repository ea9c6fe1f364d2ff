//! Reads what a server says before it is asked, on one connection after the other: who answered, whom it saw, how soon.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::dial;
use crate::print;
use crate::summary::Latency;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A `banner` or `whoami` server.
    #[arg(long)]
    to: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Milliseconds to wait for a connection and for its line.
    #[arg(long, default_value_t = 5000)]
    patience: u64,
}

#[derive(Serialize)]
struct Report {
    /// What the server said, a line for each connection.
    lines: Vec<String>,
    /// From the first packet sent to the line received.
    latency: Latency,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (mut lines, mut durations) = (Vec::new(), Vec::new());
    for _ in 0..args.count {
        let begun = Instant::now();
        let stream = dial(args.to, Duration::from_millis(args.patience)).await?;
        let peer = stream.peer_addr()?;
        ensure!(peer == args.to, "connected to {}, and the peer is {peer}", args.to);
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        let (line, took) =
            timeout(Duration::from_millis(args.patience), read_line(stream, begun)).await.map_err(late)??;
        lines.push(line);
        durations.push(took);
    }
    print(&Report { lines, latency: Latency::of(durations) })
}

/// The first line; the connection must then end in order.
async fn read_line(stream: TcpStream, begun: Instant) -> anyhow::Result<(String, Duration)> {
    let (mut stream, mut line) = (BufReader::new(stream), String::new());
    ensure!(stream.read_line(&mut line).await? > 0, "the server said nothing");
    let took = begun.elapsed();
    stream.shutdown().await?;
    ensure!(stream.read(&mut [0]).await? == 0, "more than a line");
    Ok((line.trim_end().to_owned(), took))
}
