//! Why discovery cannot run. What is wrong with a document is no error but a report.

use std::io;
use std::path::PathBuf;

/// Why discovery ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory cannot be listed at start; correct the setting or the directory's permissions.
    #[error("cannot read the configuration directory {path}: {cause}")]
    Directory {
        /// The directory as the settings name it.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Reading the directory panicked: a defect of ours. Restart, and report it.
    #[error("reading the configuration directory panicked")]
    Panicked,
}
