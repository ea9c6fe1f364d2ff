//! The directory as a source: looks at it when it stirs, until the burst of changes is over.

use std::io;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use ambit_api::Severity;
use ambit_model::Mesh;

use super::directory::{Directory, Look};
use super::watch::Watch;
use super::{BURST, Change, Source, aside};
use crate::error::Error;
use crate::index::Finding;
use crate::report::Report;

/// A directory of configuration that is watched.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    watch: Watch,
    /// None while it is being looked at.
    directory: Option<Directory>,
    /// What the last look had to report.
    reports: Vec<Report>,
    looked: Looked,
}

/// How the last look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// There was none.
    Never,
    /// Well, but what was found may not be the last word.
    Unsettled,
    /// Well.
    Settled,
}

impl Files {
    /// The directory `root`, of which nothing is known yet.
    pub(crate) fn new(root: PathBuf, mesh: Mesh) -> Self {
        let (watch, directory) = (Watch::new(root.clone()), Some(Directory::new(root.clone(), mesh)));
        Self { root, watch, directory, reports: Vec::new(), looked: Looked::Never }
    }

    async fn look(&mut self) -> Result<io::Result<Look>, Error> {
        let Some(directory) = self.directory.take() else { return Err(Error::Panicked) };
        let (directory, look) = aside(directory, |directory| directory.look(SystemTime::now())).await?;
        self.directory = Some(directory);
        Ok(look)
    }
}

impl Source for Files {
    async fn next(&mut self) -> Result<Change, Error> {
        if self.looked != Looked::Never {
            self.watch.stir(self.looked == Looked::Unsettled).await;
        }
        let burst = Instant::now();
        let mut change = Change { events: Vec::new(), complete: true };
        loop {
            let unsettled = match self.look().await? {
                Ok(Look { events, reports, unsettled, identity }) => {
                    change.events.extend(events);
                    self.reports = reports;
                    // Nobody tells what changed before the watch began, and what changes during a look is seen in part.
                    if self.watch.renew(Some(identity)) {
                        continue;
                    }
                    if self.watch.is_stirred() && burst.elapsed() < BURST {
                        self.watch.stir(true).await;
                        continue;
                    }
                    unsettled
                }
                Err(cause) if self.looked == Looked::Never => {
                    return Err(Error::Directory { path: self.root.clone(), cause });
                }
                Err(cause) => {
                    self.watch.renew(None);
                    self.reports.retain(|report| !report.file.as_os_str().is_empty());
                    self.reports.insert(0, vanished(&cause));
                    true
                }
            };
            self.looked = if unsettled { Looked::Unsettled } else { Looked::Settled };
            return Ok(change);
        }
    }

    fn reports(&self, findings: &[Finding]) -> Vec<Report> {
        let placed = self.directory.iter().flat_map(|directory| directory.reports(findings));
        let mut reports: Vec<Report> = self.reports.iter().cloned().chain(placed).collect();
        reports.sort_unstable();
        reports
    }
}

fn vanished(cause: &io::Error) -> Report {
    let message = format!("the configuration directory cannot be read: {cause}; what it said last stays in force");
    Report::of_stale_source(message, Severity::Error)
}
