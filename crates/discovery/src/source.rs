//! Where configuration comes from, in one shape: a directory of Kubernetes YAML, or a cluster's API. A source tells what
//! changes as events, decodes every object by the one way there is, and keeps what was in force where that fails.

pub(crate) mod catalog;
pub(crate) mod contents;
pub(crate) mod directory;
mod files;
pub(crate) mod kube;
mod reading;
pub(crate) mod watch;

use std::time::Duration;

use crate::error::Error;
use crate::event::Event;
use crate::index::Finding;
use crate::report::Report;

pub(crate) use files::Files;
pub use reading::read_object;

/// How long nothing must happen before a burst of changes counts as over.
const QUIET: Duration = Duration::from_millis(50);
/// How long a burst may last before it is shown all the same.
const BURST: Duration = Duration::from_millis(300);

/// A source of configuration.
pub(crate) trait Source {
    /// Waits for what changes next; the first call for what there is. Not to be called again after an error, or if a
    /// call was given up.
    ///
    /// # Errors
    /// Where there is no going on.
    fn next(&mut self) -> impl Future<Output = Result<Change, Error>>;

    /// Everything there is to report now, with what the index has found, where that is written.
    fn reports(&self, findings: &[Finding]) -> Vec<Report>;
}

/// What a source tells at once. It may be nothing but that there is something else to report.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// What changes.
    pub(crate) events: Vec<Event>,
    /// With this and all before, a snapshot says what there is: nothing is missing that is yet to be read.
    pub(crate) complete: bool,
}

/// Does `work`, which may take long, on a thread where nothing waits for it.
pub(crate) async fn aside<S: Send + 'static, T: Send + 'static>(
    mut state: S,
    work: impl FnOnce(&mut S) -> T + Send + 'static,
) -> Result<(S, T), Error> {
    let task = tokio::task::spawn_blocking(move || {
        let done = work(&mut state);
        (state, done)
    });
    task.await.map_err(|_| Error::Panicked)
}
