//! Requests as a list says, each with what came of it: a line of JSON for each, in the order in which they ended.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, TE};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::timeout;

use crate::dial::dial;
use crate::inspect::{Here, fields, framed};
use crate::{failure, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to connect.
    #[arg(long)]
    to: SocketAddr,
    /// What to ask, as a JSON list; each of it is asked when that before it is answered.
    #[arg(long)]
    requests: String,
}

/// So many requests that are alike.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Batch {
    count: usize,
    method: String,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: String,
    protocol: Protocol,
    /// On one connection for each of those that ask at once, or each on a new one.
    reuse: bool,
    /// How many are asked at once.
    concurrency: usize,
    /// Milliseconds until a request counts as failed.
    patience: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Http1,
    Http2,
    Grpc,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            count: 1,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: "ambit-test".to_owned(),
            headers: Vec::new(),
            body: String::new(),
            protocol: Protocol::Http1,
            reuse: true,
            concurrency: 1,
            patience: 20_000,
        }
    }
}

/// What came of a request: an answer, or an error.
#[derive(Default, Serialize)]
struct Outcome {
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    body: String,
    /// The `grpc-status`, wherever it stood.
    grpc: Option<String>,
    error: Option<String>,
    ms: f64,
}

/// A connection with what it speaks.
enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let batches: Vec<Batch> = serde_json::from_str(&args.requests).context("--requests")?;
    for batch in batches {
        let (batch, left) = (Rc::new(batch), Rc::new(Cell::new(0)));
        left.set(batch.count);
        let mut asking = JoinSet::new();
        for _ in 0..batch.concurrency.min(batch.count) {
            asking.spawn_local(ask_in_turn(args.to, batch.clone(), left.clone()));
        }
        while let Some(done) = asking.join_next().await {
            done??;
        }
    }
    Ok(())
}

/// Asks for as long as there are requests left that nobody asks.
async fn ask_in_turn(to: SocketAddr, batch: Rc<Batch>, left: Rc<Cell<usize>>) -> anyhow::Result<()> {
    let mut connection = None;
    while left.get() > 0 {
        left.set(left.get() - 1);
        let begun = Instant::now();
        let exchange = ask(to, &batch, &mut connection);
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        let outcome = timeout(Duration::from_millis(batch.patience), exchange).await.unwrap_or_else(late);
        let outcome = outcome.unwrap_or_else(|error: anyhow::Error| {
            connection = None;
            Outcome { error: Some(failure::name_any(&error)), ..Outcome::default() }
        });
        print(&Outcome { ms: begun.elapsed().as_secs_f64() * 1000.0, ..outcome })?;
    }
    Ok(())
}

async fn ask(to: SocketAddr, batch: &Batch, connection: &mut Option<Connection>) -> anyhow::Result<Outcome> {
    let usable = connection.take().filter(|connection| batch.reuse && !connection.is_closed());
    let open = match usable {
        Some(open) => connection.insert(open),
        None => connection.insert(Connection::open(to, batch.protocol).await?),
    };
    let (head, body) = open.send(batch.request()?).await?.into_parts();
    let collected = body.collect().await?;
    let in_trailers = collected.trailers().and_then(grpc_status);
    let grpc = in_trailers.or_else(|| grpc_status(&head.headers));
    let body = collected.to_bytes();
    // A message of gRPC stands behind a flag and its length.
    let begin = if batch.protocol == Protocol::Grpc { body.len().min(5) } else { 0 };
    let named = fields(&head.headers).into_iter().map(|(name, values)| (name.to_owned(), values));
    Ok(Outcome {
        status: head.status.as_u16(),
        headers: named.collect(),
        body: String::from_utf8_lossy(body.get(begin..).unwrap_or_default()).into_owned(),
        grpc,
        ..Outcome::default()
    })
}

fn grpc_status(fields: &HeaderMap) -> Option<String> {
    Some(fields.get("grpc-status")?.to_str().ok()?.to_owned())
}

impl Batch {
    fn request(&self) -> anyhow::Result<Request<Full<Bytes>>> {
        let is_grpc = self.protocol == Protocol::Grpc;
        let method = if is_grpc { Method::POST } else { self.method.parse()? };
        let mut request = Request::builder().method(method);
        request = match self.protocol {
            Protocol::Http1 => request.uri(&self.path).header(HOST, &self.host),
            Protocol::Http2 | Protocol::Grpc => request.uri(format!("http://{}{}", self.host, self.path)),
        };
        if is_grpc {
            request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        }
        for (name, value) in &self.headers {
            request = request.header(name.parse::<HeaderName>()?, value);
        }
        let body = if is_grpc { framed(&self.body)? } else { Bytes::copy_from_slice(self.body.as_bytes()) };
        Ok(request.body(Full::new(body))?)
    }
}

impl Connection {
    async fn open(to: SocketAddr, protocol: Protocol) -> anyhow::Result<Self> {
        let stream = TokioIo::new(dial(to, Duration::from_secs(10)).await?);
        if protocol == Protocol::Http1 {
            let (sender, connection) = http1::handshake(stream).await?;
            spawn_local(connection);
            return Ok(Self::Http1(sender));
        }
        let (sender, connection) = http2::handshake(Here, stream).await?;
        spawn_local(connection);
        Ok(Self::Http2(sender))
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
        }
    }
}
