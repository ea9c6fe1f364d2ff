//! Network namespaces: made, named under `/run/netns` as iproute2 does, entered by a thread, removed on drop.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Where iproute2 keeps the names of network namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// A network namespace with a name; it is removed on drop unless [`Netns::keep`] was called.
#[derive(Debug)]
pub struct Netns {
    name: String,
    keep: bool,
}

impl Netns {
    /// Makes a network namespace that `ip netns` shows as `name`.
    ///
    /// # Errors
    /// Without the rights (root, or CAP_SYS_ADMIN), or when the name is taken.
    pub fn create(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(DIRECTORY).join(name);
        fs::create_dir_all(DIRECTORY)?;
        File::create_new(&path).with_context(|| format!("cannot name a network namespace {name}"))?;
        let netns = Self { name: name.to_owned(), keep: false };
        let made = std::thread::scope(|scope| scope.spawn(|| unshare_onto(&path)).join());
        made.map_err(|_| anyhow::anyhow!("the thread that makes the namespace panicked"))?
            .with_context(|| format!("cannot make the network namespace {name}: are you root?"))?;
        Ok(netns)
    }

    /// The network namespace of this name, which somebody else made and removes.
    #[must_use]
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned(), keep: true }
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as `nsenter --net=` takes it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Leaves the namespace in place when this value is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Runs `work` on a thread that is in this namespace; sockets that it makes stay there.
    ///
    /// # Errors
    /// When the namespace is gone or may not be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        run_in(&self.path(), work)
    }

    /// Writes a sysctl of this namespace, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn set_sysctl(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.run(|| fs::write(Path::new("/proc/sys").join(name), value))?
            .with_context(|| format!("cannot set {name} to {value} in {}", self.name))
    }

    /// Unnames the namespace now; it lives on for as long as something is in it.
    pub fn delete(self) {
        drop(self);
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.name);
        }
    }
}

/// Runs `work` on a thread that is in the network namespace at `path`.
///
/// # Errors
/// When the namespace is gone or may not be entered.
pub fn run_in<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let enter = || -> anyhow::Result<()> { Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?) };
    let thread = || enter().map(|()| work());
    let result = std::thread::scope(|scope| scope.spawn(thread).join());
    match result {
        Ok(result) => result.with_context(|| format!("cannot enter {}", path.display())),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Removes the name `name`; nothing happens if there is none.
pub(crate) fn remove(name: &str) {
    let path = Path::new(DIRECTORY).join(name);
    // Either may fail if it is only half made: what counts is that the name is gone in the end.
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(&path);
}

fn unshare_onto(path: &Path) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}
