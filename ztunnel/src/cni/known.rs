//! What the plugin goes by while the agent is away: which namespaces are in the mesh, as the agent last knew. On a disk,
//! since after a reboot pods are started before the agent is.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_model::Snapshot;

/// The last line of the file.
const END: &str = "# end\n";

/// The file that says which namespaces are in the mesh: a line for each.
#[derive(Debug)]
pub(crate) struct Known {
    path: PathBuf,
    written: Option<BTreeSet<Arc<str>>>,
}

impl Known {
    /// The file at `path`, of which nothing is known yet.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, written: None }
    }

    /// Writes what `snapshot` says, if that is not what was written last.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn update(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let now: BTreeSet<Arc<str>> = snapshot.enrolled_namespaces().cloned().collect();
        if self.written.as_ref() == Some(&now) && self.path.exists() {
            return Ok(());
        }
        let text: String = now.iter().flat_map(|name| [&**name, "\n"]).chain([END]).collect();
        replace(&self.path, text.as_bytes())?;
        self.written = Some(now);
        Ok(())
    }
}

/// Puts `bytes` at `path` as a whole, and on disk, below directories that are made where they are missing. What was there
/// keeps its permissions; what is new is for its owner alone.
///
/// # Errors
/// The system's.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Runtimes take for a configuration what ends like one; another agent has another number.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let mode = fs::metadata(path).map_or(0o600, |there| there.permissions().mode() & 0o7777);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(staged, path)?;
    File::open(directory)?.sync_all()
}

/// Whether `namespace` is in the mesh as the file at `path` has it.
///
/// # Errors
/// The system's: nobody knows.
pub(super) fn is_enrolled(path: &Path, namespace: &str) -> io::Result<bool> {
    let text = fs::read_to_string(path)?;
    // What a crash has cut says nothing of who is missing.
    let names = text.strip_suffix(END).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(names.lines().any(|line| line == namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_without_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/enrolled");
        assert!(is_enrolled(&path, "shop").is_err());
        let mut snapshot = Snapshot::default();
        let mut known = Known::at(path.clone());
        known.update(&snapshot).unwrap();
        assert!(!is_enrolled(&path, "shop").unwrap());
        snapshot.set_enrolled(&"shop".into(), true);
        known.update(&snapshot).unwrap();
        assert!(is_enrolled(&path, "shop").unwrap());
        assert!(!is_enrolled(&path, "sho").unwrap());
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        assert!(is_enrolled(&path, "bank").is_err(), "half of it does not say who is not in it");
        fs::write(&path, whole).unwrap();

        let written = fs::metadata(&path).unwrap().modified().unwrap();
        known.update(&snapshot).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "unchanged, it is not written again");
        fs::remove_file(&path).unwrap();
        known.update(&snapshot).unwrap();
        assert!(is_enrolled(&path, "shop").unwrap());
    }
}
