//! Where a connection goes, asked again for as long as the answer may only be late. What the answer is, `decide` alone
//! knows.

use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_model::waypoint::demanded;
use ambit_model::{Connection, Decision, Reason, Snapshot, Upstream, Waypoints, decide};
use tokio::time::Instant;

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

/// How long it is waited for news after the first attempt where the two ends have not heard the same.
const MOMENT: Duration = Duration::from_millis(250);
/// How many attempts there are, within less than patience.
const MOMENTS: u32 = 4;

/// Decides where `connection` goes. What may only be early (a pod that the snapshot does not hold yet, or not the client's
/// with the labels that policy asks for, an address that has just changed hands) is asked again as the snapshot changes,
/// until `patience` ends. Nothing is delivered meanwhile.
pub(crate) async fn of(snapshots: &Snapshots, patience: Duration, connection: &Connection) -> Verdict {
    let begun = Instant::now();
    let early = |decision: &Decision| {
        let (reason, patience) = match decision {
            Decision::Refuse(reason @ Reason::UnknownWorkload) => (reason, patience),
            Decision::Deny(_, denial) if denial.early => (&denial.reason, patience),
            Decision::Refuse(reason @ Reason::PeerIdentityMismatch) => (reason, HANDOVER.min(patience)),
            _ => return None,
        };
        tracing::debug!(?connection, reason = reason.code(), "held: the mesh may not know yet");
        Some(begun + patience)
    };
    let (decision, snapshot) = snapshots.answer(|snapshot| decide(snapshot, connection), early).await;
    Verdict { decision, snapshot }
}

/// Where `connection` goes after the agent of `refusing`, where it was going, has so many `times` asked for a waypoint of which
/// this one knows nothing: by that as soon as this agent has heard of it, and there once more after a moment, each twice as long
/// as the one before, since it may be the other that has not heard that there is none any more. None if this agent knows why it
/// was refused, or the two will never agree.
pub(crate) async fn settled(
    snapshots: &Snapshots,
    times: u32,
    connection: &Connection,
    refusing: &Upstream,
) -> Option<Verdict> {
    let moment = Instant::now() + MOMENT * 2_u32.saturating_pow(times.saturating_sub(1).min(MOMENTS));
    let is_demanded = |snapshot: &Snapshot| {
        let workload = refusing.workload.as_ref().and_then(|workload| snapshot.workload(&workload.uid));
        let never = snapshot.mesh.waypoints == Waypoints::Preferred;
        never || workload.is_none_or(|workload| demanded(snapshot, workload, refusing.address).is_some())
    };
    let ask = |snapshot: &Arc<Snapshot>| (decide(snapshot, connection), is_demanded(snapshot));
    let early = |(decision, is_demanded): &(Decision, bool)| {
        let is_settled = *is_demanded || matches!(decision, Decision::Waypoint { .. });
        (!is_settled).then_some(moment)
    };
    let ((decision, is_demanded), snapshot) = snapshots.answer(ask, early).await;
    let by_waypoint = matches!(decision, Decision::Waypoint { .. });
    let again = !is_demanded && times < MOMENTS;
    (by_waypoint || again).then_some(Verdict { decision, snapshot })
}

#[cfg(test)]
mod tests;
