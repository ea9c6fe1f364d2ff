//! Publishes, before a SYN leaves, where its captured connection wanted to go, and which connections are the proxy's
//! own; takes both back when the socket closes, unless the proxy may still have to accept what was said before. Publishes
//! as well what pods with the node's own network open, since only here can they be told from the kubelet.

use ambit_ebpf_abi::{Address, ConnectionKey, Counter, Endpoint, FlowKey, MARK_APPLICATION, takes_captured};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
        BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2, bpf_sock,
    },
    helpers::generated::bpf_get_netns_cookie,
    programs::SockOpsContext,
};

use crate::{
    count::count,
    maps::{FLOWS, HOST_PODS, OWN, destination, is_host},
};

const AF_INET: u32 = 2;
/// Insert or replace.
const ANY: u64 = 0;

/// Whose connection a socket carries.
enum Owner {
    /// An application's, captured, with what it dialled.
    Application(Endpoint),
    /// The proxy's, towards an application.
    Proxy,
}

/// A socket of the cgroup changed its state.
#[inline(always)]
pub(crate) fn changed(ctx: &SockOpsContext) {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(ctx),
        _ => {}
    }
}

/// The addresses are known now and the SYN has not left. A failure to publish is not a leak: `steer` refuses a
/// connection to the outbound port that is not in `flows`.
#[inline(always)]
fn connecting(ctx: &SockOpsContext) {
    match owner(ctx) {
        None => return host_pod(ctx),
        Some(Owner::Application(wanted)) => {
            if FLOWS.insert(flow_key(ctx), wanted, ANY).is_err() {
                count(Counter::FlowsFull);
            }
        }
        Some(Owner::Proxy) => {
            if OWN.insert(connection_key(ctx), 0, ANY).is_err() {
                count(Counter::OwnFull);
            }
        }
    }
    // Fails for no flag that this kernel knows; without it the maps forget by userspace or by age.
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// A process below the cgroup opens a connection that is not captured. It is not taken back: userspace does, when it
/// accepts, and what goes elsewhere is forgotten by age. Taken back at the close it would be missed by who accepts later.
#[inline(always)]
fn host_pod(ctx: &SockOpsContext) {
    // SAFETY: as in `flow_key`.
    if is_host(unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }) {
        // Without memory for it, it is like any other connection from the node.
        let _ = HOST_PODS.insert(connection_key(ctx), 0, ANY);
    }
}

#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    match owner(ctx) {
        None => {}
        // The application has said all it had to say and left; what it said may still wait to be accepted. Userspace
        // takes the destination then, and should that never come, the next connection from this port replaces it.
        Some(Owner::Application(_)) if matches!(ctx.arg(0), BPF_TCP_FIN_WAIT1 | BPF_TCP_FIN_WAIT2) => {}
        // Mostly gone already: userspace takes it when it accepts.
        Some(Owner::Application(_)) => drop(FLOWS.remove(flow_key(ctx))),
        Some(Owner::Proxy) => drop(OWN.remove(connection_key(ctx))),
    }
}

#[inline(always)]
fn owner(ctx: &SockOpsContext) -> Option<Owner> {
    // SAFETY: the context is valid for the whole program.
    let sk: *mut bpf_sock = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    if takes_captured(remote_port(ctx))
        && let Some(wanted) = destination(sk)
    {
        return Some(Owner::Application(wanted));
    }
    // SAFETY: `sk` is not null.
    let mark = unsafe { (*sk).mark };
    (mark == MARK_APPLICATION).then_some(Owner::Proxy)
}

#[inline(always)]
fn flow_key(ctx: &SockOpsContext) -> FlowKey {
    // SAFETY: the helper takes the context and nothing else.
    FlowKey::new(unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }, local(ctx))
}

#[inline(always)]
fn connection_key(ctx: &SockOpsContext) -> ConnectionKey {
    ConnectionKey { source: local(ctx), destination: remote(ctx) }
}

#[inline(always)]
fn local(ctx: &SockOpsContext) -> Endpoint {
    // SAFETY: the context is valid for the whole program; word by word, as the verifier asks.
    let address = unsafe { address(ctx, ctx.local_ip4(), (&raw const (*ctx.ops).local_ip6).cast()) };
    Endpoint { address, port: ctx.local_port() }
}

#[inline(always)]
fn remote(ctx: &SockOpsContext) -> Endpoint {
    // SAFETY: as in `local`.
    let address = unsafe { address(ctx, ctx.remote_ip4(), (&raw const (*ctx.ops).remote_ip6).cast()) };
    Endpoint { address, port: remote_port(ctx) }
}

/// The context has this port in network byte order, in the upper half of the word.
#[inline(always)]
fn remote_port(ctx: &SockOpsContext) -> u32 {
    u32::from_be(ctx.remote_port())
}

/// Both forms are read before the family decides: LLVM would turn one read in each branch into one read through a
/// computed pointer, which the verifier refuses.
///
/// # Safety
/// `words` points to one of the context's four-word addresses.
#[inline(always)]
unsafe fn address(ctx: &SockOpsContext, word: u32, words: *const u32) -> Address {
    // SAFETY: the caller's promise.
    let v6 = unsafe {
        Address([
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ])
    };
    if ctx.family() == AF_INET { Address::mapped(word) } else { v6 }
}
