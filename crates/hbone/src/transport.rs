//! A transport that counts what it receives, by which a tunnel sees that its peer lives, that gives way to others
//! after a fair share, and that tells whether it takes more and why it broke.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// After this many bytes received in one turn of the event loop, the worker's other tunnels have theirs.
pub(crate) const FAIR_SHARE: u64 = 1 << 20;

/// What is known of a transport.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    received: Cell<u64>,
    turn_began_at: Cell<u64>,
    blocked: Cell<bool>,
    broke: RefCell<Option<Arc<io::Error>>>,
}

impl Meter {
    /// The bytes that it has received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Whether it takes no more for now.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Begins a turn of the event loop, with a new share.
    pub(crate) fn begin_turn(&self) {
        self.turn_began_at.set(self.received.get());
    }

    /// Why nothing more can be received. The HTTP/2 layer passes on no more of it than kind and text.
    pub(crate) fn broke(&self) -> Option<Arc<io::Error>> {
        self.broke.borrow().clone()
    }

    fn keep(&self, error: io::Error) -> io::Error {
        let passed_on = io::Error::new(error.kind(), error.to_string());
        self.broke.replace(Some(Arc::new(error)));
        passed_on
    }

    fn add(&self, bytes: usize) {
        self.received.set(self.received.get().wrapping_add(bytes as u64));
    }

    fn is_share_used_up(&self) -> bool {
        self.received.get().wrapping_sub(self.turn_began_at.get()) >= FAIR_SHARE
    }
}

/// A transport with its meter.
#[derive(Debug)]
pub(crate) struct Metered<T> {
    transport: T,
    meter: Rc<Meter>,
}

impl<T> Metered<T> {
    pub(crate) fn new(transport: T, meter: Rc<Meter>) -> Self {
        Self { transport, meter }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.meter.is_share_used_up() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buf)).map_err(|error| self.meter.keep(error))?;
        self.meter.add(buf.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(cx, buf);
        self.meter.blocked.set(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, bufs);
        self.meter.blocked.set(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.transport).poll_flush(cx);
        self.meter.blocked.set(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the other end was sent away")]
    struct SentAway;

    struct Broken;

    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, SentAway)))
        }
    }

    #[tokio::test]
    async fn why_a_transport_broke_is_kept_and_its_kind_and_text_passed_on() {
        let meter = Rc::new(Meter::default());
        let mut transport = Metered::new(Broken, meter.clone());
        let (mut bytes, pinned) = ([0; 8], &mut transport);
        let read = poll_fn(|cx| Pin::new(&mut *pinned).poll_read(cx, &mut ReadBuf::new(&mut bytes)));
        let passed_on = read.await.unwrap_err();
        assert_eq!(passed_on.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(passed_on.to_string(), "the other end was sent away");
        assert!(meter.broke().unwrap().get_ref().unwrap().is::<SentAway>());
    }
}
