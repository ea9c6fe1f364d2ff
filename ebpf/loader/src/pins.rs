//! Where things are pinned: one directory a version of the ABI, so that programs and maps of different versions never
//! meet. It knows the layout of that directory and nothing of what the pins do.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ambit_ebpf_abi::VERSION;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::BPF_FS_MAGIC,
};

use crate::{error::Error, link, sys};

/// Where a bpffs usually is.
const BPFFS: &str = "/sys/fs/bpf";

/// Directories of links, the same in every version.
const LINKS: &str = "links";
const NAMESPACES: &str = "netns";

/// Between the name of a program and the cgroup of an agent, in the name of a link.
const AGENT: &str = "_agent_";

/// The directory of pins of this version.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Makes the directories below `root`, mounting a bpffs if there is none.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        mount_bpffs(root)?;
        let pins = Self { root: root.to_owned() };
        for directory in [pins.maps(), pins.links(), pins.namespaces()] {
            fs::create_dir_all(&directory).map_err(Error::pin(&directory))?;
        }
        Ok(pins)
    }

    /// This version's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root.join(version())
    }

    /// The maps, by their names.
    pub(crate) fn maps(&self) -> PathBuf {
        self.directory().join("maps")
    }

    /// The links to cgroups.
    pub(crate) fn links(&self) -> PathBuf {
        self.directory().join(LINKS)
    }

    /// The link of the program `name` to the cgroup `id` of an agent.
    pub(crate) fn agent_link(&self, name: &str, id: u64) -> PathBuf {
        self.links().join(format!("{name}{AGENT}{id}"))
    }

    /// The links to cgroups of agents, this one's and others', in the order of their names: those that redirect come first.
    pub(crate) fn agent_links(&self) -> Result<Vec<PathBuf>, Error> {
        let mut links = names(&self.links())?;
        links.retain(|name| name.contains(AGENT));
        links.sort_unstable();
        Ok(links.into_iter().map(|name| self.links().join(name)).collect())
    }

    /// The links to network namespaces.
    fn namespaces(&self) -> PathBuf {
        self.directory().join(NAMESPACES)
    }

    /// The link to the network namespace `cookie`.
    pub(crate) fn namespace(&self, cookie: u64) -> PathBuf {
        self.namespaces().join(cookie.to_string())
    }

    /// The cookies of the network namespaces that have a link.
    pub(crate) fn cookies(&self) -> Result<Vec<u64>, Error> {
        // What is no number is a link whose making was interrupted; the next one replaces it.
        Ok(names(&self.namespaces())?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes what other versions have pinned, which takes their programs out of force.
    pub(crate) fn retire_others(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.root).map_err(Error::pin(&self.root))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if is_version(name) && name != version() {
                tracing::info!(path = %path.display(), "another version's capture is taken out of force");
                take_down(&path)?;
            }
        }
        Ok(())
    }

    /// Removes everything, every version's.
    pub(crate) fn remove_all(&self) -> Result<(), Error> {
        self.retire_others()?;
        take_down(&self.directory())?;
        // Kept if it is a mount point, or holds what others have pinned.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }
}

/// The names of what is in `directory`, but for those that nobody here has given.
fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::pin(directory))?;
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok())).collect::<io::Result<Vec<_>>>();
    Ok(names.map_err(Error::pin(directory))?.into_iter().flatten().collect())
}

fn version() -> String {
    format!("v{VERSION}")
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Takes a version's links out of force, then removes its directory, if there is one.
fn take_down(directory: &Path) -> Result<(), Error> {
    for links in [directory.join(LINKS), directory.join(NAMESPACES)] {
        link::detach_all(&links).map_err(Error::pin(&links))?;
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::pin(directory)),
    }
}

/// Mounts a bpffs that holds `root` unless there is one: at its usual place if `root` is below that, else at `root`.
fn mount_bpffs(root: &Path) -> Result<(), Error> {
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if sys::is_on(existing, BPF_FS_MAGIC).is_ok_and(|is_bpffs| is_bpffs) {
        return Ok(());
    }
    let at = if root.starts_with(BPFFS) { Path::new(BPFFS) } else { root };
    let error = |source| Error::Bpffs { path: at.to_owned(), source };
    fs::create_dir_all(at).map_err(error)?;
    mount(Some("bpf"), at, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(|errno| error(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_are_retired() {
        assert!(is_version("v1") && is_version("v20"));
        assert!(!is_version("v") && !is_version("maps") && !is_version("vmlinux") && !is_version("1"));
    }
}
