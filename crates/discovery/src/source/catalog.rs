//! What all files together say, and what of it is in force: pure, given what each file says. A damaged document leaves
//! its object as it was; of several documents of one object the first to be there is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_api::{FieldError, ObjectRef, Resource, Severity};

use super::contents::{Contents, Finding, Placed};
use super::reading::event;
use crate::event::Event;
use crate::report::Report;

/// The files and their objects.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    files: BTreeMap<Arc<Path>, File>,
    /// The files that define an object; the first one's is in force.
    claims: BTreeMap<ObjectRef, Vec<Arc<Path>>>,
    /// The objects that more than one file defines.
    disputed: BTreeSet<ObjectRef>,
}

/// A file.
#[derive(Debug, Default)]
struct File {
    objects: BTreeMap<ObjectRef, Placed>,
    findings: Vec<Finding>,
    foreign: BTreeMap<String, u32>,
}

impl Catalog {
    /// Takes in that the files `gone` are no more and that those `read` now say this. Returns what changes by it.
    pub(crate) fn update(&mut self, gone: &[PathBuf], read: Vec<(PathBuf, Contents)>) -> Vec<Event> {
        let known = |path: &Path| self.files.get(path).into_iter().flat_map(|file| file.objects.keys());
        let left = gone.iter().flat_map(|path| known(path));
        let changed = read.iter().flat_map(|(path, contents)| known(path).chain(contents.objects.keys()));
        let touched: BTreeSet<ObjectRef> = left.chain(changed).cloned().collect();
        let before: Vec<_> =
            touched.into_iter().map(|reference| (self.in_force(&reference).cloned(), reference)).collect();
        // What has left one file and come to another has moved: it is nowhere twice.
        for path in gone {
            self.remove(path);
        }
        for (path, contents) in read {
            self.replace(&Arc::from(path), contents);
        }
        let changes = before.into_iter().filter_map(|(before, reference)| {
            let now = self.in_force(&reference);
            event(before.as_ref(), now, reference.clone())
        });
        changes.collect()
    }

    /// Everything there is to report, by file and line.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self.files.iter().flat_map(|(path, file)| file.reports(path)).collect();
        reports.extend(self.disputed.iter().flat_map(|reference| self.duplicates(reference)));
        reports.extend(self.foreign());
        reports.sort_unstable();
        reports
    }

    /// The file and line of the document of `reference` that is in force.
    pub(crate) fn place(&self, reference: &ObjectRef) -> Option<(&Path, u32)> {
        let path = self.claims.get(reference)?.first()?;
        Some((path, self.placed(path, reference)?.line))
    }

    fn in_force(&self, reference: &ObjectRef) -> Option<&Resource> {
        self.placed(self.claims.get(reference)?.first()?, reference).map(|placed| &placed.resource)
    }

    fn placed(&self, path: &Path, reference: &ObjectRef) -> Option<&Placed> {
        self.files.get(path)?.objects.get(reference)
    }

    fn remove(&mut self, path: &Path) {
        for reference in self.files.remove(path).unwrap_or_default().objects.keys() {
            self.withdraw(path, reference);
        }
    }

    fn replace(&mut self, path: &Arc<Path>, contents: Contents) {
        let Contents { mut objects, damaged, unrecognisable, findings, foreign, .. } = contents;
        for (reference, placed) in self.files.remove(path).unwrap_or_default().objects {
            // What cannot be told which object it is may be any that has been here.
            if damaged.contains(&reference) || unrecognisable {
                objects.entry(reference).or_insert(placed);
            } else if !objects.contains_key(&reference) {
                self.withdraw(path, &reference);
            }
        }
        for reference in objects.keys() {
            let claimants = self.claims.entry(reference.clone()).or_default();
            if !claimants.contains(path) {
                claimants.push(path.clone());
            }
            if claimants.len() > 1 {
                self.disputed.insert(reference.clone());
            }
        }
        self.files.insert(path.clone(), File { objects, findings, foreign });
    }

    fn withdraw(&mut self, path: &Path, reference: &ObjectRef) {
        let Some(claimants) = self.claims.get_mut(reference) else { return };
        claimants.retain(|claimant| **claimant != *path);
        if claimants.len() < 2 {
            self.disputed.remove(reference);
        }
        if claimants.is_empty() {
            self.claims.remove(reference);
        }
    }

    /// A report on each document of the object that is not in force because another is.
    fn duplicates(&self, reference: &ObjectRef) -> Vec<Report> {
        let Some((first, others)) = self.claims.get(reference).and_then(|claimants| claimants.split_first()) else {
            return Vec::new();
        };
        let line = |path: &Arc<Path>| self.placed(path, reference).map_or(1, |placed| placed.line);
        let message =
            format!("the object is already defined in {}, line {}: remove one of them", first.display(), line(first));
        let report = |path: &Arc<Path>| Report {
            file: path.to_path_buf(),
            line: line(path),
            object: Some(reference.clone()),
            field: String::new(),
            message: message.clone(),
            severity: Severity::Error,
            stale: false,
            code: None,
        };
        others.iter().map(report).collect()
    }

    /// One report for each kind that does not concern the mesh, where it first occurs.
    fn foreign(&self) -> Vec<Report> {
        let mut first: BTreeMap<&str, (&Arc<Path>, u32)> = BTreeMap::new();
        for (path, file) in &self.files {
            for (kind, line) in &file.foreign {
                first.entry(kind).or_insert((path, *line));
            }
        }
        let report = |(kind, (path, line)): (&str, (&Arc<Path>, u32))| Report {
            file: path.to_path_buf(),
            line,
            object: None,
            field: "kind".to_owned(),
            message: format!("{kind} does not concern the mesh: such objects are ignored, here and elsewhere"),
            severity: Severity::Notice,
            stale: false,
            code: None,
        };
        first.into_iter().map(report).collect()
    }
}

impl File {
    fn reports(&self, path: &Path) -> impl Iterator<Item = Report> {
        self.findings.iter().map(move |Finding { line, object, field, severity }| {
            let FieldError { path: field, message } = field.clone();
            Report {
                file: path.to_path_buf(),
                line: *line,
                object: object.clone(),
                field,
                message,
                severity: *severity,
                stale: false,
                code: None,
            }
        })
    }
}

#[cfg(test)]
mod tests;
