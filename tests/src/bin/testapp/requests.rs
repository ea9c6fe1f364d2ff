//! A request on a new connection every so often, each of them counted: what a user would notice of a disturbance.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::dial::dial;
use crate::summary::{Latency, Tally};
use crate::{asked_to_stop, failure, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An `http` server.
    #[arg(long)]
    to: SocketAddr,
    /// Milliseconds from one request to the next.
    #[arg(long, default_value_t = 5)]
    every: u64,
    /// Milliseconds until a request counts as failed.
    #[arg(long, default_value_t = 2000)]
    patience: u64,
    /// Stop after so many requests.
    #[arg(long)]
    count: Option<usize>,
    /// Print a line for each failure as it happens.
    #[arg(long)]
    verbose: bool,
    /// Keep the sending side open until the answer is there, as HTTP clients do, in the place of ending it after the request.
    #[arg(long)]
    open: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    latency: Latency,
    /// Milliseconds between the first failure and the last, since the start.
    failures_ms: Option<(u64, u64)>,
}

#[derive(Default)]
struct Seen {
    tally: Tally,
    durations: Vec<Duration>,
    failures: Option<(Duration, Duration)>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut running = JoinSet::new();
    let started = Instant::now();
    let (to, patience, verbose) = (args.to, Duration::from_millis(args.patience), args.verbose);
    let open = args.open;
    let produce = async {
        let mut ticks = interval(Duration::from_millis(args.every));
        // A late request is sent late, never twice at once: the rate is what the test says.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        println!("running");
        for _ in 0..args.count.unwrap_or(usize::MAX) {
            ticks.tick().await;
            let seen = seen.clone();
            running.spawn_local(async move {
                let begun = Instant::now();
                let late = || std::io::Error::from(std::io::ErrorKind::TimedOut).into();
                let result = timeout(patience, request(to, patience, open)).await.unwrap_or_else(|_| Err(late()));
                seen.borrow_mut().note(result, begun.duration_since(started), begun.elapsed(), verbose);
            });
            while running.try_join_next().is_some() {}
        }
        anyhow::Ok(())
    };
    tokio::select! { done = produce => done?, stop = asked_to_stop() => stop? }
    running.join_all().await;
    let seen = seen.take();
    let ms = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    let failures_ms = seen.failures.map(|(first, last)| (ms(first), ms(last)));
    print(&Report { tally: seen.tally, latency: Latency::of(seen.durations), failures_ms })
}

impl Seen {
    fn note(&mut self, result: anyhow::Result<()>, at: Duration, took: Duration, verbose: bool) {
        match result {
            Ok(()) => {
                self.tally.ok += 1;
                self.durations.push(took);
            }
            Err(error) => {
                let name = failure::name_any(&error);
                if verbose {
                    println!("failed at {at:?} after {took:?}: {name}");
                }
                let first = self.failures.map_or(at, |(first, _)| first);
                self.failures = Some((first, at));
                self.tally.failure(name);
            }
        }
    }
}

async fn request(to: SocketAddr, patience: Duration, open: bool) -> anyhow::Result<()> {
    let mut stream = dial(to, patience).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: ambit-test\r\n\r\n").await?;
    if !open {
        stream.shutdown().await?;
    }
    let mut answer = Vec::new();
    while !(open && is_whole(&answer)) && stream.read_buf(&mut answer).await? > 0 {}
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "no answer after {} bytes", answer.len());
    Ok(())
}

/// True if this is a head that says how long its body is, and all of that.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return false };
    let (head, body) = answer.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}
