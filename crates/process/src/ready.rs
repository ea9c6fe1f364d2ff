//! Readiness: the conditions that a process waits for before it takes work, by name. Knows nothing of what they mean.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::routes::{Routes, text};

/// Bytes of an answer that are read.
const LONGEST: u64 = 64 * 1024;

/// What a process still waits for. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    // Not on the path of any connection: conditions change a few times in a process's life.
    pending: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

/// One thing that the process waits for: pending until it is met. Dropped while pending, it stays pending.
#[derive(Debug)]
pub struct Condition {
    name: Arc<str>,
    ready: Ready,
}

impl Ready {
    /// Waits for nothing: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for `name` as well.
    #[must_use = "a condition that is not met keeps the process from being ready"]
    pub fn wait_for(&self, name: &str) -> Condition {
        let condition = Condition { name: Arc::from(name), ready: self.clone() };
        condition.unmet();
        condition
    }

    /// What is waited for, ascending; nothing means ready.
    #[must_use]
    pub fn pending(&self) -> Vec<Arc<str>> {
        self.set().iter().cloned().collect()
    }

    /// Takes the readiness back when `stop` resolves: the process is stopping.
    pub async fn withdraw_when(self, stop: impl Future<Output = ()>) {
        stop.await;
        // Never met: it only names what is the matter.
        let _ = self.wait_for("nothing: the process is stopping");
    }

    /// `/healthz/ready`: 200 when ready, else 503 with what is pending.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let ready = self.clone();
        Routes::new("readiness").get("/healthz/ready", "200 if ready, else 503 with what is pending", move |_| {
            let pending = ready.pending();
            std::future::ready(match pending.as_slice() {
                [] => text(StatusCode::OK, "ready\n"),
                _ => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready, pending: {}\n", pending.join(", "))),
            })
        })
    }

    /// Asks the process that serves these [`routes`](Self::routes) at `socket` (see [`Server::at`](crate::Server::at)) whether it
    /// is ready; else answers what it says of why not.
    ///
    /// # Errors
    /// The system's: nobody listens there, or says nothing within five seconds.
    pub fn ask(socket: &Path) -> io::Result<Result<(), String>> {
        const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(PATIENCE)?;
        stream.set_write_timeout(PATIENCE)?;
        stream.write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(LONGEST).read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200 ") {
            return Ok(Ok(()));
        }
        let body = answer.split_once("\r\n\r\n").map_or(&*answer, |(_, body)| body);
        Ok(Err(body.trim().to_owned()))
    }

    fn set(&self) -> std::sync::MutexGuard<'_, BTreeSet<Arc<str>>> {
        // A set of names is whole whatever happened to another thread.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// It is met.
    pub fn met(&self) {
        self.ready.set().remove(&self.name);
    }

    /// It is not met (any more), such as when the process drains.
    pub fn unmet(&self) {
        self.ready.set().insert(self.name.clone());
    }
}

#[cfg(test)]
mod tests;
