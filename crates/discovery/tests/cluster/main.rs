//! A cluster's API as a running agent follows it, whatever goes wrong with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]
#![allow(clippy::disallowed_methods, reason = "the API and the agents of a test are no workers")]

mod access;
mod agent;
mod api;
mod away;
mod kept;
mod objects;
mod reading;
mod rights;
mod secrets;
mod trouble;
