//! The programs and the loader in a real kernel: root, network namespaces and cgroups of our own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by panicking, in its helpers as well"
)]

mod dns;
mod enrolment;
mod host_pods;
mod inbound;
mod migration;
mod outbound;
mod restart;
mod world;
