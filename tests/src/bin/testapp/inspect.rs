//! A server of HTTP/1.1 and of HTTP/2 with prior knowledge, on one port, that answers with what it was asked. The field
//! `x-inspect` of a request says how it is to be answered, such as `server=v3&status=503&delay=100`; `x-server` and `x-open`
//! of the answer say by whom, and how many connections he has open.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, http};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// The bytes of a body that are shown.
const SHOWN: usize = 4096;
/// How every connection with HTTP/2 begins, and none with HTTP/1.1 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI ";

/// A server that counts.
pub(crate) struct Inspector {
    name: Rc<str>,
    connections: Cell<u64>,
    open: Cell<u64>,
    failed: RefCell<BTreeMap<String, u64>>,
}

/// What it was asked.
#[derive(Serialize)]
struct Seen<'a> {
    server: &'a str,
    /// The number of the connection at this server, from 1, and of the request on it.
    connection: u64,
    request: u64,
    /// The address of whoever has opened it.
    peer: IpAddr,
    version: String,
    method: &'a str,
    path: &'a str,
    host: &'a str,
    headers: BTreeMap<&'a str, Vec<String>>,
    /// Bytes of the body, and the first of them.
    length: usize,
    body: String,
}

/// How a request is to be answered.
#[derive(Default)]
struct Instructions {
    status: Option<u16>,
    grpc: Option<u16>,
    delay: u64,
    /// The first so many with the key `key` get the status, those after them get 200.
    fail: Option<u64>,
    key: String,
    /// Bytes of the answer's body, in the place of what was asked.
    body: Option<usize>,
}

/// Runs tasks where they are spawned.
#[derive(Clone, Copy)]
pub(crate) struct Here;

impl<F: Future + 'static> Executor<F> for Here {
    fn execute(&self, task: F) {
        spawn_local(async move { drop(task.await) });
    }
}

impl Inspector {
    /// A server that shows this name.
    pub(crate) fn new(name: Rc<str>) -> Self {
        Self { name, connections: Cell::new(0), open: Cell::new(0), failed: RefCell::default() }
    }

    /// Answers every request of one connection.
    pub(crate) async fn serve(self: Rc<Self>, stream: TcpStream) -> anyhow::Result<()> {
        self.connections.set(self.connections.get() + 1);
        let (place, requests) = ((self.connections.get(), stream.peer_addr()?.ip().to_canonical()), Cell::new(0));
        let _open = Open::new(self.clone());
        let is_http2 = is_http2(&stream).await?;
        let answer = service_fn(move |request| {
            requests.set(requests.get() + 1);
            let (this, number) = (self.clone(), requests.get());
            async move { this.answer(place, number, request).await }
        });
        let stream = TokioIo::new(stream);
        if is_http2 {
            hyper::server::conn::http2::Builder::new(Here).serve_connection(stream, answer).await?;
        } else {
            hyper::server::conn::http1::Builder::new().serve_connection(stream, answer).await?;
        }
        Ok(())
    }

    async fn answer(
        &self,
        (connection, peer): (u64, IpAddr),
        number: u64,
        request: Request<Incoming>,
    ) -> anyhow::Result<Response<UnsyncBoxBody<Bytes, Infallible>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let seen = Seen {
            server: &self.name,
            connection,
            request: number,
            peer,
            version: format!("{:?}", head.version),
            method: head.method.as_str(),
            path: head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str),
            host: head.uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or_default(),
            headers: fields(&head.headers),
            length: body.len(),
            body: String::from_utf8_lossy(body.get(..body.len().min(SHOWN)).unwrap_or_default()).into_owned(),
        };
        let seen = serde_json::to_string(&seen)?;
        println!("{seen}");
        let asked = Instructions::of(&head.headers, &self.name);
        tokio::time::sleep(Duration::from_millis(asked.delay)).await;
        let status = if self.still_fails(&asked) { asked.status.unwrap_or(200) } else { 200 };
        let open = HeaderValue::from(self.open.get());
        let text = asked.body.map_or(seen, |length| "x".repeat(length));
        let mut response = match head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) {
            Some(kind) if kind.starts_with("application/grpc") => grpc(&text, asked.grpc.unwrap_or(0))?,
            _ => Response::new(Full::from(text).boxed_unsync()),
        };
        *response.status_mut() = StatusCode::from_u16(status)?;
        response.headers_mut().insert("x-open", open);
        response.headers_mut().insert("x-server", HeaderValue::from_str(&self.name)?);
        Ok(response)
    }

    fn still_fails(&self, asked: &Instructions) -> bool {
        let Some(first) = asked.fail else { return true };
        let mut failed = self.failed.borrow_mut();
        let count = failed.entry(asked.key.clone()).or_default();
        *count += 1;
        *count <= first
    }
}

/// A connection that is open.
struct Open(Rc<Inspector>);

impl Open {
    fn new(inspector: Rc<Inspector>) -> Self {
        inspector.open.set(inspector.open.get() + 1);
        Self(inspector)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl Instructions {
    /// What the request asks of this server; what is for another is none of its business.
    fn of(fields: &HeaderMap, server: &str) -> Self {
        let mut asked = Self::default();
        for field in fields.get_all("x-inspect").iter().filter_map(|field| field.to_str().ok()) {
            let pairs = || field.split('&').filter_map(|pair| pair.split_once('='));
            if pairs().any(|(name, value)| name == "server" && value != server) {
                continue;
            }
            for (name, value) in pairs() {
                match name {
                    "status" => asked.status = value.parse().ok(),
                    "grpc" => asked.grpc = value.parse().ok(),
                    "delay" => asked.delay = value.parse().unwrap_or_default(),
                    "fail" => asked.fail = value.parse().ok(),
                    "key" => value.clone_into(&mut asked.key),
                    "body" => asked.body = value.parse().ok(),
                    _ => {}
                }
            }
        }
        asked
    }
}

/// One message, with its status in the trailers.
fn grpc(text: &str, status: u16) -> anyhow::Result<Response<UnsyncBoxBody<Bytes, Infallible>>> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse()?, HeaderValue::from(status))]);
    let body = Full::from(framed(text)?).with_trailers(ready(Some(Ok(trailers))));
    Ok(Response::builder().header(CONTENT_TYPE, "application/grpc").body(body.boxed_unsync())?)
}

/// A message of gRPC: not compressed, its length, its bytes.
pub(crate) fn framed(text: &str) -> anyhow::Result<Bytes> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(text.len())?);
    framed.put_slice(text.as_bytes());
    Ok(framed.freeze())
}

/// The fields by their names, each with its values.
pub(crate) fn fields(fields: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in fields {
        named.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    named
}

/// Looks at how the connection begins, and leaves it unread.
async fn is_http2(stream: &TcpStream) -> anyhow::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        let begun = first.get(..length).unwrap_or_default();
        if length == 0 || length == PREFACE.len() || !PREFACE.starts_with(begun) {
            return Ok(begun == PREFACE);
        }
        // Whoever sends less than four bytes first sends the rest soon.
        tokio::task::yield_now().await;
    }
}
