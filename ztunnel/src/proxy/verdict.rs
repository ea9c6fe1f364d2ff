//! Where a connection goes, asked again for as long as the answer may only be late. What the answer is, `decide` alone
//! knows.

use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_model::{Connection, Decision, Reason, Snapshot, decide};
use tokio::time::{Instant, timeout_at};

/// Where a connection goes, and the snapshot that says so: what is recorded of it comes from the same.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Where it goes.
    pub(crate) decision: Decision,
    /// The mesh as it was when that was decided.
    pub(crate) snapshot: Arc<Snapshot>,
}

/// A connection whose peer's address may just have changed hands waits this long for the news.
const HANDOVER: Duration = Duration::from_secs(1);

/// Decides where `connection` goes. What may only be early (a pod that the snapshot does not hold yet, or not the client's
/// with the labels that policy asks for, an address that has just changed hands) is asked again as the snapshot changes,
/// until `patience` ends.
pub(crate) async fn of(snapshots: &Snapshots, patience: Duration, connection: &Connection) -> Verdict {
    let begun = Instant::now();
    // Made when there is something to wait for, which is seldom: every connection comes by here.
    let mut changes = None;
    loop {
        let snapshot = snapshots.load();
        let decision = decide(&snapshot, connection);
        let (reason, patience) = match &decision {
            Decision::Refuse(reason @ Reason::UnknownWorkload) => (reason, patience),
            Decision::Deny(_, denial) if denial.early => (&denial.reason, patience),
            Decision::Refuse(reason @ Reason::PeerIdentityMismatch) => (reason, HANDOVER.min(patience)),
            _ => return Verdict { decision, snapshot },
        };
        // It has waited for nothing yet, so that it misses no change: the first call returns at once.
        let changes = changes.get_or_insert_with(|| {
            tracing::debug!(?connection, reason = reason.code(), "held: the mesh may not know yet");
            snapshots.clone()
        });
        match timeout_at(begun + patience, changes.changed()).await {
            Ok(Some(_)) => {}
            _ => return Verdict { decision, snapshot },
        }
    }
}

#[cfg(test)]
mod tests;
