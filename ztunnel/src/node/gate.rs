//! Pods that are held back until they are captured: what the CNI plugin asks, until it can be answered.

use std::sync::Arc;
use std::time::Duration;

use ambit_model::{Snapshot, Workload, WorkloadUid};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use crate::cni::{About, Ask, Asked, Known, Reply};

/// How long a pod is held back before the kubelet is told to try again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked about pods that are being made, and what the plugin is to know while nobody answers.
#[derive(Debug)]
pub(crate) struct Gate {
    questions: mpsc::Receiver<Asked>,
    known: Known,
    waiting: Vec<Waiting>,
    troubled: bool,
}

#[derive(Debug)]
struct Waiting {
    asked: Asked,
    uid: WorkloadUid,
    until: Instant,
}

/// How a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is captured.
    Captured,
    /// It is to be, and this is in the way.
    Hindered(String),
    /// It is to be, and nobody has looked yet.
    Unknown,
}

impl Gate {
    /// Answers `questions`, and keeps `known` true.
    pub(crate) fn new(questions: mpsc::Receiver<Asked>, known: Known) -> Self {
        Self { questions, known, waiting: Vec::new(), troubled: false }
    }

    /// The next question; never if nobody asks any more.
    pub(super) async fn next(&mut self) -> Asked {
        match self.questions.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// A question that waits already.
    pub(super) fn waiting(&mut self) -> Option<Asked> {
        self.questions.try_recv().ok()
    }

    /// Answers nobody who waits: as if no agent were there, until another is.
    pub(super) fn close(&mut self) {
        self.waiting.clear();
        while self.waiting().is_some() {}
    }

    /// Takes in a question about the pod `uid`, to be answered when that is possible.
    pub(super) fn take(&mut self, asked: Asked, uid: WorkloadUid) {
        let patience = if asked.ask.about == About::Add { PATIENCE } else { Duration::ZERO };
        self.waiting.push(Waiting { asked, uid, until: Instant::now() + patience });
    }

    /// Answers what can be answered by `snapshot` and by how pods stand, and what cannot wait any longer.
    pub(super) fn answer(&mut self, snapshot: &Snapshot, standing: impl Fn(&WorkloadUid) -> Standing) {
        let now = Instant::now();
        let (mut waiting, mut replies) = (Vec::new(), Vec::new());
        for one in self.waiting.drain(..) {
            match reply(&one.asked.ask, &one.uid, snapshot, &standing) {
                Ok(reply) => replies.push((one.asked, reply)),
                Err(_) if now < one.until => waiting.push(one),
                // As while nobody answers: whom the API does not tell of is held back where his namespace is in the mesh.
                Err(_) if is_stranger(&one.asked.ask, &one.uid, snapshot) => replies.push((one.asked, Reply::Outside)),
                Err(why) => replies.push((one.asked, Reply::Waits(why))),
            }
        }
        self.waiting = waiting;
        for (Asked { ask, reply }, said) in replies {
            if let Reply::Waits(why) = &said {
                warn!(pod = %format_args!("{}/{}", ask.namespace, ask.name), "a pod is held back: {why}");
            }
            // Whoever has gone away asks again.
            let _ = reply.send(said);
        }
    }

    /// Keeps what the plugin goes by while nobody answers.
    pub(super) fn note(&mut self, snapshot: &Snapshot) {
        match self.known.update(snapshot) {
            Ok(()) => self.troubled = false,
            Err(error) if !self.troubled => {
                warn!("which namespaces are in the mesh cannot be written for while the agent is away: {error}");
                self.troubled = true;
            }
            Err(_) => {}
        }
    }
}

/// True if nothing is known of the pod, and its namespace is not in the mesh: such as one that a kubelet makes by itself,
/// whose object has another ID.
fn is_stranger(ask: &Ask, uid: &WorkloadUid, snapshot: &Snapshot) -> bool {
    known(ask, uid, snapshot).is_none() && !snapshot.enrolled_namespaces().any(|name| **name == *ask.namespace)
}

/// The pod that is asked about. One of its name that was there before is another pod.
fn known<'a>(ask: &Ask, uid: &WorkloadUid, snapshot: &'a Snapshot) -> Option<&'a Arc<Workload>> {
    snapshot.workload(uid).filter(|workload| ask.uid.is_none() || workload.pod_uid == ask.uid)
}

/// What is to be answered, or why it cannot be yet.
fn reply(
    ask: &Ask,
    uid: &WorkloadUid,
    snapshot: &Snapshot,
    standing: impl Fn(&WorkloadUid) -> Standing,
) -> Result<Reply, String> {
    if ask.about == About::Del {
        return Ok(Reply::Outside);
    }
    let Some(workload) = known(ask, uid, snapshot) else {
        return Err("this node's agent has not heard of it from the Kubernetes API yet".to_owned());
    };
    if !workload.is_enrolled() {
        return Ok(Reply::Outside);
    }
    match standing(uid) {
        Standing::Captured => Ok(Reply::Captured),
        Standing::Hindered(why) => Err(why),
        Standing::Unknown => Err("it is being captured".to_owned()),
    }
}

#[cfg(test)]
mod tests;
