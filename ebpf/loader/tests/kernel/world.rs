//! A pod and the world outside, each a network namespace, joined by a veth pair; a cgroup for the pod's processes and
//! one for the agent's, which is this process.
#![allow(unsafe_code, reason = "forks, to make sockets that belong to another cgroup")]

use std::{
    fs::{self, File},
    io::{IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ambit_ebpf_loader::{Capture, Pod, Settings};
use nix::{
    cmsg_space, libc,
    sched::{CloneFlags, setns, unshare},
    sys::{
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
            socketpair,
        },
        wait::waitpid,
    },
    unistd::{ForkResult, fork, write},
};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) const POD_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(crate) const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// Another address of the pod.
pub(crate) const POD_SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
pub(crate) const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Nobody has these: who connects to them has been captured.
pub(crate) const FAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub(crate) const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

pub(crate) const OUTBOUND: u16 = 15001;
pub(crate) const INBOUND: u16 = 15006;
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything a test needs. Dropping it removes all of it.
pub(crate) struct World {
    pub(crate) pod: Netns,
    pub(crate) outside: Netns,
    pub(crate) settings: Settings,
    _agent: AgentCgroup,
}

impl World {
    pub(crate) fn new() -> Self {
        static WORLDS: AtomicUsize = AtomicUsize::new(0);
        let name = format!("ambit-kernel-{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let agent = AgentCgroup::enter();
        let cgroup = hierarchy().join(&name);
        fs::create_dir(&cgroup).unwrap();
        let (pod, outside) = (Netns::new(), Netns::new());
        // What is outside the pod is the node.
        let settings = Settings { cgroup, pins: Path::new("/sys/fs/bpf").join(&name), host: outside.cookie };
        pod.ip(&format!("link add eth0 type veth peer name eth0 netns {}", outside.path()));
        for (netns, v4, v6) in [(&pod, POD_V4, POD_V6), (&outside, OUTSIDE_V4, OUTSIDE_V6)] {
            netns.ip("link set eth0 up");
            netns.ip(&format!("addr add {v4}/24 dev eth0"));
            netns.ip(&format!("addr add {v6}/64 dev eth0 nodad"));
        }
        pod.ip(&format!("addr add {POD_SECOND}/24 dev eth0"));
        Self { pod, outside, settings, _agent: agent }
    }

    pub(crate) fn open(&self) -> Capture {
        Capture::open(&self.settings).unwrap()
    }

    /// A socket of a process in the pod.
    pub(crate) fn application(&self, domain: Domain) -> Socket {
        self.application_in(&self.pod, domain, Type::STREAM, 0)
    }

    /// A socket of a process of the pods' cgroup, in `netns`.
    pub(crate) fn application_in(&self, netns: &Netns, domain: Domain, kind: Type, protocol: i32) -> Socket {
        socket_of(&self.settings.cgroup, netns, domain, kind, protocol)
    }

    /// A connection of a process in the pod to `to`.
    pub(crate) fn dial(&self, to: impl Into<SocketAddr>) -> std::io::Result<TcpStream> {
        let to = to.into();
        let socket = self.application(Domain::for_address(to));
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(socket.into())
    }

    /// A connection from outside to `to`.
    pub(crate) fn dial_in(&self, to: impl Into<SocketAddr>) -> std::io::Result<TcpStream> {
        let to = to.into();
        let socket = self.outside.socket(Domain::for_address(to));
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(socket.into())
    }

    /// How many programs use this world's maps.
    pub(crate) fn programs(&self) -> usize {
        let maps = self.settings.pins.join(format!("v{}/maps", ambit_ebpf_abi::VERSION));
        let id = |name| aya::maps::MapData::from_pin(maps.join(name)).unwrap().info().unwrap().id();
        let ours: Vec<u32> = ambit_ebpf_abi::maps::ALL.into_iter().map(id).collect();
        let uses_ours = |program: &aya::programs::ProgramInfo| {
            program.map_ids().unwrap().unwrap_or_default().iter().any(|id| ours.contains(id))
        };
        aya::programs::loaded_programs().flatten().filter(uses_ours).count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.settings.pins);
        for inner in fs::read_dir(&self.settings.cgroup).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(inner.path());
        }
        if let Err(error) = fs::remove_dir(&self.settings.cgroup) {
            eprintln!("{} stays: {error}", self.settings.cgroup.display());
        }
    }
}

/// The pod's two listeners, as the agent opens them.
pub(crate) struct Listeners {
    pub(crate) outbound: TcpListener,
    pub(crate) inbound: TcpListener,
}

impl Listeners {
    pub(crate) fn open(netns: &Netns) -> Self {
        Self { outbound: netns.listen(OUTBOUND), inbound: netns.listen(INBOUND) }
    }

    /// The pod that has them.
    pub(crate) fn pod<'fd>(&'fd self, netns: &'fd Netns) -> Pod<'fd> {
        Pod {
            cookie: netns.cookie,
            netns: netns.fd.as_fd(),
            v4: Some(POD_V4),
            v6: Some(POD_V6),
            dns: true,
            addresses: vec![IpAddr::V4(POD_SECOND)],
            listener: self.inbound.as_fd(),
        }
    }
}

/// A network namespace that lives as long as this.
pub(crate) struct Netns {
    pub(crate) fd: File,
    pub(crate) cookie: u64,
}

impl Netns {
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let fd = File::open("/proc/thread-self/ns/net").unwrap();
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            (fd, cookie(socket.as_fd()))
        };
        let (fd, cookie) = std::thread::spawn(make).join().unwrap();
        let netns = Self { fd, cookie };
        netns.ip("link set lo up");
        netns
    }

    /// Runs `ip` inside it.
    pub(crate) fn ip(&self, arguments: &str) {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        let fd = self.fd.as_raw_fd();
        // SAFETY: setns is async-signal-safe, and the descriptor is open until the child has run.
        unsafe { command.pre_exec(move || Ok(setns(BorrowedFd::borrow_raw(fd), CloneFlags::CLONE_NEWNET)?)) };
        let output = command.output().unwrap();
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes a setting below /proc/sys/net.
    pub(crate) fn set(&self, name: &'static str, value: &'static str) {
        self.within(move || fs::write(Path::new("/proc/sys/net").join(name), value)).unwrap();
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Runs `act` inside it, in this process's cgroup.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.fd, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    /// A TCP socket inside it, of this process.
    pub(crate) fn socket(&self, domain: Domain) -> Socket {
        self.within(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap())
    }

    /// A dual-stack listener inside it, of this process.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        let socket = self.socket(Domain::IPV6);
        socket.set_only_v6(false).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).unwrap();
        socket.listen(128).unwrap();
        socket.into()
    }
}

/// The next connection, and its peer with IPv4 as IPv4. Fails if there is none.
pub(crate) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    assert!(readable(listener, PATIENCE), "no connection arrived");
    let (stream, peer) = listener.accept().unwrap();
    (stream, canonical(peer))
}

/// True if no connection is waiting. Handshakes over veth and loopback end before connect returns.
pub(crate) fn idle(listener: &TcpListener) -> bool {
    !readable(listener, Duration::ZERO)
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(crate) fn refused<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Waits for what the kernel does in its own time, such as freeing a program after a grace period.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn readable(listener: &TcpListener, patience: Duration) -> bool {
    let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor, which is open.
    unsafe { libc::poll(&raw mut poll, 1, patience.as_millis() as i32) == 1 }
}

fn cookie(socket: BorrowedFd<'_>) -> u64 {
    const SO_NETNS_COOKIE: i32 = 71;
    let (mut cookie, mut length) = (0_u64, 8);
    let value = (&raw mut cookie).cast();
    // SAFETY: the value has 8 bytes.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut length) };
    assert_eq!(result, 0);
    cookie
}

fn hierarchy() -> PathBuf {
    ambit_ebpf_loader::cgroup::root().unwrap()
}

/// This process's place in a cgroup of its own, as an agent has it; the last one out removes it.
struct AgentCgroup;

/// How many worlds this process has, and the cgroup it came from.
static WITHIN: Mutex<(usize, String)> = Mutex::new((0, String::new()));

impl AgentCgroup {
    fn enter() -> Self {
        let mut within = WITHIN.lock().unwrap();
        if within.0 == 0 {
            let membership = fs::read_to_string("/proc/self/cgroup").unwrap();
            let own = membership.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
            within.1 = own.to_owned();
            fs::create_dir(Self::path()).unwrap();
            fs::write(Self::path().join("cgroup.procs"), "0").unwrap();
        }
        within.0 += 1;
        Self
    }

    fn path() -> PathBuf {
        hierarchy().join(format!("ambit-kernel-{}", std::process::id()))
    }
}

impl Drop for AgentCgroup {
    fn drop(&mut self) {
        let Ok(mut within) = WITHIN.lock() else { return };
        within.0 -= 1;
        if within.0 == 0 {
            let _ = fs::write(hierarchy().join(&within.1).join("cgroup.procs"), "0");
            let _ = fs::remove_dir(Self::path());
        }
    }
}

/// Makes a socket in a child that has moved to `cgroup` and `netns`: a socket keeps the cgroup of its maker.
fn socket_of(cgroup: &Path, netns: &Netns, domain: Domain, kind: Type, protocol: i32) -> Socket {
    let members = File::options().write(true).open(cgroup.join("cgroup.procs")).unwrap();
    let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let (ours, theirs) = pair;
    // SAFETY: the child makes system calls only, and ends without returning.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let made = write(&members, b"0").and_then(|_| setns(&netns.fd, CloneFlags::CLONE_NEWNET)).and_then(|()| {
                // SAFETY: a plain system call, whose result is a descriptor or -1.
                let fd = unsafe { libc::socket(domain.into(), kind.into(), protocol) };
                nix::errno::Errno::result(fd)
            });
            let sent = made.and_then(|fd| {
                let message = ControlMessage::ScmRights(std::slice::from_ref(&fd));
                sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(b"s")], &[message], MsgFlags::empty(), None)
            });
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(sent.is_err())) }
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let socket = received(&ours);
            waitpid(child, None).unwrap();
            socket
        }
    }
}

fn received(channel: &OwnedFd) -> Socket {
    let mut byte = [0];
    let mut buffer = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(RawFd);
    let message =
        recvmsg::<()>(channel.as_raw_fd(), &mut buffer, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let fd = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the descriptor was just received, and nobody else owns it.
    unsafe { Socket::from_raw_fd(fd.expect("the child could not make a socket")) }
}
