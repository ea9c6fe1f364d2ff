//! What a cluster is known to say: takes what is told of all kinds, decodes it, and tells what changes by it. Keeps the
//! inventory, how the kinds fare, and what is kept on disk; waits for nothing.

use std::time::{Instant, SystemTime};

use ambit_api::{FieldError, Kind, ObjectRef, Severity};
use ambit_model::Mesh;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cache::{Cache, Kept};
use super::follow::{News, Told};
use super::inventory::{Changed, Inventory};
use super::raw::Raw;
use super::served;
use super::status::Statuses;
use crate::event::Event;
use crate::index::Finding;
use crate::origin::{Cluster, Pace};
use crate::report::Report;
use crate::source::reading::decode;
use crate::yaml::{self, json};

/// A cluster as it is known.
#[derive(Debug)]
pub(super) struct Mirror {
    mesh: Mesh,
    pace: Pace,
    begun: Instant,
    inventory: Inventory,
    statuses: Statuses,
    cache: Option<Cache>,
    /// What was kept is in force, of this time, and the API has not confirmed it.
    restored: Option<SystemTime>,
    /// When the cache was last written.
    written: Option<Instant>,
    /// The cache has been written whole.
    sealed: bool,
    /// What is wrong with the cache.
    trouble: Option<String>,
}

impl Mirror {
    /// What was kept of `cluster`, and the events that say so.
    pub(super) fn open(cluster: &Cluster, mesh: Mesh, now: Instant) -> (Self, Vec<Event>) {
        let mut mirror = Self {
            mesh,
            pace: cluster.pace,
            begun: now,
            inventory: Inventory::default(),
            statuses: Statuses::new(served::watched(), cluster.pace.forget),
            cache: None,
            restored: None,
            written: None,
            sealed: false,
            trouble: None,
        };
        let Some(directory) = &cluster.cache else { return (mirror, Vec::new()) };
        let opened = Cache::open(directory.clone()).and_then(|mut cache| {
            let kept = cache.load(&mirror.mesh);
            mirror.cache = Some(cache);
            kept
        });
        let kept = opened.unwrap_or_else(|error| {
            mirror.trouble = Some(format!("what was kept in {} cannot be used: {error}", directory.display()));
            None
        });
        let Some(Kept { sealed, resources }) = kept else { return (mirror, Vec::new()) };
        mirror.restored = Some(sealed);
        let events = resources.into_iter().map(|resource| mirror.inventory.restore(resource)).collect();
        (mirror, events)
    }

    /// Takes in what is told, and returns what changes by it.
    pub(super) fn take(&mut self, told: Vec<Told>, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        for Told { kind, news } in told {
            let changes = self.news(kind, news, now);
            events.extend(changes.into_iter().map(|Changed { event, kept }| {
                self.keep(&event, kept);
                event
            }));
        }
        if self.statuses.is_settled() {
            self.restored = None;
        }
        self.write(now);
        events
    }

    /// True if what is known says what there is: all has been read that can be, or what was kept stands in for it.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        let patient = || now.saturating_duration_since(self.begun) < self.pace.patience;
        self.statuses.is_settled() || (self.restored.is_some() && (self.statuses.is_away() || !patient()))
    }

    /// When to look again even if nothing is told.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let patience = self.restored.is_some().then(|| self.begun + self.pace.patience);
        let patience = patience.filter(|patience| *patience > now);
        patience.into_iter().chain(self.due()).min()
    }

    /// What there is to report; what the index has found included.
    pub(super) fn reports(&self, findings: &[Finding], now: Instant) -> Vec<Report> {
        let mut reports = self.statuses.reports();
        if let Some(sealed) = self.restored.filter(|_| self.is_complete(now)) {
            let sealed = OffsetDateTime::from(sealed).format(&Rfc3339).unwrap_or_default();
            let message = format!(
                "in force is what the Kubernetes API said before this process began, at {sealed}: it has not answered yet"
            );
            reports.push(Report::of_stale_source(message, Severity::Warning));
        }
        let trouble = self.trouble.iter().map(|trouble| Report::of_source(trouble.clone(), Severity::Warning));
        reports.extend(trouble);
        reports.extend(self.inventory.reports());
        reports.extend(findings.iter().map(Report::of_object));
        reports.sort_unstable();
        reports
    }

    fn news(&mut self, kind: Kind, news: News, now: Instant) -> Vec<Changed> {
        match news {
            News::Listing => self.inventory.begin(kind),
            News::Listed(raw) => drop(self.object(kind, &raw, true)),
            News::Complete => {
                self.statuses.followed(kind);
                return self.inventory.finish(kind);
            }
            News::Applied(raw) => {
                self.statuses.followed(kind);
                return self.object(kind, &raw, false).into_iter().collect();
            }
            News::Deleted(raw) => {
                self.statuses.followed(kind);
                return self.inventory.remove(reference(kind, &raw)).into_iter().collect();
            }
            News::Failed(failure) => self.statuses.failed(kind, failure),
            News::Mended => self.statuses.mended(kind),
            News::Unserved => {
                if self.statuses.unserved(kind, now) {
                    return self.inventory.forget(kind);
                }
            }
        }
        Vec::new()
    }

    /// Takes in what an object is now, by itself or as one of a list.
    fn object(&mut self, kind: Kind, raw: &Raw, listed: bool) -> Option<Changed> {
        let (reference, node) = (reference(kind, raw), json(raw.text()));
        let read = match &node {
            Ok(node) => decode(node, kind, &self.mesh),
            Err(message) => Err(vec![FieldError { path: String::new(), message: message.clone() }]),
        };
        let caches = self.cache.is_some();
        // Decoding has marked what it read.
        let kept = || node.ok().filter(|_| caches).and_then(|node| yaml::kept(&node).ok());
        if listed {
            self.inventory.listed(reference, read, kept);
            return None;
        }
        self.inventory.apply(reference, read, kept)
    }

    /// Notes what to keep of a change.
    fn keep(&mut self, event: &Event, kept: Option<String>) {
        let Some(cache) = &mut self.cache else { return };
        let ObjectRef { kind, namespace, name } = match event {
            Event::Upsert(resource) => resource.reference(),
            Event::Delete(reference) => reference.clone(),
        };
        cache.put(kind, &namespace, &name, kept);
    }

    /// When to write the cache; none if there is nothing to write, or no seal to put on it yet.
    fn due(&self) -> Option<Instant> {
        let dirty = self.cache.as_ref()?.is_dirty() || !self.sealed;
        let due = self.written.map_or(self.begun, |written| written + self.pace.keep);
        (dirty && self.statuses.is_settled()).then_some(due)
    }

    fn write(&mut self, now: Instant) {
        let due = self.due().is_some_and(|due| due <= now);
        let settled = self.statuses.is_settled();
        let Some(cache) = self.cache.as_mut().filter(|cache| due || cache.is_full()) else { return };
        self.written = Some(now);
        self.trouble = match cache.write(settled, SystemTime::now()) {
            Ok(()) => {
                self.sealed |= settled;
                None
            }
            Err(error) => Some(format!(
                "what is in force cannot be kept for a start without the Kubernetes API: {error}; make room, or name \
                 another directory"
            )),
        };
    }
}

/// Which object it is.
fn reference(kind: Kind, raw: &Raw) -> ObjectRef {
    let (namespace, name) = raw.name();
    ObjectRef::new(kind, namespace, name)
}

#[cfg(test)]
mod tests;
