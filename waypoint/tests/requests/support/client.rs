//! A pod's way to the waypoint: its tunnel, as its agent would make it, and what it speaks inside.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ambit_hbone::client::{Tunnel, handshake};
use ambit_hbone::{Config, ConnectRequest, StreamSink, StreamSource};
use ambit_identity::client::LocalIssuer;
use ambit_identity::store::Certificates;
use ambit_identity::tls;
use ambit_model::{Identity, TrustDomains};
use ambit_net::stream::{ByteSink, ByteSource};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpSocket;
use tokio::task::spawn_local;

use super::{SOON, WAYPOINT, at};

/// A pod's tunnel.
pub(crate) struct Client {
    tunnel: Tunnel,
}

/// An HTTP connection in it.
pub(crate) enum Http {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

impl Answer {
    /// The value of a field; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
pub(crate) struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        spawn_local(async move { drop(task.await) });
    }
}

impl Client {
    pub(crate) async fn open(certificates: &Certificates<LocalIssuer>, account: &str, address: IpAddr) -> Self {
        let domain = TrustDomains::default();
        let identity = |account| Identity::new(domain.own.clone(), "shop", account);
        let (own, waypoint) = (identity(account), identity("waypoint"));
        certificates.ensure(&own).await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address, 0)).unwrap();
        let to = at(&format!("{WAYPOINT}:15008"));
        let stream = socket.connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let config = certificates.tls_client(&own, &[waypoint], &domain).unwrap();
        let (stream, _) = tls::connect(config, stream, to.ip(), SOON).await.unwrap();
        let (tunnel, driver) = handshake(stream, &Config::default()).await.unwrap();
        spawn_local(driver);
        Self { tunnel }
    }

    /// A stream that asks for `authority`, once it was granted.
    pub(crate) async fn connect(&self, authority: &str) -> Result<(StreamSource, StreamSink), ambit_hbone::Error> {
        let (mut source, sink) = self.tunnel.open(&ConnectRequest::to(authority))?;
        source.answer().await?;
        Ok((source, sink))
    }

    /// The same as bytes that can be read and written.
    pub(crate) async fn raw(&self, authority: &str) -> DuplexStream {
        self.try_raw(authority).await.unwrap()
    }

    /// The same, if it is not refused at once.
    pub(crate) async fn try_raw(&self, authority: &str) -> Result<DuplexStream, ambit_hbone::Error> {
        let (mut source, mut sink) = self.connect(authority).await?;
        let (near, far) = duplex(256 << 10);
        let (mut read, mut write) = tokio::io::split(far);
        spawn_local(async move {
            while let Ok(Some(chunk)) = poll_fn(|cx| source.poll_receive(cx)).await {
                if write.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            let _ = write.shutdown().await;
        });
        spawn_local(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                let mut chunk = Bytes::copy_from_slice(&buffer[..length]);
                if poll_fn(|cx| sink.poll_send(cx, &mut chunk)).await.is_err() {
                    return;
                }
            }
            let _ = poll_fn(|cx| sink.poll_finish(cx)).await;
        });
        Ok(near)
    }

    /// An HTTP/1.1 connection to `authority`.
    pub(crate) async fn http1(&self, authority: &str) -> Http {
        Http::one(self.raw(authority).await).await
    }

    /// An HTTP/2 connection to `authority`.
    pub(crate) async fn http2(&self, authority: &str) -> Http {
        Http::two(self.raw(authority).await).await
    }
}

impl Http {
    /// HTTP/1.1 on `stream`.
    pub(crate) async fn one(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        spawn_local(connection);
        Self::One(sender)
    }

    /// HTTP/2 on `stream`.
    pub(crate) async fn two(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Self {
        let (sender, connection) = http2::handshake(Here, TokioIo::new(stream)).await.unwrap();
        spawn_local(connection);
        Self::Two(sender)
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let begun = Instant::now();
        let response = self.begin(request).await.expect("no answer");
        read(response, begun).await
    }

    /// Sends a request; the answer's head.
    pub(crate) async fn begin(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Two(sender) => {
                if request.uri().authority().is_none() {
                    let host = request.headers_mut().remove("host");
                    let host = host.map_or("reviews:9080".to_owned(), |host| host.to_str().unwrap().to_owned());
                    *request.uri_mut() = format!("http://{host}{}", request.uri()).parse().unwrap();
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// A GET with these fields.
    pub(crate) async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, fields, "")).await
    }
}

/// A request for the host `reviews`, unless `fields` say another.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if !fields.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "reviews:9080");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

async fn read(response: Response<Incoming>, begun: Instant) -> Answer {
    let (head, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(collected) => String::from_utf8_lossy(&collected.to_bytes()).into_owned(),
        Err(error) => format!("broken: {error}"),
    };
    Answer { status: head.status.as_u16(), headers: head.headers, body, took: begun.elapsed() }
}
