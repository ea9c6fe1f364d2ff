//! The maps that the hooks share with one another and with userspace (names and meaning: `ambit_ebpf_abi::maps`).

use core::{ffi::c_void, ptr};

use ambit_ebpf_abi::{
    Address, ConnectionKey, Counter, Endpoint, FlowKey, MAX_ADDRESSES, MAX_FLOWS, MAX_HOST_PODS, MAX_OWN, MAX_PODS, Pod,
};
use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_SOCKHASH, bpf_sock},
    btf_maps::{HashMap, LruHashMap, PerCpuArray, SkStorage},
    helpers::generated::{bpf_map_lookup_elem, bpf_sk_release, bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::btf_map,
};

#[btf_map(name = "enrolled")]
pub(crate) static ENROLLED: HashMap<u64, Pod, MAX_PODS> = HashMap::new();

#[btf_map(name = "addresses")]
pub(crate) static ADDRESSES: HashMap<Address, u64, MAX_ADDRESSES> = HashMap::new();

/// Mostly empty: elements are allocated as they come, which saves 7 MB.
#[btf_map(name = "flows")]
pub(crate) static FLOWS: HashMap<FlowKey, Endpoint, MAX_FLOWS, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

#[btf_map(name = "own")]
pub(crate) static OWN: LruHashMap<ConnectionKey, u32, MAX_OWN> = LruHashMap::new();

#[btf_map(name = "host_pods")]
pub(crate) static HOST_PODS: LruHashMap<ConnectionKey, u32, MAX_HOST_PODS> = LruHashMap::new();

/// The loader replaces the value.
#[unsafe(no_mangle)]
static HOST_NETNS: u64 = 0;

/// True if `netns` is the node's own network namespace and pods can be told from the node's processes there.
#[inline(always)]
pub(crate) fn is_host(netns: u64) -> bool {
    // SAFETY: it is a static. Volatile, for LLVM would take the value that is written here.
    let host = unsafe { ptr::read_volatile(&raw const HOST_NETNS) };
    host != 0 && host == netns
}

#[btf_map(name = "listeners")]
pub(crate) static LISTENERS: Listeners = Listeners::new();

#[btf_map(name = "counters")]
pub(crate) static COUNTERS: PerCpuArray<u64, { Counter::COUNT }> = PerCpuArray::new();

#[btf_map(name = "destinations")]
static DESTINATIONS: SkStorage<Endpoint> = SkStorage::new();

/// Where the captured socket `sk` wanted to go.
#[inline(always)]
pub(crate) fn destination(sk: *mut bpf_sock) -> Option<Endpoint> {
    // SAFETY: `sk` is a socket of the context that is not null; a value found lives as long as the socket.
    unsafe {
        let found = bpf_sk_storage_get(destinations(), sk.cast(), ptr::null_mut(), 0).cast::<Endpoint>();
        found.as_ref().copied()
    }
}

/// Remembers where `sk` wants to go; false if there is no memory for it.
#[inline(always)]
pub(crate) fn remember(sk: *mut bpf_sock, wanted: Endpoint) -> bool {
    let mut fresh = Endpoint::NONE;
    let flags = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: as in `destination`; `fresh` outlives the call that copies it.
    unsafe {
        let slot = bpf_sk_storage_get(destinations(), sk.cast(), ptr::from_mut(&mut fresh).cast(), flags);
        match slot.cast::<Endpoint>().as_mut() {
            Some(slot) => *slot = wanted,
            None => return false,
        }
    }
    true
}

/// Forgets where `sk` once wanted to go.
#[inline(always)]
pub(crate) fn forget(sk: *mut bpf_sock) {
    // SAFETY: as in `destination`. A socket that has no storage is left as it is.
    unsafe { bpf_sk_storage_delete(destinations(), sk.cast()) };
}

#[inline(always)]
fn destinations() -> *mut c_void {
    ptr::from_ref(&DESTINATIONS).cast_mut().cast()
}

/// A SOCKHASH with 64-bit values, which lets userspace read a socket's cookie back; aya's has 32-bit ones.
#[repr(C)]
pub(crate) struct Listeners {
    r#type: *const [i32; BPF_MAP_TYPE_SOCKHASH as usize],
    key: *const u64,
    value: *const u64,
    max_entries: *const [i32; MAX_PODS],
    map_flags: *const [i32; 0],
}

// SAFETY: the fields are placeholders that the loader reads as types; nothing dereferences them.
unsafe impl Sync for Listeners {}

impl Listeners {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// Lends the listener of the network namespace `netns` to `use_it`; `None` if there is none.
    #[inline(always)]
    pub(crate) fn with<R>(&self, netns: u64, use_it: impl FnOnce(*mut c_void) -> R) -> Option<R> {
        let map = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the key is a `u64` as the map's definition says; the socket found is released exactly once.
        unsafe {
            let socket = bpf_map_lookup_elem(map, ptr::from_ref(&netns).cast());
            if socket.is_null() {
                return None;
            }
            let result = use_it(socket);
            bpf_sk_release(socket);
            Some(result)
        }
    }
}
