//! Why a process cannot start or go on: one enum for the crate.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a process cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line (or an environment variable) is wrong, or asks for `--help` or `--version`:
    /// `clap::Error::exit` prints it and ends the process with the right status.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The settings file cannot be read; correct `--settings` or the file's permissions.
    #[error("cannot read the settings file {}", file.display())]
    SettingsFile {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The settings file is not a YAML mapping of setting names to values; write one `name: value` a line.
    #[error("{}:{line}: {problem}: a settings file is YAML with one `name: value` a line", file.display())]
    SettingsSyntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// The settings file names a setting that does not exist; correct or remove it.
    #[error("{}:{line}: there is no setting `{key}`: {remedy}", file.display())]
    UnknownSetting {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The name.
        key: String,
        /// What to do.
        remedy: String,
    },
    /// The settings file gives a setting a value that it cannot have; correct the value.
    #[error("{}:{line}: setting `{key}` cannot be {value:?}: {remedy}", file.display())]
    SettingValue {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The name.
        key: String,
        /// The value.
        value: String,
        /// What it can be.
        remedy: String,
    },
    /// A port cannot be served; another process (perhaps a second agent on this node) has it, or the address is wrong.
    #[error("cannot serve {purpose} on {address}: is the address right, and does no other process have the port?")]
    Bind {
        /// What the port is for.
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A socket cannot be served; its directory is missing or cannot be written.
    #[error("cannot serve {purpose} at {}: can its directory be written?", path.display())]
    Socket {
        /// What the socket is for.
        purpose: &'static str,
        /// Its name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signals cannot be received; a defect of the environment.
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
    /// A worker thread cannot be started; raise the limits on threads and memory, or lower the number of workers.
    #[error("cannot start worker {worker}")]
    WorkerThread {
        /// Which, from 0.
        worker: usize,
        /// Why.
        source: io::Error,
    },
    /// A worker's set-up failed; the source says why.
    #[error("worker {worker} cannot begin")]
    WorkerSetup {
        /// Which, from 0.
        worker: usize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A worker did not answer: it is stopping, or the question panicked (then the log has the panic).
    #[error("worker {worker} did not answer")]
    NoAnswer {
        /// Which, from 0.
        worker: usize,
    },
}
