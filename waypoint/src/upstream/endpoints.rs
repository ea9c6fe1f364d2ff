//! One worker's HTTP connections to endpoints: a request is sent on one that is idle, or on one that is made for it. Knows
//! nothing of routes, and nothing of trying again but where nothing was sent.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::Workload;
use ambit_model::destination::ConnectionPool;
use ambit_transport::Failure;
use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::cluster::Endpoint;
use super::clusters::{Place, Through};
use super::connect::{Dialler, Halves, Sink, Source, originate};
use super::limits::{ConnectionSlot, Limits, Overflow};
use super::multiplexed::{Place as SharedPlace, Shelf};
use super::origination::{Origination, Originators};
use super::pool::{Pool, PoolKey};
use crate::arrival::Arrival;
use crate::http::RequestBody;
use crate::io::{Duplex, Prefixed};
use crate::proxy::Shared;

/// A connection that has stopped to speak HTTP.
pub(crate) struct Bare {
    /// The connection.
    pub(crate) io: Duplex<Source, Sink>,
    /// What was read of it since.
    pub(crate) read: Bytes,
    /// Its place among those that there may be.
    pub(crate) slot: ConnectionSlot,
}

/// A connection, once it has stopped to speak HTTP.
pub(crate) type Upgraded = oneshot::Receiver<Bare>;

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// Where and how a request is sent.
pub(crate) struct Exchange<'a> {
    /// The number of the cluster.
    pub(crate) cluster: u64,
    /// The cluster's limits.
    pub(crate) limits: &'a Arc<Limits>,
    /// What its DestinationRule says of connections.
    pub(crate) settings: &'a ConnectionPool,
    /// The endpoint.
    pub(crate) address: SocketAddr,
    /// Its pod, if the mesh knows it.
    pub(crate) workload: Option<&'a Workload>,
    /// What the endpoint is asked for, if it is a waypoint's pod.
    pub(crate) through: Option<&'a Through>,
    /// For whom.
    pub(crate) arrival: &'a Arrival,
    /// TLS that is begun there.
    pub(crate) tls: Option<Origination>,
    /// HTTP/1.1 or HTTP/2; none where bytes are carried.
    pub(crate) version: Option<Version>,
    /// Set when there is a connection for it.
    pub(crate) begun: Rc<Cell<bool>>,
}

/// A request that was answered.
pub(crate) struct Sent {
    /// The answer.
    pub(crate) response: Response<Incoming>,
    /// The connection, once it speaks something else.
    pub(crate) upgraded: Option<Upgraded>,
    /// To be held until the answer has ended: its place on a connection that is shared.
    pub(crate) place: Option<SharedPlace>,
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// There are as many as there may be.
    Overflow(Overflow),
    /// There is no connection.
    Unconnected(Failure),
    /// The endpoint refused to look at it (REFUSED_STREAM).
    RefusedStream,
    /// The endpoint reset it.
    Reset(hyper::Error),
    /// The connection ended first.
    Terminated(hyper::Error),
    /// The answer breaks the rules of HTTP.
    Protocol(hyper::Error),
}

/// One worker's connections.
pub(crate) struct Endpoints {
    dialler: Dialler,
    originators: Arc<Originators>,
    idle: Rc<RefCell<Pool<Conn1>>>,
    /// The clusters for which somebody sees to it that idle connections make way.
    watched: Rc<RefCell<BTreeSet<u64>>>,
    shared: Rc<RefCell<HashMap<PoolKey, Rc<Shelf>>>>,
}

/// An HTTP/1.1 connection between two requests.
struct Conn1 {
    sender: http1::SendRequest<RequestBody>,
    upgraded: Upgraded,
    carried: u32,
    born: Instant,
    limits: Arc<Limits>,
}

impl Endpoints {
    /// No connections yet. Has to be called within the worker's runtime.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let endpoints = Self {
            originators: shared.originators.clone(),
            dialler: Dialler::new(shared),
            idle: Rc::default(),
            watched: Rc::default(),
            shared: Rc::default(),
        };
        let (idle, shelves) = (Rc::downgrade(&endpoints.idle), Rc::downgrade(&endpoints.shared));
        spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let (Some(idle), Some(shelves)) = (idle.upgrade(), shelves.upgrade()) else { return };
                let now = Instant::now();
                // Those of a cluster that had no limit before are watched by nobody else.
                idle.borrow_mut().sweep(now, |connection| connection.is_usable() && !connection.limits.give_up());
                shelves.borrow_mut().retain(|_, shelf| shelf.sweep(now) || Rc::strong_count(shelf) > 1);
            }
        });
        endpoints
    }

    /// Opens a connection for bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self, exchange: &Exchange<'_>) -> Result<Halves, Failure> {
        let limit = exchange.settings.connect_timeout;
        let begun = Instant::now();
        let halves = self.dialler.connect(exchange, limit).await?;
        let Some(tls) = &exchange.tls else { return Ok(halves) };
        let protocol = exchange.version.map(|version| if version == Version::HTTP_2 { "h2" } else { "http/1.1" });
        originate(&self.originators, halves, tls, protocol, limit.saturating_sub(begun.elapsed())).await
    }

    /// Sends the request that `request` makes, again on another connection if the first turned out to be closed before
    /// anything was sent on it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn send(&self, exchange: &Exchange<'_>, request: Request<RequestBody>) -> Result<Sent, Unsent> {
        match exchange.version {
            Some(Version::HTTP_2) => self.send2(exchange, request).await,
            _ => self.send1(exchange, request).await,
        }
    }

    async fn send1(&self, exchange: &Exchange<'_>, mut request: Request<RequestBody>) -> Result<Sent, Unsent> {
        loop {
            let mut connection = self.connection1(exchange).await?;
            let fresh = connection.carried == 0;
            connection.carried += 1;
            exchange.begun.set(true);
            match connection.sender.try_send_request(request).await {
                Ok(response) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS => {
                    return Ok(Sent { response, upgraded: Some(connection.upgraded), place: None });
                }
                Ok(response) => {
                    self.reuse(exchange, connection);
                    return Ok(Sent { response, upgraded: None, place: None });
                }
                Err(mut error) => match error.take_message().filter(|_| !fresh) {
                    Some(unsent) => request = unsent,
                    None => return Err(why(error)),
                },
            }
        }
    }

    /// Takes `connection` back once its answer has been read.
    fn reuse(&self, exchange: &Exchange<'_>, mut connection: Conn1) {
        let settings = exchange.settings;
        let most = settings.max_requests_per_connection.filter(|most| *most > 0);
        let worn = most.is_some_and(|most| connection.carried >= most);
        let old = settings.max_connection_duration.is_some_and(|most| connection.born.elapsed() >= most);
        if worn || old {
            // Its answer is read to the end, and then it is closed.
            return;
        }
        let key = exchange.key();
        let (pool, keep) = (self.idle.clone(), settings.http_idle_timeout);
        // Where there may be as many as are wanted, nobody ever waits for room.
        let watched = settings.max_connections.map(|_| self.watched.clone());
        spawn_local(async move {
            if connection.sender.ready().await.is_err() {
                return;
            }
            let limits = connection.limits.clone();
            let cluster = key.cluster;
            shelve(&mut pool.borrow_mut(), key, connection, keep);
            let Some(watched) = watched.filter(|watched| watched.borrow_mut().insert(cluster)) else { return };
            give_up_when_called(pool, limits, cluster).await;
            watched.borrow_mut().remove(&cluster);
        });
    }

    async fn connection1(&self, exchange: &Exchange<'_>) -> Result<Conn1, Unsent> {
        let key = exchange.key();
        let idle = self.idle.borrow_mut().take(&key, Instant::now(), Conn1::is_usable);
        if let Some(idle) = idle {
            return Ok(idle);
        }
        let pending = exchange.limits.pending().map_err(Unsent::Overflow)?;
        let waiting = self.idle.borrow_mut().wait(key);
        let slot = tokio::select! {
            biased;
            Ok(connection) = waiting => return Ok(connection),
            slot = pending.slot() => slot,
        };
        let (source, sink) = self.open(exchange).await.map_err(Unsent::Unconnected)?;
        drop(pending);
        let io = Duplex::new(Prefixed::new(Bytes::new(), source), sink);
        let handshake = http1::Builder::new().max_headers(256).handshake::<_, RequestBody>(io).await;
        let (sender, mut connection) = handshake.map_err(Unsent::Terminated)?;
        let (parts, upgraded) = oneshot::channel();
        spawn_local(async move {
            let outcome = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
            if let Err(error) = outcome {
                return tracing::debug!("an endpoint's connection ended: {error}");
            }
            let http1::Parts { io, read_buf, .. } = connection.into_parts();
            if let Err(Bare { io, .. }) = parts.send(Bare { io, read: read_buf, slot }) {
                // It was not upgraded, and nobody needs it any more.
                io.finish().await;
            }
        });
        let limits = exchange.limits.clone();
        Ok(Conn1 { sender, upgraded, carried: 0, born: Instant::now(), limits })
    }

    async fn send2(&self, exchange: &Exchange<'_>, mut request: Request<RequestBody>) -> Result<Sent, Unsent> {
        let shelf = self.shared.borrow_mut().entry(exchange.key()).or_default().clone();
        loop {
            let (mut place, fresh) = shelf.place(exchange, || self.open(exchange)).await?;
            exchange.begun.set(true);
            match place.sender.try_send_request(request).await {
                Ok(response) => return Ok(Sent { response, upgraded: None, place: Some(place) }),
                Err(mut error) => match error.take_message().filter(|_| !fresh) {
                    Some(unsent) => request = unsent,
                    None => return Err(why(error)),
                },
            }
        }
    }
}

impl<'a> Exchange<'a> {
    /// With `endpoint` of `place`, which goes by `authority` where TLS asks for its name: bytes are carried, unless a version
    /// of HTTP is said.
    pub(crate) fn new(place: &'a Place, endpoint: &'a Endpoint, arrival: &'a Arrival, authority: &str) -> Self {
        let settings = place.settings();
        Self {
            cluster: place.number(),
            limits: place.limits(),
            settings: &settings.pool,
            address: endpoint.address,
            workload: endpoint.workload.as_deref(),
            through: place.through().map(|through| &**through),
            arrival,
            tls: settings.tls.as_ref().map(|tls| Origination::new(tls, authority)),
            version: None,
            begun: Rc::default(),
        }
    }

    /// By this version of HTTP.
    pub(crate) fn by(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    fn key(&self) -> PoolKey {
        PoolKey { cluster: self.cluster, address: self.address, tls: self.tls.clone() }
    }
}

impl Conn1 {
    fn is_usable(&self) -> bool {
        self.sender.is_ready()
    }
}

/// Puts `connection` with the idle ones, unless somebody who waits for another endpoint's needs its place more.
fn shelve(idle: &mut Pool<Conn1>, key: PoolKey, connection: Conn1, keep: Duration) {
    if idle.is_wanted(&key) || !connection.limits.give_up() {
        idle.put(key, connection, Instant::now(), keep);
    }
}

/// Closes an idle connection of `cluster` for each request that waits for room, for as long as there are any.
async fn give_up_when_called(pool: Rc<RefCell<Pool<Conn1>>>, limits: Arc<Limits>, cluster: u64) {
    loop {
        let called = limits.called();
        while pool.borrow().has_idle(cluster) && limits.give_up() {
            drop(pool.borrow_mut().give_up(cluster));
        }
        if !pool.borrow().has_idle(cluster) {
            return;
        }
        tokio::select! {
            () = called => {}
            // What is idle may have been taken, so that nobody would end this.
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

fn why(error: TrySendError<Request<RequestBody>>) -> Unsent {
    let error = error.into_error();
    if ambit_hbone::is_refused_stream(&error) {
        return Unsent::RefusedStream;
    }
    if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        return Unsent::Protocol(error);
    }
    if ambit_hbone::is_reset_stream(&error) {
        return Unsent::Reset(error);
    }
    Unsent::Terminated(error)
}
