//! Tests of the Kubernetes that the end-to-end tests run on: an API server for a test, clusters with nodes, and that
//! nothing of either stays. They need root and a built Kubernetes (`cargo xtask cluster build`), and say so when they lack
//! them: none is skipped.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod agents;
mod api;
mod captures;
mod cli;
mod definitions;
mod ingress;
mod installed;
mod outage;
mod reboot;
mod release;
mod removal;
mod rolling;
mod scale;
mod shop;
mod stand_in;
mod traces;
mod two_nodes;

#[allow(dead_code, reason = "rendering is for the charts' own tests")]
#[path = "../charts/helm.rs"]
mod helm;

use ambit_tests::cluster::{Plan, Settings};

/// A cluster that is made here, whatever cluster there is already: it is what these tests are about.
fn own() -> Plan {
    Plan::new().settings(Settings { existing: None, ..Settings::from_environment() })
}
