//! `waypoint`: the HTTP proxy of a namespace of the Ambit service mesh. Reads the settings and runs it.
#![forbid(unsafe_code)]

mod upstream;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
