//! The idle connections of one worker: which of them takes the next request, which waits for one, which is too old. Pure:
//! makes no connection and knows no clock but the `now` it is given.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::origination::Origination;

/// Connections with the same key can take each other's place: of one cluster, to one endpoint, which has proved to be the
/// same server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    /// The cluster's number.
    pub(crate) cluster: u64,
    /// The endpoint.
    pub(crate) address: SocketAddr,
    /// The TLS that was begun towards it.
    pub(crate) tls: Option<Origination>,
}

/// Idle connections, and who waits for one.
pub(crate) struct Pool<C> {
    shelves: HashMap<PoolKey, Shelf<C>>,
}

struct Shelf<C> {
    /// The one used last comes last.
    idle: VecDeque<Idle<C>>,
    waiting: VecDeque<oneshot::Sender<C>>,
}

struct Idle<C> {
    connection: C,
    since: Instant,
    keep: Duration,
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self { shelves: HashMap::new() }
    }
}

impl<C> Shelf<C> {
    fn new() -> Self {
        Self { idle: VecDeque::new(), waiting: VecDeque::new() }
    }
}

impl<C> Pool<C> {
    /// The connection of `key` that was used last and still `is_usable`; others that are not are dropped.
    pub(crate) fn take(&mut self, key: &PoolKey, now: Instant, is_usable: impl Fn(&C) -> bool) -> Option<C> {
        let shelf = self.shelves.get_mut(key)?;
        while let Some(idle) = shelf.idle.pop_back() {
            if now.saturating_duration_since(idle.since) < idle.keep && is_usable(&idle.connection) {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Resolves with the next connection of `key` that becomes idle, the first who waits coming first.
    pub(crate) fn wait(&mut self, key: PoolKey) -> oneshot::Receiver<C> {
        let (sender, receiver) = oneshot::channel();
        self.shelves.entry(key).or_insert_with(Shelf::new).waiting.push_back(sender);
        receiver
    }

    /// Takes `connection` back, for whoever waits or for `keep`.
    pub(crate) fn put(&mut self, key: PoolKey, connection: C, now: Instant, keep: Duration) {
        let shelf = self.shelves.entry(key).or_insert_with(Shelf::new);
        let mut connection = connection;
        while let Some(waiting) = shelf.waiting.pop_front() {
            match waiting.send(connection) {
                Ok(()) => return,
                // That one has given up.
                Err(back) => connection = back,
            }
        }
        shelf.idle.push_back(Idle { connection, since: now, keep });
    }

    /// True if somebody waits for a connection of `key`.
    pub(crate) fn is_wanted(&mut self, key: &PoolKey) -> bool {
        let Some(shelf) = self.shelves.get_mut(key) else { return false };
        shelf.waiting.retain(|waiting| !waiting.is_closed());
        !shelf.waiting.is_empty()
    }

    /// Takes out the connection of `cluster` that has been idle longest.
    pub(crate) fn give_up(&mut self, cluster: u64) -> Option<C> {
        let of_cluster = self.shelves.iter_mut().filter(|(key, _)| key.cluster == cluster).map(|(_, shelf)| shelf);
        let oldest = of_cluster.filter(|shelf| !shelf.idle.is_empty());
        let oldest = oldest.min_by_key(|shelf| shelf.idle.front().map(|idle| idle.since))?;
        oldest.idle.pop_front().map(|idle| idle.connection)
    }

    /// True if a connection of `cluster` is idle.
    pub(crate) fn has_idle(&self, cluster: u64) -> bool {
        self.shelves.iter().any(|(key, shelf)| key.cluster == cluster && !shelf.idle.is_empty())
    }

    /// Drops what has been idle for too long or is not usable any more.
    pub(crate) fn sweep(&mut self, now: Instant, is_usable: impl Fn(&C) -> bool) {
        self.shelves.retain(|_, shelf| {
            shelf.waiting.retain(|waiting| !waiting.is_closed());
            shelf
                .idle
                .retain(|idle| now.saturating_duration_since(idle.since) < idle.keep && is_usable(&idle.connection));
            !shelf.idle.is_empty() || !shelf.waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    fn key(cluster: u64, port: u16) -> PoolKey {
        PoolKey { cluster, address: SocketAddr::from(([10, 0, 0, 1], port)), tls: None }
    }

    #[test]
    fn the_connection_used_last_is_taken_and_what_is_too_old_is_dropped() {
        let (mut pool, start) = (Pool::default(), Instant::now());
        for (age, connection) in [(0, 1), (10, 2), (20, 3)] {
            pool.put(key(1, 80), connection, start + Duration::from_secs(age), KEEP);
        }
        let now = start + Duration::from_secs(65);
        assert_eq!(pool.take(&key(1, 80), now, |connection| *connection != 3), Some(2));
        assert_eq!(pool.take(&key(1, 80), now, |_| true), None);
        assert_eq!(pool.take(&key(1, 81), now, |_| true), None);
        pool.put(key(1, 80), 4, now, KEEP);
        pool.sweep(now + KEEP, |_| true);
        assert!(!pool.has_idle(1));
    }

    #[test]
    fn who_waits_is_given_what_becomes_idle_unless_he_has_gone() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        drop(pool.wait(key(1, 80)));
        assert!(!pool.is_wanted(&key(1, 80)));
        let (gone, mut stays) = (pool.wait(key(1, 80)), pool.wait(key(1, 80)));
        drop(gone);
        assert!(pool.is_wanted(&key(1, 80)));
        pool.put(key(1, 80), 7, now, KEEP);
        assert_eq!(stays.try_recv(), Ok(7));
        assert!(!pool.has_idle(1));
    }

    #[test]
    fn of_a_cluster_the_connection_that_is_idle_longest_is_given_up() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        pool.put(key(1, 81), 1, now + Duration::from_secs(1), KEEP);
        pool.put(key(1, 80), 2, now, KEEP);
        pool.put(key(2, 80), 3, now, KEEP);
        assert_eq!([pool.give_up(1), pool.give_up(1), pool.give_up(1)], [Some(2), Some(1), None]);
        assert!(pool.has_idle(2));
    }
}
