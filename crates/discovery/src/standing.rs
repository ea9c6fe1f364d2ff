//! How what is in force stands to what its origin says, as operators are told of it. Pure: reads the reports alone.

use ambit_api::Severity;
use serde::Serialize;

use crate::report::Report;

/// How what is in force stands to what its origin says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// In a word.
    pub sync: Sync,
    /// Why not, as the reports have it, in their order.
    pub why: Vec<String>,
    /// How many reports there are of what cannot be used, of whatever object.
    pub errors: usize,
}

/// In a word, how what is in force stands to what its origin says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// Nothing is in force yet: not everything has been read once.
    Unread,
    /// The origin may say something else by now, and nobody would know.
    Stale,
    /// It is what the origin says, but for what is just under way.
    Synced,
}

impl Standing {
    /// The standing of a program that has published a snapshot, if `is_read`, and has these `reports`.
    #[must_use]
    pub fn of(is_read: bool, reports: &[Report]) -> Self {
        let why: Vec<String> =
            reports.iter().filter(|report| report.stale).map(|report| report.message.clone()).collect();
        let sync = match (is_read, why.is_empty()) {
            (false, _) => Sync::Unread,
            (true, false) => Sync::Stale,
            (true, true) => Sync::Synced,
        };
        let errors = reports.iter().filter(|report| report.severity == Severity::Error && !report.stale).count();
        Self { sync, why, errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_source_makes_it_stale() {
        let broken = Report::of_source("the object is broken".to_owned(), Severity::Error);
        let notice = Report::of_source("the kind is not served".to_owned(), Severity::Notice);
        let away = Report::of_stale_source("the API is away".to_owned(), Severity::Error);
        let standing = |is_read, reports: &[&Report]| {
            Standing::of(is_read, &reports.iter().map(|report| (*report).clone()).collect::<Vec<_>>())
        };
        let expected =
            |sync, why: &[&str], errors| Standing { sync, why: why.iter().map(ToString::to_string).collect(), errors };
        assert_eq!(standing(true, &[]), expected(Sync::Synced, &[], 0));
        assert_eq!(standing(true, &[&broken, &notice]), expected(Sync::Synced, &[], 1));
        assert_eq!(standing(true, &[&broken, &away]), expected(Sync::Stale, &["the API is away"], 1));
        assert_eq!(standing(false, &[]), expected(Sync::Unread, &[], 0));
        assert_eq!(standing(false, &[&away]), expected(Sync::Unread, &["the API is away"], 0));
    }
}
