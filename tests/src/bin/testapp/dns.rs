//! DNS, as far as the tests speak it (RFC 1035): a client that asks one question, by UDP or TCP, and a server that knows
//! one address of each family and says in a TXT record who asked. Of names below `example.` it says that there are none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::{datagram, failure, print};

const PATIENCE: Duration = Duration::from_secs(8);
const HEADER: usize = 12;
/// RCODE NXDOMAIN.
const NO_SUCH_NAME: u8 = 3;
const ID: [u8; 2] = [0x1a, 0x2b];
/// What the server answers for every name.
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whom to ask.
    #[arg(long)]
    server: SocketAddr,
    /// The name asked for.
    #[arg(long)]
    name: String,
    /// The type asked for.
    #[arg(long, value_enum, default_value = "a")]
    kind: Kind,
    /// How to ask.
    #[arg(long, value_enum, default_value = "unconnected")]
    via: Via,
    /// The port to ask from, by UDP.
    #[arg(long, default_value_t = 0)]
    from: u16,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    A = 1,
    Txt = 16,
    Aaaa = 28,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Via {
    Connected,
    Unconnected,
    Tcp,
}

#[derive(Default, Serialize)]
struct Report {
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whom the answer came from.
    from: Option<SocketAddr>,
    /// Whom the socket takes for its peer.
    peer: Option<SocketAddr>,
    code: u8,
    authoritative: bool,
    /// What the name is an alias of, one after the other.
    aliases: Vec<String>,
    addresses: Vec<IpAddr>,
    text: Vec<String>,
}

/// `testapp dns`
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let asked = match args.via {
        Via::Tcp => timeout(PATIENCE, by_tcp(&args)).await,
        Via::Connected | Via::Unconnected => timeout(PATIENCE, by_udp(&args)).await,
    };
    let report = match asked {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => Report { error: Some(failure::name_any(&error)), ..Report::default() },
        Err(_) => Report { error: Some("silence".to_owned()), ..Report::default() },
    };
    print(&report)
}

async fn by_udp(args: &Args) -> anyhow::Result<Report> {
    let any: IpAddr = if args.server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = datagram::bind((any, args.from).into())?;
    let query = query(&args.name, args.kind)?;
    if matches!(args.via, Via::Connected) {
        socket.connect(args.server).await?;
        socket.send(&query).await?;
    } else {
        socket.send_to(&query, args.server).await?;
    }
    let mut answer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut answer).await?;
    let report = read(&query, answer.get(..length).unwrap_or_default())?;
    Ok(Report { from: Some(from), peer: socket.peer_addr().ok(), ..report })
}

async fn by_tcp(args: &Args) -> anyhow::Result<Report> {
    let mut stream = TcpStream::connect(args.server).await?;
    let peer = stream.peer_addr()?;
    let query = query(&args.name, args.kind)?;
    let mut report = Report::default();
    // Twice, for a connection serves more than one query.
    for _ in 0..2 {
        write(&mut stream, &query).await?;
        let answer = next(&mut stream).await?.context("closed without an answer")?;
        report = read(&query, &answer)?;
    }
    Ok(Report { from: Some(peer), peer: Some(peer), ..report })
}

/// Answers queries by UDP and by TCP.
pub(crate) async fn serve(socket: UdpSocket, listener: TcpListener, name: Rc<str>) -> anyhow::Result<()> {
    let by_tcp = spawn_local(serve_tcp(listener, name.clone()));
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await?;
        if by_tcp.is_finished() {
            bail!("the listener has failed");
        }
        let query = buffer.get(..length).unwrap_or_default();
        socket.send_to(&answer(query, client, &name)?, client).await?;
    }
}

async fn serve_tcp(listener: TcpListener, name: Rc<str>) -> anyhow::Result<()> {
    loop {
        let (mut stream, client) = listener.accept().await?;
        let name = name.clone();
        spawn_local(async move {
            while let Some(query) = next(&mut stream).await? {
                write(&mut stream, &answer(&query, client, &name)?).await?;
            }
            anyhow::Ok(())
        });
    }
}

fn query(name: &str, kind: Kind) -> anyhow::Result<Vec<u8>> {
    let mut message = [&ID[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        message.push(u8::try_from(label.len())?);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, kind as u8, 0, 1]);
    Ok(message)
}

/// One record of the type asked for, if the name exists; of TXT, this server's name and the client's address.
fn answer(query: &[u8], client: SocketAddr, server: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(query.len() > HEADER, "no question");
    let (asked, _) = name(query, HEADER)?;
    if asked.to_ascii_lowercase().ends_with(".example") {
        let mut message = query.to_vec();
        message.splice(2..4, [0x81, NO_SUCH_NAME]);
        return Ok(message);
    }
    let kind = query.len().checked_sub(3).and_then(|at| query.get(at)).copied();
    let data = match kind {
        Some(1) => V4.octets().to_vec(),
        Some(28) => V6.octets().to_vec(),
        _ => {
            let text = format!("{server} {}", client.ip().to_canonical());
            [&[u8::try_from(text.len())?], text.as_bytes()].concat()
        }
    };
    let mut message = query.to_vec();
    // A response that says neither that it is authoritative nor that recursion is available.
    message.splice(2..4, [0x81, 0x00]);
    message.splice(6..8, [0, 1]);
    let head = [0xc0, 12, 0, kind.unwrap_or_default(), 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len())?];
    message.extend(head);
    message.extend(data);
    Ok(message)
}

/// What `answer` says, which must repeat the question of `query`.
fn read(query: &[u8], answer: &[u8]) -> anyhow::Result<Report> {
    ensure!(answer.get(..2) == query.get(..2), "another ID");
    ensure!(answer.get(HEADER..query.len()) == query.get(HEADER..), "another question");
    let [flags, code] = answer.get(2..4).and_then(<[u8]>::first_chunk).copied().context("no header")?;
    let mut report = Report { code: code & 15, authoritative: flags & 4 != 0, ..Report::default() };
    let mut at = query.len();
    while at < answer.len() {
        let (_, data_head) = name(answer, at)?;
        let (&[_, kind, _, _, _, _, _, _, h, l], data) =
            answer.get(data_head..).and_then(|rest| rest.split_first_chunk()).context("a record ends early")?;
        let data = data.get(..usize::from(u16::from_be_bytes([h, l]))).context("a record ends early")?;
        match kind {
            1 => report.addresses.push(<[u8; 4]>::try_from(data)?.into()),
            5 => report.aliases.push(name(answer, data_head + 10)?.0),
            28 => report.addresses.push(<[u8; 16]>::try_from(data)?.into()),
            _ => report.text.push(String::from_utf8_lossy(data.get(1..).unwrap_or_default()).into_owned()),
        }
        at = data_head + 10 + data.len();
    }
    Ok(report)
}

/// The name at `at`, and where what follows it begins. Pointers lead back, so they end.
fn name(message: &[u8], at: usize) -> anyhow::Result<(String, usize)> {
    let rest = message.get(at..).context("a name ends early")?;
    match rest {
        [0, ..] => Ok((String::new(), at + 1)),
        [high @ 0xc0..=0xff, low, ..] => {
            let to = usize::from(u16::from_be_bytes([high & 0x3f, *low]));
            ensure!(to < at, "a pointer leads on");
            Ok((name(message, to)?.0, at + 2))
        }
        [length, label @ ..] => {
            let label = label.get(..usize::from(*length)).context("a label ends early")?;
            let (parent, end) = name(message, at + 1 + label.len())?;
            let label = String::from_utf8_lossy(label);
            Ok((if parent.is_empty() { label.into_owned() } else { format!("{label}.{parent}") }, end))
        }
        [] => bail!("a name ends early"),
    }
}

async fn next(stream: &mut TcpStream) -> anyhow::Result<Option<Vec<u8>>> {
    let Ok(length) = stream.read_u16().await else { return Ok(None) };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> anyhow::Result<()> {
    Ok(stream.write_all(&[&u16::try_from(message.len())?.to_be_bytes(), message].concat()).await?)
}
