//! How an endpoint is connected to: by HBONE where its pod is in the mesh, in clear where it is not, and by TLS within that
//! where a DestinationRule asks for it. Knows nothing of what is carried.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ambit_hbone::headers::Forwarded;
use ambit_hbone::{ConnectRequest, Connector, SourceProxy, StreamSink, StreamSource, Tunnels, pool};
use ambit_identity::tls;
use ambit_model::{Identity, Reason, Workload, ports};
use ambit_net::netns::NetNs;
use ambit_net::socket::{ConnectOptions, Keepalive, connect};
use ambit_net::stream::{ByteSink, ByteSource};
use ambit_net::tcp::{self, TcpSink, TcpSource};
use ambit_transport::secured::until_revoked;
use ambit_transport::{Failure, Secured, dial};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::endpoints::Exchange;
use super::origination::{Origination, Originators};
use crate::io::{Duplex, Prefixed};
use crate::proxy::Shared;
use crate::secured::{self, SecuredSink, SecuredSource};

/// Connections with the same key share tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    address: IpAddr,
    expected: Identity,
}

/// Opens tunnels' transports: TCP, then mutual TLS.
pub(crate) struct PeerConnector {
    shared: Arc<Shared>,
}

impl Connector<PeerKey> for PeerConnector {
    type Transport = Secured<TlsStream<TcpStream>>;
    type Error = Failure;

    async fn connect(&self, key: &PeerKey) -> Result<Self::Transport, Failure> {
        let shared = &self.shared;
        shared.certificate().await?;
        let here = here()?;
        let to = SocketAddr::new(key.address, ports::HBONE);
        let stream = dial::peer(&here, to, &options(shared.limits.handshake)).await?;
        let trust = &shared.snapshots.load().mesh.trust_domains;
        let expected = std::slice::from_ref(&key.expected);
        let config = shared.certificates.tls_client(&shared.identity, expected, trust);
        let config = config.map_err(|error| Failure::new(Reason::IdentityUnavailable, error.to_string()))?;
        let (stream, peer) = tls::connect(config, stream, key.address, shared.limits.handshake).await?;
        let revoked = until_revoked(shared.certificates.trust_store().clone(), peer);
        Ok(Secured::new(stream, revoked))
    }
}

fn here() -> Result<NetNs, Failure> {
    NetNs::current().map_err(|error| Failure::new(Reason::Internal, error.to_string()))
}

/// A waypoint's pod is not captured, so that its connections need no mark, and may need no rights for one.
fn options(timeout: Duration) -> ConnectOptions {
    ConnectOptions { source: None, apart: false, mark: 0, timeout, keepalive: Some(Keepalive::default()) }
}

/// The two halves of a connection to an endpoint.
pub(crate) type Halves = (Source, Sink);

/// Connects to endpoints, from one worker.
pub(crate) struct Dialler {
    tunnels: Tunnels<PeerKey, PeerConnector>,
}

impl Dialler {
    /// No connections yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let limits = shared.limits.clone();
        let pool = pool::Settings {
            max_streams: usize::try_from(limits.tunnel.max_concurrent_streams).unwrap_or(usize::MAX),
            max_idle: limits.tunnel_idle,
        };
        Self { tunnels: Tunnels::new(PeerConnector { shared }, limits.tunnel, pool) }
    }

    /// Connects to the endpoint of `exchange` within `timeout`. It has been accepted there when this returns.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn connect(&self, exchange: &Exchange<'_>, timeout: Duration) -> Result<Halves, Failure> {
        let Exchange { address, workload, through, .. } = *exchange;
        let dialled = async {
            match workload.filter(|workload| through.is_some() || workload.is_enrolled()) {
                Some(workload) => self.tunnel(exchange, workload).await,
                None => {
                    let stream = connect(&here()?, address, &options(timeout)).await?;
                    let (source, sink) = tcp::split(stream);
                    Ok((Source::Clear(source), Sink::Clear(sink)))
                }
            }
        };
        tokio::time::timeout(timeout, dialled)
            .await
            .unwrap_or_else(|_| Err(Failure::new(Reason::ConnectTimeout, address.to_string())))
    }

    async fn tunnel(&self, exchange: &Exchange<'_>, workload: &Workload) -> Result<Halves, Failure> {
        let Exchange { address, through, arrival, .. } = *exchange;
        let key = PeerKey { address: address.ip(), expected: workload.identity.clone() };
        let host = arrival.addressed.service().map(|service| service.hostname.to_string());
        let authority = through.map_or_else(|| address.to_string(), |through| through.authority.clone());
        let source = if arrival.door().is_some() { SourceProxy::Gateway } else { SourceProxy::Waypoint };
        let request = ConnectRequest {
            forwarded: Some(Forwarded { client: Some(arrival.client), host }),
            source: Some(source),
            subset: through.and_then(|through| through.subset.as_deref()).map(str::to_owned),
            ..ConnectRequest::to(authority)
        };
        let (mut source, sink) = self.tunnels.open(&key, &request).await?;
        source.answer().await?;
        Ok((Source::Tunnel(source), Sink::Tunnel(sink)))
    }
}

/// Begins TLS within `halves` as `origination` says, to speak `protocol`, within `limit`.
///
/// # Errors
/// The server is not who it should be, or does not take TLS, or what the DestinationRule names cannot be used.
pub(crate) async fn originate(
    originators: &Arc<Originators>,
    (source, sink): Halves,
    origination: &Origination,
    protocol: Option<&'static str>,
    limit: Duration,
) -> Result<Halves, Failure> {
    let originator = originators.of(&origination.settings).await?;
    let transport = TokioIo::new(Duplex::new(Prefixed::new(Bytes::new(), source), sink));
    let stream = originator.connect(transport, &origination.name, protocol, limit).await?;
    let (source, sink) = secured::split(stream);
    Ok((Source::Secured(source), Sink::Secured(sink)))
}

/// What comes from an endpoint.
pub(crate) enum Source {
    /// In a tunnel.
    Tunnel(StreamSource),
    /// In clear.
    Clear(TcpSource),
    /// By TLS within one of the others.
    Secured(SecuredSource<Self, Sink>),
}

/// What goes to an endpoint.
pub(crate) enum Sink {
    /// In a tunnel.
    Tunnel(StreamSink),
    /// In clear.
    Clear(TcpSink),
    /// By TLS within one of the others.
    Secured(SecuredSink<Source, Self>),
}

impl ByteSource for Source {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match self {
            Self::Tunnel(source) => source.poll_receive(cx),
            Self::Clear(source) => source.poll_receive(cx),
            Self::Secured(source) => source.poll_receive(cx),
        }
    }
}

impl ByteSink for Sink {
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        match self {
            Self::Tunnel(sink) => sink.poll_send(cx, data),
            Self::Clear(sink) => sink.poll_send(cx, data),
            Self::Secured(sink) => sink.poll_send(cx, data),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tunnel(sink) => sink.poll_finish(cx),
            Self::Clear(sink) => sink.poll_finish(cx),
            Self::Secured(sink) => sink.poll_finish(cx),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Tunnel(sink) => sink.reset(),
            Self::Clear(sink) => sink.reset(),
            Self::Secured(sink) => sink.reset(),
        }
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match self {
            Self::Tunnel(sink) => sink.poll_broken(cx),
            Self::Clear(sink) => sink.poll_broken(cx),
            Self::Secured(sink) => sink.poll_broken(cx),
        }
    }
}
