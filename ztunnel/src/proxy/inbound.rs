//! Connections that reach a captured pod from elsewhere, by HBONE or in clear: who asks, and may it be delivered.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ambit_hbone::server::{self, Incoming};
use ambit_hbone::{ConnectRequest, ConnectResponse};
use ambit_identity::{Peer, tls};
use ambit_model::decide::Announced;
use ambit_model::{Authority, Connection, Decision, Reason, Service, Snapshot, Upstream};
use ambit_net::proxy_protocol;
use ambit_net::stream::ByteSink;
use ambit_net::tcp::{self, TcpHalves};
use ambit_transport::secured::revoked;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::server::TlsStream;

use super::failure::Failure;
use super::guest::Guest;
use super::introduction::baggage;
use super::session::Asking;
use super::verdict::Verdict;
use super::worker::{Arrival, Worker};
use super::{probe, record, session};

/// What a PROXY protocol header tells beside addresses (Istio, `workload.proto`): the client's SPIFFE identity, and the host
/// of the service that it dialled.
const TLV_IDENTITY: u8 = 0xd0;
const TLV_HOST: u8 = 0xd1;

/// Serves one peer's tunnel to `guest`: the handshake, then every stream of it.
pub(crate) async fn serve_tunnel(worker: Rc<Worker>, guest: Rc<Guest>, stream: TcpStream, peer: SocketAddr) {
    let start = Instant::now();
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let accepted = tokio::select! {
        biased;
        reason = guest.cut() => Err(reason.into()),
        accepted = handshake(&worker, &guest, stream) => accepted,
    };
    let (stream, known) = match accepted {
        Ok((stream, known)) => (stream, Rc::new(known)),
        Err(failure) => {
            let snapshot = worker.shared.snapshots.load();
            let (meter, pod) = (&worker.meter, &*guest.pod);
            return record::Inbound { meter, snapshot: &snapshot, pod, peer, start }.refused(failure);
        }
    };
    let each = |incoming: Incoming| {
        let ask = Ask { worker: worker.clone(), guest: guest.clone(), peer, known: known.clone() };
        // The record of a stream may come after the tunnel's end.
        let guard = worker.guard();
        spawn_local(async move {
            ask.answer(incoming).await;
            drop(guard);
        });
    };
    let mut leave = worker.admit_tunnel(known.clone());
    let leaving = async {
        tokio::select! {
            _ = guest.leaving() => {}
            // Its streams are cut by themselves.
            _ = leave.revoked() => {}
        }
    };
    let over = server::serve(stream, &worker.shared.limits.tunnel, leaving, each);
    let identity = &known.identity;
    tokio::select! {
        ended = over => if let Err(error) = ended {
            tracing::debug!(%peer, %identity, "tunnel ended: {error}");
        },
        reason = guest.cut() => tracing::debug!(%peer, %identity, "tunnel cut: {reason}"),
    }
}

async fn handshake(worker: &Worker, guest: &Guest, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Peer), Failure> {
    let shared = &worker.shared;
    let own = &guest.pod.identity;
    shared.certificate(own).await?;
    let config = shared.certificates.tls_server(own, &shared.snapshots.load().mesh.trust_domains);
    let config = config.map_err(|error| Failure::new(Reason::IdentityUnavailable, error.to_string()))?;
    Ok(tls::accept(config, stream, shared.limits.connect_timeout).await?)
}

/// Who asks for a stream.
struct Ask {
    worker: Rc<Worker>,
    guest: Rc<Guest>,
    peer: SocketAddr,
    known: Rc<Peer>,
}

impl Ask {
    async fn answer(self, incoming: Incoming) {
        let start = Instant::now();
        let detail = match incoming.request().cloned() {
            Ok(request) => match request.authority.parse::<Authority>() {
                Ok(authority) => return self.carry(incoming, request, authority, start).await,
                Err(error) => {
                    incoming.refuse(Reason::BadRequest.status(), Some(Reason::BadRequest.code()));
                    error.to_string()
                }
            },
            // The tunnel has answered it.
            Err(error) => error.to_string(),
        };
        let snapshot = self.worker.shared.snapshots.load();
        self.record(&snapshot, start).refused(Failure::new(Reason::BadRequest, detail));
    }

    async fn carry(self, incoming: Incoming, request: ConnectRequest, authority: Authority, start: Instant) {
        let Self { worker, guest, peer, known } = &self;
        let identity = &known.identity;
        let connection = Connection::InboundHbone {
            pod: guest.pod.uid.clone(),
            peer: *peer,
            identity: identity.clone(),
            authority: authority.clone(),
        };
        let Verdict { decision, snapshot } = worker.decide(guest, &connection).await;
        let record = self.record(&snapshot, start);
        let said = (identity, request.baggage.as_ref());
        let asking = Asking { incoming, answer: self.introduction(&snapshot) };
        match decision {
            // The tunnel was there before the list.
            Decision::Local(to) if worker.shared.certificates.trust_store().revokes(known) => {
                let lives = record.hbone(said, to.address.ip(), authority, to.service);
                session::refuse(asking, revoked(known), lives);
            }
            Decision::Local(to) => {
                let named = request.forwarded.and_then(|forwarded| forwarded.host);
                let service = dialled_service(&snapshot, named.as_deref(), &to);
                let lives = record.hbone(said, to.address.ip(), authority, service);
                let cut = worker.admit(&snapshot, &connection, &to, Some(known)).or(guest.cut());
                session::run(asking, self.delivered(&to), cut, lives).await;
            }
            Decision::Deny(to, denial) => {
                let lives = record.hbone(said, to.address.ip(), authority, to.service);
                session::refuse(asking, &denial, lives);
            }
            refused => {
                let dialled = guest.pod.addresses.first().map_or(peer.ip(), |ip| *ip);
                session::refuse(asking, refusal(&refused), record.hbone(said, dialled, authority, None));
            }
        }
    }

    /// Connects to the application, and announces the connection where it asks for that.
    async fn delivered(&self, to: &Upstream) -> Result<TcpHalves, Failure> {
        let Self { worker, guest, peer, known } = self;
        let (source, mut sink) = worker.deliver(&guest.pod, Arrival::Carried(peer.ip()), to.address).await?;
        if let Some(Announced { address, host }) = &to.announced {
            let identity = known.identity.to_string();
            let said = [(TLV_IDENTITY, identity.as_str()), (TLV_HOST, host.as_deref().unwrap_or_default())];
            let mut header = proxy_protocol::header(*peer, *address, &said)
                .map_err(|error| Failure::new(Reason::Internal, error.to_string()))?;
            let sent = poll_fn(|cx| sink.poll_send(cx, &mut header)).await;
            sent.map_err(|error| Failure::of_abort(Reason::ResetByServer, &error))?;
        }
        Ok((source, sink))
    }

    /// What the peer is told of the pod.
    fn introduction(&self, snapshot: &Snapshot) -> ConnectResponse {
        let tells = self.worker.shared.limits.response_baggage;
        let workload = snapshot.workload(&self.guest.pod.uid).filter(|_| tells);
        ConnectResponse { baggage: workload.map(|workload| baggage(workload)) }
    }

    fn record<'a>(&'a self, snapshot: &'a Snapshot, start: Instant) -> record::Inbound<'a> {
        record::Inbound { meter: &self.worker.meter, snapshot, pod: &self.guest.pod, peer: self.peer, start }
    }
}

/// Serves one connection that reached `guest` in clear.
pub(crate) async fn serve_plaintext(worker: Rc<Worker>, guest: Rc<Guest>, stream: TcpStream, peer: SocketAddr) {
    let start = Instant::now();
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let destination = match stream.local_addr() {
        Ok(local) => SocketAddr::new(local.ip().to_canonical(), local.port()),
        // The peer is gone already.
        Err(_) => return,
    };
    let caller = tcp::split(stream);
    let shared = &worker.shared;
    let by_node = probe::is_by_node(&shared.snapshots.load(), &shared.taps.load().host_pods, peer, destination);
    let connection = Connection::InboundPlaintext { pod: guest.pod.uid.clone(), peer, destination, by_node };
    let Verdict { decision, snapshot } = worker.decide(&guest, &connection).await;
    let record = record::Inbound { meter: &worker.meter, snapshot: &snapshot, pod: &guest.pod, peer, start };
    match decision {
        Decision::Local(to) => {
            let lives = record.plaintext(to.address, to.service.clone());
            let cut = worker.admit(&snapshot, &connection, &to, None).or(guest.cut());
            session::run(caller, worker.deliver(&guest.pod, Arrival::InClear(peer.ip()), to.address), cut, lives).await;
        }
        Decision::Deny(to, denial) => session::refuse(caller, &denial, record.plaintext(to.address, to.service)),
        refused => session::refuse(caller, refusal(&refused), record.plaintext(destination, None)),
    }
}

/// The service that the peer says its client dialled, if the pod is behind it; else the one that is certain.
fn dialled_service(snapshot: &Snapshot, named: Option<&str>, to: &Upstream) -> Option<Arc<Service>> {
    let named = named.and_then(|host| snapshot.services_with(to.address).find(|service| &*service.hostname == host));
    named.or(to.service.as_ref()).cloned()
}

/// Inbound there is delivery or refusal; any other decision would be a defect.
fn refusal(decision: &Decision) -> Reason {
    match decision {
        Decision::Refuse(reason) => *reason,
        _ => Reason::Internal,
    }
}
