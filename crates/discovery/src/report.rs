//! What is wrong with the configuration, where, and what to do about it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use ambit_api::{FieldError, ObjectRef, Severity};
use serde::Serialize;

use crate::index::Finding;

/// A finding about a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Report {
    /// The file, as found below the configuration directory; empty where it is none that says so, but a cluster or the
    /// source itself.
    pub file: PathBuf,
    /// The line, from 1; 0 without a file.
    pub line: u32,
    /// The object, where the document tells which it is.
    pub object: Option<ObjectRef>,
    /// The field, such as `spec.ports[0].targetPort`; empty where the document as a whole is meant.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// How grave it is.
    pub severity: Severity,
    /// As long as it stands, what is in force may be older than what the origin says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// What is the matter in one word, where the Gateway API has one for it or somebody acts on it: `RefNotPermitted`,
    /// `BackendNotFound`, `Conflicted`, `NotInEffect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}

impl Report {
    /// A report on the source itself.
    pub(crate) fn of_source(message: String, severity: Severity) -> Self {
        Self {
            file: PathBuf::new(),
            line: 0,
            object: None,
            field: String::new(),
            message,
            severity,
            stale: false,
            code: None,
        }
    }

    /// A report on the source itself, as long as which what is in force may be older than what the origin says.
    pub(crate) fn of_stale_source(message: String, severity: Severity) -> Self {
        Self { stale: true, ..Self::of_source(message, severity) }
    }

    /// A report on an object that is in no file.
    pub(crate) fn of_object(finding: &Finding) -> Self {
        let Finding { object, field: FieldError { path, message }, severity, code } = finding.clone();
        Self { object: Some(object), field: path, code, ..Self::of_source(message, severity) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}:{}: ", self.file.display(), self.line)?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Logs what [`difference`] finds.
pub(crate) fn log_difference(before: &[Report], now: &[Report]) {
    let (new, resolved) = difference(before, now);
    for report in new {
        match report.severity {
            Severity::Error => tracing::error!("{report}"),
            Severity::Warning => tracing::warn!("{report}"),
            Severity::Notice => tracing::info!("{report}"),
        }
    }
    for report in resolved {
        tracing::info!("resolved: {report}");
    }
}

/// The reports of `now` that `before` has not, and those of `before` that are resolved. A report that has only moved
/// within its file is the same one.
fn difference<'a>(before: &'a [Report], now: &'a [Report]) -> (Vec<&'a Report>, Vec<&'a Report>) {
    let identity = |report: &Report| Report { line: 0, ..report.clone() };
    let missing_from = |others: &[Report], all: &'a [Report]| {
        let others: BTreeSet<Report> = others.iter().map(identity).collect();
        all.iter().filter(|report| !others.contains(&identity(report))).collect()
    };
    (missing_from(before, now), missing_from(now, before))
}

#[cfg(test)]
mod tests {
    use ambit_api::Kind;

    use super::*;

    fn report(line: u32, field: &str) -> Report {
        Report {
            file: PathBuf::from("web.yaml"),
            line,
            object: Some(ObjectRef::new(Kind::Pod, "shop", "web")),
            field: field.to_owned(),
            message: "is missing".to_owned(),
            severity: Severity::Error,
            stale: false,
            code: None,
        }
    }

    #[test]
    fn a_report_says_where_and_what() {
        assert_eq!(report(7, "spec.x").to_string(), "web.yaml:7: Pod shop/web: spec.x: is missing");
        let bare = Report { object: None, ..report(7, "") };
        assert_eq!(bare.to_string(), "web.yaml:7: is missing");
        let field = FieldError { path: "spec".to_owned(), message: "is missing".to_owned() };
        let object = ObjectRef::new(Kind::Pod, "shop", "web");
        let of_object = Report::of_object(&Finding { object, field, severity: Severity::Error, code: None });
        assert_eq!(of_object.to_string(), "Pod shop/web: spec: is missing");
        assert_eq!(Report::of_source("is away".to_owned(), Severity::Error).to_string(), "is away");
    }

    #[test]
    fn each_report_is_new_once_and_resolved_once() {
        let (one, moved, other) = ([report(1, "a")], [report(9, "a")], [report(1, "b")]);
        assert_eq!(difference(&[], &one), (vec![&one[0]], vec![]));
        assert_eq!(difference(&one, &moved), (vec![], vec![]));
        assert_eq!(difference(&one, &other), (vec![&other[0]], vec![&one[0]]));
        assert_eq!(difference(&one, &[]), (vec![], vec![&one[0]]));
    }
}
