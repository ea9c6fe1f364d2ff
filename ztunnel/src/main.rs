//! `ztunnel`: the node agent of the Ambit service mesh. Reads the settings and runs the agent.
#![forbid(unsafe_code)]

mod admin;
mod app;
mod cni;
mod dns;
mod node;
mod proxy;
mod settings;
mod socks;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if let Some(environment) = settings::called_as_plugin() {
        return cni::run(&environment);
    }
    ambit_process::program::run("ztunnel", app::run)
}
