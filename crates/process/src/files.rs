//! Notices when one of a few small files has changed: replaced, written to, or come into being, through links as well, as a
//! mounted ConfigMap has it. Reads nothing; looks now and then, since a watch on a file that is replaced is lost with it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(1);

/// Device, inode, length, and the time of the last change in seconds and nanoseconds; none while there is no such file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Files, and what they were when they were looked at last.
#[derive(Debug)]
pub struct Files(Vec<(PathBuf, Stamp)>);

impl Files {
    /// Looks at `paths` for the first time.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(paths.into_iter().map(|path| (path.to_owned(), stamp(path))).collect())
    }

    /// Resolves when one of them is another than it was when looked at last; never, if there are none.
    pub async fn changed(&mut self) {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        while !self.look() {
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Looks at all of them; whether one has changed since it was looked at last.
    pub fn look(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = stamp(path);
            changed |= now != *before;
            *before = now;
        }
        changed
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_comes_is_written_replaced_or_goes_is_noticed_once() {
        let directory = tempfile::tempdir().unwrap();
        let [path, other, next] = ["watched", "other", "next"].map(|name| directory.path().join(name));
        fs::write(&other, "1").unwrap();
        let mut files = Files::new([path.as_path(), other.as_path()]);
        assert!(!files.look());
        let steps: [&dyn Fn(); 5] = [
            &|| fs::write(&path, "1").unwrap(),
            &|| fs::write(&path, "22").unwrap(),
            &|| {
                fs::write(&next, "33").unwrap();
                fs::rename(&next, &path).unwrap();
            },
            &|| {
                fs::write(&next, "44").unwrap();
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink(&next, &path).unwrap();
            },
            &|| fs::remove_file(&path).unwrap(),
        ];
        for step in steps {
            step();
            files.changed().await;
            assert!(!files.look());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_files_nothing_changes() {
        let waited = tokio::time::timeout(Duration::from_secs(3600), async { Files::new([]).changed().await }).await;
        assert!(waited.is_err());
    }
}
