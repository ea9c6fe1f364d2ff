//! An HBONE server that echoes, or refuses.

use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use super::Refused;
use super::face::{self, Face};
use crate::print;
use crate::serve::listen;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    face: Face,
    /// The port to listen on.
    #[arg(long, default_value_t = 15008)]
    port: u16,
    /// The status to answer every request with; what is no success ends the stream.
    #[arg(long, default_value_t = 200)]
    answer: u16,
    /// The header `x-ambit-reason` to answer with.
    #[arg(long)]
    reason: Option<String>,
}

/// What is seen of a connection or of a request, a line each.
#[derive(Debug, Default, Serialize)]
struct Seen {
    event: &'static str,
    #[serde(flatten)]
    refused: Refused,
    /// Who the client proved to be.
    peer: Option<String>,
    method: Option<String>,
    authority: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(args.face.server()?);
    let listener = listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.port)))?;
    let args = Rc::new(args);
    println!("listening");
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, args) = (acceptor.clone(), Rc::clone(&args));
        spawn_local(async move {
            // How a connection ends has been printed, or is the client's to report.
            let _ = serve(acceptor, stream, args).await;
        });
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, args: Rc<Args>) -> anyhow::Result<()> {
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return print(&Seen { event: "refused", refused: Refused::from(&error), ..Seen::default() }),
    };
    let peer = face::identity(stream.get_ref().1.peer_certificates());
    print(&Seen { event: "accepted", peer: peer.clone(), ..Seen::default() })?;
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let (method, authority) = (request.method().to_string(), request.uri().authority().map(ToString::to_string));
        print(&Seen { event: "request", peer: peer.clone(), method: Some(method), authority, ..Seen::default() })?;
        let args = Rc::clone(&args);
        spawn_local(async move {
            let _ = answer(request, respond, &args).await;
        });
    }
    Ok(())
}

async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, args: &Args) -> anyhow::Result<()> {
    let status = StatusCode::from_u16(args.answer)?;
    let mut response = Response::builder().status(status);
    if let Some(reason) = &args.reason {
        response = response.header("x-ambit-reason", reason);
    }
    let mut sending = respond.send_response(response.body(())?, !status.is_success())?;
    if !status.is_success() {
        return Ok(());
    }
    let mut body = request.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        sending.send_data(piece, false)?;
    }
    Ok(sending.send_data(Bytes::new(), true)?)
}
