//! What a caller says before anybody has agreed to hear it: it is sent on at once, so that no time is lost, and kept until it is
//! known that it has arrived, so that another endpoint can be told it instead.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use ambit_model::{Reason, Traffic};
use ambit_net::stream::{ByteSink, ByteSource};
use bytes::Bytes;

use super::failure::Failure;
use super::session::Server;

/// How much is kept of what one caller says before he has to wait, in bytes: what is sent in one flight. What he says at once when
/// there is room still is kept whole, and is 64 KiB at the most.
const MOST: usize = 64 * 1024;
/// What a chunk counts for at the least, for the buffer that it is in.
const LEAST: usize = 1024;

/// Why a connection comes to nothing.
pub(crate) enum Stop {
    /// Nobody has heard what the caller said.
    Unheard(Failure),
    /// It is over: the caller has gone, was cut, or somebody may have heard him.
    Ended(Failure),
}

/// A caller, and what he has said to an endpoint that would not have him.
pub(crate) struct Begun<C> {
    pub(super) caller: C,
    pub(super) said: Said,
}

impl<C> From<C> for Begun<C> {
    fn from(caller: C) -> Self {
        Self { caller, said: Said::default() }
    }
}

/// What a caller has said, in its order.
#[derive(Debug, Default)]
pub(super) struct Said {
    chunks: Vec<Bytes>,
    /// How many of them have been handed on as a whole.
    sent: usize,
    /// What is left of the one that is being handed on.
    sending: Bytes,
    ended: bool,
    /// What is kept, in bytes.
    kept: usize,
}

impl Said {
    /// Hands what `client` says to `server` until that has agreed to hear it. An orderly end of the client's is left for whoever
    /// reads on.
    ///
    /// # Errors
    /// Why it does not come to that.
    pub(super) async fn until_agreed<R: ByteSource, W: ByteSink>(
        &mut self,
        client: &mut (R, W),
        server: &mut (impl Server, impl ByteSink),
    ) -> Result<(), Stop> {
        self.sent = 0;
        self.sending = Bytes::new();
        let ((source, back), (answers, sink)) = (client, server);
        let mut agreed = pin!(answers.agreed());
        let mut broken = false;
        poll_fn(|cx| {
            if let Poll::Ready(agreed) = agreed.as_mut().poll(cx) {
                return Poll::Ready(agreed);
            }
            while !broken {
                match self.poll_send(sink, cx) {
                    Poll::Ready(Ok(())) => {}
                    // Why, the answer tells.
                    Poll::Ready(Err(_)) => broken = true,
                    Poll::Pending => break,
                }
                if self.ended || self.kept >= MOST {
                    break;
                }
                match source.poll_receive(cx) {
                    Poll::Ready(Ok(Some(chunk))) => {
                        self.kept += chunk.len().max(LEAST);
                        self.chunks.push(chunk);
                    }
                    Poll::Ready(Ok(None)) => self.ended = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(gone(&error))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            // Nobody reads what would tell that he has gone.
            back.poll_broken(cx).map(|error| Err(gone(&error)))
        })
        .await
    }

    /// What has not been handed on yet; the rest is counted as sent.
    pub(super) fn unsent(self, traffic: &Traffic) -> Bytes {
        let Self { chunks, sent, sending, .. } = self;
        let total: usize = chunks.iter().map(Bytes::len).sum();
        let mut rest = chunks.into_iter().skip(sent);
        let unsent = match (sending.is_empty(), rest.len()) {
            (true, 0) => Bytes::new(),
            (true, 1) => rest.next().unwrap_or_default(),
            (true, _) => rest.flatten().collect(),
            // The chunk that it is the end of comes first.
            (false, _) => std::iter::once(sending).chain(rest.skip(1)).flatten().collect(),
        };
        traffic.add_sent(u64::try_from(total - unsent.len()).unwrap_or(u64::MAX));
        unsent
    }

    /// Hands on all that has been said.
    fn poll_send(&mut self, sink: &mut impl ByteSink, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while let Some(chunk) = self.chunks.get(self.sent) {
            if self.sending.is_empty() {
                self.sending = chunk.clone();
            }
            ready!(sink.poll_send(cx, &mut self.sending))?;
            self.sent += 1;
        }
        Poll::Ready(Ok(()))
    }
}

/// The caller has aborted.
fn gone(error: &std::io::Error) -> Stop {
    Stop::Ended(Failure::of_abort(Reason::ResetByClient, error))
}

#[cfg(test)]
mod tests;
