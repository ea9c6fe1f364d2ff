//! Lets one listener take over what waits at another: the kernel then moves the connections of a listener that is closed, which
//! it would reset, over to the others of its reuseport group. It knows neither pods nor ports.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use crate::sys;

/// What has connections move over (`BPF_SK_REUSEPORT_SELECT_OR_MIGRATE`, Linux 5.14): a program that leaves the choice to the
/// kernel. `net.ipv4.tcp_migrate_req` would do the same, to the listeners of applications as well.
#[derive(Debug)]
pub struct Migration(OwnedFd);

impl Migration {
    /// Loads it.
    ///
    /// # Errors
    /// The kernel's: `InvalidInput` of one that is older, `PermissionDenied` without CAP_BPF and CAP_NET_ADMIN.
    pub fn load() -> io::Result<Self> {
        sys::load_migrating().map(Self)
    }

    /// From now on what waits at any listener of the reuseport group of `listener`, which must listen already, moves over to the
    /// others when that one is closed.
    ///
    /// # Errors
    /// The kernel's, as of a socket that is in no such group.
    pub fn permit(&self, listener: impl AsFd) -> io::Result<()> {
        sys::attach_to_group(listener.as_fd(), self.0.as_fd())
    }
}
