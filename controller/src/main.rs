//! `controller`: the control plane of the Ambit service mesh: signs the certificates of the mesh's workloads, and on a
//! Kubernetes API publishes the mesh's roots and runs waypoints. Reads the settings and runs it.
#![forbid(unsafe_code)]

mod admission;
mod app;
mod authority;
mod callers;
mod captures;
mod cluster;
mod events;
mod followed;
mod injection;
mod json;
mod lease;
mod listener;
mod review;
mod roots;
mod settings;
mod status;
mod uninstall;
mod verdicts;
mod waypoints;

use std::process::ExitCode;

fn main() -> ExitCode {
    ambit_process::program::run("controller", app::run)
}
