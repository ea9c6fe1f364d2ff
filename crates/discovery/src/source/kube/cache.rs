//! Keeps on disk what is in force of each object, for a start without the API: of each only what the mesh reads, and so
//! neither keys nor Secrets. A file for each kind, replaced as a whole; beside them a seal, which says that all kinds were
//! there and when that was. Whatever is damaged makes all of it void.
//!
//! Memory holds only what changed since the last write.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ambit_api::{Kind, Resource};
use ambit_model::Mesh;

use super::served;
use crate::source::reading::decode;
use crate::yaml::json;

/// The first line of every file; another form of file has another.
const HEAD: &str = "ambit cache 1";
/// The first word of the last line, before the number of lines between.
const END: &str = "end";
/// The file that says that all others were complete, and when.
const SEAL: &str = "seal";
/// How much may change in memory before it is written, in bytes.
const MAX_PENDING: usize = 8 << 20;

/// What is kept.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    /// What changed since the last write: by namespace and name, its text, or none if it is gone.
    pending: BTreeMap<Kind, BTreeMap<String, Option<String>>>,
    bytes: usize,
}

/// What was kept when the process began.
#[derive(Debug, PartialEq)]
pub(super) struct Kept {
    /// When it was in force.
    pub(super) sealed: SystemTime,
    /// All of it.
    pub(super) resources: Vec<Resource>,
}

impl Cache {
    /// The cache in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// The system's, if it cannot be made.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, pending: BTreeMap::new(), bytes: 0 })
    }

    /// What is kept, as it reads in `mesh`; none if nothing is.
    ///
    /// # Errors
    /// What is damaged, or cannot be read. Nothing is kept then any more.
    pub(super) fn load(&mut self, mesh: &Mesh) -> io::Result<Option<Kept>> {
        let loaded = self.read(mesh);
        if !matches!(loaded, Ok(Some(_))) {
            self.clear();
        }
        loaded
    }

    /// The object of `kind` is now `text`, or gone. Written later.
    pub(super) fn put(&mut self, kind: Kind, namespace: &str, name: &str, text: Option<String>) {
        self.bytes += text.as_ref().map_or(0, String::len);
        self.pending.entry(kind).or_default().insert(format!("{namespace}/{name}"), text);
    }

    /// True if anything waits to be written.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// True if so much waits to be written that it should not wait.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > MAX_PENDING
    }

    /// Writes what changed, and if everything is there, the seal.
    ///
    /// # Errors
    /// The system's. What was not written is tried again the next time.
    pub(super) fn write(&mut self, complete: bool, now: SystemTime) -> io::Result<()> {
        while let Some(entry) = self.pending.first_entry() {
            rewrite(&self.directory, *entry.key(), entry.get())?;
            entry.remove();
        }
        self.bytes = 0;
        if complete {
            let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            replace(&self.directory, SEAL, |file| writeln!(file, "{seconds}").map(|()| 1))?;
        }
        Ok(())
    }

    fn read(&self, mesh: &Mesh) -> io::Result<Option<Kept>> {
        let mut seal = match Lines::open(&self.directory.join(SEAL)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let seconds = seal.next()?.and_then(|line| line.parse().ok()).ok_or_else(|| damaged("no time"))?;
        seal.next()?;
        let mut resources = Vec::new();
        for kind in served::watched() {
            let mut lines = match Lines::open(&self.directory.join(kind.full_name())) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened?,
            };
            while let Some(line) = lines.next()? {
                let (_, text) = line.split_once('\t').ok_or_else(|| damaged("no name"))?;
                let node = json(text).map_err(damaged)?;
                let read = decode(&node, kind, mesh).map_err(|errors| damaged(format_args!("{errors:?}")))?;
                resources.push(read.resource);
            }
        }
        let sealed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Ok(Some(Kept { sealed: sealed.ok_or_else(|| damaged("no time"))?, resources }))
    }

    /// The seal goes first: without it the rest is nothing.
    fn clear(&self) {
        for name in std::iter::once(SEAL).chain(served::watched().map(Kind::full_name)) {
            match fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => tracing::warn!("cannot remove {name}: {error}"),
                _ => {}
            }
        }
    }
}

/// Writes the file of `kind` anew: what it has that did not change, and what did.
fn rewrite(directory: &Path, kind: Kind, changed: &BTreeMap<String, Option<String>>) -> io::Result<()> {
    let before = match Lines::open(&directory.join(kind.full_name())) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        opened => Some(opened?),
    };
    replace(directory, kind.full_name(), |file| {
        let mut count = 0;
        if let Some(mut lines) = before {
            while let Some(line) = lines.next()? {
                let (name, _) = line.split_once('\t').ok_or_else(|| damaged("no name"))?;
                if !changed.contains_key(name) {
                    writeln!(file, "{line}")?;
                    count += 1;
                }
            }
        }
        for (name, text) in changed {
            // JSON as it is written here has neither tabs nor ends of lines.
            if let Some(text) = text {
                writeln!(file, "{name}\t{text}")?;
                count += 1;
            }
        }
        Ok(count)
    })
}

/// Puts a file in place of the one before, once all of it is on disk. `lines` writes them and counts them.
fn replace(
    directory: &Path,
    name: &str,
    lines: impl FnOnce(&mut BufWriter<File>) -> io::Result<u64>,
) -> io::Result<()> {
    let staged = directory.join(format!(".{name}"));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    let mut file = BufWriter::new(file);
    writeln!(file, "{HEAD}")?;
    let count = lines(&mut file)?;
    writeln!(file, "{END} {count}")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(staged, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// The lines of a file, between head and end.
struct Lines {
    file: BufReader<File>,
    line: String,
    count: u64,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        let mut lines = Self { file: BufReader::new(File::open(path)?), line: String::new(), count: 0 };
        match lines.raw()? {
            Some(HEAD) => Ok(lines),
            _ => Err(damaged("another head")),
        }
    }

    /// The next line; none at the end, if that is one.
    fn next(&mut self) -> io::Result<Option<&str>> {
        let expected = format!("{END} {}", self.count);
        self.count += 1;
        match self.raw()? {
            Some(line) if line == expected => Ok(None),
            // No name has a blank.
            Some(line) if line.split_once(' ').is_none_or(|(word, _)| word != END) => Ok(Some(line)),
            _ => Err(damaged("an end too early")),
        }
    }

    fn raw(&mut self) -> io::Result<Option<&str>> {
        self.line.clear();
        self.file.read_line(&mut self.line)?;
        Ok(self.line.strip_suffix('\n'))
    }
}

fn damaged(what: impl fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("it is damaged: {what}"))
}

#[cfg(test)]
mod tests;
