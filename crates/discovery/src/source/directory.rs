//! Reads the directory: which files there are, which of them changed since the last look, and what their bytes say.
//! What cannot be read counts as unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ambit_api::{FieldError, Severity};
use ambit_model::Mesh;

use super::catalog::Catalog;
use super::contents;
use crate::event::Event;
use crate::index::Finding;
use crate::report::Report;

/// How large a file may be.
const MAX_BYTES: u64 = 64 << 20;
/// How deep folders may nest.
const MAX_FOLDERS: usize = 16;
/// How long after its last change a file may change again without its times telling (the kernel's clock tick is 10 ms
/// at most, a network file system's one second).
const UNSETTLED: Duration = Duration::from_secs(1);

/// A directory of configuration.
#[derive(Debug)]
pub(crate) struct Directory {
    tree: Tree,
    mesh: Mesh,
    catalog: Catalog,
}

/// What changed since the last look.
#[derive(Debug)]
pub(crate) struct Look {
    /// In all files together.
    pub(crate) events: Vec<Event>,
    /// Everything there is to report now.
    pub(crate) reports: Vec<Report>,
    /// Some file is so new that it has to be looked at once more, even if nothing tells of a change.
    pub(crate) unsettled: bool,
    /// Which directory the root is: another one may have taken its place.
    pub(crate) identity: (u64, u64),
}

/// The files of a directory, whatever they say.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    /// What was last read of each file, by its path below the root.
    known: BTreeMap<PathBuf, Known>,
}

/// What became of the files since the last look, but for what those say that were read.
#[derive(Debug)]
pub(crate) struct Stirred {
    /// The files that are no more.
    pub(crate) gone: Vec<PathBuf>,
    /// What could not be read, and why.
    pub(crate) unreadable: BTreeMap<PathBuf, String>,
    /// Some file is so new that it has to be looked at once more, even if nothing tells of a change.
    pub(crate) unsettled: bool,
    /// Which directory the root is: another one may have taken its place.
    pub(crate) identity: (u64, u64),
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    digest: u64,
}

/// Differs once a file has changed, unless it changed twice within a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look at the directory found.
#[derive(Default)]
struct Found {
    /// The files to read, by their path below the root.
    files: BTreeMap<PathBuf, Metadata>,
    /// The folders walked through, by device and inode: links must not lead in circles.
    folders: BTreeSet<(u64, u64)>,
    /// What could not be read, and why.
    unreadable: BTreeMap<PathBuf, String>,
}

impl Directory {
    /// The directory `root`, of which nothing is known yet.
    pub(crate) fn new(root: PathBuf, mesh: Mesh) -> Self {
        Self { tree: Tree::new(root), mesh, catalog: Catalog::default() }
    }

    /// Reads what has changed.
    ///
    /// # Errors
    /// The system's, if the directory itself cannot be listed. Everything then stays as it was.
    pub(crate) fn look(&mut self, now: SystemTime) -> io::Result<Look> {
        let mut read = Vec::new();
        let stirred =
            self.tree.look(now, |path, bytes| read.push((path.to_path_buf(), contents::read(bytes, &self.mesh))))?;
        let events = self.catalog.update(&stirred.gone, read);
        let mut reports = self.catalog.reports();
        reports.extend(stirred.unreadable.into_iter().map(|(path, why)| unreadable(path, &why)));
        reports.sort_unstable();
        Ok(Look { events, reports, unsettled: stirred.unsettled, identity: stirred.identity })
    }

    /// What the index has found, with where its objects are written.
    pub(crate) fn reports(&self, findings: &[Finding]) -> Vec<Report> {
        let report = |Finding { object, field, severity, code }: &Finding| {
            let (file, line) = self.catalog.place(object)?;
            let FieldError { path: field, message } = field.clone();
            Some(Report {
                file: file.to_path_buf(),
                line,
                object: Some(object.clone()),
                field,
                message,
                severity: *severity,
                stale: false,
                code: *code,
            })
        };
        findings.iter().filter_map(report).collect()
    }
}

impl Tree {
    /// The directory `root`, of which nothing is known yet.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, known: BTreeMap::new() }
    }

    /// Hands every file that has changed to `read`, by its path below the root and with its bytes.
    ///
    /// # Errors
    /// The system's, if the directory itself cannot be listed. Everything then stays as it was.
    pub(crate) fn look(&mut self, now: SystemTime, mut read: impl FnMut(&Path, &[u8])) -> io::Result<Stirred> {
        let mut found = Found::default();
        let identity = identity(&fs::metadata(&self.root)?);
        walk(&self.root, Path::new(""), &mut found)?;
        let mut unsettled = false;
        for (path, metadata) in &found.files {
            let stamp = Stamp::of(metadata);
            let fresh = is_fresh(metadata, now);
            unsettled |= fresh;
            if !fresh && self.known.get(path).is_some_and(|known| known.stamp == stamp) {
                continue;
            }
            match self.bytes(path, metadata.len()) {
                // Many programs empty a file before they write it anew.
                Ok(bytes) if bytes.is_empty() && fresh && self.known.contains_key(path) => {}
                Ok(bytes) => {
                    let known = Known { stamp, digest: digest(&bytes) };
                    let before = self.known.insert(path.clone(), known).map(|before| before.digest);
                    if before != Some(digest(&bytes)) {
                        read(path, &bytes);
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => unsettled = true,
                Err(error) => drop(found.unreadable.insert(path.clone(), error.to_string())),
            }
        }
        let gone = self.forget(&found);
        Ok(Stirred { gone, unreadable: found.unreadable, unsettled, identity })
    }

    fn bytes(&self, path: &Path, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_BYTES {
            return Err(io::Error::other(format!("it is larger than {} MiB: split it", MAX_BYTES >> 20)));
        }
        let mut bytes = Vec::new();
        File::open(self.root.join(path))?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Forgets the files that are no more, and returns them. What is in a folder that cannot be read may still be there.
    fn forget(&mut self, found: &Found) -> Vec<PathBuf> {
        let hidden = |path: &Path| path.ancestors().any(|folder| found.unreadable.contains_key(folder));
        let left = self.known.keys().filter(|path| !found.files.contains_key(*path) && !hidden(path));
        let gone: Vec<PathBuf> = left.cloned().collect();
        for path in &gone {
            self.known.remove(path);
        }
        gone
    }
}

/// Adds to `found` what there is in the folder at `below` the root.
fn walk(root: &Path, below: &Path, found: &mut Found) -> io::Result<()> {
    let folder = root.join(below);
    if !found.folders.insert(identity(&fs::metadata(&folder)?)) {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let path = below.join(&name);
        // Hidden are also the folders that links of a mounted ConfigMap lead to, and editors' own files.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let full = root.join(&path);
        let metadata = match fs::metadata(&full) {
            Ok(metadata) => metadata,
            Err(_) if fs::symlink_metadata(&full).is_err() => continue,
            Err(error) => {
                found.unreadable.insert(path, error.to_string());
                continue;
            }
        };
        if metadata.is_dir() {
            let deeper = match path.components().count() {
                depth if depth > MAX_FOLDERS => Err(io::Error::other("folders nest too deep")),
                _ => walk(root, &path, found),
            };
            if let Err(error) = deeper {
                found.unreadable.insert(path, error.to_string());
            }
        } else if metadata.is_file() && is_configuration(&path) {
            found.files.insert(path, metadata);
        }
    }
    Ok(())
}

fn is_configuration(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json")
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// True if the file changed so recently that it may have changed since, with the same times.
fn is_fresh(metadata: &Metadata, now: SystemTime) -> bool {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    now.duration_since(changed).is_ok_and(|age| age < UNSETTLED * 2)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn unreadable(file: PathBuf, why: &str) -> Report {
    let message = format!("cannot be read: {why}; what was last read of it stays in force");
    Report {
        file,
        line: 1,
        object: None,
        field: String::new(),
        message,
        severity: Severity::Error,
        stale: false,
        code: None,
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: identity(metadata),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests;
