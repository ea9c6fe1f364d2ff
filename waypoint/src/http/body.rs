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
    /// From the first on, for as long as all of them are here.
    kept: Vec<Piece>,
    kept_bytes: usize,
    keeps: bool,
    received: u64,
    messages: u64,
    ended: bool,
    /// Who waits for the end.
    waiting: Option<Waker>,
    mirrors: Vec<mpsc::Sender<Piece>>,
}

/// A frame that can be had twice.
#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(bytes) => Self::data(bytes),
            Piece::Trailers(fields) => Self::trailers(fields),
        }
    }
}

impl Upload {
    /// The body that `incoming` is, kept for another try if `keeps`.
    pub(crate) fn new(incoming: Incoming, keeps: bool) -> Self {
        let ended = incoming.is_end_stream();
        Self(Rc::new(RefCell::new(State {
            incoming: (!ended).then_some(incoming),
            kept: Vec::new(),
            kept_bytes: 0,
            keeps,
            received: 0,
            messages: 0,
            ended,
            waiting: None,
            mirrors: Vec::new(),
        })))
    }

    /// The body from its beginning. It is all there as long as [`Upload::can_repeat`].
    pub(crate) fn body(&self) -> RequestBody {
        RequestBody { from: Origin::Client(self.clone()), at: 0 }
    }

    /// A copy for somebody whom nobody waits for; of what has not been read yet, so that it has to be asked for first.
    pub(crate) fn mirror(&self) -> RequestBody {
        let (sender, receiver) = mpsc::channel(MIRROR_BEHIND);
        let mut state = self.0.borrow_mut();
        if !state.ended {
            state.mirrors.push(sender);
        }
        RequestBody { from: Origin::Copy(receiver), at: 0 }
    }

    /// True while a body from the beginning would be whole.
    pub(crate) fn can_repeat(&self) -> bool {
        let state = self.0.borrow();
        state.keeps || state.received == 0
    }

    /// Holds nothing any more: there will be no other try.
    pub(crate) fn settle(&self) {
        let mut state = self.0.borrow_mut();
        state.keeps = false;
        state.kept = Vec::new();
    }

    /// Bytes received, and messages if it is a gRPC call's.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// True if all of it has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// Resolves when all of it has come.
    pub(crate) async fn ended(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            if state.ended {
                return Poll::Ready(());
            }
            state.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn poll_piece(&self, at: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        let state = &mut *self.0.borrow_mut();
        if let Some(piece) = state.kept.get(at) {
            return Poll::Ready(Some(Ok(piece.clone())));
        }
        let Some(incoming) = &mut state.incoming else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => {
                state.end();
                return Poll::Ready(other.map(|error| Err(error.err().map_or_else(|| "no error".into(), Into::into))));
            }
        };
        let piece = match frame.into_data() {
            Ok(data) => Piece::Data(data),
            Err(frame) => match frame.into_trailers() {
                Ok(fields) => Piece::Trailers(fields),
                Err(_) => return Poll::Ready(None),
            },
        };
        if let Piece::Data(data) = &piece {
            state.received += u64::try_from(data.len()).unwrap_or(u64::MAX);
        }
        state.keep(&piece);
        state.mirrors.retain(|mirror| mirror.try_send(piece.clone()).is_ok());
        if state.incoming.as_ref().is_some_and(Body::is_end_stream) {
            state.end();
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

impl State {
    fn keep(&mut self, piece: &Piece) {
        if let Piece::Data(data) = piece {
            self.kept_bytes += data.len();
        }
        if self.keeps && self.kept_bytes <= KEPT {
            self.kept.push(piece.clone());
        } else {
            self.keeps = false;
            self.kept = Vec::new();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.incoming = None;
        self.mirrors.clear();
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// A request's body, once.
pub(crate) struct RequestBody {
    from: Origin,
    at: usize,
}

enum Origin {
    Nobody,
    Client(Upload),
    Copy(mpsc::Receiver<Piece>),
}

impl RequestBody {
    /// None at all.
    pub(crate) fn empty() -> Self {
        Self { from: Origin::Nobody, at: 0 }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let piece = match &mut this.from {
            Origin::Nobody => None,
            Origin::Client(upload) => ready!(upload.poll_piece(this.at, cx)),
            Origin::Copy(pieces) => ready!(pieces.poll_recv(cx)).map(Ok),
        };
        this.at += 1;
        Poll::Ready(piece.map(|piece| piece.map(Frame::from)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            Origin::Nobody => true,
            Origin::Client(upload) => {
                let state = upload.0.borrow();
                state.ended && self.at >= state.kept.len()
            }
            Origin::Copy(pieces) => pieces.is_closed() && pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Origin::Client(upload) if self.at == 0 => {
                let state = upload.0.borrow();
                match &state.incoming {
                    Some(incoming) if state.received == 0 => incoming.size_hint(),
                    None if state.received == 0 => SizeHint::with_exact(0),
                    _ => SizeHint::default(),
                }
            }
            Origin::Nobody => SizeHint::with_exact(0),
            _ => SizeHint::default(),
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
        Self { from: Source::Here((!bytes.is_empty()).then_some(bytes)), ending: Some(Box::new(ending)), open: None }
    }

    /// What the endpoint says.
    pub(crate) fn carried(incoming: Incoming, ending: Ending) -> Self {
        Self { from: Source::Endpoint(incoming), ending: Some(Box::new(ending)), open: None }
    }

    /// Nothing, of a response that something else follows than a body.
    pub(crate) fn nothing() -> Self {
        Self { from: Source::Here(None), ending: None, open: None }
    }

    /// The same, holding `open` for as long as it is there.
    pub(super) fn during(self, open: Open) -> Self {
        Self { open: Some(open), ..self }
    }

    fn finish(&mut self) {
        self.open = None;
        if let Some(ending) = self.ending.take() {
            ending.complete();
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
