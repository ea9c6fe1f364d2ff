//! Which tunnel a new stream goes on, when there has to be another, and when one has been idle for long enough. A
//! pure state machine: it knows keys, counts and instants, and neither tunnels nor clocks.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// How a pool treats its tunnels (features.md E-07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The streams on a tunnel; one more opens another tunnel.
    pub max_streams: usize,
    /// How long a tunnel without streams is kept.
    pub max_idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_streams: 100, max_idle: Duration::from_secs(300) }
    }
}

/// A tunnel of a pool, from when it is wanted until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(u64);

/// Where a new stream goes. Each of these takes a place on the tunnel, until [`Pool::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkout {
    /// On this tunnel, now.
    Use(TunnelId),
    /// On this tunnel, once it is there.
    Wait(TunnelId),
    /// On this tunnel, once it is there; it has to be made now.
    Make(TunnelId),
}

/// Whether a tunnel has been idle for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Yes: close it. It is gone from the pool.
    Close,
    /// Not before this instant: ask again then.
    AskAt(Instant),
    /// It is not in the pool.
    Gone,
}

/// Tunnels by key.
#[derive(Debug)]
pub struct Pool<K> {
    settings: Settings,
    peers: HashMap<K, Vec<Entry>>,
    keys: HashMap<TunnelId, K>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    id: TunnelId,
    made: bool,
    /// Streams on it, or waiting for it.
    streams: usize,
    max_streams: usize,
    /// Since when it has had none.
    idle_since: Instant,
}

impl<K: Clone + Eq + Hash> Pool<K> {
    /// An empty pool.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let max_streams = settings.max_streams.max(1);
        Self { settings: Settings { max_streams, ..settings }, peers: HashMap::new(), keys: HashMap::new(), next: 0 }
    }

    /// Finds the place of a new stream: on the oldest tunnel that is made and has room, so that the newer ones can
    /// fall idle; else on one that is being made; else on a new one.
    pub fn checkout(&mut self, key: &K, now: Instant) -> Checkout {
        if let Some(entries) = self.peers.get_mut(key) {
            for made in [true, false] {
                let mut open = entries.iter_mut().filter(|entry| entry.made == made);
                if let Some(entry) = open.find(|entry| entry.streams < entry.max_streams) {
                    entry.streams += 1;
                    return if made { Checkout::Use(entry.id) } else { Checkout::Wait(entry.id) };
                }
            }
        }
        let id = TunnelId(self.next);
        self.next = self.next.wrapping_add(1);
        let entry = Entry { id, made: false, streams: 1, max_streams: self.settings.max_streams, idle_since: now };
        self.peers.entry(key.clone()).or_default().push(entry);
        self.keys.insert(id, key.clone());
        Checkout::Make(id)
    }

    /// Says that a tunnel is there. Those who wait for it may use it.
    pub fn made(&mut self, id: TunnelId, now: Instant) {
        if let Some(entry) = self.entry(id) {
            entry.made = true;
            entry.idle_since = now;
        }
    }

    /// Says how many streams a tunnel really carries, where its peer grants fewer than the settings say. Those that
    /// are on it stay.
    pub fn limit(&mut self, id: TunnelId, max_streams: usize) {
        let most = self.settings.max_streams;
        if let Some(entry) = self.entry(id) {
            entry.max_streams = max_streams.min(most);
        }
    }

    /// Gives back the place of a stream that has ended, or that nobody waits for any more.
    pub fn release(&mut self, id: TunnelId, now: Instant) {
        if let Some(entry) = self.entry(id) {
            entry.streams = entry.streams.saturating_sub(1);
            entry.idle_since = now;
        }
    }

    /// Takes a tunnel out: it could not be made, it is over, or its peer wants no more streams on it. The streams
    /// that it still carries go on.
    pub fn remove(&mut self, id: TunnelId) {
        let Some(key) = self.keys.remove(&id) else { return };
        if let Some(entries) = self.peers.get_mut(&key) {
            entries.retain(|entry| entry.id != id);
            if entries.is_empty() {
                self.peers.remove(&key);
            }
        }
        shrink(&mut self.keys);
        shrink(&mut self.peers);
    }

    /// The tunnels whose key `is_meant`, those that are being made included, ascending.
    pub fn of(&self, is_meant: impl Fn(&K) -> bool) -> Vec<TunnelId> {
        let mut ids: Vec<_> = self.keys.iter().filter(|(_, key)| is_meant(key)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Takes out a tunnel that has had no stream for as long as the settings allow.
    pub fn expire(&mut self, id: TunnelId, now: Instant) -> Idle {
        let max_idle = self.settings.max_idle;
        let Some(entry) = self.entry(id) else { return Idle::Gone };
        let idle_until = entry.idle_since + max_idle;
        if !entry.made || entry.streams > 0 {
            return Idle::AskAt(now + max_idle);
        }
        if now < idle_until {
            return Idle::AskAt(idle_until);
        }
        self.remove(id);
        Idle::Close
    }

    /// True of a tunnel that is made and has no stream, nor anybody who is about to open one.
    pub fn is_unused(&self, id: TunnelId) -> bool {
        let entries = self.keys.get(&id).and_then(|key| self.peers.get(key)).into_iter().flatten();
        entries.filter(|entry| entry.id == id).any(|entry| entry.made && entry.streams == 0)
    }

    /// The tunnels in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn entry(&mut self, id: TunnelId) -> Option<&mut Entry> {
        let key = self.keys.get(&id)?;
        self.peers.get_mut(key)?.iter_mut().find(|entry| entry.id == id)
    }
}

/// Gives memory back after a rush.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() * 4 < map.capacity() {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests;
