//! Where the programs under test are, and whether they are what the source says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

/// The programs that a topology runs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The tests' servers and clients.
    pub testapp: PathBuf,
    /// The node agent.
    pub ztunnel: PathBuf,
    /// The control plane.
    pub controller: PathBuf,
    /// The proxy that knows HTTP.
    pub waypoint: PathBuf,
    /// The command line.
    pub ambit: PathBuf,
}

impl Binaries {
    /// The programs in the directory that the running test or tool was built into.
    ///
    /// # Errors
    /// When `testapp` is not there or is older than its source; `ztunnel` is checked when it is started.
    pub fn beside_this() -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("this program has no path")?;
        let mut directory = this.parent().context("this program is in no directory")?;
        if directory.ends_with("deps") {
            directory = directory.parent().context("deps is in no directory")?;
        }
        let found = Self::within(directory);
        check(&found.testapp, "ambit-tests")?;
        Ok(found)
    }

    /// The programs in `directory`, such as `target/release`.
    #[must_use]
    pub fn within(directory: &Path) -> Self {
        Self {
            testapp: directory.join("testapp"),
            ztunnel: directory.join("ztunnel"),
            controller: directory.join("controller"),
            waypoint: directory.join("waypoint"),
            ambit: directory.join("ambit"),
        }
    }

    /// Checks that the node agent is there and is what its source says.
    ///
    /// # Errors
    /// When it is missing or older than a file that it was built from: a test of yesterday's program proves nothing.
    pub fn check_ztunnel(&self) -> anyhow::Result<()> {
        check(&self.ztunnel, "ztunnel")
    }

    /// The same of the control plane.
    ///
    /// # Errors
    /// When it is missing or older than a file that it was built from.
    pub fn check_controller(&self) -> anyhow::Result<()> {
        check(&self.controller, "controller")
    }

    /// The same of the waypoint.
    ///
    /// # Errors
    /// When it is missing or older than a file that it was built from.
    pub fn check_waypoint(&self) -> anyhow::Result<()> {
        check(&self.waypoint, "waypoint")
    }

    /// The same of the command line.
    ///
    /// # Errors
    /// When it is missing or older than a file that it was built from.
    pub fn check_ambit(&self) -> anyhow::Result<()> {
        check(&self.ambit, "ambit")
    }
}

fn check(program: &Path, package: &str) -> anyhow::Result<()> {
    let Ok(built) = modified(program) else {
        bail!("{} is not there: run `cargo build -p {package}`", program.display());
    };
    // What cargo wrote beside the program: `<program>: <source> <source> ...`.
    let Ok(sources) = fs::read_to_string(program.with_extension("d")) else { return Ok(()) };
    let newer = sources.split_whitespace().skip(1).find(|file| modified(Path::new(file)).is_ok_and(|at| at > built));
    match newer {
        Some(file) => bail!("{} is older than {file}: run `cargo build -p {package}`", program.display()),
        None => Ok(()),
    }
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}
