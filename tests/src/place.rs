//! Where a process runs: a network namespace and a cgroup. The control group v2 hierarchy is looked up, not assumed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::until;

/// A network namespace and a cgroup v2 directory to start processes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file that stands for the network namespace.
    pub netns: PathBuf,
    /// The cgroup's directory.
    pub cgroup: PathBuf,
}

/// The root of the cgroup v2 hierarchy: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1.
///
/// # Errors
/// When none is mounted.
pub fn cgroup_root() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let cgroup2 = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    };
    mounts.lines().find_map(cgroup2).context("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// Kills every process below `cgroup` and removes it with all that is below it.
///
/// # Errors
/// When something stays in it for two seconds.
pub fn remove_cgroup(cgroup: &Path) -> anyhow::Result<()> {
    if !cgroup.exists() {
        return Ok(());
    }
    fs::write(cgroup.join("cgroup.kill"), "1").with_context(|| format!("cannot kill {}", cgroup.display()))?;
    let mut removed = Ok(());
    // The last dying process has to leave it first.
    let _ = until(Duration::from_secs(2), || {
        removed = remove_tree(cgroup);
        removed.is_ok()
    });
    removed.with_context(|| format!("cannot remove {}", cgroup.display()))
}

fn remove_tree(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
