//! What VirtualServices mean, one row for each behaviour, written from the text of Istio's API (networking.istio.io,
//! VirtualService) and, for the words that it takes over, Envoy's: from the object as it is written to what becomes of a
//! request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod delegates;
mod effects;
mod hosts;
mod matching;
mod resilience;
mod rewriting;
mod streams;
mod support;
