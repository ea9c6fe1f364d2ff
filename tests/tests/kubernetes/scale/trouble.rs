//! What stands between an agent and the API and is no help: it passes requests on, answers some of them itself, and ends
//! what is watched.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::server::Server;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A proxy, with what goes wrong at it.
pub(super) struct Trouble {
    server: Server,
    /// One request in so many fails; 0 for none.
    odds: AtomicU32,
    /// Requests so far, and those that failed.
    seen: AtomicU32,
    failed: AtomicU32,
    cuts: watch::Sender<u32>,
}

/// What becomes of a request.
enum Fault {
    Status(StatusCode),
    /// As an answer to a list or a watch that begins too long ago.
    Gone,
    /// Nothing is answered for a while.
    Late,
    /// The answer ends after so many bytes.
    Cut(usize),
    /// The watch ends with an event that says so.
    Expired,
}

impl Trouble {
    /// A proxy at `listener` for `server`, where nothing goes wrong yet.
    pub(super) fn at(listener: TcpListener, server: Server) -> Arc<Self> {
        let (odds, seen, failed) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let trouble = Arc::new(Self { server, odds, seen, failed, cuts: watch::Sender::new(0) });
        let shared = trouble.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let trouble = shared.clone();
                let service = service_fn(move |request| trouble.clone().answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        trouble
    }

    /// From now on one request in `odds` fails; none if that is 0.
    pub(super) fn fail_one_in(&self, odds: u32) {
        self.odds.store(odds, Ordering::Relaxed);
    }

    /// Ends every watch.
    pub(super) fn cut_watches(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many requests have failed so far.
    pub(super) fn failed(&self) -> u32 {
        self.failed.load(Ordering::Relaxed)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let target = request.uri().to_string();
        let watched = target.contains("watch=");
        let mut left = None;
        match self.fault(watched) {
            None => {}
            Some(Fault::Cut(bytes)) => left = Some(bytes),
            Some(Fault::Status(status)) => return Ok(said(status, "trouble")),
            Some(Fault::Gone) => return Ok(said(StatusCode::GONE, &expired())),
            Some(Fault::Expired) => {
                return Ok(said(StatusCode::OK, &format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", expired())));
            }
            Some(Fault::Late) => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                return Ok(said(StatusCode::GATEWAY_TIMEOUT, "late"));
            }
        }
        let mut onwards = Request::builder().method(request.method()).uri(&target).header("host", "api");
        for name in ["accept", "accept-encoding", "content-type", "user-agent"] {
            if let Some(value) = request.headers().get(name) {
                onwards = onwards.header(name, value);
            }
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut sender = self.server.connect().await;
        let answer = sender.send_request(onwards.body(Full::from(body)).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let passing = Passing { body, left, cuts: watched.then(|| self.cuts.subscribe()), _sender: sender };
        let frames = stream::unfold(Some(passing), |passing| async move {
            let mut passing = passing?;
            let frame = passing.next().await?;
            let passing = frame.is_ok().then_some(passing);
            Some((frame, passing))
        });
        Ok(Response::from_parts(parts, BodyExt::boxed_unsync(StreamBody::new(frames))))
    }

    fn fault(&self, watched: bool) -> Option<Fault> {
        let odds = self.odds.load(Ordering::Relaxed);
        let number = self.seen.fetch_add(1, Ordering::Relaxed);
        // Spread by a multiplier that is prime to every number of kinds.
        let drawn = number.wrapping_mul(2_654_435_761) >> 16;
        if odds == 0 || !drawn.is_multiple_of(odds) {
            return None;
        }
        let failed = self.failed.fetch_add(1, Ordering::Relaxed);
        Some(match (failed % 8, watched) {
            (0, _) => Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
            (1, _) => Fault::Gone,
            (2, _) => Fault::Late,
            (3, _) => Fault::Cut(1_000),
            (4, true) => Fault::Expired,
            (4, false) => Fault::Cut(100_000),
            (5, _) => Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
            (6, _) => Fault::Status(StatusCode::TOO_MANY_REQUESTS),
            _ => Fault::Cut(0),
        })
    }
}

/// An answer on its way.
struct Passing {
    body: Incoming,
    /// It may have so many bytes yet; none for all of them.
    left: Option<usize>,
    cuts: Option<watch::Receiver<u32>>,
    // The connection lives as long as its answer.
    _sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Passing {
    /// The next part; an error is the end of the connection.
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, io::Error>> {
        let Self { body, left, cuts, .. } = self;
        let cut = async {
            match cuts {
                Some(cuts) => drop(cuts.changed().await),
                None => std::future::pending().await,
            }
        };
        let frame = tokio::select! {
            () = cut => return None,
            frame = body.frame() => frame?.map_err(io::Error::other),
        };
        let (Some(left), Ok(frame)) = (left, &frame) else { return Some(frame) };
        let data = frame.data_ref().cloned().unwrap_or_default();
        if data.len() >= *left {
            return Some(Err(io::Error::other("cut")));
        }
        *left -= data.len();
        Some(Ok(Frame::data(data)))
    }
}

fn expired() -> String {
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old","code":410}"#
        .to_owned()
}

fn said(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::from(text.to_owned()).map_err(|never: Infallible| match never {});
    let json = ("content-type", "application/json");
    Response::builder().status(status).header(json.0, json.1).body(BodyExt::boxed_unsync(body)).unwrap()
}
