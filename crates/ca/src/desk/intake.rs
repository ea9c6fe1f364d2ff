//! What agents report of their pods, from the token to those that may be taken: who says it, and is he the one to say it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use tracing::{debug, warn};

use super::Desk;
use crate::caller::{Authenticate, Caller};
use crate::error::Refusal;
use crate::report::{Denied, PodReport, check};
use crate::reporter::AT_ONCE;
use crate::wire::{RefusedMessage, ReportRequest, ReportResponse};

/// Takes what the agent of a node reports of pods that run there, and answers with those of which it could not be taken.
pub type Intake =
    Box<dyn Fn(Arc<str>, Vec<PodReport>) -> Pin<Box<dyn Future<Output = Vec<Denied>> + Send>> + Send + Sync>;

impl<A: Authenticate> Desk<A> {
    /// The same, where agents report to `intake`. Without one nobody does.
    #[must_use]
    pub fn with_intake(mut self, intake: Intake) -> Self {
        self.intake = Some(intake);
        self
    }

    /// True if agents can report.
    pub(crate) fn takes_reports(&self) -> bool {
        self.intake.is_some()
    }

    /// Takes what the bearer of `token` reports; what is not taken is in the answer.
    pub(crate) async fn report(&self, token: Option<&str>, request: &ReportRequest) -> Result<ReportResponse, Refusal> {
        let taken = self.take(token, request).await;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counts: &mut BTreeMap<&'static str, u64>, code| {
            let count = counts.entry(code).or_default();
            *count = count.saturating_add(1);
        };
        let denied = match taken {
            Ok(denied) => denied,
            Err(refusal) => {
                count(&mut tally.reports_refused, refusal.code());
                if refusal.is_of_a_stranger() {
                    debug!(reason = refusal.code(), "a report is refused: {refusal}");
                } else {
                    warn!(reason = refusal.code(), "a report is refused: {refusal}");
                }
                return Err(refusal);
            }
        };
        let taken = request.pods.len().saturating_sub(denied.len());
        tally.reported = tally.reported.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
        for Denied { why, .. } in &denied {
            count(&mut tally.reports_refused, why.code());
            if why.is_passing() {
                debug!(reason = why.code(), "what is reported of a pod is not taken: {why}");
            } else {
                warn!(reason = why.code(), "what is reported of a pod is not taken: {why}");
            }
        }
        let refused = denied.into_iter().map(|Denied { uid, why }| RefusedMessage {
            uid: uid.to_string(),
            code: why.code().to_owned(),
            text: why.to_string(),
        });
        Ok(ReportResponse { refused: refused.collect() })
    }

    async fn take(&self, token: Option<&str>, request: &ReportRequest) -> Result<Vec<Denied>, Refusal> {
        let token = token.ok_or(Refusal::NoToken)?;
        let authenticator = self.authenticator.load_full();
        let node = match authenticator.authenticate(token).await? {
            Caller::Node(node) => node,
            Caller::Workload(caller) => return Err(Refusal::NotAnAgent { caller }),
        };
        let reports = request.pods.iter().map(PodReport::read).collect::<Result<Vec<_>, _>>()?;
        let pods: BTreeSet<_> = reports.iter().map(|report| report.uid).collect();
        if pods.len() < reports.len() || reports.len() > AT_ONCE {
            let cause = format!("a report is of {AT_ONCE} pods at the most, and of each once");
            return Err(Refusal::BadRequest(cause));
        }
        let snapshot = (self.snapshot)();
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for report in reports {
            match check(&report, &node, &snapshot) {
                Ok(()) => allowed.push(report),
                Err(why) => denied.push(Denied { uid: report.uid, why }),
            }
        }
        if let Some(intake) = self.intake.as_ref().filter(|_| !allowed.is_empty()) {
            denied.extend(intake(node, allowed).await);
        }
        Ok(denied)
    }
}
