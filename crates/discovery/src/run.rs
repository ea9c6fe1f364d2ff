//! The shell: looks at the directory when it stirs, applies what changed as one, and publishes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ambit_api::Severity;
use ambit_model::{Mesh, Snapshot};

use crate::error::Error;
use crate::index::Index;
use crate::publish::Publisher;
use crate::report::{Report, log_difference};
use crate::source::{Change, Directory, Watch};

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
    loop {
        let looked;
        (state, looked) = tokio::task::spawn_blocking(move || state.look()).await.map_err(|_| Error::Panicked)?;
        let (now, wait) = match looked {
            Ok(Look { snapshot, reports, unsettled, identity }) => {
                if let Some(snapshot) = snapshot {
                    snapshots.publish(snapshot);
                }
                // What changed between the look and the beginning of the watch was told to nobody: look again.
                (reports, if watch.renew(Some(identity)) { Wait::Not } else { Wait::UntilStirred { unsettled } })
            }
            Err(cause) if reported.is_none() => return Err(Error::Directory { path: settings.directory, cause }),
            Err(cause) => {
                watch.renew(None);
                (vanished(reported.as_deref().unwrap_or_default(), &cause), Wait::UntilStirred { unsettled: true })
            }
        };
        if reported.as_ref() != Some(&now) {
            log_difference(reported.as_deref().unwrap_or_default(), &now);
            reports.publish(now.clone());
            reported = Some(now);
        }
        if let Wait::UntilStirred { unsettled } = wait {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = watch.stir(unsettled) => {}
            }
        }
    }
}

/// What comes before the next look at the directory.
enum Wait {
    Not,
    UntilStirred { unsettled: bool },
}

/// What is known, between looks.
struct State {
    directory: Directory,
    index: Index,
    first: bool,
}

/// What a look at the directory brought.
struct Look {
    snapshot: Option<Snapshot>,
    reports: Vec<Report>,
    unsettled: bool,
    identity: (u64, u64),
}

impl State {
    fn new(settings: &Settings) -> Self {
        let excluded = settings.excluded_namespaces.iter().map(|name| Arc::from(name.as_str()));
        Self {
            directory: Directory::new(settings.directory.clone(), settings.mesh.clone()),
            index: Index::new(settings.mesh.clone(), excluded),
            first: true,
        }
    }

    /// Reads and joins what has changed. It may take long: it is not for a worker's thread.
    fn look(mut self) -> (Self, io::Result<Look>) {
        let looked = self.directory.look(SystemTime::now()).map(|change| {
            let Change { events, reports, unsettled, identity } = change;
            let changed = self.index.apply(events);
            // That there is nothing in it is worth a first snapshot, too.
            let snapshot = (changed || self.first).then(|| self.index.snapshot());
            self.first = false;
            Look { snapshot, reports, unsettled, identity }
        });
        (self, looked)
    }
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
