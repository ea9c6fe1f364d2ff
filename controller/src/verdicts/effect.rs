//! What is said of an object of the mesh that is not in effect, or not all of it: pure. Where all is well nothing is said.
//! What is refused has the message that Istio's analysis has for it as well, `status.validationMessages`.

use std::fmt::Write as _;

use ambit_api::FieldError;
use ambit_api::Severity;
use serde_json::{Value, json};

use super::{Subject, View, policy};
use crate::json::{at, set};
use crate::status::Condition;

/// The condition.
pub(super) const IN_EFFECT: &str = "ambit.dev/InEffect";
/// Why an object is not in effect that is refused.
const INVALID: &str = "Invalid";
/// How many findings are told, and how much of them.
const TOLD: usize = 10;
const LENGTH: usize = 4096;

/// What is said of `subject`, if anything.
pub(super) fn condition(subject: &Subject<'_>, view: &View<'_>) -> Option<Condition> {
    let remarks = match subject.reading {
        Err(errors) => return Some(Condition::no(IN_EFFECT, INVALID, refused(errors))),
        Ok(read) => read.remarks.iter().filter(|remark| remark.severity == Severity::Warning),
    };
    let found: Vec<_> = view.findings(subject).filter(|report| !report.field.starts_with("metadata.labels")).collect();
    if let Some(whole) = found.iter().find(|report| report.code == Some("NotInEffect")) {
        return Some(Condition::no(IN_EFFECT, "NotInEffect", whole.message.clone()));
    }
    let found: Vec<FieldError> = found
        .into_iter()
        .map(|report| FieldError { path: report.field.clone(), message: report.message.clone() })
        .chain(remarks.map(|remark| remark.field.clone()))
        .collect();
    let message = listed(&found.iter().collect::<Vec<_>>());
    (!message.is_empty()).then(|| Condition::yes(IN_EFFECT, "WithWarnings", message))
}

/// `status` with what Istio's analysis says of what is refused; what others have said there of `subject` stays.
pub(super) fn with_messages(subject: &Subject<'_>, mut status: Value) -> Value {
    let before = at(&subject.object.data, &["status"]);
    let was_refused = |condition: &Value| {
        let ours = condition["type"] == IN_EFFECT || policy::OURS.iter().any(|kind| condition["type"] == *kind);
        ours && condition["reason"] == INVALID && condition["status"] == "False"
    };
    let refused = |status: &Value| status["conditions"].as_array().is_some_and(|all| all.iter().any(was_refused));
    if subject.reading.is_err() {
        let kind = json!({"code": "IST0106", "name": "SchemaValidationError"});
        set(&mut status, &["validationMessages"], json!([{"type": kind, "level": "ERROR"}]));
    } else if refused(before) {
        set(&mut status, &["validationMessages"], Value::Null);
    }
    status
}

/// What is said of an object that is refused for `errors`.
pub(super) fn refused(errors: &[FieldError]) -> String {
    format!(
        "refused; what it said before, if anything, is still in force: {}",
        listed(&errors.iter().collect::<Vec<_>>())
    )
}

/// `found`, one after the other.
pub(super) fn listed(found: &[&FieldError]) -> String {
    let mut text = found.iter().take(TOLD).map(|field| field.to_string()).collect::<Vec<_>>().join("; ");
    if found.len() > TOLD {
        let _ = write!(text, "; and {} more", found.len() - TOLD);
    }
    text.chars().take(LENGTH).collect()
}
