//! `ztunnel`: the node agent of the Ambit service mesh. Reads the settings and runs the agent.
#![forbid(unsafe_code)]

mod admin;
mod app;
mod credentials;
mod dns;
mod node;
mod proxy;
mod settings;
mod socks;

use std::process::ExitCode;

use ambit_process::Error;

use crate::settings::Settings;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let settings = match ambit_process::settings::parse::<Settings>(std::env::args_os()) {
        Ok(settings) => settings,
        Err(Error::Usage(usage)) => usage.exit(),
        Err(error) => return fail(&error.into()),
    };
    match app::run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// The last word of a process that cannot start: on stderr, since the log may not be there yet.
fn fail(error: &anyhow::Error) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "ztunnel: {error:#}");
    ExitCode::FAILURE
}
