//! Tunnels to peers: from within which pod, to whom, and who has to answer there.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ambit_hbone::Connector;
use ambit_identity::tls;
use ambit_model::{Identity, Reason, WorkloadUid};
use ambit_net::socket::{ConnectError, ConnectOptions, OUR_MARK, connect};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::client::TlsStream;

use super::failure::Failure;
use super::guest::Guests;
use super::shared::Shared;
use super::standing::{self, Leave, Standing};

/// Connections with the same key share tunnels: same pod here, same pod and identity there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerKey {
    /// The pod that dials.
    pub(crate) source: WorkloadUid,
    /// Its network namespace: a pod started anew under the old name is another.
    pub(crate) cookie: u64,
    /// The pod that is dialled.
    pub(crate) destination: WorkloadUid,
    /// Where it takes HBONE.
    pub(crate) address: SocketAddr,
    /// Whom its certificate must name.
    pub(crate) expected: Identity,
}

/// Opens tunnels' transports: TCP from within the pod, then mutual TLS.
pub(crate) struct PeerConnector {
    pub(crate) shared: Arc<Shared>,
    pub(crate) guests: Guests,
    pub(crate) standing: Standing,
}

/// A peer whose port 15008 is refused may just be enrolling: its node can know of it later than this one.
const STARTING: Duration = Duration::from_secs(2);

impl Connector<PeerKey> for PeerConnector {
    type Transport = Secured;
    type Error = Failure;

    async fn connect(&self, key: &PeerKey) -> Result<Secured, Failure> {
        let guest = self.guests.find(&key.source).filter(|guest| guest.pod.netns.cookie() == key.cookie);
        let guest = guest.ok_or_else(|| Failure::from(Reason::UnknownWorkload))?;
        let pod = &guest.pod;
        self.shared.certificate(&pod.identity).await?;
        let stream = self.dial(&pod.netns, key.address).await?;
        let trust = &self.shared.snapshots.load().mesh.trust_domains;
        let expected = std::slice::from_ref(&key.expected);
        let config = self.shared.certificates.tls_client(&pod.identity, expected, trust);
        let config = config.map_err(|error| Failure::new(Reason::IdentityUnavailable, error.to_string()))?;
        let (stream, peer) = tls::connect(config, stream, key.address.ip(), self.shared.limits.connect_timeout).await?;
        let peer = Rc::new(peer);
        let leave = self.standing.tunnel(peer.clone());
        // Revoked since the handshake looked: nobody was there yet to be told.
        if self.shared.certificates.trust_store().revokes(&peer) {
            return Err(standing::revoked(&peer));
        }
        Ok(Secured { stream, leave })
    }
}

impl PeerConnector {
    async fn dial(&self, from: &ambit_net::netns::NetNs, to: SocketAddr) -> Result<TcpStream, Failure> {
        let limits = &self.shared.limits;
        let options = ConnectOptions {
            source: None,
            apart: false,
            mark: OUR_MARK,
            timeout: limits.connect_timeout,
            keepalive: limits.keepalive.clone(),
        };
        let begun = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            match connect(from, to, &options).await {
                Err(ConnectError::Refused(_)) if begun.elapsed() < STARTING => {
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(200));
                }
                Err(ConnectError::TimedOut(to)) => return Err(Failure::new(Reason::TunnelPortBlocked, to.to_string())),
                other => return Ok(other?),
            }
        }
    }
}

/// A tunnel's transport, which breaks when the peer's certificate is revoked.
pub(crate) struct Secured {
    stream: TlsStream<TcpStream>,
    leave: Leave,
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(why) = self.leave.poll_revoked(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
