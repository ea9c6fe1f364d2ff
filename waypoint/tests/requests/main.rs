//! The waypoint as agents and pods meet it: the real program in a network namespace of its own, tunnels of clients on one
//! side, servers on the other. Needs the right to make a network namespace (root).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic"
)]

mod basics;
mod bytes;
mod changes;
mod copies;
mod destinations;
mod gateway;
mod gateway_routes;
mod hostile;
mod limits;
mod policy;
mod resilience;
mod routing;
mod streams;
mod support;
mod tls;
mod tokens;
