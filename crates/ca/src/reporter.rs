//! Says to the control plane what has become of a node's pods. When, and how often, is not known here.

use ambit_identity::channel;
use ambit_model::PodUid;

use crate::client::Settings;
use crate::error::{Error, Unanswered};
use crate::line::Line;
use crate::report::PodReport;
use crate::wire::{REPORT, ReportRequest, ReportResponse};

/// Pods of one call at the most: with all that may be said of them they are a message of less than 200 KiB.
pub const AT_ONCE: usize = 128;

/// A control plane that is told what has become of pods.
#[derive(Debug)]
pub struct Reporter {
    line: Line,
}

/// A pod of which nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The pod.
    pub uid: PodUid,
    /// Why, in one word: see [`crate::Denial::code`].
    pub code: String,
    /// Why, for people.
    pub text: String,
}

impl Reporter {
    /// One where certificates are asked for as well, and by the same token; not connected yet. Has to be made within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn new(settings: &Settings, tls: channel::Client) -> Result<Self, Error> {
        Ok(Self { line: Line::new(settings, tls)? })
    }

    /// Says what `reports` say, of up to [`AT_ONCE`] pods: those of which nothing was taken.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn report(&self, reports: &[PodReport]) -> Result<Vec<Refused>, Unanswered> {
        let request = ReportRequest { pods: reports.iter().map(PodReport::message).collect() };
        let answer: ReportResponse = self.line.ask(REPORT, request).await?;
        let refused = answer.refused.into_iter();
        // What is no ID was never reported.
        Ok(refused
            .filter_map(|one| Some(Refused { uid: one.uid.parse().ok()?, code: one.code, text: one.text }))
            .collect())
    }
}
