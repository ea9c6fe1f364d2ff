//! What the plugin goes by while the agent is away: which namespaces are in the mesh, as the agent last knew. On a disk,
//! since after a reboot pods are started before the agent is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_model::Snapshot;

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
        let text: String = now.iter().flat_map(|name| [&**name, "\n"]).collect();
        replace(&self.path, text.as_bytes())?;
        self.written = Some(now);
        Ok(())
    }
}

/// Puts `bytes` at `path` as a whole, below directories that are made where they are missing.
///
/// # Errors
/// The system's.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // Runtimes take for a configuration what ends like one.
    let staged = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    fs::write(&staged, bytes)?;
    fs::rename(staged, path)
}

/// Whether `namespace` is in the mesh as the file at `path` has it.
///
/// # Errors
/// The system's: nobody knows.
pub(super) fn is_enrolled(path: &Path, namespace: &str) -> io::Result<bool> {
    Ok(fs::read_to_string(path)?.lines().any(|line| line == namespace))
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

        let written = fs::metadata(&path).unwrap().modified().unwrap();
        known.update(&snapshot).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "unchanged, it is not written again");
        fs::remove_file(&path).unwrap();
        known.update(&snapshot).unwrap();
        assert!(is_enrolled(&path, "shop").unwrap());
    }
}
