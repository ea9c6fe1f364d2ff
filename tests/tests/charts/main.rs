//! Tests of the charts and of the rules in the definitions that they bring: what they become for every platform, that Kubernetes' schemas and Helm's linter take it, that wrong
//! values are refused, and that a release comes and goes on a real API server. They need Python with `venv`, and some of them
//! root and a built Kubernetes.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cluster;
mod golden;
mod helm;
mod ingress;
mod rendered;
mod rules;
