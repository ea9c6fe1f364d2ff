//! Sockets against the kernel, in network namespaces of the tests' own. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and reports what it measured"
)]

mod close;
mod datagrams;
mod delivery;
mod load;
mod namespaces;
mod place;
mod sockets;
