//! Why discovery cannot run. What is wrong with a document is no error but a report.

use std::io;
use std::path::PathBuf;

/// Why discovery ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings name no configuration; name one.
    #[error("no configuration is named: give --config DIR, a directory of YAML, or --kube, a Kubernetes API")]
    NoOrigin,
    /// The settings name two configurations; take one of them away (flags, environment and settings file all count).
    #[error("--config and --kube are both given: the configuration comes from a directory or from a Kubernetes API")]
    TwoOrigins,
    /// The directory cannot be listed at start; correct the setting or the directory's permissions.
    #[error("cannot read the configuration directory {path}: {cause}")]
    Directory {
        /// The directory as the settings name it.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A file that says how the cluster is reached cannot be used; correct the setting or the file.
    #[error("cannot use {path} to reach the Kubernetes API: {cause}")]
    Kubeconfig {
        /// The file as the settings name it.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No file says how the cluster is reached, and the process does not run in one; give --kubeconfig, or run it as a pod
    /// whose service account's token is mounted.
    #[error("no --kubeconfig is given, and this is no pod with a service account's token: {0}")]
    NotInCluster(String),
    /// Reading the configuration panicked: a defect of ours. Restart, and report it.
    #[error("reading the configuration panicked")]
    Panicked,
}
