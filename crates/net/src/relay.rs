//! Relays a connection: both directions at once, each end's way of ending passed on to the other as it was. Knows
//! nothing of what carries the two ends.
//!
//! # What a peer sees
//! What it would see if the other end were connected to it directly. An orderly end follows the bytes before it, and
//! the other direction goes on. An abort reaches the other end at once, also while that end takes no bytes; what the
//! aborting end had sent before is passed on first as far as the other end takes it without waiting. That is what the
//! kernel does for a direct connection: bytes that have arrived can still be read after an RST, bytes that have not
//! are lost.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use ambit_model::traffic::Traffic;
use bytes::Bytes;
use tokio::task::coop::unconstrained;

use crate::stream::{ByteSink, ByteSource};

/// What a direction may move before others get their turn: bytes, and for each chunk as many as its handling costs.
const TURN: usize = 1 << 20;
const CHUNK_COST: usize = 4 << 10;

/// How a relayed connection ended.
#[derive(Debug)]
pub enum Closed {
    /// Both ends finished in order.
    Finished,
    /// The client (who dialled) aborted; the server has been reset.
    ResetByClient(io::Error),
    /// The server aborted; the client has been reset.
    ResetByServer(io::Error),
}

/// Relays between `client` and `server` until both have finished or one has aborted, counting into `traffic` what has
/// been handed on. Holds at most one chunk a direction. Dropped unfinished, it resets both ends.
pub fn relay<'t, CR, CW, SR, SW>(client: (CR, CW), server: (SR, SW), traffic: &'t Traffic) -> Relay<'t, CR, CW, SR, SW>
where
    CR: ByteSource,
    CW: ByteSink,
    SR: ByteSource,
    SW: ByteSink,
{
    let (client, server) = (End { source: client.0, sink: client.1 }, End { source: server.0, sink: server.1 });
    Relay { client, server, up: Flow::Receiving, down: Flow::Receiving, closed: false, traffic }
}

impl<CR: ByteSource, CW: ByteSink, SR: ByteSource, SW: ByteSink> Relay<'_, CR, CW, SR, SW> {
    /// The same, `first` being what the client has said already and the server has not had.
    pub fn beginning_with(mut self, first: Bytes) -> Self {
        if !first.is_empty() {
            self.up = Flow::Sending(first);
        }
        self
    }
}

/// The future of [`relay`].
#[derive(Debug)]
#[must_use = "nothing is relayed unless this is awaited, and dropping it resets both ends"]
pub struct Relay<'t, CR: ByteSource, CW: ByteSink, SR: ByteSource, SW: ByteSink> {
    client: End<CR, CW>,
    server: End<SR, SW>,
    up: Flow,
    down: Flow,
    closed: bool,
    traffic: &'t Traffic,
}

#[derive(Debug)]
struct End<R, W> {
    source: R,
    sink: W,
}

/// How far one direction is.
#[derive(Debug)]
enum Flow {
    Receiving,
    Sending(Bytes),
    Finishing,
    /// Nothing more will be moved: all has been, or the source is broken.
    Ended,
}

/// Who broke a direction.
enum Fault {
    Source(io::Error),
    Sink(io::Error),
}

// Nothing inside is ever pinned: the ends are polled through `&mut`.
impl<CR: ByteSource, CW: ByteSink, SR: ByteSource, SW: ByteSink> Unpin for Relay<'_, CR, CW, SR, SW> {}

impl<CR: ByteSource, CW: ByteSink, SR: ByteSource, SW: ByteSink> Future for Relay<'_, CR, CW, SR, SW> {
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let this = self.get_mut();
        let closed = match this.poll_flows(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => Closed::Finished,
            Poll::Ready(Err(closed)) => {
                this.pass_on_abort(&closed, cx);
                closed
            }
        };
        this.closed = true;
        Poll::Ready(closed)
    }
}

impl<CR: ByteSource, CW: ByteSink, SR: ByteSource, SW: ByteSink> Relay<'_, CR, CW, SR, SW> {
    fn poll_flows(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { client, server, up, down, traffic, .. } = self;
        let sent = up.poll((&mut client.source, &mut server.sink), TURN, |bytes| traffic.add_sent(bytes), cx);
        if let Poll::Ready(Err(fault)) = sent {
            return Poll::Ready(Err(match fault {
                Fault::Source(error) => Closed::ResetByClient(error),
                Fault::Sink(error) => Closed::ResetByServer(error),
            }));
        }
        let received = down.poll((&mut server.source, &mut client.sink), TURN, |bytes| traffic.add_received(bytes), cx);
        if let Poll::Ready(Err(fault)) = received {
            return Poll::Ready(Err(match fault {
                Fault::Source(error) => Closed::ResetByServer(error),
                Fault::Sink(error) => Closed::ResetByClient(error),
            }));
        }
        if sent.is_ready() && received.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // An end that is being received from reports its abort there; of any other one must ask.
        if !up.is_receiving()
            && let Poll::Ready(error) = client.sink.poll_broken(cx)
        {
            return Poll::Ready(Err(Closed::ResetByClient(error)));
        }
        if !down.is_receiving()
            && let Poll::Ready(error) = server.sink.poll_broken(cx)
        {
            return Poll::Ready(Err(Closed::ResetByServer(error)));
        }
        Poll::Pending
    }

    /// Passes on what the aborting end had sent before, as far as that works without waiting, then the abort.
    fn pass_on_abort(&mut self, closed: &Closed, cx: &mut Context<'_>) {
        let Self { client, server, up, down, traffic, .. } = self;
        // The task's budget, spent, would look like backpressure. What has arrived from an end that is gone is finite.
        match closed {
            Closed::Finished => {}
            Closed::ResetByClient(_) => unbudgeted(cx, |cx| {
                up.poll((&mut client.source, &mut server.sink), usize::MAX, |bytes| traffic.add_sent(bytes), cx)
            }),
            Closed::ResetByServer(_) => unbudgeted(cx, |cx| {
                down.poll((&mut server.source, &mut client.sink), usize::MAX, |bytes| traffic.add_received(bytes), cx)
            }),
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.client.sink.reset();
        self.server.sink.reset();
    }
}

impl<CR: ByteSource, CW: ByteSink, SR: ByteSource, SW: ByteSink> Drop for Relay<'_, CR, CW, SR, SW> {
    fn drop(&mut self) {
        if !self.closed {
            self.reset();
        }
    }
}

impl Flow {
    fn is_receiving(&self) -> bool {
        matches!(self, Self::Receiving)
    }

    /// Moves what can be moved, `turn` at most, telling `count` the bytes that the sink has taken.
    fn poll(
        &mut self,
        (source, sink): (&mut impl ByteSource, &mut impl ByteSink),
        turn: usize,
        count: impl Fn(u64),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let mut spent = 0_usize;
        loop {
            *self = match self {
                Self::Receiving if spent >= turn => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Self::Receiving => match ready!(source.poll_receive(cx)) {
                    Ok(Some(chunk)) => Self::Sending(chunk),
                    Ok(None) => Self::Finishing,
                    Err(error) => {
                        *self = Self::Ended;
                        return Poll::Ready(Err(Fault::Source(error)));
                    }
                },
                Self::Sending(chunk) => {
                    let before = chunk.len();
                    let sent = sink.poll_send(cx, chunk);
                    let taken = before.saturating_sub(chunk.len());
                    count(u64::try_from(taken).unwrap_or(u64::MAX));
                    ready!(sent).map_err(Fault::Sink)?;
                    spent = spent.saturating_add(taken).saturating_add(CHUNK_COST);
                    Self::Receiving
                }
                Self::Finishing => {
                    ready!(sink.poll_finish(cx)).map_err(Fault::Sink)?;
                    Self::Ended
                }
                Self::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Polls `work` once outside the task's budget.
fn unbudgeted<T>(cx: &mut Context<'_>, work: impl FnMut(&mut Context<'_>) -> Poll<T>) {
    let _ = pin!(unconstrained(poll_fn(work))).poll(cx);
}

#[cfg(test)]
mod tests;
