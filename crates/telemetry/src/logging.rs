//! The logs of a process: sets them up, and changes at run time what they let through. Knows nothing of what is logged.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt, ParseError, Targets, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, reload};

use crate::access::AccessLog;
use crate::layer::Lines;
use crate::line::Form;
use crate::queue::{Queue, Writer};

/// Lines that may wait to be written; a line is dropped when as many wait already.
const CAPACITY: usize = 8192;

/// Libraries whose own words are no use: kube's client logs every failed request as an error, which is told once and in
/// order as a report, and whole objects that it cannot read, whose environment may hold passwords.
const MUTE: [&str; 2] = ["kube_client", "kube_runtime"];

/// Why logs could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read; write it as the message says.
    #[error("{clause:?} is no log filter: expected a level (off, error, warn, info, debug, trace) or <scope>=<level>")]
    Filter {
        /// The part that cannot be read.
        clause: String,
        /// What the parser says, where it got that far.
        source: Option<ParseError>,
    },
    /// Logging has been shut down or was set up without its subscriber; restart the process.
    #[error("the log filter cannot be changed any more")]
    Reload(#[from] reload::Error),
    /// Something else in this process has set up logging before; a defect.
    #[error("logging was already set up")]
    AlreadySet(#[from] TryInitError),
    /// The thread that writes the logs could not be started; raise the limit on processes (`ulimit -u`).
    #[error("cannot start the log's thread")]
    Thread(#[from] std::io::Error),
}

/// The process's logs. Dropping it writes what is queued and ends the logs.
#[derive(Debug)]
pub struct Logging {
    levels: Levels,
    access: AccessLog,
    queue: Queue,
    writer: Writer,
}

impl Logging {
    /// Makes `sink` the log of this process, letting through what `filter` says: levels and `<scope>=<level>`, comma
    /// between, as in `RUST_LOG`; nothing means `info`. Fails if the process has a log already.
    pub fn install(form: Form, filter: &str, sink: Box<dyn Write + Send>) -> Result<Self, Error> {
        let (subscriber, logging) = Self::build(form, filter, sink)?;
        subscriber.try_init()?;
        Ok(logging)
    }

    /// As [`Logging::install`], but leaves it to the caller where the subscriber is used.
    pub fn build(
        form: Form,
        filter: &str,
        sink: Box<dyn Write + Send>,
    ) -> Result<(impl Subscriber + Send + Sync + 'static, Self), Error> {
        let filter = if filter.trim().is_empty() { "info" } else { filter };
        let targets = parse(filter)?;
        let (queue, writer) = Queue::start(sink, form, CAPACITY)?;
        let access = AccessLog::new(queue.clone());
        access.follow(&targets);
        let (reloadable, handle) = reload::Layer::new(targets.clone());
        let lines = Lines { queue: queue.clone(), form };
        let audible = filter_fn(|event| !MUTE.iter().any(|library| event.target().starts_with(library)));
        let subscriber = Registry::default().with(lines.with_filter(reloadable.and(audible)));
        let levels = Levels { handle, initial: Arc::new(targets), access: access.clone() };
        Ok((subscriber, Self { levels, access, queue, writer }))
    }

    /// The access log that goes to the same place.
    #[must_use]
    pub fn access_log(&self) -> AccessLog {
        self.access.clone()
    }

    /// The handle by which the filter is read and changed.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }

    /// Waits until everything logged so far has been written; before a process exits on its own account.
    pub fn flush(&self) {
        self.writer.flush();
    }

    /// Lines of the process's own log that were dropped because it could not be written fast enough.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.dropped_lines()
    }
}

/// What the logs let through; clones change the same logs.
#[derive(Clone)]
pub struct Levels {
    handle: reload::Handle<Targets, Registry>,
    initial: Arc<Targets>,
    access: AccessLog,
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Levels").field("initial", &self.initial).finish_non_exhaustive()
    }
}

impl Levels {
    /// The filter in force, as text.
    pub fn current(&self) -> Result<String, Error> {
        Ok(self.handle.with_current(ToString::to_string)?)
    }

    /// Adds `change` (levels and `<scope>=<level>` or `<scope>:<level>`, comma between) to the filter in force, or with
    /// `reset` to the one the process started with.
    pub fn change(&self, reset: bool, change: &str) -> Result<(), Error> {
        let change = parse(change)?;
        let base = if reset { (*self.initial).clone() } else { self.handle.with_current(Clone::clone)? };
        let base_level = base.default_level();
        let mut filter = base.with_targets(change.iter());
        if let Some(level) = change.default_level().or(base_level) {
            filter = filter.with_default(level);
        }
        self.access.follow(&filter);
        tracing::info!(%filter, "the log filter changes");
        Ok(self.handle.reload(filter)?)
    }
}

/// Reads a filter. Stricter than tracing's own reading, in which any word is a scope with everything on.
fn parse(filter: &str) -> Result<Targets, Error> {
    let mut targets = Targets::new();
    for clause in filter.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
        let wrong = |source| Error::Filter { clause: clause.to_owned(), source };
        let is_level = |text: &str| matches!(text, "off" | "error" | "warn" | "info" | "debug" | "trace");
        let scoped = clause.split_once('=').or_else(|| clause.rsplit_once(':'));
        let read = match scoped {
            None if is_level(clause) => Targets::from_str(clause),
            Some((scope, level)) if !scope.is_empty() && is_level(level) => {
                Targets::from_str(&format!("{scope}={level}"))
            }
            _ => return Err(wrong(None)),
        };
        let read = read.map_err(|source| wrong(Some(source)))?;
        targets = targets.with_targets(read.iter());
        if let Some(level) = read.default_level() {
            targets = targets.with_default(level);
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests;
