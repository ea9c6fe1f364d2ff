//! Gives an application the peer that it dialled, where the socket's real peer is the proxy.

use ambit_ebpf_abi::{Address, Endpoint, takes_captured};
use aya_ebpf::programs::SockAddrContext;

use crate::{
    connect::{endpoint, network, write_ip6},
    maps::destination,
};

/// This hook's only allowed result.
const OK: i32 = 1;

/// `getpeername4`.
#[inline(always)]
pub(crate) fn v4(ctx: &SockAddrContext) -> i32 {
    if let Some(dialled) = dialled(ctx) {
        let sock_addr = ctx.sock_addr;
        // SAFETY: the context is valid for the whole program; both fields are writable. Volatile, for LLVM would
        // merge the two stores.
        unsafe {
            (&raw mut (*sock_addr).user_ip4).write_volatile(dialled.address.v4_word());
            (&raw mut (*sock_addr).user_port).write_volatile(network(dialled.port));
        }
    }
    OK
}

/// `getpeername6`.
#[inline(always)]
pub(crate) fn v6(ctx: &SockAddrContext) -> i32 {
    if let Some(dialled) = dialled(ctx) {
        let sock_addr = ctx.sock_addr;
        // SAFETY: as in `v4`.
        unsafe {
            write_ip6(sock_addr, dialled.address);
            (&raw mut (*sock_addr).user_port).write_volatile(network(dialled.port));
        }
    }
    OK
}

/// What the socket's application dialled, if its real peer is the proxy. Storage that outlived its connection (a
/// socket may connect again) is ignored, since then the port is another.
#[inline(always)]
fn dialled(ctx: &SockAddrContext) -> Option<Endpoint> {
    // SAFETY: the context is valid for the whole program; the verifier allows these fields for this hook.
    let (port, sk) = unsafe { ((*ctx.sock_addr).user_port, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if !takes_captured(endpoint(Address::UNSPECIFIED, port).port) || sk.is_null() {
        return None;
    }
    destination(sk)
}
