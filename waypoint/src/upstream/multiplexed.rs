//! The HTTP/2 connections of one worker to one endpoint, which requests share: which of them has room, when one more is
//! made, and when an idle one makes way for another endpoint's.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::destination::ConnectionPool;
use ambit_transport::Failure;
use bytes::Bytes;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioTimer;
use tokio::sync::{Mutex, Notify};
use tokio::task::spawn_local;

use super::connect::{Halves, Sink, Source};
use super::endpoints::{Exchange, Unsent};
use super::limits::{ConnectionSlot, Limits};
use crate::http::RequestBody;
use crate::io::{Duplex, Prefixed};
use crate::tasks::LocalExecutor;

/// Streams of one connection where nothing is said.
const STREAMS: u32 = 1024;

/// The connections to one endpoint.
#[derive(Default)]
pub(super) struct Shelf {
    connections: RefCell<Vec<Shared>>,
    /// Held while one is made, so that those who come meanwhile share it, or why there is none.
    making: Mutex<()>,
    failed: RefCell<Option<(Instant, Failure)>>,
    /// Told when a request has left its place.
    left: Rc<Notify>,
}

/// A connection.
struct Shared {
    sender: SendRequest<RequestBody>,
    used: Rc<Used>,
    born: Instant,
    keep: Duration,
}

/// How much a connection is used.
struct Used {
    carried: Cell<u32>,
    busy: Cell<u32>,
    /// When a request last came or left.
    last: Cell<Instant>,
    /// How many requests the endpoint takes at once.
    most: Cell<usize>,
    left: Notify,
    left_shelf: Rc<Notify>,
}

/// A request's place on a connection.
pub(crate) struct Place {
    pub(super) sender: SendRequest<RequestBody>,
    used: Rc<Used>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.used.busy.set(self.used.busy.get().saturating_sub(1));
        self.used.last.set(Instant::now());
        self.used.left.notify_one();
        self.used.left_shelf.notify_one();
    }
}

impl Shelf {
    /// A place on a connection, which `open` makes if there is no room on those there are, and whether it did.
    ///
    /// # Errors
    /// There may be no connection, or cannot be one.
    pub(super) async fn place<F>(
        self: &Rc<Self>,
        exchange: &Exchange<'_>,
        open: impl FnOnce() -> F,
    ) -> Result<(Place, bool), Unsent>
    where
        F: Future<Output = Result<Halves, Failure>>,
    {
        if let Some(place) = self.take(exchange.settings) {
            return Ok((place, false));
        }
        let pending = exchange.limits.pending().map_err(Unsent::Overflow)?;
        let since = Instant::now();
        let _making = self.making.lock().await;
        let slot = loop {
            if let Some(place) = self.take(exchange.settings) {
                return Ok((place, false));
            }
            tokio::select! {
                biased;
                slot = pending.slot() => break slot,
                () = self.left.notified() => {}
            }
        };
        // Who has waited for a connection that could not be made does not wait for the same once more.
        let failed = self.failed.borrow().as_ref().filter(|(at, _)| *at >= since).map(|(_, why)| why.clone());
        if let Some(why) = failed {
            return Err(Unsent::Unconnected(why));
        }
        let halves = open().await.map_err(|why| {
            *self.failed.borrow_mut() = Some((Instant::now(), why.clone()));
            Unsent::Unconnected(why)
        })?;
        self.add(exchange, halves, slot).await.map(|place| (place, true))
    }

    async fn add(
        self: &Rc<Self>,
        exchange: &Exchange<'_>,
        (source, sink): Halves,
        slot: ConnectionSlot,
    ) -> Result<Place, Unsent> {
        let io = Duplex::new(Prefixed::new(Bytes::new(), source), sink);
        let mut builder = Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new()).initial_stream_window_size(256 << 10).initial_connection_window_size(16 << 20);
        builder.max_header_list_size(96 << 10).max_send_buf_size(256 << 10);
        if let Some(ping) = exchange.settings.ping {
            builder.keep_alive_interval(ping.interval).keep_alive_timeout(ping.timeout);
        }
        let (sender, connection) = builder.handshake::<_, RequestBody>(io).await.map_err(Unsent::Terminated)?;
        let now = Instant::now();
        let used = Rc::new(Used {
            carried: Cell::new(0),
            busy: Cell::new(0),
            last: Cell::new(now),
            most: Cell::new(connection.current_max_send_streams()),
            left: Notify::new(),
            left_shelf: self.left.clone(),
        });
        let driver = Driver { slot, used: used.clone(), shelf: Rc::downgrade(self), limits: exchange.limits.clone() };
        spawn_local(driver.drive(connection));
        let shared = Shared { sender, used, born: now, keep: exchange.settings.http_idle_timeout };
        let place = shared.place();
        self.connections.borrow_mut().push(shared);
        Ok(place)
    }

    /// A place on a connection that has room. One that has taken its last request leaves the shelf.
    fn take(&self, settings: &ConnectionPool) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        let most = settings.max_requests_per_connection.filter(|most| *most > 0).unwrap_or(u32::MAX);
        let streams = settings.max_concurrent_streams.unwrap_or(STREAMS);
        connections.retain(|connection| {
            let old = settings.max_connection_duration.is_some_and(|most| connection.born.elapsed() >= most);
            !connection.sender.is_closed() && connection.used.carried.get() < most && !old
        });
        let free = |connection: &&Shared| {
            let busy = connection.used.busy.get();
            let taken = usize::try_from(busy).unwrap_or(usize::MAX) >= connection.used.most.get();
            busy < streams && !taken && connection.sender.is_ready()
        };
        connections.iter().find(free).map(Shared::place)
    }

    /// Lets go of connections that have been idle for too long or have ended; true if any are left.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| {
            let idle = connection.used.busy.get() == 0;
            let old = now.saturating_duration_since(connection.used.last.get()) >= connection.keep;
            !(connection.sender.is_closed() || idle && old)
        });
        !connections.is_empty()
    }

    fn has(&self, used: &Rc<Used>) -> bool {
        self.connections.borrow().iter().any(|connection| Rc::ptr_eq(&connection.used, used))
    }

    fn remove(&self, used: &Rc<Used>) {
        self.connections.borrow_mut().retain(|connection| !Rc::ptr_eq(&connection.used, used));
    }
}

impl Shared {
    fn place(&self) -> Place {
        self.used.carried.set(self.used.carried.get().saturating_add(1));
        self.used.busy.set(self.used.busy.get().saturating_add(1));
        self.used.last.set(Instant::now());
        Place { sender: self.sender.clone(), used: self.used.clone() }
    }
}

/// Who reads and writes a connection.
struct Driver {
    slot: ConnectionSlot,
    used: Rc<Used>,
    shelf: Weak<Shelf>,
    limits: Arc<Limits>,
}

impl Driver {
    /// Until it has ended. If it is idle, and somebody waits for room who cannot use it, it is given up: it ends by itself
    /// when nobody can send by it.
    async fn drive(self, connection: Connection<Duplex<Source, Sink>, RequestBody, LocalExecutor>) {
        let Self { slot: _slot, used, shelf, limits } = self;
        let mut connection = pin!(connection);
        loop {
            let called = limits.called();
            if let Some(shelf) = shelf.upgrade()
                && used.busy.get() == 0
                && shelf.making.try_lock().is_ok()
                && shelf.has(&used)
                && limits.give_up()
            {
                shelf.remove(&used);
            }
            let driven = std::future::poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                used.most.set(connection.current_max_send_streams());
                ended
            });
            tokio::select! {
                biased;
                ended = driven => {
                    if let Err(error) = ended {
                        tracing::debug!("an endpoint's connection ended: {error}");
                    }
                    return;
                }
                () = called => {}
                () = used.left.notified() => {}
            }
        }
    }
}
