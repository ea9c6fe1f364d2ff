//! Removal of what earlier runs left behind: a run holds a lock on a file named like everything that it makes in the
//! kernel; a file that can be locked belongs to a run that is no more.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

use crate::{cluster, netns, place};

const DIRECTORY: &str = "/run/ambit-tests";
/// Where bpffs is mounted.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A name that is this run's alone for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Claim {
    /// Claims `name`.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(DIRECTORY)?;
        // Locked before it gets its name, so that no other run can mistake it for a leftover.
        let unnamed = tempfile::NamedTempFile::new_in(DIRECTORY)?;
        let lock = Flock::lock(unnamed.reopen()?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        let path = Path::new(DIRECTORY).join(format!("{name}.lock"));
        unnamed.persist_noclobber(&path).with_context(|| format!("the name {name} is taken"))?;
        Ok(Self { path, _lock: lock })
    }

    /// Forgets the claim: what carries the name stays, and is nobody's leftover.
    pub(crate) fn abandon(self) {
        let _ = fs::remove_file(&self.path);
        std::mem::forget(self);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Waits until no other run does what `name` stands for, and keeps it so for as long as the value lives.
pub(crate) fn exclusively(name: &str) -> anyhow::Result<Flock<File>> {
    fs::create_dir_all(DIRECTORY)?;
    let file = File::create(Path::new(DIRECTORY).join(name))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

/// Removes what runs that are no more have left.
pub(crate) fn sweep() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".lock")) else { continue };
        let Ok(file) = File::open(&path) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            remove(name);
            let _ = fs::remove_file(&path);
        }
    }
}

/// Removes every process, cgroup, pinned program, network namespace and file of the topology or cluster `name`. What is
/// not there or cannot be removed is passed over.
pub fn remove(name: &str) {
    // What is below these names is removed: no name must stand for more than one thing's.
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return;
    }
    if let Ok(root) = place::cgroup_root() {
        let _ = place::remove_cgroup(&root.join(name));
    }
    let _ = place::remove_cgroups_v1(Path::new(name));
    let _ = fs::remove_dir_all(Path::new(BPFFS).join(name));
    let prefix = format!("{name}-");
    for entry in fs::read_dir(netns::DIRECTORY).into_iter().flatten().flatten() {
        if let Some(netns) = entry.file_name().to_str().filter(|netns| netns.starts_with(&prefix)) {
            netns::remove(netns);
        }
    }
    let _ = fs::remove_dir_all(cluster::directory_of(name));
    // The claim of a run that was killed.
    let _ = fs::remove_file(Path::new(DIRECTORY).join(format!("{name}.lock")));
}
