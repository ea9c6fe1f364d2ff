//! Handshakes of mutual TLS 1.3 over a transport that is handed in, as Istio's HBONE has them: ALPN exactly `h2`, a
//! certificate from both sides, no server name, no resumption. Says whom it talks to, or why it does not.

mod config;
mod failure;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_model::Reason;
use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub(crate) use config::{client_config, server_config};
pub use failure::{Failure, reason_of_io_error};

use crate::trust::Peer;
use crate::verifier::{self, Verdict};

/// The one application protocol of HBONE.
pub(crate) const ALPN: &[u8] = b"h2";

/// How long a refused peer is given to read the alert before the transport is closed.
const LINGER: Duration = Duration::from_millis(500);

/// Accepts a handshake within `timeout` as the server, and returns the stream and the peer.
///
/// # Errors
/// A [`Failure`] with the reason, after the peer was told it by an alert where TLS has one.
pub async fn accept<T>(
    config: Arc<ServerConfig>,
    transport: T,
    timeout: Duration,
) -> Result<(server::TlsStream<T>, Peer), Failure>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(config).accept(transport).into_fallible();
    let (stream, peer) = complete(handshake, timeout).await?;
    let peer = agreed(stream.get_ref().1, peer)?;
    Ok((stream, peer))
}

/// Makes a handshake within `timeout` as the client of the server at `address`, and returns the stream and the
/// server. TLS 1.3 completes here before the server has looked at our certificate: if it refuses that,
/// the stream's first read fails with an error that [`reason_of_io_error`] understands.
///
/// # Errors
/// A [`Failure`] with the reason, after the peer was told it by an alert where TLS has one.
pub async fn connect<T>(
    config: Arc<ClientConfig>,
    transport: T,
    address: IpAddr,
    timeout: Duration,
) -> Result<(client::TlsStream<T>, Peer), Failure>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsConnector::from(config).connect(ServerName::from(address), transport).into_fallible();
    let (stream, peer) = complete(handshake, timeout).await?;
    let peer = agreed(stream.get_ref().1, peer)?;
    Ok((stream, peer))
}

/// Waits for a handshake within `timeout`, and tells what the verifier found. A peer that was refused is given time to read
/// why.
pub(crate) async fn complete<T, S, F>(handshake: F, timeout: Duration) -> Result<(S, Option<Verdict>), Failure>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<S, (io::Error, T)>>,
{
    let Ok((result, verdict)) = tokio::time::timeout(timeout, verifier::observe(handshake)).await else {
        return Err(Failure::timed_out(timeout));
    };
    match result {
        Ok(stream) => Ok((stream, verdict)),
        Err((error, transport)) => {
            linger(transport).await;
            Err(Failure::of_handshake(&error, verdict))
        }
    }
}

/// Ends our direction and reads the other to its end, for a while: closing over unread bytes would reset the
/// connection and could destroy the alert on its way.
async fn linger<T: AsyncRead + AsyncWrite + Unpin>(mut transport: T) {
    let drain = async {
        transport.shutdown().await?;
        let mut discarded = [0; 1024];
        while transport.read(&mut discarded).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection is lost in any case; whether the alert arrived, nobody can tell.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// What a completed handshake must have settled: the protocol (a peer without ALPN at all gets this far), and whom
/// the verifier accepted.
fn agreed(connection: &CommonState, verdict: Option<Verdict>) -> Result<Peer, Failure> {
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(Failure { reason: Reason::AlpnMismatch, detail: "the peer negotiates no ALPN".to_owned() });
    }
    match verdict {
        Some(Verdict::Accepted(peer)) => Ok(peer),
        _ => Err(Failure { reason: Reason::NoPeerCertificate, detail: "no certificate was verified".to_owned() }),
    }
}

#[cfg(test)]
mod tests;
