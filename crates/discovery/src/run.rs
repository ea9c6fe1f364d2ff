//! The shell: takes what the source tells, joins it as one change, and publishes.

use std::sync::Arc;

use ambit_model::{Mesh, Snapshot};

use crate::error::Error;
use crate::index::Index;
use crate::origin::Origin;
use crate::publish::Publisher;
use crate::report::{Report, log_difference};
use crate::source::kube::Kube;
use crate::source::{Change, Files, Source, aside};

/// Where the configuration is and what holds for all of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the configuration comes from.
    pub origin: Origin,
    /// What holds for the whole mesh.
    pub mesh: Mesh,
    /// Namespaces whose pods are never enrolled.
    pub excluded_namespaces: Vec<String>,
}

impl Settings {
    /// The settings for what comes from `origin` (a path is a directory's) where nothing else is said: a mesh of defaults,
    /// `kube-system` excluded.
    #[must_use]
    pub fn new(origin: impl Into<Origin>) -> Self {
        Self { origin: origin.into(), mesh: Mesh::default(), excluded_namespaces: vec!["kube-system".to_owned()] }
    }
}

/// Publishes snapshots and reports of what the origin says, until `shutdown`. The first snapshot holds all that it says
/// at start; all changes seen together become one.
///
/// # Errors
/// Where the directory cannot be listed at start, or nobody says how the cluster is reached. Later, and while a cluster
/// does not answer, what was said last stays in force.
pub async fn run(
    settings: Settings,
    snapshots: Publisher<Snapshot>,
    reports: Publisher<Vec<Report>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let state = State::new(&settings);
    let publishers = Publishers { snapshots, reports };
    let mut shutdown = std::pin::pin!(shutdown);
    match settings.origin {
        Origin::Directory(directory) => {
            let source = Files::new(directory, settings.mesh);
            tokio::select! {
                () = &mut shutdown => Ok(()),
                ended = follow(source, state, publishers) => ended,
            }
        }
        Origin::Cluster(cluster) => {
            let followed = async {
                let source = Kube::open(cluster, settings.mesh).await?;
                follow(source, state, publishers).await
            };
            tokio::select! {
                () = &mut shutdown => Ok(()),
                ended = followed => ended,
            }
        }
    }
}

struct Publishers {
    snapshots: Publisher<Snapshot>,
    reports: Publisher<Vec<Report>>,
}

async fn follow(mut source: impl Source, mut state: State, publishers: Publishers) -> Result<(), Error> {
    let mut reported: Option<Vec<Report>> = None;
    loop {
        let change = source.next().await?;
        let snapshot;
        (state, snapshot) = aside(state, |state| state.join(change)).await?;
        if let Some(snapshot) = snapshot {
            publishers.snapshots.publish(snapshot);
            tracing::debug!("snapshot published");
        }
        let now = source.reports(state.index.findings());
        if reported.as_ref() != Some(&now) {
            log_difference(reported.as_deref().unwrap_or_default(), &now);
            publishers.reports.publish(now.clone());
            reported = Some(now);
        }
    }
}

/// What is known, between changes.
struct State {
    index: Index,
    /// Nothing has been published yet.
    first: bool,
    /// Something has been joined that nobody has been shown.
    unshown: bool,
}

impl State {
    fn new(settings: &Settings) -> Self {
        let excluded = settings.excluded_namespaces.iter().map(|name| Arc::from(name.as_str()));
        Self { index: Index::new(settings.mesh.clone(), excluded), first: true, unshown: false }
    }

    /// Joins the change, and returns the snapshot if there is something to show. The first is worth showing even if
    /// nothing is in it.
    fn join(&mut self, change: Change) -> Option<Snapshot> {
        self.unshown |= self.index.apply(change.events);
        if !change.complete || !(self.unshown || self.first) {
            return None;
        }
        (self.first, self.unshown) = (false, false);
        Some(self.index.snapshot())
    }
}
