//! Connections that carry bytes: which of a service's endpoints each goes to, by its TCP and TLS routes, and there and
//! back. Also how it is found out that a connection is one.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_hbone::StreamSource;
use ambit_model::route::{self, Destination, Draw, Flow, StreamOutcome};
use ambit_model::{Reason, Snapshot, Traffic, Workload};
use ambit_net::relay::relay;
use ambit_net::stream::{ByteSink, ByteSource};
use ambit_transport::Failure;
use bytes::{Bytes, BytesMut};

use crate::arrival::Arrival;
use crate::authorize;
use crate::io::{Prefixed, peek};
use crate::protocol::{Spoken, server_name, spoken};
use crate::proxy::Proxy;
use crate::record::{self, Reached};
use crate::upstream::{Ask, ConnectionSlot, Exchange, NoCluster, Picked, Place, Sink, Source, key_hash};

/// How long a client may keep silent before it is looked whether its server speaks first.
const SILENCE: Duration = Duration::from_millis(20);

/// How long a TLS client may take for its first message.
const HELLO: Duration = Duration::from_secs(5);

/// Endpoints that are tried for one connection, none of which may have taken it.
const ENDPOINTS: usize = 3;

/// Who spoke first on a connection of which nothing is known.
pub(crate) enum Sniffed {
    /// The client, and so.
    Client(Spoken),
    /// The server: it was dialled meanwhile.
    Server(Box<Dialled>),
}

/// An endpoint's connection.
pub(crate) struct Dialled {
    source: Prefixed<Source>,
    sink: Sink,
    picked: Picked,
    slot: ConnectionSlot,
    place: Place,
    /// The name that its client has asked for by TLS, where that was looked at.
    sni: Option<String>,
}

/// A client's half of a connection whose first bytes were looked at.
pub(crate) type Client<S, K> = (Prefixed<S>, K);

/// Waits for the first bytes of whoever speaks first: of a client's into `read`. None if the connection ended before. A
/// client that is silent for a moment has its server dialled, for its server may be the one to begin; who speaks HTTP
/// never waits for that.
///
/// # Errors
/// The connection broke.
pub(crate) async fn sniff(
    proxy: &Rc<Proxy>,
    arrival: &Rc<Arrival>,
    source: &mut StreamSource,
    read: &mut BytesMut,
) -> io::Result<Option<Sniffed>> {
    let limit = proxy.shared.limits.header;
    if let Ok(told) = tokio::time::timeout(SILENCE, told(source, read, limit)).await {
        return Ok(told?.map(Sniffed::Client));
    }
    // For whom nothing can be dialled the refusal comes when he has spoken.
    let Ok(mut dialled) = dial(proxy, arrival, None).await else {
        return Ok(told(source, read, limit).await?.map(Sniffed::Client));
    };
    let server = async {
        let mut first = BytesMut::new();
        // An end or an abort is the server's word as well.
        let _ = peek(&mut dialled.source, &mut first, |bytes, _| (!bytes.is_empty()).then_some(())).await;
        first.freeze()
    };
    let said = tokio::select! {
        biased;
        told = told(source, read, limit) => return Ok(told?.map(Sniffed::Client)),
        said = server => said,
    };
    dialled.source.unread(said);
    Ok(Some(Sniffed::Server(Box::new(dialled))))
}

/// What a client speaks; none if it says nothing. What begins like a request and does not become one within `limit` is
/// none: it may be all that the client has to say before its server does.
async fn told(source: &mut StreamSource, read: &mut BytesMut, limit: Duration) -> io::Result<Option<Spoken>> {
    let begins = |bytes: &[u8], complete: bool| (complete || !bytes.is_empty()).then_some(!bytes.is_empty());
    if !peek(source, read, begins).await? {
        return Ok(None);
    }
    match tokio::time::timeout(limit, peek(source, read, spoken)).await {
        Ok(told) => told.map(Some),
        Err(_) => Ok(Some(Spoken::Opaque)),
    }
}

/// Serves a connection that carries bytes.
pub(crate) async fn serve<S: ByteSource, K: ByteSink>(
    proxy: &Rc<Proxy>,
    arrival: &Rc<Arrival>,
    (mut source, sink): Client<S, K>,
) {
    let start = Instant::now();
    let sni = match arrival.door() {
        Some(door) => door.passed_on().map(str::to_owned),
        None if asks_by_name(proxy, arrival) => read_name(&mut source).await,
        None => None,
    };
    match dial(proxy, arrival, sni.as_deref()).await {
        Ok(dialled) => carry(proxy, arrival, (source, sink), dialled, start).await,
        Err((why, to)) => {
            let mut sink = sink;
            sink.reset();
            let reached = Reached { endpoint: to, service: None };
            record::stream(proxy, arrival, start, reached).close(record::outcome(Err(why)));
        }
    }
}

/// Serves a connection whose server has spoken first.
pub(crate) async fn serve_dialled<S: ByteSource, K: ByteSink>(
    proxy: &Rc<Proxy>,
    arrival: &Rc<Arrival>,
    client: Client<S, K>,
    dialled: Dialled,
) {
    carry(proxy, arrival, client, dialled, Instant::now()).await;
}

async fn carry<S: ByteSource, K: ByteSink>(
    proxy: &Rc<Proxy>,
    arrival: &Rc<Arrival>,
    client: Client<S, K>,
    dialled: Dialled,
    start: Instant,
) {
    let Dialled { source, sink, picked, slot, place, sni } = dialled;
    let endpoint = picked.endpoint();
    let to = Some((endpoint.address, endpoint.workload.clone()));
    let reached = Reached { endpoint: to, service: place.service().cloned() };
    let live = record::stream(proxy, arrival, start, reached);
    let pool = &place.settings().pool;
    let lasts = async {
        match pool.max_connection_duration {
            Some(most) => tokio::time::sleep(most).await,
            None => std::future::pending().await,
        }
    };
    let idle = idle(live.traffic(), pool.tcp_idle_timeout);
    let ended = tokio::select! {
        biased;
        why = refused_since(proxy, arrival, sni.as_deref()) => Err(why),
        () = proxy.cut() => Err(Reason::Draining.into()),
        () = lasts => Ok(()),
        () = idle => Ok(()),
        closed = relay(client, (source, sink), live.traffic()) => Failure::of_relay(&closed),
    };
    live.close(record::outcome(ended));
    drop(slot);
}

/// Resolves when a connection has carried nothing for `limit`.
async fn idle(traffic: &Traffic, limit: Option<Duration>) {
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else { return std::future::pending().await };
    let mut before = (traffic.sent(), traffic.received());
    loop {
        tokio::time::sleep(limit).await;
        let now = (traffic.sent(), traffic.received());
        if now == before {
            return;
        }
        before = now;
    }
}

/// Resolves when the mesh comes to refuse what it has admitted.
async fn refused_since(proxy: &Proxy, arrival: &Arrival, sni: Option<&str>) -> Failure {
    let mut snapshots = proxy.shared.snapshots.clone();
    while let Some(snapshot) = snapshots.changed().await {
        if let Err((reason, detail)) = authorize::still(&snapshot, arrival, sni) {
            return Failure::new(Reason::PolicyChanged, format!("{}, {detail}", reason.code()));
        }
    }
    std::future::pending().await
}

/// Why a connection could not be made, and to whom.
type Undialled = (Failure, Option<(SocketAddr, Option<Arc<Workload>>)>);

/// Finds out where a connection that asks for `sni` goes, and dials it there.
async fn dial(proxy: &Rc<Proxy>, arrival: &Rc<Arrival>, sni: Option<&str>) -> Result<Dialled, Undialled> {
    let nowhere = |reason: Reason| (Failure::from(reason), None);
    let mut snapshot = proxy.shared.snapshots.load();
    authorize::stream(proxy, &mut snapshot, arrival, sni)
        .await
        .map_err(|(reason, detail)| (Failure::new(reason, detail), None))?;
    let destination = route(proxy, &snapshot, arrival, sni).map_err(nowhere)?;
    let place = proxy.clusters.place(&proxy.shared, &snapshot, arrival, &destination);
    let place = place.map_err(|NoCluster| nowhere(Reason::NoHealthyUpstream))?;
    let slot = place
        .limits()
        .connection()
        .map_err(|overflow| (Failure::new(Reason::TooManyConnections, overflow.to_string()), None))?;
    let request = route::Request {
        arrival: arrival.routed(),
        method: "",
        scheme: "",
        authority: "",
        path: "",
        claims: None,
        fields: NO_FIELDS,
    };
    let hash = place.hash_key().and_then(|key| key_hash(key, &request, Some(arrival.client.ip())));
    let (mut tried, mut failed) = (Vec::new(), nowhere(Reason::NoHealthyUpstream));
    for _ in 0..ENDPOINTS {
        let ask = Ask {
            now: Instant::now(),
            draw: rand::random(),
            hash,
            dialled: arrival.dialled(),
            client: arrival.workload.as_deref(),
            avoid: &tried,
        };
        let Some(picked) = place.pick(&ask) else { return Err(failed) };
        let endpoint = picked.endpoint().clone();
        if tried.contains(&endpoint.address) {
            return Err(failed);
        }
        tried.push(endpoint.address);
        let exchange = Exchange::new(&place, &endpoint, arrival, destination.host.as_str());
        match proxy.endpoints.open(&exchange).await {
            Ok((source, sink)) => {
                place.learn_connected(&picked, true);
                let source = Prefixed::new(Bytes::new(), source);
                let sni = sni.map(str::to_owned);
                return Ok(Dialled { source, sink, picked, slot, place, sni });
            }
            Err(why) => {
                place.learn_connected(&picked, false);
                failed = (why, Some((endpoint.address, endpoint.workload)));
            }
        }
    }
    Err(failed)
}

/// No header fields.
const NO_FIELDS: &[(&str, &str)] = &[];

/// The destination that routes say, drawn anew for each connection.
fn route(proxy: &Proxy, snapshot: &Snapshot, arrival: &Arrival, sni: Option<&str>) -> Result<Destination, Reason> {
    let viewer = &*proxy.shared.key.namespace;
    let draw = Draw(rand::random());
    let flow =
        |arriving| Flow { arrival: arriving, destination: arrival.dialled().ip(), source: arrival.client.ip(), sni };
    let outcome = match (arrival.door(), arrival.addressed.service()) {
        (Some(door), _) => {
            let served = door.servers().first().ok_or(Reason::NoRouteMatched)?;
            let flow = flow(arrival.routed_to(served));
            served.stream(&snapshot.routes, (viewer, sni), &flow, draw)
        }
        (None, Some(service)) => {
            let owner = Some(&*service.key.namespace);
            let addressed = route::Addressed { host: &service.hostname, viewer, owner, from: None };
            snapshot.routes.stream(addressed, &flow(arrival.routed()), draw)
        }
        (None, None) => StreamOutcome::Unrouted,
    };
    match outcome {
        StreamOutcome::Unrouted => arrival.destination.clone().ok_or(Reason::NoRouteMatched),
        StreamOutcome::To(destination) => Ok(destination.clone()),
        StreamOutcome::NoRoute => Err(Reason::NoRouteMatched),
    }
}

/// True if it makes a difference to anybody which name a TLS client asks for.
fn asks_by_name(proxy: &Proxy, arrival: &Arrival) -> bool {
    let snapshot = proxy.shared.snapshots.load();
    arrival.addressed.service().is_some_and(|service| {
        let (viewer, owner) = (&*proxy.shared.key.namespace, Some(&*service.key.namespace));
        let addressed = route::Addressed { host: &service.hostname, viewer, owner, from: None };
        let mut rules = snapshot.routes.virtual_services_for(addressed, &route::Gateway::Mesh);
        rules.any(|rules| !rules.tls.is_empty()) || authorize::asks_by_name(&snapshot, arrival)
    })
}

/// The name that a TLS client asks for. Whoever takes too long to say it has said none.
async fn read_name<S: ByteSource>(source: &mut Prefixed<S>) -> Option<String> {
    let mut read = BytesMut::new();
    let name = tokio::time::timeout(HELLO, peek(source, &mut read, server_name));
    let name = name.await.ok().and_then(Result::ok).flatten();
    source.unread(read.freeze());
    name
}
