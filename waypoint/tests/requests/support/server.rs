//! A pod's server: HTTP as a test says, with every request noted.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tokio_rustls::TlsAcceptor;

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
    /// `:scheme`, by HTTP/2.
    pub(crate) scheme: String,
    /// What TLS was spoken to, where it was.
    pub(crate) tls: Option<Handshake>,
}

/// What a server saw of a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The name that it was asked for.
    pub(crate) name: String,
    /// The protocol that was agreed on.
    pub(crate) protocol: String,
    /// The client has shown a certificate.
    pub(crate) proved: bool,
}

/// A server.
pub(crate) struct Server {
    asked: Rc<RefCell<Vec<Asked>>>,
    open: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
    accepting: JoinHandle<()>,
}

type Answering = Rc<dyn Fn(Asked) -> LocalBoxFuture<'static, Response<Full<Bytes>>>>;

/// HTTP/1.1, HTTP/2 with prior knowledge, or what TLS agrees on.
#[derive(Clone)]
enum Speaks {
    One,
    Two,
    Agreed(TlsAcceptor),
}

impl Server {
    /// Answers every request at `address` with `name`.
    pub(crate) async fn named(address: &str, name: &'static str) -> Self {
        Self::answering(address, move |_| async move { Response::new(Full::from(name)) }).await
    }

    /// Answers every request at `address` as `answer` says.
    pub(crate) async fn answering<F>(address: &str, answer: impl Fn(Asked) -> F + 'static) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + 'static,
    {
        Self::start(address, Speaks::One, Rc::new(move |asked| Box::pin(answer(asked)))).await
    }

    /// The same by HTTP/2.
    pub(crate) async fn answering2<F>(address: &str, answer: impl Fn(Asked) -> F + 'static) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + 'static,
    {
        Self::start(address, Speaks::Two, Rc::new(move |asked| Box::pin(answer(asked)))).await
    }

    /// Answers every request at `address`, by TLS as `acceptor` has it, with `name`.
    pub(crate) async fn secured(address: &str, acceptor: TlsAcceptor, name: &'static str) -> Self {
        let answer =
            move |_| -> LocalBoxFuture<'static, _> { Box::pin(async move { Response::new(Full::from(name)) }) };
        Self::start(address, Speaks::Agreed(acceptor), Rc::new(answer)).await
    }

    async fn start(address: &str, speaks: Speaks, answer: Answering) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        let [counted, open, most] = [(); 3].map(|()| Rc::new(Cell::new(0)));
        let noted = asked.clone();
        let (opened, highest) = (open.clone(), most.clone());
        let accepting = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = counted.get();
                counted.set(connection + 1);
                opened.set(opened.get() + 1);
                highest.set(highest.get().max(opened.get()));
                let (noted, answer, opened, speaks) = (noted.clone(), answer.clone(), opened.clone(), speaks.clone());
                spawn_local(async move {
                    match speaks {
                        Speaks::One => converse(stream, (false, None), connection, noted, answer).await,
                        Speaks::Two => converse(stream, (true, None), connection, noted, answer).await,
                        Speaks::Agreed(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                let seen = Handshake::of(stream.get_ref().1);
                                let spoken = (seen.protocol == "h2", Some(seen));
                                converse(stream, spoken, connection, noted, answer).await;
                            }
                        }
                    }
                    opened.set(opened.get() - 1);
                });
            }
        });
        Self { asked, open, most, accepting }
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.asked.borrow().len()
    }

    /// Takes no more connections; its address is free when this returns.
    pub(crate) async fn stop(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// How many are open, and how many were at the most.
    pub(crate) fn open(&self) -> (usize, usize) {
        (self.open.get(), self.most.get())
    }
}

impl Handshake {
    fn of(connection: &ServerConnection) -> Self {
        Self {
            name: connection.server_name().unwrap_or_default().to_owned(),
            protocol: String::from_utf8(connection.alpn_protocol().unwrap_or_default().to_vec()).unwrap(),
            proved: connection.peer_certificates().is_some(),
        }
    }
}

/// Answers the requests of one connection, by HTTP/2 or HTTP/1.1.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    (two, tls): (bool, Option<Handshake>),
    connection: usize,
    noted: Rc<RefCell<Vec<Asked>>>,
    answer: Answering,
) {
    let (io, serve_one) =
        (TokioIo::new(stream), move |request| serve(request, (connection, tls.clone()), noted.clone(), answer.clone()));
    if two {
        drop(http2::Builder::new(super::client::Here).serve_connection(io, service_fn(serve_one)).await);
    } else {
        drop(http1::Builder::new().serve_connection(io, service_fn(serve_one)).await);
    }
}

/// Serves every connection at `address` as `serve` says, which is told its number, from 0.
pub(crate) async fn listen<F>(address: &str, serve: impl Fn(TcpStream, usize) -> F + 'static) -> Listening
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let connections = Rc::new(Cell::new(0));
    let counted = connections.clone();
    let accepting = spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let number = counted.get();
            counted.set(number + 1);
            spawn_local(serve(stream, number));
        }
    });
    Listening { connections, accepting }
}

/// A server of connections.
pub(crate) struct Listening {
    connections: Rc<Cell<usize>>,
    accepting: JoinHandle<()>,
}

impl Listening {
    /// Takes no more connections; its address is free when this returns.
    pub(crate) async fn stop(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads the head of a request, up to the empty line.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    request: Request<Incoming>,
    (connection, tls): (usize, Option<Handshake>),
    noted: Rc<RefCell<Vec<Asked>>>,
    answer: Answering,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let host = head.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: host.or(head.uri.authority().map(ToString::to_string)).unwrap_or_default(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        connection,
        scheme: head.uri.scheme_str().unwrap_or_default().to_owned(),
        tls,
    };
    noted.borrow_mut().push(asked.clone());
    Ok(answer(asked).await)
}
