//! A stream of a tunnel as hyper reads and writes it, and back again. Knows nothing of what is spoken on it.

use std::io::{Error, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ambit_net::stream::{ByteSink, ByteSource};
use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};

/// How much one write takes over at most.
const WRITE: usize = 64 << 10;

/// A source, and what was read of it already.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    read: Bytes,
    source: S,
}

impl<S> Prefixed<S> {
    /// `source`, of which `read` was read already.
    pub(crate) fn new(read: Bytes, source: S) -> Self {
        Self { read, source }
    }

    /// Puts back what was read of it.
    pub(crate) fn unread(&mut self, read: Bytes) {
        self.read = if self.read.is_empty() { read } else { [read, self.read.clone()].concat().into() };
    }
}

impl<S: ByteSource> ByteSource for Prefixed<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.read.is_empty() {
            return self.source.poll_receive(cx);
        }
        Poll::Ready(Ok(Some(std::mem::take(&mut self.read))))
    }
}

/// Both halves of a byte stream as one.
#[derive(Debug)]
pub(crate) struct Duplex<S, K> {
    source: Prefixed<S>,
    sink: K,
    /// What was written and the sink has not taken yet.
    unsent: Bytes,
}

impl<S: ByteSource, K: ByteSink> Duplex<S, K> {
    /// The two halves, what was read already coming first.
    pub(crate) fn new(source: Prefixed<S>, sink: K) -> Self {
        Self { source, sink, unsent: Bytes::new() }
    }

    /// The two halves again, `read` having been read of the first and not been used. Nothing may be unsent.
    pub(crate) fn split(self, read: Bytes) -> (Prefixed<Prefixed<S>>, K) {
        (Prefixed::new(read, self.source), self.sink)
    }

    /// The half that sends.
    pub(crate) fn sink_mut(&mut self) -> &mut K {
        &mut self.sink
    }

    /// Ends what is sent in good order, as far as the other end lets it.
    pub(crate) async fn finish(mut self)
    where
        S: Unpin,
        K: Unpin,
    {
        // Nobody is left to be told that it cannot be.
        let _ = std::future::poll_fn(|cx| Write::poll_shutdown(Pin::new(&mut self), cx)).await;
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.unsent.is_empty() { Poll::Ready(Ok(())) } else { self.sink.poll_send(cx, &mut self.unsent) }
    }

    fn take(&mut self, cx: &mut Context<'_>, bytes: Bytes) -> Poll<Result<usize>> {
        let taken = bytes.len();
        self.unsent = bytes;
        match self.poll_unsent(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What waits is sent before the next is taken.
            _ => Poll::Ready(Ok(taken)),
        }
    }
}

impl<S: ByteSource + Unpin, K: ByteSink + Unpin> Read for Duplex<S, K> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        // A chunk that is larger than the room for it stays here.
        let Some(mut chunk) = ready!(this.source.poll_receive(cx))? else { return Poll::Ready(Ok(())) };
        let fits = chunk.split_to(chunk.len().min(into.remaining()));
        into.put_slice(&fits);
        this.source.read = chunk;
        Poll::Ready(Ok(()))
    }
}

impl<S: ByteSource + Unpin, K: ByteSink + Unpin> Write for Duplex<S, K> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        let bytes = bytes.get(..bytes.len().min(WRITE)).unwrap_or_default();
        self.take(cx, Bytes::copy_from_slice(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        let whole: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut gathered = BytesMut::with_capacity(whole.min(WRITE));
        for slice in slices {
            let room = WRITE.saturating_sub(gathered.len()).min(slice.len());
            gathered.extend_from_slice(slice.get(..room).unwrap_or_default());
        }
        self.take(cx, gathered.freeze())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_unsent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_unsent(cx))?;
        self.sink.poll_finish(cx)
    }
}

/// Reads of `source` until `enough` of what is there, in order, says so, or nothing more comes.
pub(crate) async fn peek<S: ByteSource, T>(
    source: &mut S,
    read: &mut BytesMut,
    mut enough: impl FnMut(&[u8], bool) -> Option<T>,
) -> std::result::Result<T, Error> {
    loop {
        if let Some(told) = enough(read, false) {
            return Ok(told);
        }
        match std::future::poll_fn(|cx| source.poll_receive(cx)).await? {
            Some(chunk) => read.extend_from_slice(chunk.chunk()),
            None => return enough(read, true).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
