//! The bpf(2) commands that aya keeps to itself: links by path, link update, and elements of maps as plain values. It
//! knows no program and no map.
#![allow(unsafe_code, reason = "system calls")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

use ambit_ebpf_abi::{Address, ConnectionKey, Endpoint, FlowKey, Pod};
pub(crate) use aya_obj::generated::bpf_attach_type as AttachType;
use aya_obj::generated::bpf_cmd as Command;
use aya_obj::generated::bpf_prog_type as ProgramType;
use nix::libc;

/// Values that are nothing but their bytes: any bytes are a value, and none is padding.
///
/// # Safety
/// The implementor says that this holds.
pub(crate) unsafe trait Plain: Copy + 'static {
    /// A value to be overwritten.
    const ZERO: Self;
}

macro_rules! plain {
    ($($type:ty = $zero:expr),+ $(,)?) => {
        // SAFETY: integers, and structs of integers whose sizes the ABI asserts to be the sums of their fields'.
        $(unsafe impl Plain for $type { const ZERO: Self = $zero; })+
    };
}
plain! {
    u32 = 0,
    u64 = 0,
    Address = Address::UNSPECIFIED,
    Endpoint = Endpoint::NONE,
    FlowKey = FlowKey::new(0, Endpoint::NONE),
    ConnectionKey = ConnectionKey { source: Endpoint::NONE, destination: Endpoint::NONE },
    Pod = Pod { v4: Address::UNSPECIFIED, v6: Address::UNSPECIFIED, dns: 0 },
}

/// Opens what is pinned at `path`.
pub(crate) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the path outlives the call; the result is a new descriptor that nobody else owns.
    unsafe { bpf(Command::BPF_OBJ_GET, &mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Pins `object` at `path`, which must not exist.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { path: path.as_ptr() as u64, fd: object.as_raw_fd(), flags: 0 };
    // SAFETY: the path and the descriptor outlive the call.
    unsafe { bpf(Command::BPF_OBJ_PIN, &mut attributes).map(drop) }
}

/// Attaches `program` to `target` (a cgroup or a network namespace) for as long as the result or a pin of it lives.
pub(crate) fn link(program: BorrowedFd<'_>, target: BorrowedFd<'_>, hook: AttachType) -> io::Result<OwnedFd> {
    let mut attributes =
        LinkCreate { program: program.as_raw_fd(), target: target.as_raw_fd(), hook: hook as u32, flags: 0 };
    // SAFETY: the descriptors outlive the call; the result is a new descriptor that nobody else owns.
    unsafe { bpf(Command::BPF_LINK_CREATE, &mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Loads a program for reuseport groups that leaves every choice to the kernel, and has it move connections over as well.
pub(crate) fn load_migrating() -> io::Result<OwnedFd> {
    // `r0 = SK_PASS; exit`, without having selected anybody.
    let instructions = [instruction(0xb7, 1), instruction(0x95, 0)];
    let mut attributes = ProgramLoad {
        kind: ProgramType::BPF_PROG_TYPE_SK_REUSEPORT as u32,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        hook: AttachType::BPF_SK_REUSEPORT_SELECT_OR_MIGRATE as u32,
        ..ProgramLoad::default()
    };
    // SAFETY: instructions and license outlive the call; the result is a new descriptor that nobody else owns.
    unsafe { bpf(Command::BPF_PROG_LOAD, &mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Has the reuseport group of `socket` run `program`.
pub(crate) fn attach_to_group(socket: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let program = program.as_raw_fd();
    let (value, length) = (ptr::from_ref(&program).cast(), size_of::<i32>() as libc::socklen_t);
    // SAFETY: `value` has `length` bytes.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts `program` in the place of the one that `link` runs, at once.
pub(crate) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkUpdate { link: link.as_raw_fd(), program: program.as_raw_fd(), flags: 0, old_program: 0 };
    // SAFETY: the descriptors outlive the call.
    unsafe { bpf(Command::BPF_LINK_UPDATE, &mut attributes).map(drop) }
}

/// Detaches `link` now. Closing or unpinning a link detaches it too, but some time later.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkDetach { link: link.as_raw_fd() };
    // SAFETY: the descriptor outlives the call.
    unsafe { bpf(Command::BPF_LINK_DETACH, &mut attributes).map(drop) }
}

/// Waits until no program that was running at the call, perhaps one detached just before, still runs
/// (`membarrier(MEMBARRIER_CMD_GLOBAL)`, which waits for an RCU grace period; some 10 ms).
pub(crate) fn quiesce() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes no pointer.
    let outcome = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if outcome != 0 {
        // Kernels without it, or with nohz_full CPUs, leave only time to wait for: a program runs microseconds.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// What `link` is attached to: a cgroup's id or a network namespace's inode; 0 once that is gone.
pub(crate) fn link_target(link: BorrowedFd<'_>, hook: AttachType) -> io::Result<u64> {
    let mut info = LinkInfo::default();
    let mut attributes =
        Info { fd: link.as_raw_fd(), length: size_of::<LinkInfo>() as u32, info: ptr::from_mut(&mut info) as u64 };
    // SAFETY: the kernel writes at most `length` bytes, which is what `info` has.
    unsafe { bpf(Command::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)? };
    // A network namespace's inode takes half of the word that a cgroup's id fills; the other half is the hook.
    Ok(if hook == AttachType::BPF_SK_LOOKUP { u64::from(info.target[0]) } else { word(info.target) })
}

/// Copies the value of `key` into `value`; false if there is none.
///
/// # Safety
/// `K` is the map's key and `V` its value; for a per-CPU map `value` begins a slice of one 64-bit value a possible CPU.
pub(crate) unsafe fn look_up<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: *mut V) -> io::Result<bool> {
    // SAFETY: the caller's promise.
    unsafe { element(Command::BPF_MAP_LOOKUP_ELEM, map, ptr::from_ref(key), value) }
}

/// Copies the value of `key` into `value` and removes it, as one step; false if there is none.
///
/// # Safety
/// `K` is the map's key and `V` its value.
pub(crate) unsafe fn take<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &mut V) -> io::Result<bool> {
    // SAFETY: the caller's promise.
    unsafe { element(Command::BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, ptr::from_ref(key), ptr::from_mut(value)) }
}

/// Inserts or replaces the value of `key`.
///
/// # Safety
/// `K` is the map's key and `V` its value.
pub(crate) unsafe fn insert<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let value = ptr::from_ref(value).cast_mut();
    // SAFETY: the caller's promise; this command only reads the value.
    unsafe { element(Command::BPF_MAP_UPDATE_ELEM, map, ptr::from_ref(key), value).map(drop) }
}

/// Removes `key`; false if it was not there.
///
/// # Safety
/// `K` is the map's key.
pub(crate) unsafe fn remove<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    // SAFETY: the caller's promise; this command reads no value.
    unsafe { element(Command::BPF_MAP_DELETE_ELEM, map, ptr::from_ref(key), ptr::null_mut::<u32>()) }
}

/// The key after `key` (the first one after `None`); `None` after the last.
///
/// # Safety
/// `K` is the map's key.
pub(crate) unsafe fn next_key<K: Plain>(map: BorrowedFd<'_>, key: Option<&K>) -> io::Result<Option<K>> {
    let mut next = K::ZERO;
    let key = key.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the caller's promise; the kernel writes the next key where the other commands have the value.
    let found = unsafe { element(Command::BPF_MAP_GET_NEXT_KEY, map, key, ptr::from_mut(&mut next))? };
    Ok(found.then_some(next))
}

/// The kernel's number for `socket`, unique as long as the machine runs.
pub(crate) fn socket_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    let value = ptr::from_mut(&mut cookie).cast();
    // SAFETY: `value` has `length` bytes.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_COOKIE, value, &raw mut length) };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

unsafe fn element<K, V>(command: Command, map: BorrowedFd<'_>, key: *const K, value: *mut V) -> io::Result<bool> {
    let mut attributes = Element { map: map.as_raw_fd(), padding: 0, key: key as u64, value: value as u64, flags: 0 };
    // SAFETY: the callers' promise.
    match unsafe { bpf(command, &mut attributes) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// # Safety
/// `attributes` are those of `command`, and every address in them is good for what the command does.
unsafe fn bpf<T>(command: Command, attributes: &mut T) -> io::Result<i32> {
    let attributes = ptr::from_mut(attributes);
    // SAFETY: the caller's promise. A kernel takes attributes shorter than its own.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn word([low, high]: [u32; 2]) -> u64 {
    let (low, high) = if cfg!(target_endian = "big") { (high, low) } else { (low, high) };
    u64::from(high) << 32 | u64::from(low)
}

#[repr(C)]
struct Object {
    path: u64,
    fd: i32,
    flags: u32,
}

/// An instruction with an immediate value, for register 0.
const fn instruction(code: u64, value: u64) -> u64 {
    if cfg!(target_endian = "big") { code << 56 | value } else { code | value << 32 }
}

/// As far as the field for which it is used here.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u32; 4],
    interface: u32,
    hook: u32,
}

#[repr(C)]
struct LinkCreate {
    program: i32,
    target: i32,
    hook: u32,
    flags: u32,
}

#[repr(C)]
struct LinkDetach {
    link: i32,
}

#[repr(C)]
struct LinkUpdate {
    link: i32,
    program: i32,
    flags: u32,
    old_program: i32,
}

#[repr(C)]
struct Info {
    fd: i32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    target: [u32; 2],
}

#[repr(C)]
struct Element {
    map: i32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// True if `path` is on a file system of the kind `magic` (statfs(2)).
pub(crate) fn is_on(path: &Path, magic: nix::sys::statfs::FsType) -> io::Result<bool> {
    Ok(nix::sys::statfs::statfs(path)?.filesystem_type() == magic)
}

/// Opens a directory as what bpf(2) takes for a cgroup.
pub(crate) fn directory(path: &Path) -> io::Result<OwnedFd> {
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    file.as_fd().try_clone_to_owned()
}
