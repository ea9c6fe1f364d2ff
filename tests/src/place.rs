//! Where a process runs: a network namespace and a cgroup. Where cgroup v2 is mounted is looked up, not assumed, and so is
//! whether hierarchies of version 1 are beside it, which containers are limited by where there are any.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::until;

/// How long what is killed may take to leave: a node of a cluster has hundreds of processes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace and a cgroup v2 directory to start processes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file that stands for the network namespace.
    pub netns: PathBuf,
    /// The cgroup's directory.
    pub cgroup: PathBuf,
}

impl Place {
    /// Where the process `pid` is.
    ///
    /// # Errors
    /// When there is none, or no cgroup v2 is mounted.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).context("it is in no cgroup v2")?;
        Ok(Self { netns: format!("/proc/{pid}/ns/net").into(), cgroup: cgroup_root()?.join(own) })
    }
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
/// When something stays in it for ten seconds.
pub fn remove_cgroup(cgroup: &Path) -> anyhow::Result<()> {
    if !cgroup.exists() {
        return Ok(());
    }
    fs::write(cgroup.join("cgroup.kill"), "1").with_context(|| format!("cannot kill {}", cgroup.display()))?;
    let mut removed = Ok(());
    // The last dying process has to leave it first.
    let _ = until(PATIENCE, || {
        removed = remove_tree(cgroup);
        removed.is_ok()
    });
    removed.with_context(|| format!("cannot remove {}", cgroup.display()))
}

/// Makes the cgroup `group`, a relative path, in every hierarchy of version 1, if there are any.
///
/// # Errors
/// When the kernel refuses.
pub fn make_cgroups_v1(group: &Path) -> anyhow::Result<()> {
    for root in cgroup_v1_roots()? {
        let mut cgroup = root.clone();
        for part in group {
            cgroup.push(part);
            fs::create_dir_all(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
            // Without processors and memory of its own nothing can enter a cgroup of this hierarchy.
            for name in ["cpuset.cpus", "cpuset.mems"] {
                let Ok(above) = fs::read_to_string(cgroup.with_file_name(name)) else { continue };
                fs::write(cgroup.join(name), above).with_context(|| format!("{}", cgroup.join(name).display()))?;
            }
        }
    }
    Ok(())
}

/// Kills every process below the cgroup `group`, a relative path, in every hierarchy of version 1, and removes it there.
///
/// # Errors
/// When something stays in it for ten seconds.
pub fn remove_cgroups_v1(group: &Path) -> anyhow::Result<()> {
    for cgroup in cgroup_v1_roots()?.iter().map(|root| root.join(group)).filter(|cgroup| cgroup.exists()) {
        let mut removed = Ok(());
        let _ = until(PATIENCE, || {
            // Version 1 has no switch that kills all.
            for pid in processes(&cgroup).into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
                // It may have ended in the meantime, which is just as well.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            removed = remove_tree(&cgroup);
            removed.is_ok()
        });
        removed.with_context(|| format!("cannot remove {}", cgroup.display()))?;
    }
    Ok(())
}

/// The IDs of the processes in `cgroup` and below it.
#[must_use]
pub fn processes(cgroup: &Path) -> Vec<u32> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<_> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(processes(&entry.path()));
        }
    }
    found
}

/// The roots of the hierarchies of version 1.
///
/// # Errors
/// When the mounts cannot be read.
pub fn cgroup_v1_roots() -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let place = |fields: Vec<&str>| (fields.get(2) == Some(&"cgroup")).then(|| fields.get(1).map(PathBuf::from))?;
    Ok(fields.filter_map(place).collect())
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
