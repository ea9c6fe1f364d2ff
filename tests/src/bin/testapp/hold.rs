//! Many connections held open, all of them tried at each command: proof that they live.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_tests::payload::MARKER;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dial::dial;
use crate::summary::Tally;
use crate::{asked_to_stop, failure, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An `echo` server.
    #[arg(long)]
    to: SocketAddr,
    /// Connections.
    #[arg(long)]
    count: usize,
    /// Connections made at once.
    #[arg(long, default_value_t = 64)]
    parallel: usize,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    seconds: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (mut held, report) = open(&args).await;
    print(&report)?;
    println!("holding");
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let stop = tokio::select! {
            line = commands.next_line() => !matches!(line, Ok(Some(_))),
            stop = asked_to_stop() => stop.map(|()| true)?,
        };
        if stop {
            return Ok(());
        }
        let report;
        (held, report) = try_all(held).await;
        print(&report)?;
    }
}

async fn open(args: &Args) -> (Vec<TcpStream>, Report) {
    let started = Instant::now();
    let (mut held, mut tally, mut opening) = (Vec::new(), Tally::default(), JoinSet::new());
    let mut left = args.count;
    loop {
        while left > 0 && opening.len() < args.parallel {
            left -= 1;
            let to = args.to;
            opening.spawn_local(async move { exchange(dial(to, Duration::from_secs(20)).await?).await });
        }
        let Some(result) = opening.join_next().await else { break };
        keep(result, &mut held, &mut tally);
    }
    (held, Report { tally, seconds: started.elapsed().as_secs_f64() })
}

async fn try_all(held: Vec<TcpStream>) -> (Vec<TcpStream>, Report) {
    let started = Instant::now();
    let (mut alive, mut tally, mut trying) = (Vec::new(), Tally::default(), JoinSet::new());
    for stream in held {
        trying.spawn_local(exchange(stream));
    }
    while let Some(result) = trying.join_next().await {
        keep(result, &mut alive, &mut tally);
    }
    (alive, Report { tally, seconds: started.elapsed().as_secs_f64() })
}

fn keep(
    result: Result<anyhow::Result<TcpStream>, tokio::task::JoinError>,
    held: &mut Vec<TcpStream>,
    tally: &mut Tally,
) {
    match result.map_err(anyhow::Error::from).flatten() {
        Ok(stream) => {
            tally.ok += 1;
            held.push(stream);
        }
        Err(error) => tally.failure(failure::name_any(&error)),
    }
}

/// Sends a marker and waits for it to come back.
async fn exchange(mut stream: TcpStream) -> anyhow::Result<TcpStream> {
    stream.write_all(MARKER).await?;
    let mut back = [0; MARKER.len()];
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    timeout(Duration::from_secs(30), stream.read_exact(&mut back)).await.map_err(late)??;
    anyhow::ensure!(back == MARKER, "the echo differs");
    Ok(stream)
}
