//! `waypoint`: the proxy of the Ambit service mesh that knows HTTP, for the services of a namespace. Reads the settings and
//! runs it.
#![forbid(unsafe_code)]

mod admin;
mod app;
mod arrival;
mod authorize;
mod gateway;
mod http;
mod inbound;
mod io;
mod protocol;
mod proxy;
mod record;
mod secured;
mod settings;
mod tasks;
mod tcp;
mod tokens;
mod upstream;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ambit_process::program::run("waypoint", app::run)
}
