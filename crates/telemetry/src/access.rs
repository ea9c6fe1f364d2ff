//! The access log: one line a connection, with the fields, their order and their quoting as Istio's ztunnel writes
//! them, and one line a request ([`request`]). Turns what is known into a line; the [`Queue`]'s thread calls it, never a
//! worker.

mod request;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use ambit_model::reason::Flag;
use ambit_model::{Authority, Reason};
use tracing::Level;
use tracing_subscriber::filter::Targets;

pub(crate) use self::request::Logged;
use crate::ends::{Ends, Party, Reporter};
use crate::line::{Form, Line};
use crate::queue::{Item, Queue};
use crate::request::RequestRecord;

/// The scope under which the access log is written and filtered: `access=off` in the filter silences it,
/// `access=debug` adds a line when a connection opens.
pub(crate) const SCOPE: &str = "access";

/// Where workers put the records of their connections. Clones write to the same log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Queue,
    verbosity: Arc<AtomicUsize>,
}

/// The levels an access-log line can have, quietest first: the rank is what `verbosity` holds.
const LEVELS: [Level; 4] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG];

impl AccessLog {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, verbosity: Arc::new(AtomicUsize::new(0)) }
    }

    /// Lets through what `filter` lets through for the scope `access`.
    pub(crate) fn follow(&self, filter: &Targets) {
        let shown = LEVELS.iter().filter(|level| filter.would_enable(SCOPE, level)).count();
        self.verbosity.store(shown, Ordering::Relaxed);
    }

    /// Lines that were dropped because the log could not be written fast enough.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.dropped_records()
    }

    /// Lines of the process's own log that were dropped for the same reason.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.queue.dropped_lines()
    }

    /// True if lines of `level` are written.
    pub(crate) fn wants(&self, level: Level) -> bool {
        let shown = self.verbosity.load(Ordering::Relaxed);
        LEVELS.iter().take(shown).any(|l| *l == level)
    }

    /// Hands `record` to the log's thread; never waits.
    pub(crate) fn write(&self, record: Record) {
        self.queue.offer(Item::Record(Box::new(record)));
    }

    /// Hands the record of a request that ended at `at` to the log's thread; never waits.
    pub(crate) fn write_request(&self, at: SystemTime, record: RequestRecord) {
        self.queue.offer(Item::Request(Box::new(Logged { at, record })));
    }
}

/// What the access-log line of a connection is made of.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When the line's event happened.
    pub(crate) at: SystemTime,
    /// The client's address.
    pub(crate) client: SocketAddr,
    /// The address dialled for the connection: with HBONE the one with port 15008.
    pub(crate) destination: SocketAddr,
    /// What happened.
    pub(crate) event: Event,
}

/// What an access-log line tells.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// `connection opened`, at debug.
    Opened(Known),
    /// `connection complete`, at info; at error if it failed on the way.
    Complete {
        /// Who was connected.
        known: Known,
        /// Bytes from the client to the server.
        to_server: u64,
        /// Bytes from the server to the client.
        to_client: u64,
        /// From accept to close.
        duration: Duration,
        /// Why it was refused or closed.
        failure: Option<(Reason, String)>,
    },
    /// `connection failed`, at warn: refused before it was known who was to be connected.
    Failed {
        /// Who refused.
        reporter: Reporter,
        /// Why.
        failure: (Reason, String),
    },
}

/// Who is connected.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The two ends.
    pub(crate) ends: Ends,
    /// What the CONNECT asks for, with HBONE.
    pub(crate) hbone: Option<Authority>,
}

impl Record {
    /// The level of the line of a connection that closed. A reset by an application is no failure of the mesh, so that
    /// it stays at info.
    pub(crate) fn completion_level(failure: Option<&(Reason, String)>) -> Level {
        match failure {
            Some((reason, _)) if reason.flag() != Flag::None => Level::ERROR,
            _ => Level::INFO,
        }
    }

    fn level(&self) -> Level {
        match &self.event {
            Event::Opened(_) => Level::DEBUG,
            Event::Failed { .. } => Level::WARN,
            Event::Complete { failure, .. } => Self::completion_level(failure.as_ref()),
        }
    }

    /// Appends the line to `out`.
    pub(crate) fn write(&self, out: &mut String, form: Form) {
        let mut line = Line::begin(out, form, self.at, self.level(), SCOPE);
        line.body();
        match &self.event {
            Event::Opened(known) => {
                line.message(&"connection opened");
                self.write_known(&mut line, known);
            }
            Event::Complete { known, to_server, to_client, duration, failure } => {
                line.message(&"connection complete");
                self.write_known(&mut line, known);
                let (sent, received) = match known.ends.reporter {
                    Reporter::Source => (to_server, to_client),
                    Reporter::Destination | Reporter::Waypoint => (to_client, to_server),
                };
                line.bare("bytes_sent", sent);
                line.bare("bytes_recv", received);
                line.text("duration", &format!("{}ms", duration.as_millis()));
                if let Some(failure) = failure {
                    write_failure(&mut line, failure);
                }
            }
            Event::Failed { reporter, failure } => {
                line.message(&"connection failed");
                line.shown("src.addr", &self.client);
                line.shown("dst.addr", &self.destination);
                line.text("direction", reporter.direction());
                write_failure(&mut line, failure);
            }
        }
        line.end();
    }

    fn write_known(&self, line: &mut Line<'_>, Known { ends, hbone }: &Known) {
        line.shown("src.addr", &self.client);
        write_client(line, ends);
        line.shown("dst.addr", &self.destination);
        if let Some(authority) = hbone {
            line.shown("dst.hbone_addr", authority);
        }
        write_server(line, ends);
        line.text("direction", ends.reporter.direction());
    }
}

/// The names of one end's fields.
struct Side {
    workload: &'static str,
    namespace: &'static str,
    identity: &'static str,
    cluster: &'static str,
}

impl Side {
    const SOURCE: Self =
        Self { workload: "src.workload", namespace: "src.namespace", identity: "src.identity", cluster: "src.cluster" };
    const DESTINATION: Self =
        Self { workload: "dst.workload", namespace: "dst.namespace", identity: "dst.identity", cluster: "dst.cluster" };
}

fn write_client(line: &mut Line<'_>, ends: &Ends) {
    write_end(line, Side::SOURCE, &ends.source, ends.security.client());
}

fn write_server(line: &mut Line<'_>, ends: &Ends) {
    if let Some(service) = &ends.service {
        line.text("dst.service", &service.hostname);
    }
    // Without mutual TLS nobody has proved to be anybody.
    let server = ends.destination.principal().filter(|_| ends.security.client().is_some());
    write_end(line, Side::DESTINATION, &ends.destination, server);
}

fn write_end(line: &mut Line<'_>, side: Side, party: &Party, identity: Option<&ambit_model::Identity>) {
    let identity = identity.map(ToString::to_string);
    let fields = [
        (side.workload, party.name()),
        (side.namespace, party.namespace()),
        (side.identity, identity.as_deref()),
        (side.cluster, party.cluster()),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            line.text(name, value);
        }
    }
}

fn write_failure(line: &mut Line<'_>, (reason, detail): &(Reason, String)) {
    match detail.as_str() {
        "" => line.text("error", reason.text()),
        detail => line.text("error", detail),
    }
    line.shown("reason", &reason.code());
}

#[cfg(test)]
mod tests;
