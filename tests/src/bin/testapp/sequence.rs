//! Numbered messages on many connections to an echo server: proof that no byte is lost, doubled or changed, whatever
//! happens under them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ambit_tests::payload::MARKER;
use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::dial::dial;
use crate::summary::Tally;
use crate::{asked_to_stop, failure, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An `echo` server.
    #[arg(long)]
    to: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    streams: usize,
    /// Milliseconds from one message to the next on each connection.
    #[arg(long, default_value_t = 20)]
    every: u64,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    sent: u64,
    received: u64,
}

#[derive(Default)]
struct Shared {
    stop: Cell<bool>,
    sent: Cell<u64>,
    received: Cell<u64>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let shared = Rc::new(Shared::default());
    let mut streams = JoinSet::new();
    for number in 0..args.streams {
        let stream = dial(args.to, Duration::from_secs(10)).await?;
        streams.spawn_local(talk(stream, number, Duration::from_millis(args.every), shared.clone()));
    }
    println!("running");
    asked_to_stop().await?;
    shared.stop.set(true);
    let mut tally = Tally::default();
    while let Some(ended) = streams.join_next().await {
        match ended? {
            Ok(()) => tally.ok += 1,
            Err(error) => tally.failure(failure::name_any(&error)),
        }
    }
    print(&Report { tally, sent: shared.sent.get(), received: shared.received.get() })
}

async fn talk(stream: tokio::net::TcpStream, number: usize, every: Duration, shared: Rc<Shared>) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let (message, sent) = (|count: u64| format!("{} {number} {count}", String::from_utf8_lossy(MARKER)), Cell::new(0));
    let send = async {
        let mut ticks = interval(every);
        while !shared.stop.get() {
            ticks.tick().await;
            writer.write_all(format!("{}\n", message(sent.get())).as_bytes()).await?;
            sent.set(sent.get() + 1);
            shared.sent.set(shared.sent.get() + 1);
        }
        anyhow::Ok(writer.shutdown().await?)
    };
    let receive = async {
        let (mut lines, mut expected) = (BufReader::new(reader).lines(), 0);
        // A message that is not answered for so long is lost.
        while let Some(line) = timeout(Duration::from_secs(10), lines.next_line()).await.context("no echo")?? {
            ensure!(line == message(expected), "message {expected} came back as {line:?}");
            expected += 1;
            shared.received.set(shared.received.get() + 1);
        }
        anyhow::Ok(expected)
    };
    let ((), received) = tokio::try_join!(send, receive)?;
    ensure!(received == sent.get(), "{} messages of {} came back", received, sent.get());
    Ok(())
}
