//! Serves a table of routes over HTTP/1.1, for people, probes and scrapers. Bounds what a client can cost; knows nothing
//! of what is served.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::Error;
use crate::routes::{Response, Routes, text};
use crate::unix;

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a request's head, and then its body, may take to arrive; also how long an idle connection is kept.
    pub patience: Duration,
    /// Bytes of a request's body.
    pub body: usize,
    /// How long a connection may last: who does not read its answers is cut off at the latest then.
    pub life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            patience: Duration::from_secs(10),
            body: 64 * 1024,
            // Longer than the longest profile that can be asked for.
            life: Duration::from_secs(600),
        }
    }
}

/// A bound port, or a socket with a name.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    limits: Limits,
}

#[derive(Debug)]
enum Listener {
    Port(TcpListener),
    Name(UnixListener),
}

/// Where a client is read from and written to.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Port(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as _),
            Self::Name(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as _),
        }
    }
}

impl Server {
    /// Binds `address`; `purpose` (such as `metrics`) is for the error.
    pub async fn bind(purpose: &'static str, address: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Bind { purpose, address, source })?;
        Ok(Self { listener: Listener::Port(listener), limits: Limits::default() })
    }

    /// Listens at the socket `path` (see [`unix::listen`]); `purpose` is for the error. Must run within a runtime.
    pub fn at(purpose: &'static str, path: &Path) -> Result<Self, Error> {
        let socket = |source| Error::Socket { purpose, path: path.to_owned(), source };
        Ok(Self { listener: Listener::Name(unix::listen(path).map_err(socket)?), limits: Limits::default() })
    }

    /// With other limits than the default ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The address bound: with the port that the kernel chose, if port 0 was asked for. A socket with a name has none.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Listener::Port(listener) => listener.local_addr(),
            Listener::Name(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Serves `routes` until dropped. Must run within a `LocalRuntime`.
    pub async fn serve(self, routes: Routes) -> Infallible {
        let routes = Rc::new(routes);
        let places = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok(stream) => {
                    let (routes, limits) = (routes.clone(), self.limits);
                    tokio::task::spawn_local(async move {
                        let _place = place;
                        serve_stream(stream, routes, limits, std::future::pending()).await;
                    });
                }
                Err(error) => {
                    // Out of files or memory: the next attempt would fail at once as well.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Answers the requests on `stream` by `routes` within `limits`, those that have begun included when it is `closing`, until
/// the client ends it.
pub async fn serve_stream<S>(stream: S, routes: Rc<Routes>, limits: Limits, closing: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(answer(&routes, request, limits).await.map(Full::new)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let life = async {
        tokio::select! {
            ended = served.as_mut() => return ended,
            () = closing => served.as_mut().graceful_shutdown(),
        }
        served.await
    };
    if let Ok(Err(error)) = timeout(limits.life, life).await {
        tracing::debug!(%error, "a client went away");
    }
}

async fn answer(routes: &Routes, request: http::Request<Incoming>, limits: Limits) -> Response {
    let (head, body) = request.into_parts();
    match timeout(limits.patience, Limited::new(body, limits.body).collect()).await {
        Ok(Ok(body)) => routes.answer(http::Request::from_parts(head, body.to_bytes())).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n")
        }
        Ok(Err(_)) => text(StatusCode::BAD_REQUEST, "the body cannot be read\n"),
        Err(_) => text(StatusCode::REQUEST_TIMEOUT, Bytes::from_static(b"the body did not arrive in time\n")),
    }
}

#[cfg(test)]
mod tests;
