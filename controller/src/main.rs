//! `controller`: the control plane of the Ambit service mesh: signs the certificates of the mesh's workloads. Reads the
//! settings and runs it.
#![forbid(unsafe_code)]

mod app;
mod authority;
mod settings;

use std::process::ExitCode;

use ambit_process::Error;

use crate::settings::Settings;

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
    let _ = writeln!(std::io::stderr(), "controller: {error:#}");
    ExitCode::FAILURE
}
