//! An HBONE client that asks for one stream.

use std::io::Cursor;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Uri};
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use super::Refused;
use super::face::{self, Face};
use crate::{failure, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    face: Face,
    /// Where to connect.
    #[arg(long)]
    to: SocketAddr,
    /// What to ask for.
    #[arg(long)]
    authority: String,
    /// How to ask for it.
    #[arg(long, default_value = "CONNECT")]
    method: Method,
}

const PAYLOAD: &[u8] = b"are you there?";

/// What became of it, as far as it got.
#[derive(Debug, Default, Serialize)]
struct Seen {
    #[serde(flatten)]
    refused: Refused,
    /// Who the server proved to be.
    peer: Option<String>,
    status: Option<u16>,
    /// The header `x-ambit-reason`.
    reason: Option<String>,
    /// The header `baggage`.
    baggage: Option<String>,
    /// Whether what was sent came back.
    echoed: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    let config = args.face.client()?;
    let stream = TcpStream::connect(args.to).await?;
    let mut stream = match TlsConnector::from(config).connect(ServerName::from(args.to.ip()), stream).await {
        Ok(stream) => stream,
        Err(error) => return print(&Seen { refused: Refused::from(&error), ..seen }),
    };
    seen.peer = face::identity(stream.get_ref().1.peer_certificates());
    // In TLS 1.3 a client is done before the server has looked at its certificate. What the server sends first is its
    // settings, or why it wants nothing of us.
    let mut first = vec![0; 1];
    match stream.read(&mut first).await {
        Ok(0) => seen.refused.error = Some("closed".to_owned()),
        Err(error) => seen.refused = Refused::from(&error),
        Ok(_) => {
            let (rest, sending) = tokio::io::split(stream);
            let stream = tokio::io::join(Cursor::new(first).chain(rest), sending);
            if let Err(error) = ask(stream, &args, &mut seen).await {
                seen.refused.error = Some(failure::name_any(&error));
            }
        }
    }
    print(&seen)
}

async fn ask<T>(transport: T, args: &Args, seen: &mut Seen) -> anyhow::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = h2::client::handshake(transport).await?;
    // Its end is seen by the stream that is on it.
    drop(spawn_local(connection));
    let uri = match args.method {
        Method::CONNECT => Uri::builder().authority(args.authority.as_str()).build()?,
        _ => format!("http://{}/", args.authority).parse()?,
    };
    let request = Request::builder().method(args.method.clone()).uri(uri).body(())?;
    let (response, mut sending) = sender.ready().await?.send_request(request, false)?;
    let response = response.await?;
    seen.status = Some(response.status().as_u16());
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().map(str::to_owned)).transpose();
    (seen.reason, seen.baggage) = (header("x-ambit-reason")?, header("baggage")?);
    if response.status().is_success() {
        sending.send_data(Bytes::from_static(PAYLOAD), true)?;
        let mut body = response.into_body();
        let mut received = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.context("the stream broke")?;
            body.flow_control().release_capacity(piece.len())?;
            received.extend_from_slice(&piece);
        }
        seen.echoed = received == PAYLOAD;
    }
    Ok(())
}
