//! Decides which socket takes a connection that reaches an enrolled pod: the proxy's plaintext listener, or the one
//! that the kernel would choose. With no listener the connection is refused, never handed to the application.

use ambit_ebpf_abi::{Address, ConnectionKey, Counter, DNS_PORT, Endpoint, FlowKey, HBONE_PORT, takes_captured};
use aya_ebpf::{
    EbpfContext as _,
    bindings::sk_action::{SK_DROP, SK_PASS},
    helpers::generated::bpf_sk_assign,
    programs::SkLookupContext,
};

use crate::{
    count::count,
    maps::{ADDRESSES, FLOWS, LISTENERS, OWN},
};

const TCP: u32 = 6;
const UDP: u32 = 17;
const AF_INET: u32 = 2;

/// No established socket matches: a SYN, or the last packet of a handshake under SYN cookies.
#[inline(always)]
pub(crate) fn incoming(ctx: &SkLookupContext) -> u32 {
    // SAFETY: the context is valid for the whole program; the verifier allows these fields.
    let protocol = unsafe { (*ctx.lookup).protocol };
    let (local, remote) = (local(ctx), remote(ctx));
    if protocol == UDP && local.port == u32::from(DNS_PORT) {
        return query(&local.address, &remote.address);
    }
    if protocol != TCP || local.address.is_loopback() || local.port == u32::from(HBONE_PORT) {
        return SK_PASS;
    }
    let to_itself = local.address == remote.address;
    if to_itself && !takes_captured(local.port) {
        return SK_PASS;
    }
    let Some(netns) = owner(&local.address) else {
        return refuse(Counter::NoListener);
    };
    if takes_captured(local.port) {
        return outbound(netns, remote);
    }
    if OWN.get_ptr(ConnectionKey { source: remote, destination: local }).is_some() {
        count(Counter::Relayed);
        return SK_PASS;
    }
    if let Some(other) = owner(&remote.address)
        && other == netns
    {
        // From the pod to itself: the kernel may take another of its addresses for the source.
        return SK_PASS;
    }
    // The listeners of a reuseport group share the connections among themselves.
    // SAFETY: the helper takes the context and a socket that is held during the call.
    match LISTENERS.with(netns, |socket| unsafe { bpf_sk_assign(ctx.as_ptr().cast(), socket, 0) }) {
        Some(0) => {
            count(Counter::Steered);
            SK_PASS
        }
        _ => refuse(Counter::NoListener),
    }
}

/// The DNS server of a pod answers nobody but the pod.
#[inline(always)]
fn query(local: &Address, remote: &Address) -> u32 {
    let same = local == remote || local.is_loopback() || owner(local).is_some_and(|netns| owner(remote) == Some(netns));
    if same { SK_PASS } else { refuse(Counter::Stray) }
}

/// The listeners of what is captured take captured connections only.
#[inline(always)]
fn outbound(netns: u64, remote: Endpoint) -> u32 {
    match FLOWS.get_ptr(FlowKey::new(netns, remote)) {
        Some(_) => SK_PASS,
        None => refuse(Counter::Stray),
    }
}

#[inline(always)]
fn refuse(why: Counter) -> u32 {
    count(why);
    SK_DROP
}

/// The network namespace that an address of an enrolled pod is in.
#[inline(always)]
fn owner(address: &Address) -> Option<u64> {
    // SAFETY: the value is copied at once; userspace replaces entries as a whole.
    unsafe { ADDRESSES.get(address) }.copied()
}

#[inline(always)]
fn local(ctx: &SkLookupContext) -> Endpoint {
    let lookup = ctx.lookup;
    // SAFETY: the context is valid for the whole program.
    unsafe {
        let address =
            address((*lookup).family, &raw const (*lookup).local_ip4, (&raw const (*lookup).local_ip6).cast());
        Endpoint { address, port: (*lookup).local_port }
    }
}

#[inline(always)]
fn remote(ctx: &SkLookupContext) -> Endpoint {
    let lookup = ctx.lookup;
    // SAFETY: as in `local`.
    unsafe {
        let address =
            address((*lookup).family, &raw const (*lookup).remote_ip4, (&raw const (*lookup).remote_ip6).cast());
        Endpoint { address, port: u32::from(u16::from_be((*lookup).remote_port)) }
    }
}

/// Both forms are read before the family decides: LLVM would turn one read in each branch into one read through a
/// computed pointer, which the verifier refuses.
///
/// # Safety
/// `word` and `words` point to an address of the context, in its IPv4 and its IPv6 form.
#[inline(always)]
unsafe fn address(family: u32, word: *const u32, words: *const u32) -> Address {
    // SAFETY: the caller's promise; word by word, as the verifier asks.
    let (v4, v6) = unsafe {
        (
            word.read_volatile(),
            Address([
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ]),
        )
    };
    if family == AF_INET { Address::mapped(v4) } else { v6 }
}
