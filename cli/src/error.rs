//! Why a verb has failed, and what to do about it.

use std::path::PathBuf;

use kube::core::response::Status;

/// Why a verb has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody says how the cluster is reached; write a kubeconfig, or ask an agent without one.
    #[error("no cluster is named: {0}; give --kubeconfig, or set KUBECONFIG")]
    NoCluster(String),
    /// The API does not answer, or refuses.
    #[error("{what}: {why}")]
    Api {
        /// What was asked for.
        what: String,
        /// What came of it, with the remedy where there is one.
        why: String,
    },
    /// An object that is needed is not there, or is not what it should be; the text says which, and what to do.
    #[error("{0}")]
    Unmet(String),
    /// A file cannot be read; correct its name or its permissions.
    #[error("cannot read {path}: {cause}")]
    File {
        /// The file as it was named.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// A program's admin interface cannot be asked.
    #[error("cannot ask {whom}: {why}")]
    Unanswered {
        /// Which pod, or address.
        whom: String,
        /// What came in between.
        why: String,
    },
    /// An answer, or a file, is not what a program of the mesh says; take one of the same version.
    #[error("{whom} says something else than an agent does: {why}")]
    Foreign {
        /// Who says it.
        whom: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was found cannot be written in the form that was asked for: a defect of ours. Take another form.
    #[error("this cannot be written so: {0}; take another --output")]
    Unwritable(String),
    /// stdout takes nothing more.
    #[error("cannot write: {0}")]
    Stdout(#[from] std::io::Error),
    /// A check has found something; what, and what to do, has been shown.
    #[error("found in the mesh's way: {0}")]
    Found(usize),
    /// Several things have failed; each has been told.
    #[error("{0} of these have failed")]
    Several(usize),
}

impl Error {
    /// What the API has said when asked for `what`.
    pub(crate) fn api(what: impl Into<String>, error: &kube::Error) -> Self {
        let why = match error {
            kube::Error::Api(status) => refused(status),
            other => format!("{}: is the cluster there? `kubectl version` asks it as well", causes(other)),
        };
        Self::Api { what: what.into(), why }
    }
}

/// What the API has refused with, and what helps.
fn refused(status: &Status) -> String {
    let remedy = match status.code {
        401 => ": log in again, or choose another --context",
        403 => ": ask for that right, or choose another --context",
        409 => ": somebody else owns these fields; `kubectl get -o yaml --show-managed-fields` says who",
        _ => "",
    };
    format!("{} {}{remedy}", status.code, status.message)
}

/// An error with what caused it, each said once.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// True if `error` says that there is no such object.
pub(crate) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// True if `error` says that this user may not.
pub(crate) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}
