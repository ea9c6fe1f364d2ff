//! The end-to-end tests: real processes in network namespaces on real links. They need root and a kernel with BPF, and
//! say so when they lack it: none is skipped.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells what it has measured"
)]

mod absent;
mod certificates;
mod close;
mod crash;
mod databases;
mod distribution;
mod dns;
mod enrol;
mod entries;
mod freeze;
mod harness;
mod held;
mod lockdown;
mod migration;
mod observe;
mod placement;
mod policy;
mod probes;
mod protocols;
mod refusals;
mod rollout;
mod scenarios;
mod services;
mod socks;
mod stateful;
mod untouched;
mod waypoint_binding;
mod wire;
mod world;
