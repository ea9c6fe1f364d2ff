//! The two halves of a stream of a tunnel, as a byte source and a byte sink. Knows nothing of who opened it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ambit_net::stream::{ByteSink, ByteSource};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};

use crate::inbox::Inbox;
use crate::tunnel::{PIECES_AHEAD, Shared};
use crate::{Code, ConnectResponse, Error};

/// The receiving half of a stream. Dropped before the end of what it receives, it resets the stream, as a socket
/// does that is closed with bytes unread.
#[derive(Debug)]
pub struct StreamSource {
    flow: Rc<Flow>,
}

/// The sending half of a stream. Dropped before [`ByteSink::poll_finish`], it resets the stream.
///
/// What is sent is handed to the tunnel, whose driver writes it together with what other streams send.
#[derive(Debug)]
pub struct StreamSink {
    flow: Rc<Flow>,
}

impl StreamSource {
    /// Waits for the head of the peer's answer, and no longer. At a server there is nothing to wait for.
    ///
    /// # Errors
    /// [`Error::Refused`] if the peer answered something else than 200; otherwise why there is no answer.
    pub async fn answer(&mut self) -> Result<ConnectResponse, Error> {
        poll_fn(|cx| self.flow.poll_answer(cx)).await
    }
}

impl StreamSink {
    /// The error code of a reset to come, [`Code::CONNECT_ERROR`] unless it is replaced; it can be when the halves are
    /// in other hands.
    #[must_use]
    pub fn reset_code(&self) -> Rc<Cell<Code>> {
        self.flow.outbound.borrow().code.clone()
    }
}

impl ByteSource for StreamSource {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.flow.poll_receive(cx).map_err(io::Error::from)
    }
}

impl Drop for StreamSource {
    fn drop(&mut self) {
        if !self.flow.inbound.borrow_mut().has_ended() {
            self.flow.abort();
        }
    }
}

impl ByteSink for StreamSink {
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        self.flow.poll_send(cx, data).map_err(io::Error::from)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flow.poll_finish(cx).map_err(io::Error::from)
    }

    fn reset(&mut self) {
        self.flow.abort();
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.flow.poll_broken(cx).map(io::Error::from)
    }
}

impl Drop for StreamSink {
    fn drop(&mut self) {
        if !self.flow.outbound.borrow().finished {
            self.flow.abort();
        }
    }
}

/// A stream, as its two halves and the tunnel's driver share it.
pub(crate) struct Flow {
    inbound: RefCell<Inbound>,
    outbound: RefCell<Outbound>,
    tunnel: Rc<Shared>,
    key: u64,
    on_end: Option<Rc<dyn Fn()>>,
}

struct Inbound {
    head: Head,
    /// What the driver has taken over from the HTTP/2 layer ahead of the reader.
    inbox: Inbox,
    /// The reader, if it waits. The driver must not take its place while it looks for data.
    reader: Option<Waker>,
    ended: bool,
}

enum Head {
    Awaited(ResponseFuture),
    Here(ConnectResponse, RecvStream),
    Failed(Error),
}

struct Outbound {
    /// `None` until a server has accepted the request.
    stream: Option<SendStream<Bytes>>,
    finished: bool,
    aborted: bool,
    /// What a reset tells the peer.
    code: Rc<Cell<Code>>,
    /// The pieces handed over while [`Shared::written`] had the value beside it.
    ahead: (u64, u32),
}

impl Flow {
    /// A stream opened here. `on_end` is called when both its halves are gone.
    pub(crate) fn opened(
        tunnel: &Rc<Shared>,
        response: ResponseFuture,
        stream: SendStream<Bytes>,
        on_end: Option<Rc<dyn Fn()>>,
    ) -> (StreamSource, StreamSink) {
        let flow = Self::enter(tunnel, Head::Awaited(response), on_end);
        Self::halves(flow, stream)
    }

    /// A stream that a peer opened, not yet accepted.
    pub(crate) fn incoming(tunnel: &Rc<Shared>, body: RecvStream) -> Rc<Self> {
        Self::enter(tunnel, Head::Here(ConnectResponse::default(), body), None)
    }

    /// The halves of a stream, once there is something to send on.
    pub(crate) fn halves(flow: Rc<Self>, stream: SendStream<Bytes>) -> (StreamSource, StreamSink) {
        flow.outbound.borrow_mut().stream = Some(stream);
        (StreamSource { flow: Rc::clone(&flow) }, StreamSink { flow })
    }

    fn enter(tunnel: &Rc<Shared>, head: Head, on_end: Option<Rc<dyn Fn()>>) -> Rc<Self> {
        tunnel.enter(|key| {
            let inbound = Inbound { head, inbox: Inbox::default(), reader: None, ended: false };
            let outbound = Outbound {
                stream: None,
                finished: false,
                aborted: false,
                code: Rc::new(Cell::new(Code::CONNECT_ERROR)),
                ahead: (0, 0),
            };
            let (inbound, outbound) = (RefCell::new(inbound), RefCell::new(outbound));
            Rc::new(Self { inbound, outbound, tunnel: Rc::clone(tunnel), key, on_end })
        })
    }

    /// Moves what has arrived for a sleeping reader out of the HTTP/2 layer, which counts and keeps it frame by frame.
    /// The peer may send no more for that: its credit comes back when the reader has read.
    pub(crate) fn stow(&self) {
        let mut inbound = self.inbound.borrow_mut();
        let waker = inbound.reader.clone().unwrap_or_else(|| Waker::noop().clone());
        let cx = &mut Context::from_waker(&waker);
        if self.poll_head(&mut inbound, cx).is_pending() {
            return;
        }
        let Inbound { head: Head::Here(_, body), inbox, .. } = &mut *inbound else { return };
        while let Poll::Ready(Some(Ok(piece))) = body.poll_data(cx) {
            inbox.push(piece);
        }
    }

    fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<ConnectResponse, Error>> {
        let mut inbound = self.inbound.borrow_mut();
        inbound.reader = None;
        let head = self.poll_head(&mut inbound, cx);
        if head.is_pending() {
            inbound.reader = Some(cx.waker().clone());
        }
        ready!(head)?;
        match &inbound.head {
            Head::Here(response, _) => Poll::Ready(Ok(response.clone())),
            Head::Failed(error) => Poll::Ready(Err(error.clone())),
            Head::Awaited(_) => Poll::Pending,
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let mut inbound = self.inbound.borrow_mut();
        inbound.reader = None;
        let received = self.poll_next(&mut inbound, cx);
        if received.is_pending() {
            inbound.reader = Some(cx.waker().clone());
        }
        received
    }

    fn poll_next(&self, inbound: &mut Inbound, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if inbound.ended {
            return Poll::Ready(Ok(None));
        }
        ready!(self.poll_head(inbound, cx))?;
        loop {
            let Head::Here(_, body) = &mut inbound.head else { return Poll::Ready(Err(Error::Aborted)) };
            let piece = match inbound.inbox.pop() {
                Some(piece) => piece,
                None => match ready!(body.poll_data(cx)) {
                    Some(Ok(piece)) => piece,
                    Some(Err(error)) => return Poll::Ready(Err(self.explain(error))),
                    None => {
                        inbound.ended = true;
                        return Poll::Ready(Ok(None));
                    }
                },
            };
            // Fails only on a stream that is over, which needs no credit.
            let _ = body.flow_control().release_capacity(piece.len());
            if !piece.is_empty() {
                return Poll::Ready(Ok(Some(piece)));
            }
        }
    }

    /// Ready once the head of the answer is here, or known never to come.
    fn poll_head(&self, inbound: &mut Inbound, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let response = match &mut inbound.head {
            Head::Awaited(response) => ready!(Pin::new(response).poll(cx)),
            Head::Here(..) => return Poll::Ready(Ok(())),
            Head::Failed(error) => return Poll::Ready(Err(error.clone())),
        };
        let head = match response {
            Ok(response) => ConnectResponse::from_http(&response).map(|head| (head, response.into_body())),
            Err(error) => Err(self.explain(error)),
        };
        Poll::Ready(match head {
            Ok((response, body)) => {
                inbound.head = Head::Here(response, body);
                Ok(())
            }
            Err(error) => {
                inbound.head = Head::Failed(error.clone());
                self.outbound.borrow_mut().cancel(h2::Reason::CANCEL);
                Err(error)
            }
        })
    }

    fn poll_send(&self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<Result<(), Error>> {
        let sent = self.outbound.borrow_mut().poll_send(cx, &self.tunnel, data);
        match ready!(sent) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(self.why_broken(cx, error))),
        }
    }

    fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let finished = self.outbound.borrow_mut().finish();
        Poll::Ready(finished.map_err(|error| self.why_broken(cx, error)))
    }

    fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<Error> {
        let broken = self.outbound.borrow_mut().poll_reset(cx);
        broken.map(|broken| self.verdict(cx, broken))
    }

    /// Ends both directions; what has been handed over to be sent still goes first.
    fn abort(&self) {
        self.outbound.borrow_mut().abort(&self.tunnel);
        let mut inbound = self.inbound.borrow_mut();
        let unread = inbound.inbox.len();
        inbound.inbox = Inbox::default();
        if let Head::Here(_, body) = &mut inbound.head {
            // What is still with the HTTP/2 layer goes back to the tunnel when `body` is dropped.
            let _ = body.flow_control().release_capacity(unread);
        }
        if !matches!(inbound.head, Head::Failed(_)) {
            inbound.head = Head::Failed(Error::Aborted);
        }
        if let Some(reader) = inbound.reader.take() {
            reader.wake();
        }
    }

    /// Why a stream that could not be sent on is broken.
    fn why_broken(&self, cx: &mut Context<'_>, error: h2::Error) -> Error {
        let broken = self.outbound.borrow_mut().poll_reset(cx);
        match broken {
            Poll::Ready(broken) => self.verdict(cx, broken),
            Poll::Pending => self.explain(error),
        }
    }

    /// Why a broken stream is broken. The sending side knows a code at best; the head of the answer tells more.
    fn verdict(&self, cx: &mut Context<'_>, broken: Result<h2::Reason, h2::Error>) -> Error {
        if self.outbound.borrow().aborted {
            return Error::Aborted;
        }
        if let Poll::Ready(Err(error)) = self.poll_head(&mut self.inbound.borrow_mut(), cx) {
            return error;
        }
        match (self.tunnel.ended(), broken) {
            (Some(why), _) => why,
            (None, Ok(reason)) => Error::from_reset(Code(reason.into())),
            (None, Err(error)) => self.explain(error),
        }
    }

    /// An error of the HTTP/2 layer, with the reason why the tunnel ended in place of the mere fact.
    fn explain(&self, error: h2::Error) -> Error {
        if self.outbound.borrow().aborted {
            return Error::Aborted;
        }
        match Error::from_h2(error) {
            error @ (Error::Transport(_) | Error::TunnelClosed) => self.tunnel.ended().unwrap_or(error),
            error => error,
        }
    }
}

impl Inbound {
    /// Whether everything that will ever be received has been read.
    fn has_ended(&mut self) -> bool {
        let ended = match &self.head {
            Head::Here(_, body) => self.inbox.len() == 0 && body.is_end_stream(),
            Head::Failed(_) => true,
            Head::Awaited(_) => false,
        };
        self.ended || ended
    }
}

impl Outbound {
    fn poll_send(&mut self, cx: &mut Context<'_>, tunnel: &Shared, data: &mut Bytes) -> Poll<Result<(), h2::Error>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(h2::Reason::INTERNAL_ERROR.into())) };
        while !data.is_empty() {
            if self.ahead.0 != tunnel.written() {
                self.ahead = (tunnel.written(), 0);
            }
            if self.ahead.1 >= PIECES_AHEAD {
                tunnel.wait_until_written(cx.waker());
                return stream.poll_reset(cx).map(|broken| Err(broken.map_or_else(|error| error, Into::into)));
            }
            stream.reserve_capacity(data.len());
            let room = stream.capacity();
            if room == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
                }
            }
            stream.send_data(data.split_to(room.min(data.len())), false)?;
            self.ahead.1 += 1;
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) -> Result<(), h2::Error> {
        if self.aborted {
            return Err(h2::Reason::CONNECT_ERROR.into());
        }
        if let Some(stream) = self.stream.as_mut().filter(|_| !self.finished) {
            stream.send_data(Bytes::new(), true)?;
            self.finished = true;
        }
        Ok(())
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<h2::Reason, h2::Error>> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None if self.aborted => Poll::Ready(Ok(h2::Reason::CONNECT_ERROR)),
            None => Poll::Pending,
        }
    }

    fn abort(&mut self, tunnel: &Shared) {
        if self.aborted {
            return;
        }
        self.aborted = true;
        let is_ahead = self.ahead.0 == tunnel.written() && self.ahead.1 > 0;
        let code = self.code.get().0.into();
        match self.stream.take_if(|_| is_ahead) {
            Some(stream) => tunnel.reset_once_written(stream, code),
            None => self.cancel(code),
        }
    }

    fn cancel(&mut self, reason: h2::Reason) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(reason);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.tunnel.leave(self.key);
        if let Some(on_end) = &self.on_end {
            on_end();
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("key", &self.key).finish_non_exhaustive()
    }
}
