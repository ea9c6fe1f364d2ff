//! What is in force of each object of a cluster, and what a list of all of them changes: pure. An object that cannot be
//! used leaves in force what it was before.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_api::{FieldError, Kind, ObjectRef, Remark, Resource, Severity, Translated};

use crate::event::Event;
use crate::index::Finding;
use crate::report::Report;
use crate::source::reading::event;

/// How many findings on an object are kept.
const MAX_FINDINGS: usize = 20;
/// How many findings are reported: whoever meets so many mends the first ones first.
const MAX_REPORTS: usize = 1000;

/// What an object says, or why it cannot be used.
pub(super) type Read = Result<Translated, Vec<FieldError>>;

/// A change, with what to keep of the object on disk.
#[derive(Debug, PartialEq)]
pub(super) struct Changed {
    pub(super) event: Event,
    /// None where the object is gone, or nothing is kept.
    pub(super) kept: Option<String>,
}

/// The objects of all kinds.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    shelves: BTreeMap<Kind, Shelf>,
}

/// A namespace, empty for what lives in none, and a name.
type Name = (Arc<str>, Arc<str>);

/// The objects of a kind.
#[derive(Debug, Default)]
struct Shelf {
    held: BTreeMap<Name, Held>,
    findings: BTreeMap<Name, Noted>,
    /// The list that is being read: what it changes.
    list: Vec<Listed>,
    /// Grows with every list: what the last one had not is of an older one.
    generation: u32,
}

#[derive(Debug)]
struct Held {
    resource: Resource,
    generation: u32,
}

#[derive(Debug)]
struct Noted {
    findings: Vec<Finding>,
    generation: u32,
}

#[derive(Debug)]
struct Listed {
    reference: ObjectRef,
    read: Read,
    kept: Option<String>,
}

impl Inventory {
    /// Takes in what was kept of an object before this process began.
    pub(super) fn restore(&mut self, resource: Resource) -> Event {
        let reference = resource.reference();
        let shelf = self.shelf(reference.kind);
        shelf.held.insert(name(&reference), Held { resource: resource.clone(), generation: shelf.generation });
        Event::Upsert(resource)
    }

    /// All objects of `kind` are going to be listed. What another list had told by now is void.
    pub(super) fn begin(&mut self, kind: Kind) {
        let shelf = self.shelf(kind);
        shelf.list.clear();
        shelf.generation = shelf.generation.wrapping_add(1);
    }

    /// One of them; `kept` is asked if it is not what is known already.
    pub(super) fn listed(&mut self, reference: ObjectRef, read: Read, kept: impl FnOnce() -> Option<String>) {
        let shelf = self.shelf(reference.kind);
        if !shelf.confirms(&reference, &read) {
            let kept = read.is_ok().then(kept).flatten();
            shelf.list.push(Listed { reference, read, kept });
        }
    }

    /// Those were all: what changes by it.
    pub(super) fn finish(&mut self, kind: Kind) -> Vec<Changed> {
        let shelf = self.shelf(kind);
        let list = std::mem::take(&mut shelf.list);
        let changes =
            list.into_iter().filter_map(|Listed { reference, read, kept }| shelf.put(reference, read, || kept));
        let mut changes: Vec<Changed> = changes.collect();
        let current = shelf.generation;
        shelf.findings.retain(|_, noted| noted.generation == current);
        let gone = shelf.held.extract_if(.., |_, held| held.generation != current);
        changes.extend(gone.map(|(_, held)| deleted(held.resource.reference())));
        changes
    }

    /// An object is now this; `kept` is asked if that is a change.
    pub(super) fn apply(
        &mut self,
        reference: ObjectRef,
        read: Read,
        kept: impl FnOnce() -> Option<String>,
    ) -> Option<Changed> {
        self.shelf(reference.kind).put(reference, read, kept)
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, reference: ObjectRef) -> Option<Changed> {
        let shelf = self.shelf(reference.kind);
        let name = name(&reference);
        shelf.findings.remove(&name);
        shelf.held.remove(&name).map(|_| deleted(reference))
    }

    /// All objects of `kind` are gone.
    pub(super) fn forget(&mut self, kind: Kind) -> Vec<Changed> {
        let shelf = self.shelves.remove(&kind).unwrap_or_default();
        shelf.held.into_values().map(|held| deleted(held.resource.reference())).collect()
    }

    /// What is wrong with objects, by kind and name.
    pub(super) fn reports(&self) -> Vec<Report> {
        let found =
            || self.shelves.values().flat_map(|shelf| shelf.findings.values()).flat_map(|noted| &noted.findings);
        let mut reports: Vec<Report> = found().take(MAX_REPORTS).map(Report::of_object).collect();
        let more = found().count().saturating_sub(MAX_REPORTS);
        if more > 0 {
            let message = format!("{more} more findings are left out: mend those that are shown first");
            reports.push(Report::of_source(message, Severity::Warning));
        }
        reports
    }

    fn shelf(&mut self, kind: Kind) -> &mut Shelf {
        self.shelves.entry(kind).or_default()
    }
}

impl Shelf {
    /// True if the object is known to be this, which the list that is being read then confirms.
    fn confirms(&mut self, reference: &ObjectRef, read: &Read) -> bool {
        let name = name(reference);
        let Ok(Translated { resource, remarks }) = read else { return false };
        if !remarks.is_empty() || self.findings.contains_key(&name) {
            return false;
        }
        match (in_force(resource), self.held.get_mut(&name)) {
            (None, None) => true,
            (Some(now), Some(held)) if held.resource == *now => {
                held.generation = self.generation;
                true
            }
            _ => false,
        }
    }

    fn put(&mut self, reference: ObjectRef, read: Read, kept: impl FnOnce() -> Option<String>) -> Option<Changed> {
        let (name, generation) = (name(&reference), self.generation);
        match read {
            Ok(Translated { resource, remarks }) => {
                let remarks = remarks.into_iter().map(|Remark { severity, field }| (severity, field));
                self.note(&name, &reference, remarks);
                let before = self.held.get(&name).map(|held| &held.resource);
                let change = event(before, in_force(&resource), reference);
                match (&change, self.held.get_mut(&name)) {
                    // What is held is shared with whoever was told of it.
                    (None, Some(held)) => held.generation = generation,
                    (Some(Event::Upsert(_)), _) => drop(self.held.insert(name, Held { resource, generation })),
                    (Some(Event::Delete(_)), _) => drop(self.held.remove(&name)),
                    (None, None) => {}
                }
                change.map(|event| Changed { kept: matches!(event, Event::Upsert(_)).then(kept).flatten(), event })
            }
            Err(errors) => {
                self.note(&name, &reference, errors.into_iter().map(|field| (Severity::Error, field)));
                if let Some(held) = self.held.get_mut(&name) {
                    held.generation = generation;
                }
                None
            }
        }
    }

    fn note(&mut self, name: &Name, object: &ObjectRef, found: impl Iterator<Item = (Severity, FieldError)>) {
        let finding = |(severity, field)| Finding { object: object.clone(), field, severity, code: None };
        let findings: Vec<Finding> = found.take(MAX_FINDINGS).map(finding).collect();
        if findings.is_empty() {
            self.findings.remove(name);
        } else {
            self.findings.insert(name.clone(), Noted { findings, generation: self.generation });
        }
    }
}

/// What of `resource` is held: finished pods and their like are not.
fn in_force(resource: &Resource) -> Option<&Resource> {
    Some(resource).filter(|resource| !matches!(resource, Resource::Inert(_)))
}

fn name(reference: &ObjectRef) -> Name {
    (reference.namespace.clone(), reference.name.clone())
}

fn deleted(reference: ObjectRef) -> Changed {
    Changed { event: Event::Delete(reference), kept: None }
}

#[cfg(test)]
mod tests;
