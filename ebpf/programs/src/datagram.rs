//! DNS queries over UDP: sends those of sockets that are not connected to the proxy, gives every answer the source that
//! the query was sent to, and tells the proxy, which asks by connecting, where a query wanted to go. It reads no query.

use ambit_ebpf_abi::{Address, DNS_PORT, Endpoint, Pod, QUERY_PORT};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple},
    helpers::generated::{bpf_get_netns_cookie, bpf_sk_lookup_udp, bpf_sk_release},
    programs::SockAddrContext,
};

use crate::{
    connect::{ALLOW, Verdict, conclude4, conclude6, endpoint, network, proxy, query, read_ip6, write_ip6},
    maps::{ENROLLED, destination},
};

/// `sendmsg4`.
#[inline(always)]
pub(crate) fn send4(ctx: &SockAddrContext) -> i32 {
    let sock_addr = ctx.sock_addr;
    // SAFETY: the context is valid for the whole program; the verifier allows these fields for this hook.
    let (word, port) = unsafe { ((*sock_addr).user_ip4, (*sock_addr).user_port) };
    conclude4(ctx, sent(ctx, endpoint(Address::mapped(word), port)))
}

/// `sendmsg6`.
#[inline(always)]
pub(crate) fn send6(ctx: &SockAddrContext) -> i32 {
    let sock_addr = ctx.sock_addr;
    // SAFETY: as in `send4`.
    let (address, port) = unsafe { (read_ip6(sock_addr), (*sock_addr).user_port) };
    conclude6(ctx, sent(ctx, endpoint(address, port)))
}

/// `recvmsg4`.
#[inline(always)]
pub(crate) fn receive4(ctx: &SockAddrContext) -> i32 {
    let sock_addr = ctx.sock_addr;
    // SAFETY: as in `send4`.
    let (word, port) = unsafe { ((*sock_addr).user_ip4, (*sock_addr).user_port) };
    if let Some(asked) = answered(ctx, endpoint(Address::mapped(word), port)) {
        // SAFETY: as in `send4`; both fields are writable. Volatile, for LLVM would merge the two stores.
        unsafe {
            (&raw mut (*sock_addr).user_ip4).write_volatile(asked.address.v4_word());
            (&raw mut (*sock_addr).user_port).write_volatile(network(asked.port));
        }
    }
    ALLOW
}

/// `recvmsg6`.
#[inline(always)]
pub(crate) fn receive6(ctx: &SockAddrContext) -> i32 {
    let sock_addr = ctx.sock_addr;
    // SAFETY: as in `send4`.
    let (address, port) = unsafe { (read_ip6(sock_addr), (*sock_addr).user_port) };
    if let Some(asked) = answered(ctx, endpoint(address, port)) {
        // SAFETY: as in `receive4`.
        unsafe {
            write_ip6(sock_addr, asked.address);
            (&raw mut (*sock_addr).user_port).write_volatile(network(asked.port));
        }
    }
    ALLOW
}

/// A datagram leaves a socket that is not connected.
#[inline(always)]
fn sent(ctx: &SockAddrContext, wanted: Endpoint) -> Verdict {
    if wanted.port != u32::from(QUERY_PORT) {
        return Verdict::Pass;
    }
    let (netns, sk) = origin(ctx);
    // SAFETY: the value is copied at once; userspace replaces entries as a whole.
    let Some(pod) = (unsafe { ENROLLED.get(netns) }).copied() else { return Verdict::Pass };
    if sk.is_null() { Verdict::Pass } else { query(sk, netns, &pod, wanted) }
}

/// What the application sent its query to, if `from` is the proxy. A pod that has left the mesh since still gets the
/// answers to what it asked before.
#[inline(always)]
fn answered(ctx: &SockAddrContext, from: Endpoint) -> Option<Endpoint> {
    if from.port != u32::from(DNS_PORT) {
        return None;
    }
    let (netns, sk) = origin(ctx);
    // SAFETY: as in `sent`.
    let stranger = unsafe { ENROLLED.get(netns) }.is_some_and(|pod| proxy(pod, &from.address) != from.address);
    if stranger || sk.is_null() {
        return None;
    }
    destination(sk)
}

/// The proxy asks where the UDP socket bound to `client` sends its queries: answered by connecting to that. Such a
/// socket is the only one of the pod that takes what the proxy sends to `client`.
#[inline(always)]
pub(crate) fn asked(ctx: &SockAddrContext, pod: &Pod, client: Endpoint) -> Verdict {
    let server = proxy(pod, &client.address);
    let (sport, dport) = (DNS_PORT.to_be(), (client.port as u16).to_be());
    let found = if client.address.is_v4() {
        let tuple = Tuple { saddr: [server.v4_word()], daddr: [client.address.v4_word()], sport, dport };
        look_up(ctx, &tuple)
    } else {
        look_up(ctx, &Tuple { saddr: server.0, daddr: client.address.0, sport, dport })
    };
    if found.is_null() {
        return Verdict::Refuse;
    }
    let wanted = destination(found);
    // SAFETY: the socket was found by `look_up` and is released exactly once.
    unsafe { bpf_sk_release(found.cast()) };
    match wanted {
        // A connection of one family cannot be turned into one of the other.
        Some(wanted) if wanted.address.is_v4() == client.address.is_v4() => Verdict::Redirect(wanted),
        _ => Verdict::Refuse,
    }
}

/// `struct bpf_sock_tuple` of one family, all in network byte order: from where, and to which socket.
#[repr(C)]
struct Tuple<A> {
    saddr: A,
    daddr: A,
    sport: u16,
    dport: u16,
}

/// The socket that takes what `tuple` says, in the network namespace of the context; null if there is none.
#[inline(always)]
fn look_up<A>(ctx: &SockAddrContext, tuple: &Tuple<A>) -> *mut bpf_sock {
    let (address, size) = (core::ptr::from_ref(tuple).cast_mut().cast::<bpf_sock_tuple>(), size_of::<Tuple<A>>());
    // SAFETY: the helper reads `size` bytes of the tuple, which outlives the call.
    unsafe { bpf_sk_lookup_udp(ctx.as_ptr(), address, size as u32, BPF_F_CURRENT_NETNS as u64, 0) }
}

/// The network namespace and the socket of the context.
#[inline(always)]
fn origin(ctx: &SockAddrContext) -> (u64, *mut bpf_sock) {
    // SAFETY: as in `send4`; the helper takes the context and nothing else.
    unsafe { (bpf_get_netns_cookie(ctx.as_ptr()), (*ctx.sock_addr).__bindgen_anon_1.sk) }
}
