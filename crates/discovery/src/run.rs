//! The shell: looks at the directory when it stirs, applies what changed as one, and publishes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ambit_api::Severity;
use ambit_model::{Mesh, Snapshot};

use crate::error::Error;
use crate::event::Event;
use crate::index::Index;
use crate::publish::Publisher;
use crate::report::{Report, log_difference};
use crate::source::{BURST, Change, Directory, Watch};

/// Where the configuration is and what holds for all of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of Kubernetes YAML: its `*.yaml`, `*.yml` and `*.json`, folders included, hidden ones left out.
    pub directory: PathBuf,
    /// What holds for the whole mesh.
    pub mesh: Mesh,
    /// Namespaces whose pods are never enrolled.
    pub excluded_namespaces: Vec<String>,
}

impl Settings {
    /// The settings for `directory` where nothing else is said: a mesh of defaults, `kube-system` excluded.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, mesh: Mesh::default(), excluded_namespaces: vec!["kube-system".to_owned()] }
    }
}

/// Publishes snapshots and reports of what the directory says, until `shutdown`. The first snapshot holds all that the
/// directory says at start; all changes seen together become one.
///
/// # Errors
/// Where the directory cannot be listed at start. Later, what it said last stays in force.
pub async fn run(
    settings: Settings,
    snapshots: Publisher<Snapshot>,
    reports: Publisher<Vec<Report>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut shutdown = std::pin::pin!(shutdown);
    let mut watch = Watch::new(settings.directory.clone());
    let mut state = State::new(&settings);
    let mut reported: Option<Vec<Report>> = None;
    let mut burst = Instant::now();
    loop {
        let looked;
        (state, looked) = aside(state, State::look).await?;
        let (now, unsettled) = match looked {
            Ok(look) => {
                // Nobody tells what changed before the watch began, and what changes during a look is seen in part.
                if watch.renew(Some(look.identity)) {
                    continue;
                }
                if watch.is_stirred() && burst.elapsed() < BURST {
                    watch.stir(true).await;
                    continue;
                }
                let joined;
                (state, joined) = aside(state, State::join).await?;
                if let Some(snapshot) = joined.snapshot {
                    snapshots.publish(snapshot);
                    tracing::debug!("snapshot published");
                }
                let mut reports = look.reports;
                reports.extend(joined.reports);
                reports.sort_unstable();
                (reports, look.unsettled)
            }
            Err(cause) if reported.is_none() => return Err(Error::Directory { path: settings.directory, cause }),
            Err(cause) => {
                watch.renew(None);
                (vanished(reported.as_deref().unwrap_or_default(), &cause), true)
            }
        };
        if reported.as_ref() != Some(&now) {
            log_difference(reported.as_deref().unwrap_or_default(), &now);
            reports.publish(now.clone());
            reported = Some(now);
        }
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = watch.stir(unsettled) => burst = Instant::now(),
        }
    }
}

/// What is known, between looks.
struct State {
    directory: Directory,
    index: Index,
    /// What has been seen and is not joined yet.
    pending: Vec<Event>,
    /// Nothing has been published yet.
    first: bool,
}

/// What a look at the directory brought, besides events.
struct Look {
    reports: Vec<Report>,
    unsettled: bool,
    identity: (u64, u64),
}

/// What joining brought.
struct Joined {
    /// None if no snapshot would show it.
    snapshot: Option<Snapshot>,
    reports: Vec<Report>,
}

impl State {
    fn new(settings: &Settings) -> Self {
        let excluded = settings.excluded_namespaces.iter().map(|name| Arc::from(name.as_str()));
        Self {
            directory: Directory::new(settings.directory.clone(), settings.mesh.clone()),
            index: Index::new(settings.mesh.clone(), excluded),
            pending: Vec::new(),
            first: true,
        }
    }

    /// Reads what has changed.
    fn look(&mut self) -> io::Result<Look> {
        let Change { events, reports, unsettled, identity } = self.directory.look(SystemTime::now())?;
        self.pending.extend(events);
        Ok(Look { reports, unsettled, identity })
    }

    /// Joins all that has been read as one change. The first snapshot is worth showing even if nothing is in it.
    fn join(&mut self) -> Joined {
        let changed = self.index.apply(std::mem::take(&mut self.pending));
        let shown = changed || self.first;
        self.first = false;
        let snapshot = shown.then(|| self.index.snapshot());
        Joined { snapshot, reports: self.directory.reports(self.index.findings()) }
    }
}

/// Does `work`, which may take long, on a thread where nothing waits for it.
async fn aside<T: Send + 'static>(mut state: State, work: fn(&mut State) -> T) -> Result<(State, T), Error> {
    let task = tokio::task::spawn_blocking(move || {
        let done = work(&mut state);
        (state, done)
    });
    task.await.map_err(|_| Error::Panicked)
}

/// The reports of before, and one on the directory itself.
fn vanished(before: &[Report], cause: &io::Error) -> Vec<Report> {
    let message = format!("the configuration directory cannot be read: {cause}; what it said last stays in force");
    let vanished = Report {
        file: PathBuf::new(),
        line: 0,
        object: None,
        field: String::new(),
        message,
        severity: Severity::Error,
    };
    let others = before.iter().filter(|report| !report.file.as_os_str().is_empty()).cloned();
    std::iter::once(vanished).chain(others).collect()
}
