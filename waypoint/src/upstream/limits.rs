//! How many connections, requests and retries there are to a cluster at once, and who waits for a connection (Istio
//! `ConnectionPoolSettings`, `RetryBudget`). Shared by all workers: a limit holds for the whole process. What waits is
//! told when there is room; it makes no connection, and closes none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use ambit_model::destination::{ConnectionPool, RetryBudget};
use arc_swap::ArcSwapOption;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::retry_budget::Recent;

/// The limits of a cluster, and what there is of each.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Its permits are the connections that there may still be.
    room: Arc<Semaphore>,
    /// How many connections there may be.
    capacity: AtomicU32,
    /// How many connections have to end before their permits are worth anything: there are more than there now may be.
    excess: AtomicU32,
    /// How many of those were given up already, and have not ended yet.
    leaving: AtomicU32,
    /// Requests without a connection.
    pending: Count,
    requests: Count,
    retries: Count,
    budget: ArcSwapOption<Budget>,
    overflows: Overflows,
    /// How many who wait for room nobody has given up a connection for.
    wanted: AtomicU32,
    /// How many wait for room.
    waiting: AtomicU32,
    called: Notify,
}

/// How often something was refused, since the beginning (Envoy's counters of a cluster).
#[derive(Debug, Default)]
pub(crate) struct Overflows {
    /// `upstream_cx_overflow`: connections.
    pub(crate) connections: AtomicU64,
    /// `upstream_rq_pending_overflow`: requests, since there were too many, or too many without a connection.
    pub(crate) requests: AtomicU64,
    /// `upstream_rq_retry_overflow`: retries.
    pub(crate) retries: AtomicU64,
}

/// There are as many as there may be: 503, flag `UO`, `x-envoy-overloaded: true`. For a retry, the answer that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overflow {
    /// Raise `connectionPool.tcp.maxConnections`.
    #[error("as many connections as maxConnections allows")]
    Connections,
    /// Raise `connectionPool.http.http1MaxPendingRequests`, or `connectionPool.tcp.maxConnections`.
    #[error("as many requests wait for a connection as http1MaxPendingRequests allows")]
    Pending,
    /// Raise `connectionPool.http.http2MaxRequests`.
    #[error("as many requests as http2MaxRequests allows")]
    Requests,
    /// Raise `connectionPool.http.maxRetries`, or the `retryBudget`.
    #[error("as many retries as maxRetries or retryBudget allows")]
    Retries,
}

#[derive(Debug)]
struct Budget {
    of: RetryBudget,
    recent: Option<(Recent, Recent)>,
}

/// A connection that there may be, until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    limits: Arc<Limits>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A request without a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Limits>);

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestSlot(Arc<Limits>);

/// A retry under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct RetrySlot(Arc<Limits>);

impl Limits {
    /// What `pool` and `budget` allow, none of it taken.
    pub(crate) fn new(pool: &ConnectionPool, budget: Option<RetryBudget>, now: Instant) -> Arc<Self> {
        let capacity = capacity(pool);
        let limits = Self {
            room: Arc::new(Semaphore::new(permits(capacity))),
            capacity: AtomicU32::new(capacity),
            excess: AtomicU32::new(0),
            leaving: AtomicU32::new(0),
            pending: Count::default(),
            requests: Count::default(),
            retries: Count::default(),
            budget: ArcSwapOption::empty(),
            overflows: Overflows::default(),
            wanted: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            called: Notify::new(),
        };
        limits.update(pool, budget, now);
        Arc::new(limits)
    }

    /// Takes up new limits. What is there beyond them and is idle is to be given up, and the rest stays until it is idle or
    /// ends. One thread at a time.
    pub(super) fn update(&self, pool: &ConnectionPool, budget: Option<RetryBudget>, now: Instant) {
        let unlimited = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
        self.pending.most.store(unlimited(pool.max_pending_requests), Ordering::Relaxed);
        self.requests.most.store(unlimited(pool.max_requests), Ordering::Relaxed);
        self.retries.most.store(unlimited(pool.max_retries), Ordering::Relaxed);
        if self.budget.load().as_ref().map(|old| old.of) != budget {
            let recent = |of: &RetryBudget| {
                let counts = (!of.interval.is_zero()).then_some(of.interval);
                counts.map(|interval| (Recent::new(interval, now), Recent::new(interval, now)))
            };
            self.budget.store(budget.map(|of| Arc::new(Budget { recent: recent(&of), of })));
        }
        self.resize(capacity(pool));
    }

    fn resize(&self, new: u32) {
        let old = self.capacity.swap(new, Ordering::Relaxed);
        if new > old {
            let more = new - old;
            let paid = take(&self.excess, more);
            self.room.add_permits(permits(more - paid));
        } else {
            let less = old - new;
            let forgotten = u32::try_from(self.room.forget_permits(permits(less))).unwrap_or(less);
            self.excess.fetch_add(less - forgotten, Ordering::Relaxed);
            self.called.notify_waiters();
        }
        self.settle(0);
    }

    /// A connection at once, for bytes that nobody keeps waiting.
    ///
    /// # Errors
    /// There are as many as there may be; it is counted.
    pub(crate) fn connection(self: &Arc<Self>) -> Result<ConnectionSlot, Overflow> {
        match self.room.clone().try_acquire_owned() {
            Ok(permit) => Ok(ConnectionSlot { limits: self.clone(), permit: Some(permit) }),
            Err(_) => self.refused(Overflow::Connections),
        }
    }

    /// A request has no connection: to be held until it has one, made for it or idle before.
    ///
    /// # Errors
    /// There are as many as may be; it is counted.
    pub(crate) fn pending(self: &Arc<Self>) -> Result<Pending, Overflow> {
        if self.pending.enter() { Ok(Pending(self.clone())) } else { self.refused(Overflow::Pending) }
    }

    /// A request comes at `now`: to be held until its answer has ended.
    ///
    /// # Errors
    /// There are as many as may be; it is counted.
    pub(crate) fn request(self: &Arc<Self>, now: Instant) -> Result<RequestSlot, Overflow> {
        if !self.requests.enter() {
            return self.refused(Overflow::Requests);
        }
        if let Some((requests, _)) = self.budget.load().as_ref().and_then(|budget| budget.recent.as_ref()) {
            requests.add(now);
        }
        Ok(RequestSlot(self.clone()))
    }

    /// A request, which is held on, is to be sent once more at `now`. A budget takes the place of `maxRetries`.
    ///
    /// # Errors
    /// There are as many as may be; it is counted.
    pub(crate) fn retry(self: &Arc<Self>, now: Instant) -> Result<RetrySlot, Overflow> {
        let budget = self.budget.load();
        let entered = match budget.as_deref() {
            None => self.retries.enter(),
            Some(Budget { of, recent: None }) => {
                let requests = self.requests.now();
                self.retries.enter_if(|retries| of.allows(requests, retries))
            }
            Some(Budget { of, recent: Some((requests, retries)) }) => {
                let of_late = of.allows(requests.count(now), retries.count(now).max(of.min_retry_concurrency));
                self.retries.enter_if(|active| of_late || active < of.min_retry_concurrency)
            }
        };
        if !entered {
            return self.refused(Overflow::Retries);
        }
        if let Some((_, retries)) = budget.as_ref().and_then(|budget| budget.recent.as_ref()) {
            retries.add(now);
        }
        Ok(RetrySlot(self.clone()))
    }

    /// True once for each request that waits for room, and for each connection beyond what there now may be: who asks then
    /// closes an idle connection. To be asked by whoever has one: when one becomes idle, and after each [`Limits::called`]
    /// until it is false.
    pub(crate) fn give_up(&self) -> bool {
        let one_more =
            |leaving: u32| (leaving < self.excess.load(Ordering::Relaxed)).then(|| leaving.saturating_add(1));
        take(&self.wanted, 1) == 1 || self.leaving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Notes that so many of those that have to end have ended.
    fn settle(&self, ended: u32) {
        let excess = self.excess.load(Ordering::Relaxed);
        let left = |leaving: u32| Some(leaving.saturating_sub(ended).min(excess));
        let _ = self.leaving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// Ends when a request begins to wait for room, or there may be fewer connections. To be made before [`Limits::give_up`] is asked, so that nothing is
    /// missed in between.
    pub(crate) fn called(&self) -> Notified<'_> {
        self.called.notified()
    }

    /// How often something was refused.
    pub(crate) fn overflows(&self) -> &Overflows {
        &self.overflows
    }

    /// Connections, requests without one, requests, and retries, as many as there are.
    pub(crate) fn active(&self) -> [u32; 4] {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX);
        let capacity = self.capacity.load(Ordering::Relaxed);
        let connections = capacity.saturating_sub(free).saturating_add(self.excess.load(Ordering::Relaxed));
        [connections, self.pending.now(), self.requests.now(), self.retries.now()]
    }

    fn refused<T>(&self, overflow: Overflow) -> Result<T, Overflow> {
        let counter = match overflow {
            Overflow::Connections => &self.overflows.connections,
            Overflow::Pending | Overflow::Requests => &self.overflows.requests,
            Overflow::Retries => &self.overflows.retries,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Err(overflow)
    }
}

impl Pending {
    /// Waits until there may be one more connection, in the order of those who wait. May be dropped at any time, as when
    /// another connection has become idle meanwhile.
    pub(crate) async fn slot(&self) -> ConnectionSlot {
        let limits = &self.0;
        if let Ok(permit) = limits.room.clone().try_acquire_owned() {
            return ConnectionSlot { limits: limits.clone(), permit: Some(permit) };
        }
        let _waits = Waits::new(limits);
        // Nobody closes the semaphore.
        let permit = limits.room.clone().acquire_owned().await.ok();
        ConnectionSlot { limits: limits.clone(), permit }
    }
}

/// One who waits for room.
struct Waits<'a>(&'a Limits);

impl<'a> Waits<'a> {
    fn new(limits: &'a Limits) -> Self {
        limits.waiting.fetch_add(1, Ordering::Relaxed);
        limits.wanted.fetch_add(1, Ordering::Relaxed);
        limits.called.notify_waiters();
        Self(limits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let waiting = self.0.waiting.fetch_sub(1, Ordering::Relaxed).saturating_sub(1);
        let _ = self.0.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wanted| Some(wanted.min(waiting)));
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take().filter(|_| take(&self.limits.excess, 1) == 1) {
            permit.forget();
            self.limits.settle(1);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.leave();
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        self.0.requests.leave();
    }
}

impl Drop for RetrySlot {
    fn drop(&mut self) {
        self.0.retries.leave();
    }
}

/// How many there are, and may be.
#[derive(Debug, Default)]
struct Count {
    now: AtomicU32,
    most: AtomicU32,
}

impl Count {
    fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    fn enter(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        self.enter_if(|now| now < most)
    }

    fn enter_if(&self, allowed: impl Fn(u32) -> bool) -> bool {
        let one_more = |now: u32| allowed(now).then(|| now.saturating_add(1));
        self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes up to `most` off `from`; how many it took.
fn take(from: &AtomicU32, most: u32) -> u32 {
    let less = |there: u32| Some(there.saturating_sub(most));
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_or(0, |there| there.min(most))
}

fn capacity(pool: &ConnectionPool) -> u32 {
    pool.max_connections.unwrap_or(u32::MAX)
}

fn permits(connections: u32) -> usize {
    usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests;
