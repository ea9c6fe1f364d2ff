//! A client of SOCKS5 (RFC 1928): asks to be connected and reads what the server there says first, or says any bytes and
//! shows what is answered.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dial::dial;
use crate::{failure, print};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The SOCKS server.
    #[arg(long)]
    via: SocketAddr,
    /// Where to be connected to: `ip:port`, `[ip]:port` or `name:port`.
    #[arg(long, required_unless_present = "say")]
    to: Option<String>,
    /// Say these bytes instead, all at once, and no more.
    #[arg(long, conflicts_with = "to", value_delimiter = ',')]
    say: Vec<u8>,
}

#[derive(Default, Serialize)]
struct Report {
    /// The reply code; none if there was no reply.
    code: Option<u8>,
    /// What the server said, up to its end, after success.
    line: Option<String>,
    /// All that was answered to `--say`.
    answer: Vec<u8>,
    /// How the connection ended, unless in order.
    error: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut report = Report::default();
    let exchange = async {
        let mut stream = dial(args.via, PATIENCE).await?;
        match &args.to {
            Some(to) => ask(&mut stream, to, &mut report).await,
            None => say(&mut stream, &args.say, &mut report).await,
        }
    };
    let outcome = timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(anyhow::anyhow!("silence")));
    report.error = outcome.err().map(|error| failure::name_any(&error));
    print(&report)
}

async fn ask(stream: &mut TcpStream, to: &str, report: &mut Report) -> anyhow::Result<()> {
    stream.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    ensure!(method == [5, 0], "method {method:?}");
    stream.write_all(&request(to)?).await?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    let [version, code, ..] = reply;
    ensure!(version == 5, "version {version}");
    report.code = Some(code);
    if code == 0 {
        stream.shutdown().await?;
    }
    let mut line = String::new();
    stream.read_to_string(&mut line).await?;
    report.line = Some(line.trim_end().to_owned());
    Ok(())
}

async fn say(stream: &mut TcpStream, bytes: &[u8], report: &mut Report) -> anyhow::Result<()> {
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    stream.read_to_end(&mut report.answer).await?;
    Ok(())
}

fn request(to: &str) -> anyhow::Result<Vec<u8>> {
    let (host, port) = to.rsplit_once(':').context("no port")?;
    let port: u16 = port.parse()?;
    let mut request = vec![5, 1, 0];
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(v4)) => request.extend([&[1], &v4.octets()[..]].concat()),
        Ok(IpAddr::V6(v6)) => request.extend([&[4], &v6.octets()[..]].concat()),
        Err(_) => request.extend([&[3, u8::try_from(host.len())?], host.as_bytes()].concat()),
    }
    request.extend(port.to_be_bytes());
    Ok(request)
}
