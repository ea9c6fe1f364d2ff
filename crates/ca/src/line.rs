//! The connection to a control plane, and one call on it: secured by its name, with the bearer token as its file says at that
//! moment. Knows nothing of what is asked.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ambit_identity::channel;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::client::Settings;
use crate::error::{Error, Unanswered};

/// How long it may take to be reached, and then to shake hands.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How often an open connection is asked whether it still is one, and how long that may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// A control plane that is asked over the network.
#[derive(Debug)]
pub(crate) struct Line {
    channel: Channel,
    token: PathBuf,
    cluster: MetadataValue<Ascii>,
}

impl Line {
    /// One that is not connected yet: the first call does, and each that finds the connection gone. Has to be made within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub(crate) fn new(settings: &Settings, tls: channel::Client) -> Result<Self, Error> {
        let Settings { address, name, token, cluster, .. } = settings;
        let bad = |cause: String| Error::BadAddress { address: address.clone(), cause };
        let uri: Uri = address.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("its scheme is not https".to_owned()));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().ok_or_else(|| bad("it has no port".to_owned()))?;
        let name = ServerName::try_from(name.clone().unwrap_or_else(|| host.clone()));
        let name = name.map_err(|error| bad(error.to_string()))?;
        let cluster = cluster.parse().map_err(|_| bad(format!("{cluster:?} cannot be a cluster's name")))?;
        let endpoint = Endpoint::from(uri)
            .http2_keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .keep_alive_while_idle(false);
        let channel = endpoint.connect_with_connector_lazy(Dial { host, port, name, tls });
        Ok(Self { channel, token: token.clone(), cluster })
    }

    /// What `method` answers to `message`.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub(crate) async fn ask<Q, A>(&self, method: &'static str, message: Q) -> Result<A, Unanswered>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let token = tokio::fs::read_to_string(&self.token).await;
        let unread = |error| format!("the token {} cannot be read: {error}", self.token.display());
        let token = token.map_err(|error| Unanswered::Failed(unread(error)))?;
        let bearer = format!("Bearer {}", token.trim()).parse::<MetadataValue<Ascii>>();
        let no_token = |_| Unanswered::Failed(format!("the token {} is no token", self.token.display()));
        let mut bearer = bearer.map_err(no_token)?;
        bearer.set_sensitive(true);
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", bearer);
        request.metadata_mut().insert("clusterid", self.cluster.clone());
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Unanswered::Failed(explain(&error)))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(method), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| match status.code() {
            Code::Unimplemented => Unanswered::NotServed(told(&status)),
            _ => Unanswered::Failed(told(&status)),
        })
    }
}

/// What one that answered says, or why there was no answer.
fn told(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => explain(cause),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// An error with its causes: the outer ones say only that there was one.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// Connects.
#[derive(Clone)]
struct Dial {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: channel::Client,
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { host, port, name, tls } = self.clone();
        Box::pin(async move {
            let dialled = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((host.as_str(), port))).await;
            let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let stream = dialled.map_err(|error| io::Error::new(error.kind(), format!("{host}:{port}: {error}")))?;
            stream.set_nodelay(true)?;
            let secured = tls.connect(stream, name, CONNECT_LIMIT).await;
            secured.map(TokioIo::new).map_err(|failure| io::Error::other(format!("{host}:{port}: {failure}")))
        })
    }
}
