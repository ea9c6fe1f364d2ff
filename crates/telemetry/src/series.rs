//! The counters of one time series on one worker. Plain cells; knows no other series and nobody who asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ambit_model::Traffic;
use ambit_model::reason::Flag;

use crate::ends::Ends;
use crate::request::RequestRecord;
use crate::requests::Requests;
use crate::values::Counts;

/// The counters of requests, of connections that are closed, and the number of all that were opened.
#[derive(Debug)]
pub(crate) struct Series {
    ends: Arc<Ends>,
    opened: Cell<u64>,
    live: Cell<u64>,
    to_server: Cell<u64>,
    to_client: Cell<u64>,
    closed: RefCell<BTreeMap<Flag, u64>>,
    requests: RefCell<Requests>,
    used: Cell<Instant>,
}

impl Series {
    /// All zero, and used at `now`.
    pub(crate) fn new(ends: Arc<Ends>, now: Instant) -> Self {
        Self {
            ends,
            opened: Cell::new(0),
            live: Cell::new(0),
            to_server: Cell::new(0),
            to_client: Cell::new(0),
            closed: RefCell::default(),
            requests: RefCell::default(),
            used: Cell::new(now),
        }
    }

    /// What its connections and requests have in common.
    pub(crate) fn ends(&self) -> &Arc<Ends> {
        &self.ends
    }

    /// When a connection was last opened or closed, or a request last ended.
    pub(crate) fn used(&self) -> Instant {
        self.used.get()
    }

    /// True without an open connection, if it was not used after `since`.
    pub(crate) fn is_idle_since(&self, since: Instant) -> bool {
        self.live.get() == 0 && self.used.get() <= since
    }

    /// Counts a connection as opened.
    pub(crate) fn open(&self) {
        self.opened.set(self.opened.get().saturating_add(1));
        self.live.set(self.live.get().saturating_add(1));
    }

    /// Counts a connection as closed at `now`, with all that it carried.
    pub(crate) fn close(&self, traffic: &Traffic, flag: Flag, now: Instant) {
        self.live.set(self.live.get().saturating_sub(1));
        self.to_server.set(self.to_server.get().saturating_add(traffic.sent()));
        self.to_client.set(self.to_client.get().saturating_add(traffic.received()));
        self.used.set(now);
        let mut closed = self.closed.borrow_mut();
        let count = closed.entry(flag).or_default();
        *count = count.saturating_add(1);
    }

    /// Counts a request that has ended.
    pub(crate) fn request(&self, record: &RequestRecord) {
        self.used.set(self.used.get().max(record.ended));
        self.requests.borrow_mut().count(record);
    }

    /// The counters as they stand, without the bytes of open connections.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            opened: self.opened.get(),
            live: self.live.get(),
            closed: self.closed.borrow().clone(),
            requests: self.requests.borrow().clone(),
            ..Counts::traffic(self.to_server.get(), self.to_client.get(), self.used.get())
        }
    }
}
