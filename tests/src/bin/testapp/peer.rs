//! One end of a connection that does what its script says and prints each thing that it sees as a line of JSON: the
//! instrument for how connections begin and end.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use ambit_tests::payload::Pattern;
use anyhow::Context;
use serde::Serialize;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::serve::listen;
use crate::{failure, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Dial this address.
    #[arg(long, conflicts_with = "listen", required_unless_present = "listen")]
    dial: Option<SocketAddr>,
    /// Listen on this address and play the script on the first connection.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// How long dialling may take, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    patience: u64,
    /// Steps separated by commas: `send:N` and `recv:N` bytes, `unread:N` (wait until that many lie unread), `shutdown`
    /// (writing), `reset`, `close`, `pause:MS`, `observe:MS` (read until the end or for so long), `hold`.
    #[arg(long, value_delimiter = ',')]
    script: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Receive(usize),
    Unread(usize),
    Shutdown,
    Reset,
    Close,
    Pause(Duration),
    Observe(Duration),
    Hold,
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, number) = text.split_once(':').unwrap_or((text, "0"));
        let number: usize = number.parse().with_context(|| format!("{text}: not a number"))?;
        let duration = Duration::from_millis(number as u64);
        Ok(match name {
            "send" => Self::Send(number),
            "recv" => Self::Receive(number),
            "unread" => Self::Unread(number),
            "shutdown" => Self::Shutdown,
            "reset" => Self::Reset,
            "close" => Self::Close,
            "pause" => Self::Pause(duration),
            "observe" => Self::Observe(duration),
            "hold" => Self::Hold,
            _ => anyhow::bail!("no step {name}"),
        })
    }
}

/// What happened, and when: milliseconds since dialling began, or since the connection was accepted.
#[derive(Serialize)]
struct Seen {
    event: &'static str,
    ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

struct Play {
    stream: TcpStream,
    since: Instant,
    sending: Pattern,
    receiving: Pattern,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut since = Instant::now();
    let stream = if let Some(address) = args.dial {
        match timeout(Duration::from_millis(args.patience), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return seen("connect", since, None, Some(&error)),
            Err(_) => return seen("connect", since, None, Some(&std::io::ErrorKind::TimedOut.into())),
        }
    } else {
        let listener = listen(args.listen.context("neither --dial nor --listen")?)?;
        println!("listening");
        let accepted = listener.accept().await?.0;
        since = Instant::now();
        accepted
    };
    stream.set_nodelay(true)?;
    seen("connected", since, None, None)?;
    let mut play = Play { stream, since, sending: Pattern::default(), receiving: Pattern::default() };
    for step in args.script {
        if !play.step(step).await? {
            break;
        }
    }
    Ok(())
}

impl Play {
    /// Plays a step; false if the connection is over.
    async fn step(&mut self, step: Step) -> anyhow::Result<bool> {
        match step {
            Step::Send(bytes) => {
                let mut data = vec![0; bytes];
                self.sending.fill(&mut data);
                let result = self.stream.write_all(&data).await;
                seen("sent", self.since, Some(bytes), result.as_ref().err())?;
                return Ok(result.is_ok());
            }
            Step::Receive(bytes) => return self.receive(bytes).await,
            Step::Unread(bytes) => return self.await_unread(bytes).await,
            Step::Shutdown => {
                let result = self.stream.shutdown().await;
                seen("shutdown", self.since, None, result.as_ref().err())?;
            }
            Step::Reset => {
                SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                return Ok(false);
            }
            Step::Close => return Ok(false),
            Step::Pause(time) => sleep(time).await,
            Step::Observe(time) => return self.observe(time).await,
            Step::Hold => std::future::pending().await,
        }
        Ok(true)
    }

    async fn receive(&mut self, bytes: usize) -> anyhow::Result<bool> {
        let mut data = vec![0; bytes];
        let result = self.stream.read_exact(&mut data).await;
        if result.is_ok() && self.receiving.check(&data).is_err() {
            return seen("wrong-bytes", self.since, Some(bytes), None).map(|()| false);
        }
        seen("received", self.since, Some(bytes), result.as_ref().err())?;
        Ok(result.is_ok())
    }

    /// Waits until `bytes` can be read, and leaves them.
    async fn await_unread(&self, bytes: usize) -> anyhow::Result<bool> {
        let mut buffer = vec![0; bytes];
        loop {
            match self.stream.peek(&mut buffer).await {
                Ok(length) if length == bytes => return seen("unread", self.since, Some(bytes), None).map(|()| true),
                // What lies there keeps the socket readable, so that nothing announces the rest.
                Ok(length) if length > 0 => sleep(Duration::from_millis(1)).await,
                Ok(_) => return seen("eof", self.since, Some(0), None).map(|()| false),
                Err(error) => return seen("error", self.since, Some(0), Some(&error)).map(|()| false),
            }
        }
    }

    /// Reads until the connection ends, in whatever way.
    async fn observe(&mut self, time: Duration) -> anyhow::Result<bool> {
        let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
        let all = async {
            loop {
                match self.stream.read(&mut buffer).await {
                    Ok(0) => return Ok(()),
                    Ok(length) => total += length,
                    Err(error) => return Err(error),
                }
            }
        };
        match timeout(time, all).await {
            Ok(Ok(())) => seen("eof", self.since, Some(total), None)?,
            Ok(Err(error)) => seen("error", self.since, Some(total), Some(&error))?,
            Err(_) => seen("nothing", self.since, Some(total), None)?,
        }
        Ok(true)
    }
}

fn seen(
    event: &'static str,
    since: Instant,
    bytes: Option<usize>,
    error: Option<&std::io::Error>,
) -> anyhow::Result<()> {
    let ms = u64::try_from(since.elapsed().as_millis())?;
    print(&Seen { event, ms, bytes, error: error.map(failure::name) })
}
