//! What is wrong with the configuration, where, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ambit_api::{ObjectRef, Severity};
use serde::Serialize;

/// A finding about a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Report {
    /// The file, as found below the configuration directory.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// The object, where the document tells which it is.
    pub object: Option<ObjectRef>,
    /// The field, such as `spec.ports[0].targetPort`; empty where the document as a whole is meant.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// How grave it is.
    pub severity: Severity,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Logs each report of `now` that `before` has not, and each of `before` that is resolved. A report that has only
/// moved within its file is the same one.
pub(crate) fn log_difference(before: &[Report], now: &[Report]) {
    let (before, now) = (by_identity(before), by_identity(now));
    for (_, report) in now.iter().filter(|(identity, _)| !before.contains_key(*identity)) {
        match report.severity {
            Severity::Error => tracing::error!("{report}"),
            Severity::Warning => tracing::warn!("{report}"),
            Severity::Notice => tracing::info!("{report}"),
        }
    }
    for (_, report) in before.iter().filter(|(identity, _)| !now.contains_key(*identity)) {
        tracing::info!("resolved: {report}");
    }
}

fn by_identity(reports: &[Report]) -> BTreeMap<Report, &Report> {
    reports.iter().map(|report| (Report { line: 0, ..report.clone() }, report)).collect()
}
