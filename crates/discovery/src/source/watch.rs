//! Tells when the directory may have changed: soon after the kernel says so, and now and then all the same. It never
//! tells what changed, so nothing is lost with a notification.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{BURST, QUIET};

/// How often the directory is looked at while the kernel tells of changes: links may lead where it does not watch.
const CALM: Duration = Duration::from_secs(10);
/// How often it is looked at after something changed a moment ago.
const UNSETTLED: Duration = Duration::from_secs(2);
/// How often it is looked at while the kernel does not tell.
const POLL: Duration = Duration::from_millis(500);

/// A watch on a directory.
#[derive(Debug)]
pub(crate) struct Watch {
    root: PathBuf,
    watcher: Option<RecommendedWatcher>,
    /// The directory watched, which may have been replaced since.
    identity: Option<(u64, u64)>,
    /// Kept here too, so that the channel stays open while no watcher has it.
    stir: watch::Sender<()>,
    stirred: watch::Receiver<()>,
}

impl Watch {
    /// A watch on `root`, which [`Self::renew`] begins.
    pub(crate) fn new(root: PathBuf) -> Self {
        let (stir, stirred) = watch::channel(());
        Self { root, watcher: None, identity: None, stir, stirred }
    }

    /// Watches the directory of this identity, unless that is the one watched.
    /// True if it had not been: changes since the last look may have gone unnoticed.
    pub(crate) fn renew(&mut self, identity: Option<(u64, u64)>) -> bool {
        if self.identity == identity {
            return false;
        }
        (self.identity, self.watcher) = (identity, None);
        if identity.is_none() {
            return false;
        }
        match watcher(&self.root, self.stir.clone()) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                let often = POLL.as_millis();
                tracing::warn!(
                    "the kernel will not watch the configuration ({error}): looking every {often} ms instead"
                );
            }
        }
        self.watcher.is_some()
    }

    /// True if something has changed since the last [`Self::stir`].
    pub(crate) fn is_stirred(&self) -> bool {
        self.stirred.has_changed().unwrap_or(false)
    }

    /// Waits until the directory should be looked at again.
    pub(crate) async fn stir(&mut self, unsettled: bool) {
        let patience = match (&self.watcher, unsettled) {
            (None, _) => POLL,
            (Some(_), true) => UNSETTLED,
            (Some(_), false) => CALM,
        };
        if timeout_at(Instant::now() + patience, self.stirred.changed()).await.is_err() {
            return;
        }
        let end = Instant::now() + BURST;
        loop {
            let quiet = Instant::now() + QUIET;
            if end <= quiet {
                return sleep_until(end).await;
            }
            if timeout_at(quiet, self.stirred.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// Watches `root` with all below it, and its parent for the moment when another directory takes its place.
fn watcher(root: &Path, stir: watch::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let below = root.to_path_buf();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = event.map_or(true, |event| is_change(event.kind) && concerns(&event, &below));
        if matters {
            stir.send_replace(());
        }
    })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // Without it, a replaced directory is noticed by looking.
        if let Err(error) = watcher.watch(parent, RecursiveMode::NonRecursive) {
            tracing::debug!("cannot watch {}: {error}", parent.display());
        }
    }
    Ok(watcher)
}

/// Opening and reading, which looking does itself, is no change.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// An event without a path tells that others were lost.
fn concerns(event: &notify::Event, root: &Path) -> bool {
    event.paths.is_empty() || event.paths.iter().any(|path| path.starts_with(root))
}
