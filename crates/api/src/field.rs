//! What is wrong with a field of an object, and how grave that is.

use std::fmt;

use serde::Serialize;

/// A field holds what it must not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FieldError {
    /// Where, as Kubernetes writes it: `spec.ports[0].targetPort`, `metadata.labels[app.kubernetes.io/name]`.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for FieldError {}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Left out, as it has to be: nothing to do.
    Notice,
    /// In force, but hardly as it was meant.
    Warning,
    /// Not in force; what was in force before still is.
    Error,
}

/// Something to know about an object that is valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remark {
    /// How grave it is: never [`Severity::Error`].
    pub severity: Severity,
    /// Where, and what.
    pub field: FieldError,
}

/// Collects what a translation finds, so that one look at a document names everything that is wrong with it.
#[derive(Default)]
pub(crate) struct Findings {
    errors: Vec<FieldError>,
    remarks: Vec<Remark>,
}

impl Findings {
    /// The value of `checked`, or none and an error at `path`.
    pub(crate) fn take<T>(&mut self, path: impl fmt::Display, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|message| self.errors.push(FieldError { path: path.to_string(), message })).ok()
    }

    /// An error at `path`.
    pub(crate) fn error(&mut self, path: impl fmt::Display, message: impl Into<String>) {
        self.errors.push(FieldError { path: path.to_string(), message: message.into() });
    }

    /// A remark on `path`.
    pub(crate) fn remark(&mut self, severity: Severity, path: impl fmt::Display, message: impl Into<String>) {
        let field = FieldError { path: path.to_string(), message: message.into() };
        self.remarks.push(Remark { severity, field });
    }

    /// `value` with the remarks on it, unless there was an error.
    pub(crate) fn finish<T>(self, value: T) -> Result<(T, Vec<Remark>), Vec<FieldError>> {
        if self.errors.is_empty() { Ok((value, self.remarks)) } else { Err(self.errors) }
    }
}
