//! Tells the control plane what has become of this node's pods, which says so at the pods: agents may not write there. What is
//! told is read off the snapshot and the node agent's status, again and again; nothing waits for it.
//!
//! Read `outbox` for what is told when.

mod outbox;

use std::collections::BTreeMap;
use std::time::Duration;

use ambit_ca::{PodReport, Reporter, State, Unanswered};
use ambit_discovery::Snapshots;
use ambit_model::{Enrolment, Excluded, PodUid, Snapshot, Workload};
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use self::outbox::{Outbox, Standing};
use super::status::{Board, Mended, Status};
use crate::proxy::Succession;

/// How often it is seen what there is to tell.
const TICK: Duration = Duration::from_secs(1);
/// How long the control plane may take: it writes what it is told before it answers.
const ANSWER: Duration = Duration::from_secs(30);

/// What is told of.
pub(crate) struct Subject {
    /// This node's name.
    pub(crate) node: String,
    /// Which pods there are.
    pub(crate) snapshots: Snapshots,
    /// What has become of them.
    pub(crate) board: Board,
    /// Whether this agent is the one in charge.
    pub(crate) succession: watch::Receiver<Succession>,
}

/// Tells `reporter` what becomes of `subject`, as long as this agent is in charge of the node and `stop` has not resolved.
pub(crate) async fn tell(reporter: Reporter, subject: Subject, stop: impl Future<Output = ()>) {
    tokio::select! {
        () = follow(&reporter, subject) => {}
        () = stop => {}
    }
}

async fn follow(reporter: &Reporter, subject: Subject) {
    let Subject { node, snapshots, board, mut succession } = subject;
    let (mut outbox, mut troubled) = (Outbox::default(), None);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if *succession.borrow() != Succession::InCharge || !snapshots.is_synced() {
            // Whoever is in charge tells everything; so does this one, should it be in charge again.
            outbox = Outbox::default();
            continue;
        }
        let due = outbox.due(&standings(&snapshots.load(), &node, &board.read()), Instant::now());
        if due.is_empty() {
            continue;
        }
        let answered = tokio::select! {
            answered = timeout(ANSWER, reporter.report(&due)) => answered,
            _ = succession.wait_for(|at| *at != Succession::InCharge) => continue,
        };
        let late = |_| Err(Unanswered::Failed(format!("it does not answer within {} s", ANSWER.as_secs())));
        let answered = answered.unwrap_or_else(late);
        note(&answered, &mut troubled);
        // Agents that were refused together do not come back together.
        outbox.answered(&due, answered, (Instant::now(), rand::rng().random_range(0.5..=1.0)));
    }
}

/// Logs what has become of a report, if that is new.
fn note(answered: &Result<Vec<ambit_ca::reporter::Refused>, Unanswered>, troubled: &mut Option<Unanswered>) {
    match answered {
        Ok(refused) => {
            if troubled.take().is_some() {
                info!("the control plane is told again what becomes of this node's pods");
            }
            for one in refused {
                debug!(pod = %one.uid, code = one.code, "the control plane takes nothing of a pod yet: {}", one.text);
            }
        }
        Err(error) => {
            match error {
                _ if troubled.is_some() => {}
                Unanswered::NotServed(cause) => {
                    info!("who signs certificates does not write at pods what becomes of them: {cause}");
                }
                Unanswered::Failed(cause) => {
                    warn!(
                        "the control plane cannot be told what becomes of this node's pods, it is tried again: {cause}"
                    );
                }
            }
            *troubled = Some(error.clone());
        }
    }
}

/// How each pod of `node` stands: none while that cannot be told yet.
fn standings(snapshot: &Snapshot, node: &str, status: &Status) -> BTreeMap<PodUid, Option<Standing>> {
    let here = snapshot.workloads().filter(|workload| *workload.node == *node);
    let standing = |workload: &Workload, uid: PodUid| {
        let state = state(workload, uid, status)?;
        let Mended { times, what } = status.mended.get(&workload.uid).cloned().unwrap_or_default();
        let (namespace, name) = (workload.namespace.to_string(), workload.name.to_string());
        let report = PodReport { namespace, name, uid, state, mended: Some(what) };
        Some(Standing { report, mended: times })
    };
    // What has no ID is no pod of a Kubernetes.
    here.filter_map(|workload| Some((workload.pod_uid?, standing(workload, workload.pod_uid?)))).collect()
}

/// What has become of the capture of `workload`.
fn state(workload: &Workload, uid: PodUid, status: &Status) -> Option<State> {
    // One of its name that was there before is another pod.
    let captured = status.captured.get(&workload.uid).filter(|captured| captured.pod == Some(uid));
    match workload.enrolment {
        // It is about to be let go.
        Enrolment::Outside(_) if captured.is_some() => return None,
        Enrolment::Outside(Excluded::Sidecar { asked: true, .. }) => return Some(State::OtherMesh),
        Enrolment::Outside(_) => return Some(State::Outside),
        Enrolment::Enrolled => {}
    }
    let obstacle = status.uncaptured.get(&workload.uid).filter(|uncaptured| !uncaptured.is_passing);
    match (captured, obstacle.map(|uncaptured| uncaptured.why.clone())) {
        (Some(_), obstacle) => Some(State::Captured { obstacle }),
        (None, Some(obstacle)) => Some(State::Failed { obstacle }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
