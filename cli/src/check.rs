//! `check`: what stands in the mesh's way, by what the cluster says. Pure: `app` asks.

pub(crate) mod network_policy;

use serde_json::{Value, json};

use crate::output::View;
use crate::table::{Cell, Shrink, Table, Tone};

/// What was looked at by one kind of check, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What kind, in a word or two.
    pub(crate) check: &'static str,
    /// What was looked at.
    pub(crate) seen: String,
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
}

/// Something that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The objects that do, as `Kind namespace/name`.
    pub(crate) objects: Vec<String>,
    /// What comes of it, and what to do.
    pub(crate) message: String,
}

/// How many findings there are.
pub(crate) fn count(outcomes: &[Outcome]) -> usize {
    outcomes.iter().map(|outcome| outcome.findings.len()).sum()
}

/// What is shown of `outcomes`: a line for each that is well, and for each finding.
pub(crate) fn view(outcomes: &[Outcome]) -> View {
    let head =
        [("STATUS", Shrink::Never), ("CHECK", Shrink::Never), ("OBJECT", Shrink::Middle), ("MESSAGE", Shrink::Never)];
    let mut table = Table::new(&head);
    for Outcome { check, seen, findings } in outcomes {
        if findings.is_empty() {
            table.row([Cell::toned("OK", Tone::Good), (*check).into(), "".into(), seen.as_str().into()]);
        }
        for Finding { objects, message } in findings {
            let objects = objects.join(", ");
            table.row([Cell::toned("FAILED", Tone::Bad), (*check).into(), objects.into(), message.as_str().into()]);
        }
    }
    let whole = outcomes.iter().map(whole).collect();
    View { empty: "Nothing was checked.", table, whole: Value::Array(whole) }
}

fn whole(outcome: &Outcome) -> Value {
    let finding = |finding: &Finding| json!({"objects": finding.objects, "message": finding.message});
    let findings: Vec<Value> = outcome.findings.iter().map(finding).collect();
    json!({"check": outcome.check, "seen": outcome.seen, "findings": findings})
}
