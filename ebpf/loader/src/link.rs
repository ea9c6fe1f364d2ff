//! Keeps exactly one program in force at a hook: replaces the one that a pinned link runs, or makes and pins the link.
//! It knows neither cgroups' meaning nor which program is which.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use crate::sys::{self, AttachType};

/// Puts `program` in force at `hook` of `target`, whose number (a cgroup's id, a network namespace's inode) is
/// `number`, behind the pin `path`. There is no moment without a program, nor, on the same target, with two.
pub(crate) fn put(
    path: &Path,
    hook: AttachType,
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    number: u64,
) -> io::Result<()> {
    match target_of(path, hook)? {
        Some(found) if found == number => replace(path, program),
        Some(_) => {
            // Made beside the old link, whose target is another or gone, then moved over it.
            let fresh = path.with_file_name(match path.file_name().and_then(|name| name.to_str()) {
                Some(name) => format!("{name}_new"),
                None => return Err(io::ErrorKind::InvalidInput.into()),
            });
            remove(&fresh)?;
            sys::pin(sys::link(program, target, hook)?.as_fd(), &fresh)?;
            sys::detach(sys::pinned(path)?.as_fd())?;
            fs::rename(&fresh, path)
        }
        None => sys::pin(sys::link(program, target, hook)?.as_fd(), path),
    }
}

/// Puts `program` in the place of the one that the link pinned at `path` runs.
pub(crate) fn replace(path: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    sys::update(sys::pinned(path)?.as_fd(), program)
}

/// What the link pinned at `path` is attached to: 0 if that is gone, `None` if there is no such link.
pub(crate) fn target_of(path: &Path, hook: AttachType) -> io::Result<Option<u64>> {
    match sys::pinned(path) {
        Ok(link) => sys::link_target(link.as_fd(), hook).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Detaches the link pinned at `path`, if it is there, and removes the pin. When this returns, its program does not
/// run any more, not even for a packet that came before.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match sys::pinned(path) {
        Ok(link) => sys::detach(link.as_fd())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    sys::quiesce();
    fs::remove_file(path)
}

/// Detaches every link pinned in `directory`, in the order of their names: those that redirect come first.
pub(crate) fn detach_all(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().try_for_each(|path| sys::detach(sys::pinned(path)?.as_fd()))
}
