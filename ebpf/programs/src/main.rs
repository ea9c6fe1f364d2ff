//! The hooks: which function runs where. Each is one call into the file that decides.
#![no_std]
#![no_main]

mod connect;
mod count;
mod datagram;
mod maps;
mod peer;
mod publish;
mod steer;

use aya_ebpf::{
    macros::{cgroup_sock_addr, sk_lookup, sock_ops},
    programs::{SkLookupContext, SockAddrContext, SockOpsContext},
};

/// An application dials over IPv4. Kernel 5.18 (`bpf_set_retval`).
#[cgroup_sock_addr(connect4)]
pub fn ambit_connect4(ctx: SockAddrContext) -> i32 {
    connect::v4(&ctx)
}

/// An application dials from an IPv6 socket, to a v4-mapped address perhaps. Kernel 5.18 (`bpf_set_retval`).
#[cgroup_sock_addr(connect6)]
pub fn ambit_connect6(ctx: SockAddrContext) -> i32 {
    connect::v6(&ctx)
}

/// An application asks an IPv4 socket for its peer. Kernel 5.8.
#[cgroup_sock_addr(getpeername4)]
pub fn ambit_peer4(ctx: SockAddrContext) -> i32 {
    peer::v4(&ctx)
}

/// An application asks an IPv6 socket for its peer. Kernel 5.8.
#[cgroup_sock_addr(getpeername6)]
pub fn ambit_peer6(ctx: SockAddrContext) -> i32 {
    peer::v6(&ctx)
}

/// An application sends a datagram from an IPv4 socket that is not connected, or to a v4-mapped address. Kernel 5.18
/// (`bpf_set_retval`).
#[cgroup_sock_addr(sendmsg4)]
pub fn ambit_send4(ctx: SockAddrContext) -> i32 {
    datagram::send4(&ctx)
}

/// An application sends a datagram from an IPv6 socket that is not connected. Kernel 5.18 (`bpf_set_retval`).
#[cgroup_sock_addr(sendmsg6)]
pub fn ambit_send6(ctx: SockAddrContext) -> i32 {
    datagram::send6(&ctx)
}

/// An application learns where a datagram on its IPv4 socket came from. Kernel 5.8 (socket storage).
#[cgroup_sock_addr(recvmsg4)]
pub fn ambit_receive4(ctx: SockAddrContext) -> i32 {
    datagram::receive4(&ctx)
}

/// An application learns where a datagram on its IPv6 socket came from. Kernel 5.8 (socket storage).
#[cgroup_sock_addr(recvmsg6)]
pub fn ambit_receive6(ctx: SockAddrContext) -> i32 {
    datagram::receive6(&ctx)
}

/// A socket is about to send its SYN, or closes. Kernel 5.15 (`bpf_get_netns_cookie`).
#[sock_ops]
pub fn ambit_publish(ctx: SockOpsContext) -> u32 {
    publish::changed(&ctx);
    0
}

/// A connection reaches a pod. Kernel 5.9.
#[sk_lookup]
pub fn ambit_steer(ctx: SkLookupContext) -> u32 {
    steer::incoming(&ctx)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// No helper used here asks for the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";
