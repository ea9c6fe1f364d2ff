//! What one worker counts: its connections, open and closed, and its requests. Plain cells, owned by the worker's thread; knows no other
//! worker and nobody who asks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ambit_model::reason::Flag;
use ambit_model::{Authority, Reason, Traffic};
use serde::Serialize;
use tracing::Level;

use crate::access::{AccessLog, Event, Known, Record};
use crate::ends::{Ends, Reporter};
use crate::queries::{Queries, QuerySeries};
use crate::request::RequestRecord;
use crate::series::Series;
use crate::trials::{Trial, Trials};
use crate::values::{Counts, Living, Values};

/// A connection of which it is known who is to be connected.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Who is connected, and what protects the connection: everything that the metrics' labels are made of.
    pub ends: Ends,
    /// The client's address.
    pub client: SocketAddr,
    /// Where the connection goes: with HBONE the pod's address with port 15008, else the application's.
    pub destination: SocketAddr,
    /// What the CONNECT asks for, with HBONE.
    pub hbone: Option<Authority>,
    /// When the connection was accepted.
    pub start: Instant,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both ends were done.
    Ok,
    /// It was refused or broke.
    Failed {
        /// Why.
        reason: Reason,
        /// What exactly happened, for the log; may be empty.
        detail: String,
    },
}

/// A connection that was refused before it was known who was to be connected.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Who refused.
    pub reporter: Reporter,
    /// The client's address.
    pub client: SocketAddr,
    /// The address dialled.
    pub destination: SocketAddr,
    /// Why.
    pub reason: Reason,
    /// What exactly happened, for the log; may be empty.
    pub detail: String,
}

/// The counters of one worker. Clones count in the same cells.
#[derive(Clone, Debug)]
pub struct Meter {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    access: AccessLog,
    series: RefCell<HashMap<Arc<Ends>, Rc<Series>>>,
    open: RefCell<BTreeMap<u64, Rc<Open>>>,
    next: Cell<u64>,
    refused: RefCell<BTreeMap<(Reporter, Reason), u64>>,
    queries: RefCell<Queries>,
    trials: RefCell<Trials>,
}

#[derive(Debug)]
struct Open {
    id: u64,
    opened: Opened,
    traffic: Rc<Traffic>,
    series: Rc<Series>,
}

impl Meter {
    /// A worker's counters, all zero, with the access log that its connections are written to.
    #[must_use]
    pub fn new(access: AccessLog) -> Self {
        let shared = Shared {
            access,
            series: RefCell::default(),
            open: RefCell::default(),
            next: Cell::new(0),
            refused: RefCell::default(),
            queries: RefCell::default(),
            trials: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Counts a connection as opened. It counts as open until the answer is closed or dropped.
    #[must_use = "a connection that is dropped counts as closed by a defect"]
    pub fn open(&self, opened: Opened) -> Live {
        self.open_counting(opened, Rc::default())
    }

    /// Counts the other end of `first` as opened too: one proxy stands at both, and relays the bytes once.
    #[must_use = "a connection that is dropped counts as closed by a defect"]
    pub fn open_twin(&self, first: &Live, opened: Opened) -> Live {
        self.open_counting(opened, first.open.traffic.clone())
    }

    fn open_counting(&self, opened: Opened, traffic: Rc<Traffic>) -> Live {
        let shared = &self.shared;
        let series = shared.series(&opened.ends, opened.start, || Arc::new(opened.ends.clone()));
        series.open();
        if shared.access.wants(Level::DEBUG) {
            let known = Known { ends: opened.ends.clone(), hbone: opened.hbone.clone() };
            shared.log(&opened, Event::Opened(known));
        }
        let id = shared.next.get();
        shared.next.set(id.wrapping_add(1));
        let open = Rc::new(Open { id, opened, traffic, series });
        shared.open.borrow_mut().insert(id, open.clone());
        Live { open, shared: shared.clone(), closed: false }
    }

    /// Counts and logs a connection that was refused before it was known who was to be connected.
    pub fn fail_early(&self, refused: Refused) {
        let Refused { reporter, client, destination, reason, detail } = refused;
        self.shared.count_reason(reporter, reason);
        if self.shared.access.wants(Level::WARN) {
            let event = Event::Failed { reporter, failure: (reason, detail) };
            self.shared.access.write(Record { at: SystemTime::now(), client, destination, event });
        }
    }

    /// Counts and logs a request that has ended.
    pub fn request(&self, record: RequestRecord) {
        let shared = &self.shared;
        shared.series(&record.ends, record.ended, || record.ends.clone()).request(&record);
        if let Some(refusal) = &record.answer.refusal {
            shared.count_reason(record.ends.reporter, refusal.reason);
        }
        if shared.access.wants(record.level()) {
            shared.access.write_request(SystemTime::now(), record);
        }
    }

    /// Counts a DNS query that the mesh answered itself.
    pub fn query_answered(&self, series: QuerySeries) {
        self.shared.queries.borrow_mut().answered(series);
    }

    /// Counts a DNS query that was passed on, and answered or not (`failed`) after `took`.
    pub fn query_passed_on(&self, series: QuerySeries, took: Duration, failed: bool) {
        self.shared.queries.borrow_mut().passed_on(series, took, failed);
    }

    /// Counts what a policy on trial says of a connection.
    pub fn on_trial(&self, trial: Trial) {
        self.shared.trials.borrow_mut().count(trial, 1);
    }

    /// The connections that are open at `now`, in the order in which they were opened.
    #[must_use]
    pub fn connections(&self, now: Instant) -> Vec<ConnectionSummary> {
        self.shared.open.borrow().values().map(|open| summary(open, now)).collect()
    }

    /// The counters as they stand, the bytes of open connections included.
    #[must_use]
    pub fn values(&self) -> Values {
        let mut values = Values::default();
        values.add_queries(self.shared.queries.borrow().clone());
        values.trials.merge(self.shared.trials.borrow().clone());
        for series in self.shared.series.borrow().values() {
            values.add(series.ends().clone(), &series.counts());
        }
        for open in self.shared.open.borrow().values() {
            let traffic = Counts::traffic(open.traffic.sent(), open.traffic.received(), open.series.used());
            values.add(open.series.ends().clone(), &traffic);
        }
        for ((reporter, reason), count) in self.shared.refused.borrow().iter() {
            values.add_reason(*reporter, *reason, *count);
        }
        values
    }

    /// Forgets those of `series` that have no open connection and were not used since `since`; answers how many.
    /// [`expired`](crate::expired) says which: only what is idle on every worker may go, since the sum that is exposed
    /// must not shrink and go on.
    pub fn forget(&self, series: &[Arc<Ends>], since: Instant) -> usize {
        let mut held = self.shared.series.borrow_mut();
        let before = held.len();
        for ends in series {
            if held.get(ends).is_some_and(|series| series.is_idle_since(since)) {
                held.remove(ends);
            }
        }
        let forgotten = before.saturating_sub(held.len());
        if held.capacity() > held.len().saturating_mul(4) {
            held.shrink_to_fit();
        }
        forgotten
    }

    /// Forgets what policies said that are no more.
    pub fn forget_trials(&self, living: &Living) {
        self.shared.trials.borrow_mut().retain(|policy| living.has(policy));
    }
}

impl Shared {
    /// The series of `ends`; a new one holds what `kept` answers, and counts as used at `now`.
    fn series(&self, ends: &Ends, now: Instant, kept: impl FnOnce() -> Arc<Ends>) -> Rc<Series> {
        let mut held = self.series.borrow_mut();
        if let Some(series) = held.get(ends) {
            return series.clone();
        }
        let ends = kept();
        let series = Rc::new(Series::new(ends.clone(), now));
        held.insert(ends, series.clone());
        series
    }

    fn count_reason(&self, reporter: Reporter, reason: Reason) {
        let mut refused = self.refused.borrow_mut();
        let count = refused.entry((reporter, reason)).or_default();
        *count = count.saturating_add(1);
    }

    fn log(&self, opened: &Opened, event: Event) {
        let (client, destination) = (opened.client, opened.destination);
        self.access.write(Record { at: SystemTime::now(), client, destination, event });
    }

    fn close(&self, open: &Open, outcome: Outcome) {
        self.open.borrow_mut().remove(&open.id);
        let failure = match outcome {
            Outcome::Ok => None,
            Outcome::Failed { reason, detail } => Some((reason, detail)),
        };
        if let Some((reason, _)) = &failure {
            self.count_reason(open.opened.ends.reporter, *reason);
        }
        let now = Instant::now();
        open.series.close(&open.traffic, failure.as_ref().map_or(Flag::None, |(reason, _)| reason.flag()), now);
        let opened = &open.opened;
        let known = || Known { ends: opened.ends.clone(), hbone: opened.hbone.clone() };
        if self.access.wants(Record::completion_level(failure.as_ref())) {
            let (to_server, to_client) = (open.traffic.sent(), open.traffic.received());
            let duration = now.saturating_duration_since(opened.start);
            self.log(opened, Event::Complete { known: known(), to_server, to_client, duration, failure });
        }
    }
}

/// An open connection. Dropped without being closed it counts as closed by a defect ([`Reason::Internal`]).
#[derive(Debug)]
pub struct Live {
    open: Rc<Open>,
    shared: Rc<Shared>,
    closed: bool,
}

impl Live {
    /// Where whoever relays the connection counts its bytes.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.open.traffic
    }

    /// What the connection was opened as.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.open.opened
    }

    /// Counts and logs the connection as closed.
    pub fn close(mut self, outcome: Outcome) {
        self.closed = true;
        self.shared.close(&self.open, outcome);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.closed {
            self.shared.close(&self.open, Outcome::Failed { reason: Reason::Internal, detail: String::new() });
        }
    }
}

/// An open connection, as the admin interface lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSummary {
    /// Distinguishes the connections of one worker, ascending in the order of opening.
    pub id: u64,
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// The client's address.
    pub src: SocketAddr,
    /// The client's pod, or what else is known of it.
    pub src_workload: Option<String>,
    /// The client's namespace.
    pub src_namespace: Option<String>,
    /// Whom the client's certificate names.
    pub src_identity: Option<String>,
    /// Where the connection goes.
    pub dst: SocketAddr,
    /// What the CONNECT asks for, with HBONE.
    pub hbone: Option<String>,
    /// The hostname of the service by which the server was reached.
    pub dst_service: Option<String>,
    /// The server's pod, or what else is known of it.
    pub dst_workload: Option<String>,
    /// The server's namespace.
    pub dst_namespace: Option<String>,
    /// `mutual_tls` or `unknown`.
    pub security: &'static str,
    /// Milliseconds since it was accepted.
    pub age_ms: u64,
    /// Bytes so far from the client to the server.
    pub bytes_to_server: u64,
    /// Bytes so far from the server to the client.
    pub bytes_to_client: u64,
}

fn summary(open: &Open, now: Instant) -> ConnectionSummary {
    let Opened { ends, client, destination, hbone, start } = &open.opened;
    let age = now.saturating_duration_since(*start).as_millis();
    ConnectionSummary {
        id: open.id,
        direction: ends.reporter.direction(),
        src: *client,
        src_workload: ends.source.name().map(str::to_owned),
        src_namespace: ends.source.namespace().map(str::to_owned),
        src_identity: ends.security.client().map(ToString::to_string),
        dst: *destination,
        hbone: hbone.as_ref().map(ToString::to_string),
        dst_service: ends.service.as_ref().map(|service| service.hostname.to_string()),
        dst_workload: ends.destination.name().map(str::to_owned),
        dst_namespace: ends.destination.namespace().map(str::to_owned),
        security: ends.security.as_str(),
        age_ms: u64::try_from(age).unwrap_or(u64::MAX),
        bytes_to_server: open.traffic.sent(),
        bytes_to_client: open.traffic.received(),
    }
}

#[cfg(test)]
mod tests;
