//! One direction of a byte stream, as its reader and as its writer see it. Knows nothing of what carries the bytes:
//! a TCP connection, a stream of a tunnel, a script of a test.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

/// The receiving side of a byte stream.
pub trait ByteSource {
    /// The next bytes, never empty; `Ok(None)` after an orderly end (FIN, END_STREAM).
    ///
    /// # Errors
    /// An abortive end (RST, RST_STREAM, a connection that timed out).
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// The sending side of a byte stream.
pub trait ByteSink {
    /// Sends from the front of `data`, advancing it; `Ready(Ok(()))` once `data` is empty. Backpressure is `Pending`.
    ///
    /// # Errors
    /// The peer has aborted the stream, or the stream has been reset.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>>;

    /// Orderly end (FIN, END_STREAM), after everything sent.
    ///
    /// # Errors
    /// The peer has aborted the stream, or the stream has been reset.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Abortive end (RST, RST_STREAM) in both directions of this stream. Idempotent.
    fn reset(&mut self);

    /// Ready once the peer has aborted the stream, also while nothing is being received or sent.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;
}
