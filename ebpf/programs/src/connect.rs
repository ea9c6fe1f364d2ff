//! Decides whether a connection that an application opens, or a DNS query, is captured, and redirects it to the proxy's listener in the
//! application's own network namespace. It knows neither services nor policies.

use ambit_ebpf_abi::{
    Address, Counter, DNS_PORT, Endpoint, MARK_APPLICATION, MARK_ASK, MARK_PROXY, OUTBOUND_PORT, Pod, QUERY_PORT,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock,
    helpers::generated::{bpf_get_netns_cookie, bpf_set_retval},
    programs::SockAddrContext,
};

use crate::{
    count::count,
    datagram,
    maps::{ADDRESSES, ENROLLED, forget, remember},
};

const TCP: u32 = 6;
const UDP: u32 = 17;
const ECONNREFUSED: i32 = 111;
/// What a program of this hook returns to let a connect go on, as it stands now in the context.
pub(crate) const ALLOW: i32 = 1;
const DENY: i32 = 0;

/// What becomes of a connect, or of a datagram.
pub(crate) enum Verdict {
    /// It goes where the application wanted.
    Pass,
    /// It goes there instead.
    Redirect(Endpoint),
    /// It fails, since it could only go on in clear.
    Refuse,
}

/// `connect4`.
#[inline(always)]
pub(crate) fn v4(ctx: &SockAddrContext) -> i32 {
    let sock_addr = ctx.sock_addr;
    // SAFETY: the context is valid for the whole program; the verifier allows these fields for this hook.
    let (word, port) = unsafe { ((*sock_addr).user_ip4, (*sock_addr).user_port) };
    conclude4(ctx, decide(ctx, endpoint(Address::mapped(word), port)))
}

/// Carries out what was decided of an IPv4 destination.
#[inline(always)]
pub(crate) fn conclude4(ctx: &SockAddrContext, verdict: Verdict) -> i32 {
    let sock_addr = ctx.sock_addr;
    match verdict {
        Verdict::Pass => ALLOW,
        Verdict::Refuse => refuse(),
        Verdict::Redirect(to) => {
            // SAFETY: as in `v4`; both fields are writable. Volatile, for LLVM would merge the two stores.
            unsafe {
                (&raw mut (*sock_addr).user_ip4).write_volatile(to.address.v4_word());
                (&raw mut (*sock_addr).user_port).write_volatile(network(to.port));
            }
            ALLOW
        }
    }
}

/// `connect6`, v4-mapped destinations included.
#[inline(always)]
pub(crate) fn v6(ctx: &SockAddrContext) -> i32 {
    let sock_addr = ctx.sock_addr;
    // SAFETY: as in `v4`.
    let (address, port) = unsafe { (read_ip6(sock_addr), (*sock_addr).user_port) };
    conclude6(ctx, decide(ctx, endpoint(address, port)))
}

/// Carries out what was decided of an IPv6 destination.
#[inline(always)]
pub(crate) fn conclude6(ctx: &SockAddrContext, verdict: Verdict) -> i32 {
    let sock_addr = ctx.sock_addr;
    match verdict {
        Verdict::Pass => ALLOW,
        Verdict::Refuse => refuse(),
        Verdict::Redirect(to) => {
            // SAFETY: as in `v4`.
            unsafe {
                write_ip6(sock_addr, to.address);
                (&raw mut (*sock_addr).user_port).write_volatile(network(to.port));
            }
            ALLOW
        }
    }
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, wanted: Endpoint) -> Verdict {
    // SAFETY: as in `v4`; the helper takes the context and nothing else.
    let (protocol, netns, sk) = unsafe {
        ((*ctx.sock_addr).protocol, bpf_get_netns_cookie(ctx.as_ptr()), (*ctx.sock_addr).__bindgen_anon_1.sk)
    };
    // SAFETY: the value is copied at once; userspace replaces entries as a whole.
    let Some(pod) = (unsafe { ENROLLED.get(netns) }).copied() else { return Verdict::Pass };
    if sk.is_null() {
        return Verdict::Pass;
    }
    if protocol == UDP {
        return if mark(sk) == MARK_ASK { datagram::asked(ctx, &pod, wanted) } else { query(sk, netns, &pod, wanted) };
    }
    if protocol != TCP {
        return Verdict::Pass;
    }
    capture(sk, netns, &pod, wanted)
}

/// Captures DNS queries to `wanted`, unless the pod opted out.
#[inline(always)]
pub(crate) fn query(sk: *mut bpf_sock, netns: u64, pod: &Pod, wanted: Endpoint) -> Verdict {
    if is_dns(pod, &wanted) { capture(sk, netns, pod, wanted) } else { Verdict::Pass }
}

#[inline(always)]
fn is_dns(pod: &Pod, wanted: &Endpoint) -> bool {
    pod.dns != 0 && wanted.port == u32::from(QUERY_PORT)
}

#[inline(always)]
fn capture(sk: *mut bpf_sock, netns: u64, pod: &Pod, wanted: Endpoint) -> Verdict {
    if is_proxy(sk) {
        count(Counter::Proxy);
        return Verdict::Pass;
    }
    // SAFETY: `sk` is the context's socket and not null.
    let protocol = unsafe { (*sk).protocol };
    if stays(netns, &wanted.address) {
        // An answer to what a UDP socket asked before may still be on its way.
        if protocol == TCP {
            forget(sk);
        }
        count(Counter::Local);
        return Verdict::Pass;
    }
    if !remember(sk, wanted) {
        count(Counter::StorageFull);
        return Verdict::Refuse;
    }
    count(if protocol == UDP { Counter::Query } else { Counter::Captured });
    let port = u32::from(if is_dns(pod, &wanted) { DNS_PORT } else { OUTBOUND_PORT });
    Verdict::Redirect(Endpoint { address: proxy(pod, &wanted.address), port })
}

#[inline(always)]
fn is_proxy(sk: *mut bpf_sock) -> bool {
    matches!(mark(sk), MARK_PROXY | MARK_APPLICATION | MARK_ASK)
}

#[inline(always)]
fn mark(sk: *mut bpf_sock) -> u32 {
    // SAFETY: `sk` is the context's socket and not null.
    unsafe { (*sk).mark }
}

/// True if a connection from the network namespace `netns` to `destination` never leaves it.
#[inline(always)]
fn stays(netns: u64, destination: &Address) -> bool {
    // SAFETY: as for `ENROLLED`.
    let owner = unsafe { ADDRESSES.get(destination) };
    destination.is_loopback() || destination.is_unspecified() || owner.is_some_and(|owner| *owner == netns)
}

/// Where the proxy listens for `pod`: on the pod's own address, which keeps the application's `getsockname` true.
#[inline(always)]
pub(crate) fn proxy(pod: &Pod, destination: &Address) -> Address {
    let (own, loopback) =
        if destination.is_v4() { (pod.v4, Address::LOOPBACK_V4) } else { (pod.v6, Address::LOOPBACK_V6) };
    if own.is_unspecified() { loopback } else { own }
}

#[inline(always)]
fn refuse() -> i32 {
    // SAFETY: takes a number. Without it the application would see EPERM.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    DENY
}

/// A port as the context takes it.
#[inline(always)]
pub(crate) fn network(port: u32) -> u32 {
    u32::from((port as u16).to_be())
}

/// `port` is as the context has it: 16 bits in network byte order.
#[inline(always)]
pub(crate) fn endpoint(address: Address, port: u32) -> Endpoint {
    Endpoint { address, port: u32::from(u16::from_be(port as u16)) }
}

/// Reads `user_ip6` word by word: the verifier refuses wider loads.
///
/// # Safety
/// `sock_addr` is the context of a hook of an IPv6 socket.
#[inline(always)]
pub(crate) unsafe fn read_ip6(sock_addr: *mut aya_ebpf::bindings::bpf_sock_addr) -> Address {
    // SAFETY: the caller's promise.
    unsafe {
        let words = (&raw const (*sock_addr).user_ip6).cast::<u32>();
        Address([
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ])
    }
}

/// Writes `user_ip6` word by word.
///
/// # Safety
/// As [`read_ip6`].
#[inline(always)]
pub(crate) unsafe fn write_ip6(sock_addr: *mut aya_ebpf::bindings::bpf_sock_addr, address: Address) {
    let Address([a, b, c, d]) = address;
    // SAFETY: the caller's promise.
    unsafe {
        let words = (&raw mut (*sock_addr).user_ip6).cast::<u32>();
        words.write_volatile(a);
        words.add(1).write_volatile(b);
        words.add(2).write_volatile(c);
        words.add(3).write_volatile(d);
    }
}
