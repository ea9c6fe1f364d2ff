//! `controller`: the control plane of the Ambit service mesh: signs the certificates of the mesh's workloads. Reads the
//! settings and runs it.
#![forbid(unsafe_code)]

mod app;
mod authority;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    ambit_process::program::run("controller", app::run)
}
