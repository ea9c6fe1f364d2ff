//! A secured transport that breaks when its peer is revoked. Knows nothing of what makes it so.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ambit_identity::{Peer, TrustStore};
use ambit_model::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Failure;

/// A transport that fails, with the reason, once `revoked` resolves.
pub struct Secured<T> {
    stream: T,
    revoked: Option<Pin<Box<dyn Future<Output = Failure>>>>,
}

impl<T> Secured<T> {
    /// `stream`, until `revoked` resolves.
    pub fn new(stream: T, revoked: impl Future<Output = Failure> + 'static) -> Self {
        Self { stream, revoked: Some(Box::pin(revoked)) }
    }
}

/// What is said of whom `peer` was.
#[must_use]
pub fn revoked(peer: &Peer) -> Failure {
    Failure::new(Reason::CertificateRevoked, peer.identity.to_string())
}

/// Resolves when `store` comes to revoke `peer`, at once if it does already.
pub async fn until_revoked(store: TrustStore, peer: Peer) -> Failure {
    let mut changes = store.changes();
    loop {
        if store.revokes(&peer) {
            return revoked(&peer);
        }
        if changes.changed().await.is_err() {
            // Nothing can change any more.
            std::future::pending::<()>().await;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Secured<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(Poll::Ready(why)) = self.revoked.as_mut().map(|revoked| revoked.as_mut().poll(cx)) {
            self.revoked = None;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Secured<T> {
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
