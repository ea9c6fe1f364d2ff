//! The outermost of a program: reads its settings, does its work, and says on stderr why it cannot.

use std::error::Error as _;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use crate::error::Error;
use crate::settings;

/// Runs `work` with the settings of the program `name`, as its arguments, its environment and its settings file say.
pub fn run<S: clap::Parser, E: fmt::Display>(name: &str, work: impl FnOnce(&S) -> Result<(), E>) -> ExitCode {
    let settings = match settings::parse::<S>(std::env::args_os()) {
        Ok(settings) => settings,
        Err(Error::Usage(usage)) => usage.exit(),
        Err(error) => {
            let mut why = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                why = format!("{why}: {error}");
                cause = error.source();
            }
            return fail(name, &why);
        }
    };
    match work(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &format!("{error:#}")),
    }
}

/// The last word of a process that cannot start: on stderr, since the log may not be there yet.
fn fail(name: &str, why: &str) -> ExitCode {
    // Where nobody listens there is nothing left to say.
    let _ = writeln!(std::io::stderr(), "{name}: {why}");
    ExitCode::FAILURE
}
