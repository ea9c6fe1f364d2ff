//! The two halves of a TLS stream within a connection, whichever end of it this is. Knows nothing of certificates.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ambit_net::buffers::{Size, poll_read};
use ambit_net::stream::{ByteSink, ByteSource};
use bytes::{Buf, Bytes};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio_rustls::TlsStream;

use crate::io::Duplex;

/// The connection that TLS is spoken on.
pub(crate) type Transport<S, K> = TokioIo<Duplex<S, K>>;

type Both<S, K> = Rc<RefCell<TlsStream<Transport<S, K>>>>;

/// Takes `stream` apart.
pub(crate) fn split<S, K>(stream: impl Into<TlsStream<Transport<S, K>>>) -> (SecuredSource<S, K>, SecuredSink<S, K>) {
    let both = Rc::new(RefCell::new(stream.into()));
    (SecuredSource { both: both.clone(), size: Size::default() }, SecuredSink { both, encrypted: 0 })
}

/// What comes from the other end.
pub(crate) struct SecuredSource<S, K> {
    both: Both<S, K>,
    size: Size,
}

/// What goes there.
pub(crate) struct SecuredSink<S, K> {
    both: Both<S, K>,
    /// How much of what is being sent TLS has taken, and the connection may not have yet.
    encrypted: usize,
}

impl<S: ByteSource + Unpin, K: ByteSink + Unpin> ByteSource for SecuredSource<S, K> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        poll_read(Pin::new(&mut *self.both.borrow_mut()), &mut self.size, cx)
    }
}

impl<S: ByteSource + Unpin, K: ByteSink + Unpin> ByteSink for SecuredSink<S, K> {
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        let mut both = self.both.borrow_mut();
        // What was taken is given up only when it is on its way: nobody asks again for what he thinks is sent.
        while !data.is_empty() {
            if self.encrypted == 0 {
                self.encrypted = ready!(Pin::new(&mut *both).poll_write(cx, data))?;
            }
            ready!(Pin::new(&mut *both).poll_flush(cx))?;
            data.advance(self.encrypted.min(data.len()));
            self.encrypted = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.both.borrow_mut()).poll_shutdown(cx)
    }

    fn reset(&mut self) {
        self.both.borrow_mut().get_mut().0.inner_mut().sink_mut().reset();
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.both.borrow_mut().get_mut().0.inner_mut().sink_mut().poll_broken(cx)
    }
}
