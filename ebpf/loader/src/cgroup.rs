//! Finds the cgroup v2 hierarchy and decides where the programs must be attached to see the agent's own sockets as well
//! as the pods'.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statfs::CGROUP2_SUPER_MAGIC;

use crate::{error::Error, sys};

/// The root of the cgroup v2 hierarchy: /sys/fs/cgroup, or /sys/fs/cgroup/unified where v1 is mounted as well.
///
/// # Errors
/// [`Error::Cgroup`] when none is mounted.
pub fn root() -> Result<PathBuf, Error> {
    let missing = |source| Error::Cgroup { path: PathBuf::from("/sys/fs/cgroup"), source };
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").map_err(missing)?;
    let mount = mounts(&mountinfo).next().ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
    Ok(mount.point)
}

/// How deep below the root a kubelet's cgroup is looked for: where a node is a container, its kubelet is one deeper.
const DEPTH: usize = 4;

/// The cgroup above all pods of this node: what its kubelet calls `kubepods` (by systemd `kubepods.slice`, or below a
/// slice of its own), or the root where there is none.
///
/// # Errors
/// [`Error::Cgroup`] when no hierarchy of v2 is mounted.
pub fn of_pods() -> Result<PathBuf, Error> {
    let root = root()?;
    Ok(pods_below(&root).unwrap_or(root))
}

/// The outermost cgroup below `root` that a kubelet keeps its pods in; of several as far out, the first by name.
fn pods_below(root: &Path) -> Option<PathBuf> {
    let mut level = vec![root.to_owned()];
    for _ in 0..DEPTH {
        let entries = level.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut below: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
        below.sort_unstable();
        if let Some(found) = below.iter().find(|directory| is_of_pods(directory)) {
            return Some(found.clone());
        }
        level = below;
    }
    None
}

fn is_of_pods(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice")
}

/// Checks that `path` is a cgroup v2 directory, and returns it without symbolic links.
pub(crate) fn checked(path: &Path) -> Result<PathBuf, Error> {
    let error = |source| Error::Cgroup { path: path.to_owned(), source };
    let canonical = path.canonicalize().map_err(error)?;
    if sys::is_on(&canonical, CGROUP2_SUPER_MAGIC).map_err(error)? && canonical.is_dir() {
        Ok(canonical)
    } else {
        Err(error(io::ErrorKind::Unsupported.into()))
    }
}

/// The cgroup of the agent, if the program that watches sockets must be attached to it apart, because it is not below
/// `attach` (a checked path).
pub(crate) fn agents_own(attach: &Path) -> Result<Option<PathBuf>, Error> {
    let error = |source| Error::Cgroup { path: attach.to_owned(), source };
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").map_err(error)?;
    let membership = fs::read_to_string("/proc/self/cgroup").map_err(error)?;
    let mount = mounts(&mountinfo).find(|mount| attach.starts_with(&mount.point));
    let mount = mount.ok_or_else(|| error(io::ErrorKind::NotFound.into()))?;
    let place = if mount.reaches_above() {
        // A cgroup namespace of its own hides from a container what its cgroup is called.
        with_process(&mount.point, std::process::id()).map_or(Place::Root, |own| Place::of(own, attach, &mount))
    } else {
        place(attach, &mount, &membership)
    };
    match place {
        Place::Covered => Ok(None),
        Place::Apart(own) => Ok(Some(own)),
        Place::Root => Err(Error::AgentInRoot { attach: attach.to_owned() }),
    }
}

/// True if `attach` (a checked path) is the root of the hierarchy, as far as this process can see it.
pub(crate) fn is_root(attach: &Path) -> Result<bool, Error> {
    let error = |source| Error::Cgroup { path: attach.to_owned(), source };
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").map_err(error)?;
    Ok(is_mount(attach, &mountinfo))
}

fn is_mount(attach: &Path, mountinfo: &str) -> bool {
    mounts(mountinfo).any(|mount| mount.point == attach)
}

/// A mount of the cgroup v2 hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Which cgroup is mounted, as the process's cgroup namespace names it.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

impl Mount {
    /// True if what is mounted is above the root of the process's own cgroup namespace.
    fn reaches_above(&self) -> bool {
        self.root.starts_with("/..")
    }
}

/// Where the agent's cgroup lies.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Below the cgroup that the programs are attached to.
    Covered,
    /// Elsewhere, at this path.
    Apart(PathBuf),
    /// It is the root, which the programs are not attached to.
    Root,
}

impl Place {
    /// Where the cgroup `own` lies, seen from `attach`.
    fn of(own: PathBuf, attach: &Path, mount: &Mount) -> Self {
        if own.starts_with(attach) {
            Self::Covered
        } else if own == mount.point {
            Self::Root
        } else {
            Self::Apart(own)
        }
    }
}

/// The cgroup below `directory` that the process is in, as that cgroup itself says.
fn with_process(directory: &Path, process: u32) -> Option<PathBuf> {
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    if processes.lines().any(|line| line.parse() == Ok(process)) {
        return Some(directory.to_owned());
    }
    let mut entries = fs::read_dir(directory).ok()?.flatten();
    entries.find_map(|entry| {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_directory.then(|| with_process(&entry.path(), process)).flatten()
    })
}

/// The cgroup v2 mounts of a mountinfo (proc_pid_mountinfo(5)).
fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        filesystem.starts_with("cgroup2 ").then(|| Mount { root: root.into(), point: point.into() })
    })
}

/// Decides from the text of /proc/self/cgroup (cgroups(7)) where the agent lies.
fn place(attach: &Path, mount: &Mount, membership: &str) -> Place {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    // Outside the mounted part, as in a container: as far from `attach` as the root is.
    let below = Path::new(own).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    Place::of(mount.point.join(below), attach, mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        39 30 0:35 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    const CONTAINER: &str = "40 30 0:30 /../../.. /host/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    fn placed(mountinfo: &str, attach: &str, membership: &str) -> Place {
        let mount = mounts(mountinfo).next().unwrap();
        place(Path::new(attach), &mount, membership)
    }

    #[test]
    fn the_mount_is_found_among_others() {
        let mounts: Vec<_> = mounts(HYBRID).collect();
        assert_eq!(mounts, [Mount { root: "/".into(), point: "/sys/fs/cgroup/unified".into() }]);
    }

    #[test]
    fn where_it_is_mounted_is_the_root() {
        assert!(is_mount(Path::new("/sys/fs/cgroup/unified"), HYBRID));
        for elsewhere in ["/sys/fs/cgroup/unified/kubepods", "/sys/fs/cgroup", "/sys/fs/cgroup/memory"] {
            assert!(!is_mount(Path::new(elsewhere), HYBRID), "{elsewhere}");
        }
        assert!(is_mount(Path::new("/host/cgroup"), CONTAINER));
    }

    #[test]
    fn a_kubelets_cgroup_is_found_however_it_is_named() {
        for (made, found) in [
            (&["kubepods/besteffort", "system.slice/a"][..], Some("kubepods")),
            (&["kubepods.slice/kubepods-burstable.slice", "init.scope"], Some("kubepods.slice")),
            (&["kubelet.slice/kubelet-kubepods.slice/x"], Some("kubelet.slice/kubelet-kubepods.slice")),
            // A node that is a container of another.
            (
                &["system.slice/docker-1.scope/kubelet/kubepods/x", "system.slice/kubepods-of-mine"],
                Some("system.slice/docker-1.scope/kubelet/kubepods"),
            ),
            (&["a/b/c/d/e/kubepods", "user.slice"], None),
        ] {
            let root = tempfile::tempdir().unwrap();
            made.iter().for_each(|path| fs::create_dir_all(root.path().join(path)).unwrap());
            assert_eq!(pods_below(root.path()), found.map(|path| root.path().join(path)), "{made:?}");
        }
    }

    #[test]
    fn an_agent_below_the_attached_cgroup_is_covered() {
        let root = "/sys/fs/cgroup/unified";
        assert_eq!(placed(HYBRID, root, "1:cpu:/x\n0::/\n"), Place::Covered);
        assert_eq!(placed(HYBRID, root, "0::/kubepods/agent\n"), Place::Covered);
        assert_eq!(placed(HYBRID, "/sys/fs/cgroup/unified/node", "0::/node/agent\n"), Place::Covered);
    }

    #[test]
    fn an_agent_elsewhere_is_attached_to_apart() {
        let attach = "/sys/fs/cgroup/unified/node";
        let own = PathBuf::from("/sys/fs/cgroup/unified/node-agent");
        assert_eq!(placed(HYBRID, attach, "0::/node-agent\n"), Place::Apart(own));
    }

    #[test]
    fn an_agent_in_a_container_is_found_by_its_process() {
        let mount = mounts(CONTAINER).next().unwrap();
        assert!(mount.reaches_above());
        assert!(mounts(HYBRID).all(|mount| !mount.reaches_above()));
        let root = tempfile::tempdir().unwrap();
        for (cgroup, processes) in
            [("kubepods/pod1/a", "7\n"), ("kubepods/pod1/b", "0\n42\n"), ("system.slice", "420\n")]
        {
            fs::create_dir_all(root.path().join(cgroup)).unwrap();
            fs::write(root.path().join(cgroup).join("cgroup.procs"), processes).unwrap();
        }
        let own = root.path().join("kubepods/pod1/b");
        assert_eq!(with_process(root.path(), 42), Some(own.clone()));
        assert_eq!(with_process(root.path(), 4), None);
        let mount = Mount { root: "/../..".into(), point: root.path().to_owned() };
        assert_eq!(Place::of(own.clone(), &root.path().join("kubepods"), &mount), Place::Covered);
        assert_eq!(Place::of(own.clone(), &root.path().join("system.slice"), &mount), Place::Apart(own));
    }

    #[test]
    fn an_agent_in_the_root_is_refused() {
        assert_eq!(placed(HYBRID, "/sys/fs/cgroup/unified/node", "0::/\n"), Place::Root);
        assert_eq!(placed(CONTAINER, "/host/cgroup/kubepods", "0::/\n"), Place::Root);
    }
}
