//! Bodies on their way: a request's, which may have to be sent again or to several, and a response's, whose end is the
//! end of its request. Nothing is held but what may be sent again, and of that no more than a bound.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::ending::{Broken, Ending};
use super::grpc::Messages;
use super::serve::Open;

/// What hyper takes for an error.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a request's body that are held so that it can be sent again; one that is larger is sent once.
const KEPT: usize = 64 << 10;

/// Frames that a mirror may be behind; one that is slower gets no more.
const MIRROR_BEHIND: usize = 64;

/// A request's body, as all its tries see it.
#[derive(Clone)]
pub(crate) struct Upload(Rc<RefCell<State>>);

struct State {
    incoming: Option<Incoming>,
    /// What the client said of it before it came.
    hint: SizeHint,
    /// From the first on while `keeps`; of what nobody has had yet otherwise.
    kept: Vec<Piece>,
    kept_bytes: usize,
    keeps: bool,
    /// Which of `kept` is next.
    next: usize,
    /// The number of the body that is read from: that of the last try.
    turn: u32,
    /// Somebody has begun to read that body.
    begun: bool,
    /// Something was read that is not kept.
    consumed: bool,
    received: u64,
    messages: Option<Messages>,
    ended: bool,
    /// The client broke it off.
    broken: bool,
    /// Who waits for the end, and who for the next frame.
    waiting: Option<Waker>,
    reading: Option<Waker>,
    mirrors: Vec<mpsc::Sender<Copied>>,
}

/// A frame that can be had twice.
#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// A frame for a mirror; none is the end, without which a copy is not whole.
type Copied = Option<Piece>;

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(bytes) => Self::data(bytes),
            Piece::Trailers(fields) => Self::trailers(fields),
        }
    }
}

impl Upload {
    /// The body that `incoming` is, kept for another try if `keeps`, its messages being counted if it is gRPC's.
    pub(crate) fn new(incoming: Incoming, keeps: bool, is_grpc: bool) -> Self {
        let ended = incoming.is_end_stream();
        Self(Rc::new(RefCell::new(State {
            hint: incoming.size_hint(),
            incoming: (!ended).then_some(incoming),
            kept: Vec::new(),
            kept_bytes: 0,
            keeps,
            next: 0,
            turn: 0,
            begun: false,
            consumed: false,
            received: 0,
            messages: is_grpc.then(Messages::default),
            ended,
            broken: false,
            waiting: None,
            reading: None,
            mirrors: Vec::new(),
        })))
    }

    /// The body from its beginning. It is all there as long as [`Upload::can_repeat`]. Whoever has been given one before gets
    /// nothing more: a try that was given up must not take what is for the next.
    pub(crate) fn body(&self) -> RequestBody {
        let mut state = self.0.borrow_mut();
        state.turn = state.turn.wrapping_add(1);
        state.next = 0;
        state.begun = false;
        if let Some(reading) = state.reading.take() {
            reading.wake();
        }
        RequestBody { from: Origin::Client(self.clone(), state.turn) }
    }

    /// A copy for somebody whom nobody waits for; of what has not been read yet, so that it has to be asked for first.
    pub(crate) fn mirror(&self) -> RequestBody {
        let mut state = self.0.borrow_mut();
        if state.ended {
            return RequestBody::empty();
        }
        let (sender, receiver) = mpsc::channel(MIRROR_BEHIND);
        state.mirrors.push(sender);
        RequestBody { from: Origin::Copy(receiver) }
    }

    /// True while a body from the beginning would be whole.
    pub(crate) fn can_repeat(&self) -> bool {
        let state = self.0.borrow();
        !state.broken && (state.keeps || !state.consumed)
    }

    /// True if the client broke it off.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.borrow().broken
    }

    /// Holds nothing any more that has been read: there will be no other try.
    pub(crate) fn settle(&self) {
        let mut state = self.0.borrow_mut();
        state.keeps = false;
        state.forget_read();
    }

    /// Messages received, if it is gRPC's.
    pub(crate) fn messages(&self) -> u64 {
        self.0.borrow().messages.map_or(0, Messages::count)
    }

    /// Bytes received.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// Resolves when all of it has come. It comes even if nobody reads it yet, as far as it can be kept: who waits for a
    /// connection must not be the reason why it does not come.
    pub(crate) async fn ended(&self) {
        std::future::poll_fn(|cx| self.poll_ended(cx)).await;
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.0.borrow_mut();
        while !state.begun && !state.ended && state.kept_bytes < KEPT {
            match state.poll_incoming(cx) {
                Poll::Ready(Some(Ok(piece))) => state.kept.push(piece),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        if state.ended {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_piece(&self, turn: u32, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        let state = &mut *self.0.borrow_mut();
        if state.turn != turn {
            return Poll::Ready(Some(Err("the request is sent elsewhere".into())));
        }
        state.begun = true;
        if let Some(piece) = state.kept.get(state.next).cloned() {
            state.next += 1;
            state.forget_read();
            return Poll::Ready(Some(Ok(piece)));
        }
        let Poll::Ready(piece) = state.poll_incoming(cx) else {
            state.reading = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Some(Ok(piece)) = &piece {
            if state.keeps {
                state.kept.push(piece.clone());
                state.next += 1;
            }
            state.forget_read();
        }
        Poll::Ready(piece)
    }
}

impl State {
    /// The next frame that has not been asked for yet.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        let gone = || Some(Err("the client ended its request before its end".into()));
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(if self.broken { gone() } else { None });
        };
        let frame = match ready!(Pin::new(incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            None => {
                self.end();
                return Poll::Ready(None);
            }
            Some(Err(_)) => {
                self.broken = true;
                self.end();
                return Poll::Ready(gone());
            }
        };
        let piece = match frame.into_data() {
            Ok(data) => Piece::Data(data),
            // A frame is data or trailers.
            Err(frame) => Piece::Trailers(frame.into_trailers().unwrap_or_default()),
        };
        if let Piece::Data(data) = &piece {
            self.received += u64::try_from(data.len()).unwrap_or(u64::MAX);
            if let Some(messages) = &mut self.messages {
                messages.pass(data);
            }
            self.kept_bytes = self.kept_bytes.saturating_add(data.len());
        }
        self.keeps &= self.kept_bytes <= KEPT;
        self.mirrors.retain(|mirror| mirror.try_send(Some(piece.clone())).is_ok());
        if self.incoming.as_ref().is_some_and(Body::is_end_stream) {
            self.end();
        }
        Poll::Ready(Some(Ok(piece)))
    }

    /// Forgets what has been read, unless it may be read again.
    fn forget_read(&mut self) {
        if !self.keeps && self.begun {
            self.consumed = true;
            self.kept.drain(..self.next.min(self.kept.len()));
            self.next = 0;
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.incoming = None;
        for mirror in self.mirrors.drain(..) {
            if !self.broken {
                // One that is too far behind is not told that this was all.
                let _ = mirror.try_send(None);
            }
        }
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// A request's body, once.
pub(crate) struct RequestBody {
    from: Origin,
}

enum Origin {
    Nobody,
    Client(Upload, u32),
    Copy(mpsc::Receiver<Copied>),
}

impl RequestBody {
    /// None at all.
    pub(crate) fn empty() -> Self {
        Self { from: Origin::Nobody }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = match &mut self.from {
            Origin::Nobody => None,
            Origin::Client(upload, turn) => ready!(upload.poll_piece(*turn, cx)),
            Origin::Copy(pieces) => match ready!(pieces.poll_recv(cx)) {
                Some(piece) => piece.map(Ok),
                None => Some(Err("the copy has fallen behind, or its original has ended".into())),
            },
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::from)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            Origin::Nobody => true,
            Origin::Client(upload, turn) => {
                let state = upload.0.borrow();
                state.turn == *turn && state.ended && !state.broken && state.next >= state.kept.len()
            }
            Origin::Copy(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Origin::Nobody => SizeHint::with_exact(0),
            Origin::Client(upload, turn) => {
                let state = upload.0.borrow();
                if state.turn == *turn && !state.begun { state.hint.clone() } else { SizeHint::default() }
            }
            Origin::Copy(_) => SizeHint::default(),
        }
    }
}

/// A response's body. What its request was for ends with it.
pub(crate) struct ResponseBody {
    from: Source,
    ending: Option<Box<Ending>>,
    open: Option<Open>,
}

enum Source {
    Here(Option<Bytes>),
    Endpoint(Incoming),
}

impl ResponseBody {
    /// `bytes`, said by the proxy itself.
    pub(crate) fn of(bytes: Bytes, ending: Ending) -> Self {
        Self::ended_by(Source::Here((!bytes.is_empty()).then_some(bytes)), ending)
    }

    /// What the endpoint says.
    pub(crate) fn carried(incoming: Incoming, ending: Ending) -> Self {
        Self::ended_by(Source::Endpoint(incoming), ending)
    }

    /// Nothing, of a response that something else follows than a body.
    pub(crate) fn nothing() -> Self {
        Self { from: Source::Here(None), ending: None, open: None }
    }

    /// The same, holding `open` for as long as it is there.
    pub(super) fn during(mut self, open: Open) -> Self {
        self.open = Some(open);
        self
    }

    fn ended_by(from: Source, ending: Ending) -> Self {
        let mut body = Self { from, ending: Some(Box::new(ending)), open: None };
        // Of a body that has nothing hyper asks nothing.
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        self.open = None;
        if let Some(ending) = self.ending.take() {
            ending.complete();
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // hyper asks for nothing of a body that is empty, or that a response to HEAD does not have. What the proxy itself
        // says is there as a whole.
        if matches!(self.from, Source::Here(_)) || self.is_end_stream() {
            self.finish();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(ending) = &mut this.ending
            && let Poll::Ready(why) = ending.poll_cut(cx)
        {
            this.ending.take().into_iter().for_each(|ending| ending.broken(why));
            return Poll::Ready(Some(Err(why.text().into())));
        }
        let frame = match &mut this.from {
            Source::Here(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Source::Endpoint(incoming) => {
                ready!(Pin::new(incoming).poll_frame(cx)).map(|frame| frame.map_err(BoxError::from))
            }
        };
        match (&frame, &mut this.ending) {
            (Some(Ok(frame)), Some(ending)) => ending.passed(frame),
            (Some(Err(_)), _) => {
                this.ending.take().into_iter().for_each(|ending| ending.broken(Broken::Endpoint));
            }
            (None, _) => this.finish(),
            _ => {}
        }
        // hyper does not ask again for what it knows to be over.
        if this.is_end_stream() {
            this.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            Source::Here(bytes) => bytes.is_none(),
            Source::Endpoint(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Source::Here(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            Source::Endpoint(incoming) => incoming.size_hint(),
        }
    }
}
