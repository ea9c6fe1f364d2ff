//! A client's connection that speaks HTTP: its requests one after the other or side by side, within bounds of patience and
//! memory. What becomes of a request is for `life`.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ambit_net::stream::{ByteSink, ByteSource};
use futures_util::future::LocalBoxFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, Sleep};

use super::answer::Answer;
use super::body::ResponseBody;
use super::life::live;
use super::upgrade::Channel;
use crate::arrival::Arrival;
use crate::io::Duplex;
use crate::proxy::Proxy;
use crate::record::{self, Story};
use crate::tasks::LocalExecutor;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Bytes that the head of a request may have, as Envoy bounds them.
pub(super) const HEAD: u32 = 60 << 10;

/// Bytes that h2 takes of one: what is beyond the former is answered, and told, by us. What is beyond this h2 answers itself.
const TAKEN: u32 = 2 * HEAD;

/// Fields that it may have.
const FIELDS: usize = 256;

/// How long a connection may rest between two requests, and before the first.
pub(crate) const IDLE: Duration = Duration::from_secs(3600);

/// How long a client may take for the rest of its last answer.
const FINISH: Duration = Duration::from_secs(60);

/// What a client may have us hold on one HTTP/2 connection.
struct Room {
    /// Requests that are open.
    streams: u32,
    /// Bytes of the body of one that nobody has taken yet.
    stream: u32,
    /// Of all of them.
    connection: u32,
    /// Bytes of an answer that the client has not taken yet.
    answer: usize,
}

/// An agent's.
const WITHIN: Room = Room { streams: 1024, stream: 256 << 10, connection: 16 << 20, answer: 256 << 10 };

/// That of anybody from outside (Envoy, "Configuring Envoy as an edge proxy").
const OUTSIDE: Room = Room { streams: 100, stream: 64 << 10, connection: 1 << 20, answer: 64 << 10 };

/// Serves the requests that come by `stream`.
pub(crate) async fn serve<S, K>(proxy: &Rc<Proxy>, arrival: Rc<Arrival>, stream: Duplex<S, K>, version: Version)
where
    S: ByteSource + Unpin + 'static,
    K: ByteSink + Unpin + 'static,
{
    let channel = Rc::new(Channel::default());
    let requests =
        Requests { proxy: proxy.clone(), arrival: arrival.clone(), channel: channel.clone(), patience: Rc::default() };
    let patience = requests.patience.clone();
    let client = arrival.client;
    let outcome = match version {
        Version::Http1 => {
            let stream = Patient { stream, patience, limit: proxy.shared.limits.header, over: None };
            serve1(proxy, stream, requests, &channel).await
        }
        Version::Http2 => serve2(proxy, stream, requests).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(%client, "a client's connection ended: {error}");
        if version == Version::Http1
            && let Some(answer) = Answer::to_unreadable(&error)
        {
            tell_unreadable(proxy, &arrival, &answer);
        }
    }
}

/// Tells of a request whose head hyper could not read: no life has begun that would.
fn tell_unreadable(proxy: &Proxy, arrival: &Arrival, answer: &Answer) {
    let mut story = Story::unread();
    story.answered(answer, answer.response(false).status());
    record::tell(proxy, arrival, &story);
}

async fn serve1<S, K>(
    proxy: &Rc<Proxy>,
    stream: Patient<Duplex<S, K>>,
    requests: Requests,
    channel: &Channel,
) -> hyper::Result<()>
where
    S: ByteSource + Unpin + 'static,
    K: ByteSink + Unpin + 'static,
{
    let mut connection =
        http1::Builder::new().max_headers(FIELDS).max_buf_size(HEAD as usize).serve_connection(stream, requests);
    let mut resting = pin!(proxy.resting_over());
    let mut cut = pin!(proxy.cut());
    let mut told = false;
    poll_fn(|cx| {
        if !told && resting.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if told && cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        connection.poll_without_shutdown(cx)
    })
    .await?;
    let http1::Parts { io, read_buf, .. } = connection.into_parts();
    // Who reads nothing any more, or never ends, is not waited for.
    let cut = proxy.cut();
    match channel.take() {
        Some(upgrade) => tokio::select! {
            () = upgrade.relay(io.stream.split(read_buf)) => {}
            () = cut => {}
        },
        None => tokio::select! {
            () = io.stream.finish() => {}
            () = tokio::time::sleep(FINISH) => {}
            () = cut => {}
        },
    }
    Ok(())
}

async fn serve2<S, K>(proxy: &Rc<Proxy>, stream: Duplex<S, K>, requests: Requests) -> hyper::Result<()>
where
    S: ByteSource + Unpin + 'static,
    K: ByteSink + Unpin + 'static,
{
    let mut builder = http2::Builder::new(LocalExecutor);
    let room = if requests.arrival.door().is_some() { &OUTSIDE } else { &WITHIN };
    builder.timer(TokioTimer::new()).max_concurrent_streams(room.streams).max_header_list_size(TAKEN);
    builder.initial_stream_window_size(room.stream).initial_connection_window_size(room.connection);
    builder.max_send_buf_size(room.answer);
    builder.keep_alive_interval(Duration::from_secs(60)).keep_alive_timeout(Duration::from_secs(20));
    let mut connection = pin!(builder.serve_connection(stream, requests));
    let mut leaving = pin!(proxy.leaving());
    let mut cut = pin!(proxy.cut());
    let mut told = false;
    poll_fn(|cx| {
        if !told && leaving.as_mut().poll(cx).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        if told && cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// Tells whoever has sent a request by HTTP/1.1 that it was the last on its connection.
fn last<B>(response: &mut Response<B>, version: http::Version) {
    if version <= http::Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What is done with the requests of one connection.
struct Requests {
    proxy: Rc<Proxy>,
    arrival: Rc<Arrival>,
    channel: Rc<Channel>,
    patience: Rc<Patience>,
}

impl Service<http::Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let open = self.patience.begin();
        let (proxy, version) = (self.proxy.clone(), request.version());
        let life = live(self.proxy.clone(), self.arrival.clone(), self.channel.clone(), request);
        Box::pin(async move {
            let mut response = life.await.map(|body| body.during(open));
            if proxy.is_leaving() {
                last(&mut response, version);
            }
            Ok(response)
        })
    }
}

/// How far a connection is that carries one request after the other.
#[derive(Default)]
pub(super) struct Patience {
    /// Requests that have come and whose responses have not ended.
    open: Cell<u32>,
    /// Since when there are bytes of a head that is not complete.
    since: Cell<Option<Instant>>,
}

impl Patience {
    /// The head of a request has come: until the guard is dropped, what comes is its body.
    fn begin(self: &Rc<Self>) -> Open {
        self.since.set(None);
        self.open.set(self.open.get().saturating_add(1));
        Open(self.clone())
    }
}

/// A request whose response has not ended.
pub(super) struct Open(Rc<Patience>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

/// A connection on which the head of a request must not take too long, once it has begun. Between requests it may rest for
/// longer.
struct Patient<T> {
    stream: T,
    patience: Rc<Patience>,
    limit: Duration,
    /// What is waited for, and until when.
    over: Option<(Option<Instant>, Pin<Box<Sleep>>)>,
}

impl<T> Patient<T> {
    /// Ready if nothing has come for too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.patience.open.get() > 0 {
            self.over = None;
            return Poll::Pending;
        }
        let since = self.patience.since.get();
        if self.over.as_ref().is_none_or(|(waits, _)| *waits != since) {
            let until = since.map_or_else(|| Instant::now() + IDLE, |since| since + self.limit);
            self.over = Some((since, Box::pin(tokio::time::sleep_until(until))));
        }
        self.over.as_mut().map_or(Poll::Pending, |(_, over)| over.as_mut().poll(cx))
    }
}

impl<T: Read + Unpin> Read for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match Pin::new(&mut this.stream).poll_read(cx, into) {
            Poll::Pending => {
                std::task::ready!(this.poll_over(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "a request took too long to come")))
            }
            ready => {
                // Whatever comes between two requests begins a head; the request's arrival says that it was complete.
                if this.patience.open.get() == 0 && this.patience.since.get().is_none() {
                    this.patience.since.set(Some(Instant::now()));
                }
                ready
            }
        }
    }
}

impl<T: Write + Unpin> Write for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
