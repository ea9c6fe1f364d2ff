//! The end-to-end tests: real processes in network namespaces on real links. They need root and a kernel with BPF, and
//! say so when they lack it: none is skipped.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod crash;
mod enrol;
mod harness;
mod shop;
mod wire;
mod world;
// In the works, each in a module of its own: `protocols` (2), `close` (3), `refusals` (6), `observe` (metrics, logs, admin).
