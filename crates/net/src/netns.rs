//! Network namespaces: naming one, telling two apart, and doing something inside one. Knows nothing of pods.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::SockaddrStorage;
use socket2::{Domain, Socket, Type};

use crate::sys;

/// The namespace that the calling thread is in.
const HERE: &str = "/proc/thread-self/ns/net";

thread_local! {
    // Where the thread is, so that going elsewhere and back costs two system calls and no more. That is right as long
    // as a thread that has used `NetNs::run` changes its namespace by nothing else.
    static CURRENT: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// A network namespace, which lives at least as long as this does. Equal to another if it is the same one.
#[derive(Clone, Debug)]
pub struct NetNs {
    place: Place,
    cookie: u64,
}

/// Where a thread can go.
#[derive(Clone, Debug)]
struct Place {
    fd: Arc<OwnedFd>,
    id: NetNsId,
}

/// What tells a live namespace from another: no two that exist at once have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetNsId {
    /// The device of the namespace file system.
    pub device: u64,
    /// The inode, which `ip netns` and `lsns` show.
    pub inode: u64,
}

impl NetNs {
    /// The namespace at `path`, such as `/run/netns/web` or `/proc/42/ns/net`.
    ///
    /// # Errors
    /// Nothing is there, it is no network namespace (`InvalidInput`), or this process may not enter it (CAP_SYS_ADMIN).
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let place = Place::open(path.as_ref())?;
        let cookie = place.visit(own_cookie)??;
        Ok(Self { place, cookie })
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// The kernel's, as when no file can be opened any more.
    pub fn current() -> io::Result<Self> {
        Ok(Self { place: Place::open(Path::new(HERE))?, cookie: own_cookie()? })
    }

    /// The number that the kernel gives the namespace until the next boot, and that eBPF programs see
    /// (`bpf_get_netns_cookie`, SO_NETNS_COOKIE; Linux 5.14).
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Which namespace this is.
    #[must_use]
    pub fn id(&self) -> NetNsId {
        self.place.id
    }

    /// True if `path` still names this namespace: false once what kept it there has been removed or replaced.
    #[must_use]
    pub fn is_at(&self, path: impl AsRef<Path>) -> bool {
        std::fs::metadata(path).is_ok_and(|found| self.place.id == NetNsId { device: found.dev(), inode: found.ino() })
    }

    /// Does `work` with the calling thread in this namespace. The thread is back where it was when this returns or
    /// unwinds; threads and processes that `work` starts stay in this namespace. A thread that calls this must change
    /// its namespace by nothing else afterwards.
    ///
    /// # Errors
    /// This process may not enter the namespace. `work` has not been called then.
    ///
    /// # Aborts
    /// If the thread cannot go back: all it did from then on would happen in the wrong namespace.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        self.place.visit(work)
    }

    /// The addresses of the interfaces that are not loopback addresses, ascending. IPv6 link-local ones are included.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel's.
    pub fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let interfaces = self.run(getifaddrs)??;
        let address = |address: SockaddrStorage| -> Option<IpAddr> {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        };
        let mut addresses: Vec<_> = interfaces.filter_map(|interface| interface.address.and_then(address)).collect();
        addresses.retain(|address| !address.is_loopback());
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }
}

impl PartialEq for NetNs {
    fn eq(&self, other: &Self) -> bool {
        self.place.id == other.place.id
    }
}

impl Eq for NetNs {}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.fd.as_fd()
    }
}

impl Place {
    fn open(path: &Path) -> io::Result<Self> {
        // Whatever else the path may name, opening it must not wait, as for a FIFO's writer.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !sys::is_network_namespace(&file) {
            let message = format!("{} is not a network namespace", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let metadata = file.metadata()?;
        let id = NetNsId { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { fd: Arc::new(OwnedFd::from(file)), id })
    }

    /// Where the calling thread is.
    fn here() -> io::Result<Self> {
        if let Some(current) = CURRENT.with_borrow(Clone::clone) {
            return Ok(current);
        }
        let current = Self::open(Path::new(HERE))?;
        CURRENT.with_borrow_mut(|cached| *cached = Some(current.clone()));
        Ok(current)
    }

    fn enter(&self) -> Result<(), Errno> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
        CURRENT.with_borrow_mut(|current| *current = Some(self.clone()));
        Ok(())
    }

    fn visit<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = Self::here()?;
        if home.id == self.id {
            return Ok(work());
        }
        self.enter()?;
        let _back = Return(home);
        Ok(work())
    }
}

/// Takes the thread back to the namespace inside.
struct Return(Place);

impl Drop for Return {
    fn drop(&mut self) {
        if let Err(error) = self.0.enter() {
            tracing::error!(%error, "cannot return to the proxy's own network namespace: aborting");
            std::process::abort();
        }
    }
}

/// The cookie of the namespace that the calling thread is in.
fn own_cookie() -> io::Result<u64> {
    sys::namespace_cookie(Socket::new(Domain::UNIX, Type::DGRAM, None)?)
}
