//! The tunnels of one worker: makes them, keeps them, closes them, as [`pool`](crate::pool) decides.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::client::{self, Driver, Tunnel};
use crate::pool::{Checkout, Idle, Pool, Settings, TunnelId};
use crate::{Config, ConnectRequest, Error, StreamSink, StreamSource};

/// How often a stream is tried anew when the tunnel that it was put on turns out to be of no use.
const ATTEMPTS: usize = 8;

/// Makes transports.
pub trait Connector<K> {
    /// The transport.
    type Transport: AsyncRead + AsyncWrite + Unpin + 'static;
    /// Why there is none.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes a transport to `key`, ready for HTTP/2. It has to bring its own timeout.
    fn connect(&self, key: &K) -> impl Future<Output = Result<Self::Transport, Self::Error>>;
}

/// The tunnels of one worker, by key. Clones share them; with the last one gone, each tunnel ends with its streams.
///
/// Has to be used within a [`tokio::task::LocalSet`] or a local runtime, on which the tunnels are driven.
pub struct Tunnels<K, C> {
    inner: Rc<Inner<K, C>>,
}

struct Inner<K, C> {
    connector: C,
    config: Config,
    pool: RefCell<Pool<K>>,
    slots: RefCell<HashMap<TunnelId, Slot>>,
    draining: Cell<bool>,
    tasks: Rc<Tasks>,
}

/// A tunnel of the pool, or the wish for one.
enum Slot {
    Making(watch::Receiver<Made>),
    Made(Tunnel, Rc<dyn Fn()>),
}

/// What those who wait for a tunnel wait for.
type Made = Option<Result<(), Error>>;

/// The tasks that run.
#[derive(Default)]
struct Tasks {
    running: Cell<usize>,
    ended: Notify,
}

impl<K, C> Tunnels<K, C>
where
    K: Clone + Eq + Hash + 'static,
    C: Connector<K> + 'static,
{
    /// No tunnels yet.
    #[must_use]
    pub fn new(connector: C, config: Config, settings: Settings) -> Self {
        let inner = Inner {
            connector,
            config,
            pool: RefCell::new(Pool::new(settings)),
            slots: RefCell::new(HashMap::new()),
            draining: Cell::new(false),
            tasks: Rc::new(Tasks::default()),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Opens a stream to `key`, on a tunnel that is there or on one that is made for it. A tunnel that turns out to
    /// be of no use before anything was sent on it is replaced, unnoticed.
    ///
    /// # Errors
    /// [`Error::Connect`] with the connector's error, or what [`Tunnel::open`] says.
    pub async fn open(&self, key: &K, request: &ConnectRequest) -> Result<(StreamSource, StreamSink), Error> {
        let mut last = Error::TunnelClosed;
        for _ in 0..ATTEMPTS {
            let place = self.place(key);
            self.wait_for(place.id).await?;
            match place.open(request) {
                Err(error) if error.is_retryable() => last = error,
                opened => return opened,
            }
        }
        Err(last)
    }

    /// Puts no more streams on the tunnels whose key `is_meant`; each closes when its streams have ended.
    pub fn retire(&self, is_meant: impl Fn(&K) -> bool) {
        let meant = self.inner.pool.borrow().of(is_meant);
        for id in meant {
            self.inner.forget(id);
        }
    }

    /// The tunnels there are, those that are being made included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.pool.borrow().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From now on closes each tunnel as soon as it has no stream, and resolves when all of them are over. Whoever was let in
    /// before can still open one.
    pub async fn drain(&self) {
        self.inner.draining.set(true);
        let all = self.inner.pool.borrow().of(|_| true);
        for id in all {
            self.inner.close_if_unused(id);
        }
        let tasks = Rc::clone(&self.inner.tasks);
        while tasks.running.get() > 0 {
            tasks.ended.notified().await;
        }
    }

    /// Takes a place for a stream, and has its tunnel made if there is none.
    fn place(&self, key: &K) -> Place<K, C> {
        let checkout = self.inner.pool.borrow_mut().checkout(key, Instant::now());
        let (Checkout::Use(id) | Checkout::Wait(id) | Checkout::Make(id)) = checkout;
        if matches!(checkout, Checkout::Make(_)) {
            let (made, waits) = watch::channel(None);
            self.inner.slots.borrow_mut().insert(id, Slot::Making(waits));
            let running = Running::new(&self.inner.tasks);
            let task = make(Rc::clone(&self.inner), id, key.clone(), made);
            tokio::task::spawn_local(async move {
                task.await;
                drop(running);
            });
        }
        Place { inner: Rc::clone(&self.inner), id, taken: true }
    }

    async fn wait_for(&self, id: TunnelId) -> Result<(), Error> {
        let waits = match self.inner.slots.borrow().get(&id) {
            Some(Slot::Making(waits)) => Some(waits.clone()),
            _ => None,
        };
        let Some(mut waits) = waits else { return Ok(()) };
        let made = match waits.wait_for(Option::is_some).await {
            Ok(made) => made.clone(),
            Err(_) => None,
        };
        made.unwrap_or(Err(Error::TunnelClosed))
    }
}

impl<K: Clone + Eq + Hash, C> Inner<K, C> {
    fn forget(&self, id: TunnelId) {
        self.pool.borrow_mut().remove(id);
        let slot = self.slots.borrow_mut().remove(&id);
        if let Some(Slot::Made(tunnel, _)) = slot {
            tunnel.close_when_idle();
        }
    }

    fn release(&self, id: TunnelId) {
        self.pool.borrow_mut().release(id, Instant::now());
        if self.draining.get() {
            self.close_if_unused(id);
        }
    }

    fn close_if_unused(&self, id: TunnelId) {
        let unused = self.pool.borrow().is_unused(id);
        if unused {
            self.forget(id);
        }
    }
}

/// A place on a tunnel, given back when dropped unless a stream has taken it over.
struct Place<K: Clone + Eq + Hash, C> {
    inner: Rc<Inner<K, C>>,
    id: TunnelId,
    taken: bool,
}

impl<K: Clone + Eq + Hash, C> Place<K, C> {
    fn open(mut self, request: &ConnectRequest) -> Result<(StreamSource, StreamSink), Error> {
        let (tunnel, on_end) = match self.inner.slots.borrow().get(&self.id) {
            Some(Slot::Made(tunnel, on_end)) => (tunnel.clone(), Rc::clone(on_end)),
            _ => return Err(Error::TunnelClosed),
        };
        let opened =
            if tunnel.is_usable() { tunnel.open_with(request, Some(on_end)) } else { Err(Error::TunnelClosed) };
        match &opened {
            // From here on the stream gives the place back.
            Ok(_) => self.taken = false,
            Err(Error::TunnelFull) => self.inner.pool.borrow_mut().limit(self.id, tunnel.limit()),
            Err(Error::InvalidRequest(_)) => {}
            Err(_) => self.inner.forget(self.id),
        }
        opened
    }
}

impl<K: Clone + Eq + Hash, C> Drop for Place<K, C> {
    fn drop(&mut self) {
        if self.taken {
            self.inner.release(self.id);
        }
    }
}

/// Makes a tunnel and drives it until it is over. From when it is made, only its users keep the pool alive.
async fn make<K, C>(inner: Rc<Inner<K, C>>, id: TunnelId, key: K, made: watch::Sender<Made>)
where
    K: Clone + Eq + Hash + 'static,
    C: Connector<K> + 'static,
{
    let (tunnel, driver) = match connect(&inner, &key).await {
        Ok(tunnel) => tunnel,
        Err(error) => {
            inner.forget(id);
            made.send_replace(Some(Err(error)));
            return;
        }
    };
    inner.pool.borrow_mut().made(id, Instant::now());
    let pool = Rc::downgrade(&inner);
    let on_end: Rc<dyn Fn()> = Rc::new({
        let pool = Weak::clone(&pool);
        move || {
            if let Some(inner) = pool.upgrade() {
                inner.release(id);
            }
        }
    });
    inner.slots.borrow_mut().insert(id, Slot::Made(tunnel, on_end));
    made.send_replace(Some(Ok(())));
    if inner.draining.get() {
        // Whoever wanted it may have given up.
        inner.close_if_unused(id);
    }
    drop((inner, made));
    let outcome = drive(driver, &pool, id).await;
    if let Err(error) = outcome {
        tracing::debug!(%error, "a tunnel broke");
    }
    if let Some(inner) = pool.upgrade() {
        inner.forget(id);
    }
}

async fn connect<K, C: Connector<K>>(inner: &Inner<K, C>, key: &K) -> Result<(Tunnel, Driver<C::Transport>), Error> {
    let transport = inner.connector.connect(key).await.map_err(|error| Error::Connect(Arc::new(error)))?;
    client::handshake(transport, &inner.config).await
}

/// Drives a tunnel, and closes it once it has been idle for long enough. One timer that is asked seldom serves for
/// that: a tunnel is looked at again when it could at the earliest be too old.
async fn drive<K, C, T>(mut driver: Driver<T>, pool: &Weak<Inner<K, C>>, id: TunnelId) -> Result<(), Error>
where
    K: Clone + Eq + Hash,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let idle = pool.upgrade().map(|inner| {
            let idle = inner.pool.borrow_mut().expire(id, Instant::now());
            if idle == Idle::Close {
                inner.forget(id);
            }
            idle
        });
        let Some(Idle::AskAt(then)) = idle else { return driver.await };
        tokio::select! {
            outcome = &mut driver => return outcome,
            () = sleep_until(then) => {}
        }
    }
}

/// Counts a task while it runs.
struct Running(Rc<Tasks>);

impl Running {
    fn new(tasks: &Rc<Tasks>) -> Self {
        tasks.running.set(tasks.running.get() + 1);
        Self(Rc::clone(tasks))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get().saturating_sub(1));
        self.0.ended.notify_waiters();
    }
}

impl<K, C> Clone for Tunnels<K, C> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<K, C> fmt::Debug for Tunnels<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnels").field("tunnels", &self.inner.slots.borrow().len()).finish_non_exhaustive()
    }
}
