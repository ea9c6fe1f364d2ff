//! Tunnels of agents: the handshake, and for every stream who asks, what for, and what is spoken on it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_hbone::server::{self, Incoming};
use ambit_hbone::{ConnectResponse, StreamSink, StreamSource};
use ambit_identity::{Peer, tls};
use ambit_model::{Reason, Snapshot};
use ambit_net::accept::{self, Left};
use ambit_net::stream::ByteSource;
use ambit_transport::Failure;
use ambit_transport::secured::until_revoked;
use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use crate::arrival::{Addressed, Arrival};
use crate::io::{Duplex, Prefixed, peek};
use crate::protocol::{Declared, Spoken, spoken_http};
use crate::proxy::Proxy;
use crate::{http, record, tcp};

/// How long what is asked for may be news that has not come yet.
const NEWS: Duration = Duration::from_secs(1);

/// Serves whoever comes to `listener`, until the process stops.
pub(crate) async fn accept(proxy: Rc<Proxy>, listener: TcpListener) {
    let serving = proxy.clone();
    let each = move |stream, peer: SocketAddr| {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let (proxy, guard) = (serving.clone(), serving.guard());
        spawn_local(async move {
            serve_tunnel(proxy, stream, peer).await;
            drop(guard);
        });
    };
    // What has come by the time of a drain is accepted before it can end.
    let guard = proxy.guard();
    let leaving = async {
        proxy.leaving().await;
        Left::Alone
    };
    accept::accept(listener, &proxy.shared.key, leaving, each).await;
    drop(guard);
}

async fn serve_tunnel(proxy: Rc<Proxy>, stream: TcpStream, peer: SocketAddr) {
    let local = stream.local_addr().unwrap_or(peer);
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let (stream, known) = match handshake(&proxy, stream).await {
        Ok(accepted) => accepted,
        Err(why) => return record::refused(&proxy, peer, local, why),
    };
    let known = Rc::new(known);
    let each = |incoming: Incoming| {
        let (proxy, known, guard) = (proxy.clone(), known.clone(), proxy.guard());
        spawn_local(async move {
            answer(&proxy, incoming, (peer, &known), local).await;
            drop(guard);
        });
    };
    let revoked = until_revoked(proxy.shared.certificates.trust_store().clone(), Peer::clone(&known));
    let over = server::serve(stream, &proxy.shared.limits.tunnel, proxy.leaving(), each);
    let identity = &known.identity;
    tokio::select! {
        ended = over => if let Err(error) = ended {
            tracing::debug!(%peer, %identity, "tunnel ended: {error}");
        },
        why = revoked => record::refused(&proxy, peer, local, why),
        () = proxy.cut() => tracing::debug!(%peer, %identity, "tunnel cut: the process stops"),
    }
}

async fn handshake(proxy: &Proxy, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Peer), Failure> {
    let shared = &proxy.shared;
    // Small answers must not wait for one another; where it cannot be set they do.
    let _ = stream.set_nodelay(true);
    shared.certificate().await?;
    let config = shared.certificates.tls_server(&shared.identity, &shared.snapshots.load().mesh.trust_domains);
    let config = config.map_err(|error| Failure::new(Reason::IdentityUnavailable, error.to_string()))?;
    Ok(tls::accept(config, stream, shared.limits.handshake).await?)
}

/// Answers one CONNECT, and carries what comes by it.
async fn answer(proxy: &Rc<Proxy>, incoming: Incoming, (peer, known): (SocketAddr, &Peer), local: SocketAddr) {
    let request = match incoming.request() {
        Ok(request) => request.clone(),
        // The tunnel has answered it.
        Err(error) => return record::refused(proxy, peer, local, Failure::new(Reason::BadRequest, error.to_string())),
    };
    // Its agent may have heard of what this waypoint has not, yet.
    let until = Instant::now() + NEWS.min(proxy.shared.limits.patience);
    let arrives =
        |snapshot: &Arc<Snapshot>| Arrival::new(snapshot, &proxy.shared.key, (peer, &known.identity), &request, local);
    let early = |arrival: &Result<Arrival, Reason>| {
        let reason = arrival.as_ref().err()?;
        matches!(reason, Reason::AuthorityMismatch | Reason::PeerIdentityMismatch).then_some(until)
    };
    let (arrival, _) = proxy.shared.snapshots.answer(arrives, early).await;
    let arrival = match arrival {
        Ok(arrival) => Rc::new(arrival),
        Err(reason) => {
            incoming.refuse(reason.status(), Some(reason.code()));
            return record::refused(proxy, peer, local, Failure::new(reason, request.authority));
        }
    };
    let port = match &arrival.addressed {
        Addressed::Service(service, port) | Addressed::Workload(_, _, Some((service, port))) => {
            service.port(*port).map_or(Declared::Unknown, Declared::of)
        }
        Addressed::Workload(_, _, None) | Addressed::Gateway(_) => Declared::Unknown,
    };
    let (source, sink) = match incoming.accept(&ConnectResponse::default()) {
        Ok(halves) => halves,
        Err(error) => return tracing::debug!(%peer, "gone before it was answered: {error}"),
    };
    if let Err(error) = carry(proxy, arrival, port, (source, sink)).await {
        tracing::debug!(%peer, "a client's connection ended: {error}");
    }
}

/// Carries what is spoken on a connection whose port is `declared` so.
async fn carry(
    proxy: &Rc<Proxy>,
    arrival: Rc<Arrival>,
    declared: Declared,
    (mut source, sink): (StreamSource, StreamSink),
) -> io::Result<()> {
    let mut read = BytesMut::new();
    let spoken = match declared {
        Declared::Opaque => Spoken::Opaque,
        Declared::Http | Declared::Http2 => {
            let Some(version) = http_version(proxy, &mut source, &mut read).await? else { return Ok(()) };
            version
        }
        Declared::Unknown => {
            let Some(told) = tcp::sniff(proxy, &arrival, &mut source, &mut read).await? else { return Ok(()) };
            match told {
                tcp::Sniffed::Client(spoken) => spoken,
                tcp::Sniffed::Server(dialled) => {
                    let client = (Prefixed::new(read.freeze(), source), sink);
                    tcp::serve_dialled(proxy, &arrival, client, *dialled).await;
                    return Ok(());
                }
            }
        }
    };
    let source = Prefixed::new(read.freeze(), source);
    match spoken {
        Spoken::Opaque => tcp::serve(proxy, &arrival, (source, sink)).await,
        Spoken::Http1 => http::serve(proxy, arrival, Duplex::new(source, sink), http::Version::Http1).await,
        Spoken::Http2 => http::serve(proxy, arrival, Duplex::new(source, sink), http::Version::Http2).await,
    }
    Ok(())
}

/// The version of HTTP that a client speaks where HTTP was declared; none if it says nothing, as health checks do. It may
/// be silent for as long as between two requests, but not in the middle of the first.
pub(crate) async fn http_version<S: ByteSource>(
    proxy: &Proxy,
    source: &mut S,
    read: &mut BytesMut,
) -> io::Result<Option<Spoken>> {
    let begins = peek(source, read, |bytes, complete| (complete || !bytes.is_empty()).then_some(!bytes.is_empty()));
    let begins = tokio::select! {
        biased;
        begins = begins => begins?,
        () = proxy.resting_over() => false,
        () = tokio::time::sleep(http::IDLE) => false,
    };
    if !begins {
        return Ok(None);
    }
    match tokio::time::timeout(proxy.shared.limits.header, peek(source, read, spoken_http)).await {
        Ok(version) => version.map(Some),
        // Who is too slow is dealt with as any client is whose request is.
        Err(_) => Ok(Some(Spoken::Http1)),
    }
}
