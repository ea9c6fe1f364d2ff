//! DNS over TCP: messages, each after its length (RFC 1035, 4.2.2; RFC 7766), one answered after the other.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ambit_net::socket::{ConnectOptions, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::message::{self, Query};
use super::resolver::{Plan, Resolver, Via};

/// For a client to send its next query, or to take an answer.
const IDLE: Duration = Duration::from_secs(30);

/// Answers what comes by `client`, which dialled `server`, until the client has had enough.
///
/// # Errors
/// When the connection breaks or is idle.
pub(crate) async fn serve(resolver: &Resolver, mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let server = resolver.upstream.unwrap_or(server);
    while let Some(message) = timeout(IDLE, read(&mut client)).await?? {
        let query = Query::read(&message);
        if query.as_ref().is_some_and(Query::is_transfer) {
            let mut server = dial(resolver, server).await?;
            server.write_all(&framed(&message)?).await?;
            return copy_bidirectional(&mut client, &mut server).await.map(drop);
        }
        let answer = match resolver.plan(&message, query, Via::Tcp) {
            None => return Ok(()),
            Some(Plan::Answer(answer)) => answer,
            Some(Plan::Ask(errand)) => {
                resolver.pass_on(errand, Via::Tcp, async |message| ask(resolver, message, server).await).await
            }
        };
        timeout(IDLE, client.write_all(&framed(&answer)?)).await??;
    }
    Ok(())
}

/// What `server` answers to `message`.
async fn ask(resolver: &Resolver, message: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut server = dial(resolver, server).await?;
    server.write_all(&framed(message)?).await?;
    let answer = read(&mut server).await?;
    answer.filter(|answer| message::answers(answer, message)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

async fn dial(resolver: &Resolver, server: SocketAddr) -> io::Result<TcpStream> {
    connect(&resolver.netns, server, &ConnectOptions::outward()).await.map_err(io::Error::other)
}

/// The next message; none at the end between two.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// `message` with its length before it.
fn framed(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes(), message].concat())
}
