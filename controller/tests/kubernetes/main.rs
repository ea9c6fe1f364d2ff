//! The controller on a real Kubernetes API: the real program, with the rights of `examples/kubernetes/controller.yaml` and no
//! others. Each test has an API server of its own (root; see CONTRIBUTING.md).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod captures;
mod certificates;
mod lease;
mod node;
mod roots;
mod support;
mod verdicts;
mod waypoints;
mod webhook;
