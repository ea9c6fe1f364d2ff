//! Servers, each of one protocol on one port.

use std::net::{Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::str::FromStr;

use ambit_tests::payload::MARKER;
use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, spawn_local};

use crate::inspect::Inspector;
use crate::{asked_to_stop, datagram, dns, duplex, http2, websocket};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to serve, as PROTOCOL=PORT (every address of both families) or PROTOCOL=ADDRESS:PORT.
    #[arg(required = true)]
    services: Vec<Service>,
    /// Shown in the answers of `http` and `whoami`, to tell servers apart.
    #[arg(long, default_value = "")]
    name: String,
    /// When asked to stop, stop listening at once and end when everybody who was let in has been served, as servers do that end
    /// in order. Without it the process just ends.
    #[arg(long)]
    finish: bool,
}

#[derive(Clone, Debug)]
struct Service {
    protocol: Protocol,
    listen: SocketAddr,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Protocol {
    /// Sends back what it receives, and the end of stream after it.
    Echo,
    /// Speaks first, then echoes.
    Banner,
    /// Says its name, the client's and its own address, and closes.
    Whoami,
    /// Says what the PROXY protocol header ahead of the connection says, and closes.
    Announced,
    /// Reads to the end and throws it away.
    Discard,
    /// Sends zeros until the client closes.
    Source,
    /// Accepts and never reads.
    Sleeper,
    /// Sends and checks the test pattern at once, as long as the client asks for.
    Duplex,
    /// Answers each HTTP/1.1 request at once.
    Http,
    /// Answers each request, HTTP/1.1 or HTTP/2 or gRPC, with what was asked.
    Inspect,
    /// gRPC and plain requests over HTTP/2 with prior knowledge.
    Http2,
    /// Echoes WebSocket messages.
    Websocket,
    /// Answers UDP datagrams.
    Datagram,
    /// Answers DNS queries, by UDP and by TCP.
    Dns,
}

impl FromStr for Service {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (protocol, place) = text.split_once('=').context("expected PROTOCOL=PORT")?;
        let protocol = <Protocol as clap::ValueEnum>::from_str(protocol, true).map_err(anyhow::Error::msg)?;
        let everywhere = |port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listen = place.parse().map(everywhere).or_else(|_| place.parse()).context("no port and no address")?;
        Ok(Self { protocol, listen })
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let name: Rc<str> = Rc::from(args.name);
    let mut servers = JoinSet::new();
    for service in args.services {
        if matches!(service.protocol, Protocol::Datagram) {
            servers.spawn_local(datagram::serve(datagram::bind(service.listen)?));
            continue;
        }
        let listener = listen(service.listen)?;
        if matches!(service.protocol, Protocol::Dns) {
            servers.spawn_local(dns::serve(datagram::bind(service.listen)?, listener, name.clone()));
            continue;
        }
        if matches!(service.protocol, Protocol::Inspect) {
            servers.spawn_local(accept_inspected(listener, Rc::new(Inspector::new(name.clone()))));
            continue;
        }
        servers.spawn_local(accept(listener, service.protocol, name.clone(), args.finish));
    }
    println!("listening");
    while let Some(ended) = servers.join_next().await {
        ended??;
        if !args.finish {
            bail!("a server has ended");
        }
    }
    Ok(())
}

/// Listens with a backlog that ten thousand connections at once do not overflow.
pub(crate) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot bind {address}"))?;
    Ok(socket.listen(16_384)?)
}

/// Serves whoever comes; to the end of the process, or until it is asked to finish.
async fn accept(listener: TcpListener, protocol: Protocol, name: Rc<str>, finish: bool) -> anyhow::Result<()> {
    let mut open = JoinSet::new();
    let mut take = |stream| {
        let name = name.clone();
        open.spawn_local(async move {
            // What a client does to its connection is the client's to report.
            let _ = serve(stream, protocol, &name).await;
        });
        while open.try_join_next().is_some() {}
    };
    let stopped = async { if finish { asked_to_stop().await } else { std::future::pending().await } };
    let mut stopped = pin!(stopped);
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => take(accepted?.0),
            stop = &mut stopped => break stop?,
        }
    }
    drop(listener);
    open.join_all().await;
    Ok(())
}

async fn accept_inspected(listener: TcpListener, inspector: Rc<Inspector>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let inspector = inspector.clone();
        spawn_local(async move { drop(inspector.serve(stream).await) });
    }
}

async fn serve(mut stream: TcpStream, protocol: Protocol, name: &str) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    match protocol {
        Protocol::Echo => echo(stream).await,
        Protocol::Banner => {
            stream.write_all(&[b"220 ", MARKER, b"\r\n"].concat()).await?;
            echo(stream).await
        }
        Protocol::Whoami => {
            let (peer, local) = (canonical(stream.peer_addr()?), canonical(stream.local_addr()?));
            stream.write_all(format!("{name} {peer} {local}\n").as_bytes()).await?;
            Ok(stream.shutdown().await?)
        }
        Protocol::Announced => {
            let line = announced(&mut stream).await?;
            stream.write_all(line.as_bytes()).await?;
            Ok(stream.shutdown().await?)
        }
        Protocol::Discard => {
            let mut buffer = vec![0; 256 << 10];
            while stream.read(&mut buffer).await? > 0 {}
            Ok(stream.shutdown().await?)
        }
        Protocol::Source => {
            let buffer = vec![0; 256 << 10];
            loop {
                stream.write_all(&buffer).await?;
            }
        }
        Protocol::Sleeper => {
            std::future::pending::<()>().await;
            Ok(())
        }
        Protocol::Duplex => duplex::serve(stream).await,
        Protocol::Http => http(stream, name).await,
        Protocol::Http2 => http2::serve(stream).await,
        Protocol::Websocket => websocket::serve(stream).await,
        Protocol::Inspect | Protocol::Datagram | Protocol::Dns => bail!("served elsewhere"),
    }
}

/// From whom, to where, and the text of each further value, in one line.
async fn announced(stream: &mut TcpStream) -> anyhow::Result<String> {
    // Twelve bytes of signature, version, family and the length of what follows.
    let mut header = vec![0; 16];
    stream.read_exact(&mut header).await?;
    let length = header.get(14..).map_or(0, |length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
    header.resize(16 + length, 0);
    stream.read_exact(header.get_mut(16..).unwrap_or_default()).await?;
    let header = ppp::v2::Header::try_from(&*header)?;
    let [from, to] = match header.addresses {
        ppp::v2::Addresses::IPv4(ends) => [
            SocketAddr::from((ends.source_address, ends.source_port)),
            SocketAddr::from((ends.destination_address, ends.destination_port)),
        ],
        ppp::v2::Addresses::IPv6(ends) => [
            SocketAddr::from((ends.source_address, ends.source_port)),
            SocketAddr::from((ends.destination_address, ends.destination_port)),
        ],
        other => bail!("{other:?} is no address"),
    };
    let mut line = format!("{} {to}", from.ip());
    for value in header.tlvs() {
        let value = value?;
        line.push_str(&format!(" {:#x}={}", value.kind, String::from_utf8_lossy(&value.value)));
    }
    Ok(line + "\n")
}

async fn echo(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(stream.shutdown().await?);
        }
        stream.write_all(buffer.get(..length).unwrap_or_default()).await?;
        // Ten thousand idle connections should not hold ten thousand large buffers once they have spoken.
        if buffer.len() > 1024 && length < 1024 {
            buffer = vec![0; 1024];
        }
    }
}

/// As little HTTP/1.1 as a load generator needs: requests without bodies, answered in the order in which they come.
async fn http(mut stream: TcpStream, name: &str) -> anyhow::Result<()> {
    let body = format!("{name} {}\n", String::from_utf8_lossy(MARKER));
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut buffer = vec![0; 4096];
    let mut filled = 0;
    loop {
        let length = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if length == 0 {
            return Ok(stream.shutdown().await?);
        }
        filled += length;
        let received = buffer.get(..filled).unwrap_or_default();
        let ends: Vec<_> = memchr::memmem::find_iter(received, b"\r\n\r\n").collect();
        let Some(last) = ends.last() else { continue };
        let rest = last + 4..filled;
        stream.write_all(answer.repeat(ends.len()).as_bytes()).await?;
        filled = rest.len();
        buffer.copy_within(rest, 0);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
