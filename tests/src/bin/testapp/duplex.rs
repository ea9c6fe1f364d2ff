//! The test pattern in both directions at once, every byte checked by its receiver.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_tests::payload::Pattern;
use anyhow::{Context, bail};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

use crate::dial::dial;
use crate::print;

const CHUNK: usize = 256 << 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A `duplex` server.
    #[arg(long)]
    to: SocketAddr,
    /// Bytes each way on each connection.
    #[arg(long)]
    bytes: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 1)]
    streams: usize,
}

#[derive(Serialize)]
struct Report {
    streams: usize,
    sent: u64,
    received: u64,
    seconds: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut transfers = JoinSet::new();
    for _ in 0..args.streams {
        transfers.spawn_local(exchange(args.to, args.bytes));
    }
    while let Some(transfer) = transfers.join_next().await {
        transfer??;
    }
    let total = args.bytes * args.streams as u64;
    let seconds = started.elapsed().as_secs_f64();
    print(&Report { streams: args.streams, sent: total, received: total, seconds })
}

async fn exchange(to: SocketAddr, bytes: u64) -> anyhow::Result<()> {
    let mut stream = dial(to, Duration::from_secs(10)).await?;
    stream.write_all(&bytes.to_be_bytes()).await?;
    let (mut reader, writer) = stream.into_split();
    tokio::try_join!(send(writer, bytes), async {
        receive(&mut reader, bytes).await?;
        let mut verdict = String::new();
        reader.read_to_string(&mut verdict).await?;
        match verdict.as_str() {
            "intact" => Ok(()),
            other => bail!("the server received something else: {other:?}"),
        }
    })?;
    Ok(())
}

/// The server's side: it sends its verdict after its own bytes.
pub(crate) async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    let bytes = stream.read_u64().await?;
    let (mut reader, mut writer) = stream.into_split();
    let (sent, received) = tokio::join!(pattern(&mut writer, bytes), async {
        receive(&mut reader, bytes).await?;
        match reader.read(&mut [0]).await? {
            0 => Ok(()),
            _ => bail!("more than announced"),
        }
    });
    sent?;
    let verdict = received.map_or_else(|error| format!("{error:#}"), |()| "intact".to_owned());
    writer.write_all(verdict.as_bytes()).await?;
    Ok(writer.shutdown().await?)
}

async fn send(mut writer: OwnedWriteHalf, bytes: u64) -> anyhow::Result<()> {
    pattern(&mut writer, bytes).await?;
    Ok(writer.shutdown().await?)
}

async fn pattern(writer: &mut OwnedWriteHalf, bytes: u64) -> anyhow::Result<()> {
    let (mut pattern, mut chunk) = (Pattern::default(), vec![0; CHUNK]);
    while pattern.offset() < bytes {
        let left = usize::try_from(bytes - pattern.offset()).unwrap_or(usize::MAX);
        let piece = chunk.get_mut(..left.min(CHUNK)).unwrap_or_default();
        pattern.fill(piece);
        writer.write_all(piece).await.context("sending broke off")?;
    }
    Ok(())
}

async fn receive(reader: &mut OwnedReadHalf, bytes: u64) -> anyhow::Result<()> {
    let (mut pattern, mut chunk) = (Pattern::default(), vec![0; CHUNK]);
    while pattern.offset() < bytes {
        let left = usize::try_from(bytes - pattern.offset()).unwrap_or(usize::MAX);
        let length = reader.read(chunk.get_mut(..left.min(CHUNK)).unwrap_or_default()).await?;
        if length == 0 {
            bail!("the stream ended after {} of {bytes} bytes", pattern.offset());
        }
        let received = chunk.get(..length).unwrap_or_default();
        pattern.check(received).map_err(|at| anyhow::anyhow!("wrong bytes near {}", at.near))?;
    }
    Ok(())
}
