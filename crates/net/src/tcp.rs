//! A TCP connection as the two halves of a byte stream. An idle connection holds no buffer; FIN stays FIN and RST
//! stays RST. Knows nothing of where the bytes go.

use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use nix::libc;
use nix::sys::socket::{MsgFlags, send};
use socket2::SockRef;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

use crate::buffers::{Buffer, Size};
use crate::stream::{ByteSink, ByteSource};
use crate::sys;

/// Both halves of a TCP connection. It is closed when both have been dropped.
pub type TcpHalves = (TcpSource, TcpSink);

/// Takes `stream` apart.
#[must_use]
pub fn split(stream: TcpStream) -> TcpHalves {
    let connection = Arc::new(Connection { stream, broken: AtomicI32::new(0) });
    let source = TcpSource { connection: connection.clone(), size: Size::default() };
    (source, TcpSink { connection, watch: None })
}

/// The receiving half of a TCP connection.
#[derive(Debug)]
pub struct TcpSource {
    connection: Arc<Connection>,
    size: Size,
}

/// The sending half of a TCP connection.
pub struct TcpSink {
    connection: Arc<Connection>,
    /// Waits for the connection to break. Made when somebody first asks, which nobody does while the connection idles.
    watch: Option<Pin<Box<dyn Future<Output = io::Result<Ready>> + Send>>>,
}

impl ByteSource for TcpSource {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            // A write can learn of an abort before the reactor does; what arrived ahead of it is there to be read.
            if self.connection.error().is_none() {
                ready!(self.connection.stream.poll_read_ready(cx))?;
            }
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl TcpSource {
    fn receive(&mut self) -> io::Result<Option<Bytes>> {
        let mut buffer = Buffer::take(self.size);
        let room = buffer.room();
        let received = self.connection.transfer(Interest::READABLE, room.len(), |fd| nix::unistd::read(fd, room))?;
        if received == 0 {
            return self.connection.false_end().map_or(Ok(None), Err);
        }
        self.size = self.size.after(received);
        Ok(Some(buffer.into_chunk(received)))
    }
}

impl ByteSink for TcpSink {
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        while !data.is_empty() {
            ready!(self.connection.stream.poll_write_ready(cx))?;
            let write = |fd: &TcpStream| send(fd.as_raw_fd(), data, MsgFlags::MSG_NOSIGNAL);
            match self.connection.transfer(Interest::WRITABLE, data.len(), write) {
                Ok(sent) => data.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = SockRef::from(&self.connection.stream).shutdown(std::net::Shutdown::Write);
        Poll::Ready(outcome.map_err(|error| self.connection.broke(error)))
    }

    fn reset(&mut self) {
        self.connection.abort();
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if let Some(error) = self.connection.error() {
                return Poll::Ready(error);
            }
            let connection = &self.connection;
            let watch = self.watch.get_or_insert_with(|| {
                let connection = connection.clone();
                Box::pin(async move { connection.stream.ready(Interest::ERROR).await })
            });
            let outcome = ready!(watch.as_mut().poll(cx));
            self.watch = None;
            if let Err(error) = outcome {
                return Poll::Ready(error);
            }
            match self.connection.stream.take_error() {
                Ok(Some(error)) | Err(error) => return Poll::Ready(self.connection.broke(error)),
                // Somebody else has been told, or what was reported was no end: wait for the next report.
                Ok(None) => self.connection.forget(Interest::ERROR),
            }
        }
    }
}

impl std::fmt::Debug for TcpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpSink").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// What both halves share.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// The error that broke the connection, 0 while it is whole. The kernel reports it once, to whoever calls next, and
    /// from then on pretends an orderly end.
    broken: AtomicI32,
}

impl Connection {
    /// Reads or writes once. Fewer than `length` bytes mean that the socket is now empty, or full: withdrawing the
    /// readiness at once saves the call that would only find that out.
    fn transfer(
        &self,
        interest: Interest,
        length: usize,
        call: impl FnOnce(&TcpStream) -> nix::Result<usize>,
    ) -> io::Result<usize> {
        if let Some(first) = self.error() {
            // Whatever the readiness says: nothing changes any more.
            return call(&self.stream).map_err(|_| first);
        }
        let mut moved = None;
        let outcome = self.stream.try_io(interest, || {
            let bytes = call(&self.stream)?;
            moved = Some(bytes);
            if (1..length).contains(&bytes) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (moved, outcome) {
            (Some(bytes), _) => Ok(bytes),
            (None, Err(error)) if !is_transient(&error) => Err(self.broke(error)),
            (None, _) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Withdraws a readiness that turned out to mean nothing.
    fn forget(&self, interest: Interest) {
        let _ = self.stream.try_io(interest, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }

    /// Remembers the first error, and returns that.
    fn broke(&self, error: io::Error) -> io::Error {
        // A call on a connection that is gone says only that; the reason may still be there to be asked for.
        let reason = match error.raw_os_error() {
            Some(libc::ENOTCONN) => self.stream.take_error().ok().flatten().unwrap_or(error),
            _ => error,
        };
        let errno = reason.raw_os_error().unwrap_or(libc::ECONNRESET);
        match self.broken.compare_exchange(0, errno, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => reason,
            Err(first) => io::Error::from_raw_os_error(first),
        }
    }

    /// What broke the connection.
    fn error(&self) -> Option<io::Error> {
        let errno = self.broken.load(Ordering::Relaxed);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }

    /// Why what reads as an orderly end is none. EPIPE is no reason: it reports an abort after the peer's FIN.
    fn false_end(&self) -> Option<io::Error> {
        self.error().filter(|error| error.raw_os_error() != Some(libc::EPIPE))
    }

    /// Sends RST now, with the descriptor still open: the other half may hold it for a while.
    fn abort(&self) {
        if sys::disconnect(&self.stream).is_err() {
            // Then at the latest when it is closed.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
        let _ = self.broken.compare_exchange(0, libc::ECONNABORTED, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
