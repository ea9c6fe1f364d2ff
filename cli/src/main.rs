//! `ambit`: looks after an Ambit service mesh from a command line: waypoints, what agents have in force, and whether it is
//! what the cluster says. Does what its arguments say, and ends with what it failed with.
#![forbid(unsafe_code)]

mod app;
mod check;
mod cluster;
mod config;
mod error;
mod output;
mod settings;
mod status;
mod table;
mod version;
mod waypoint;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match app::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed nobody is there to be told.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
