//! The system calls that no crate of ours wraps: the one place of this crate where the compiler takes our word.
//! Decides nothing.
#![allow(unsafe_code, reason = "these calls have no safe wrapper")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

/// True if `fd` is a file of the namespace file system that stands for a network namespace.
pub(crate) fn is_network_namespace(fd: impl AsFd) -> bool {
    // SAFETY: the descriptor is open for the call's duration, and NS_GET_NSTYPE takes no argument.
    unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

/// The cookie of the namespace that `socket` was made in (SO_NETNS_COOKIE; Linux 5.14).
pub(crate) fn namespace_cookie(socket: impl AsFd) -> io::Result<u64> {
    let fd = socket.as_fd().as_raw_fd();
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&cookie)).map_err(io::Error::other)?;
    let (name, value) = (libc::SO_NETNS_COOKIE, (&raw mut cookie).cast());
    // SAFETY: the descriptor is open; `value` is `length` writable bytes that outlive the call, and any bytes are a u64.
    Errno::result(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, value, &raw mut length) })?;
    Ok(cookie)
}

/// Disconnects a TCP socket: sends RST where the peer does not know yet, and drops what is queued either way.
/// Connecting to no address (AF_UNSPEC) is disconnecting (connect(2)).
pub(crate) fn disconnect(socket: impl AsFd) -> io::Result<()> {
    let family = libc::sa_family_t::try_from(libc::AF_UNSPEC).map_err(io::Error::other)?;
    let nowhere = libc::sockaddr { sa_family: family, sa_data: [0; 14] };
    let length = libc::socklen_t::try_from(mem::size_of_val(&nowhere)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open; `nowhere` is `length` initialised bytes that outlive the call.
    Errno::result(unsafe { libc::connect(socket.as_fd().as_raw_fd(), &raw const nowhere, length) })?;
    Ok(())
}
