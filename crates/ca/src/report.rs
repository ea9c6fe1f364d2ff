//! What an agent says of its node's pods: what has become of the capture of each, and whether the agent is the one to say so.
//! Pure: who reports and what runs where are values.

use ambit_model::{PodUid, Snapshot, WorkloadUid};

use crate::error::Refusal;
use crate::wire::{PodMessage, StateCode};

/// How much of an agent's own words is kept, in bytes: they come to be read in Events, which hold 1024.
const LONGEST_TEXT: usize = 512;

/// What has become of a pod's capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is captured. If something stands in the way of capturing it as it is now, it stays captured as it was.
    Captured {
        /// What that is.
        obstacle: Option<String>,
    },
    /// It is outside the mesh.
    Outside,
    /// It is asked into the mesh, and left out since another mesh's sidecar carries its connections.
    OtherMesh,
    /// It is in the mesh and cannot be captured.
    Failed {
        /// Why.
        obstacle: String,
    },
}

/// What an agent says of a pod of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pod of this name.
    pub uid: PodUid,
    /// What has become of its capture.
    pub state: State,
    /// What somebody had taken out of its capture and has been put back, since this was last said.
    pub mended: Option<String>,
}

/// A report that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The pod, as it was reported.
    pub uid: PodUid,
    /// Why.
    pub why: Denial,
}

/// Why what is said of a pod is not taken. The agent is told the text, and says it again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No such pod is known. Heals by itself if it is new.
    #[error("no pod {pod} is known here: if it is new, it is taken when it is said again")]
    Unknown {
        /// The pod, as `namespace/name`.
        pod: String,
    },
    /// The pod of that name is another: the one that is meant is gone, or the other is so new that it is not known yet.
    #[error("{uid} is not the ID of the pod {pod}, which is another of this name: the agent takes it up by itself")]
    OtherPod {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The ID that was reported.
        uid: PodUid,
    },
    /// The pod runs elsewhere: somebody on that node says what is not his to say.
    #[error(
        "the pod {pod} does not run on node {node}, and a node reports of its own pods alone: see who has its agent's token"
    )]
    NotOnNode {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The node that reports.
        node: String,
    },
    /// The Kubernetes API does not take what is to be said of it: what it says. Tried again when the agent says it again.
    #[error("it cannot be written at the pod {pod} what has become of it: {cause}")]
    Unwritten {
        /// The pod, as `namespace/name`.
        pod: String,
        /// What the API says.
        cause: String,
    },
}

impl Denial {
    /// The stable code: metric label and log field.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown-pod",
            Self::OtherPod { .. } => "other-pod",
            Self::NotOnNode { .. } => "not-on-node",
            Self::Unwritten { .. } => "not-written",
        }
    }

    /// True if nobody need look: what is known here is a moment behind what the agent knows, or ahead of it.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::OtherPod { .. })
    }
}

impl PodReport {
    /// The pod, as `namespace/name`.
    #[must_use]
    pub fn pod(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// As it travels.
    pub(crate) fn message(&self) -> PodMessage {
        let (state, obstacle) = match &self.state {
            State::Captured { obstacle } => (StateCode::Captured, obstacle.as_deref()),
            State::Outside => (StateCode::Outside, None),
            State::OtherMesh => (StateCode::OtherMesh, None),
            State::Failed { obstacle } => (StateCode::Failed, Some(obstacle.as_str())),
        };
        PodMessage {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.to_string(),
            state: state.into(),
            obstacle: obstacle.map(cleaned).unwrap_or_default(),
            mended: self.mended.as_deref().map(cleaned).unwrap_or_default(),
        }
    }

    /// What has travelled.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`].
    pub(crate) fn read(message: &PodMessage) -> Result<Self, Refusal> {
        let PodMessage { namespace, name, uid, state, obstacle, mended } = message;
        let bad = |what: &str| Refusal::BadRequest(format!("what is reported of the pod {namespace}/{name} {what}"));
        let uid = uid.parse().map_err(|error| bad(&format!("cannot be read: its ID {error}")))?;
        let said = Some(cleaned(obstacle)).filter(|said| !said.is_empty());
        let state = match StateCode::try_from(*state) {
            Ok(StateCode::Captured) => State::Captured { obstacle: said },
            Ok(StateCode::Outside) => State::Outside,
            Ok(StateCode::OtherMesh) => State::OtherMesh,
            Ok(StateCode::Failed) => {
                State::Failed { obstacle: said.unwrap_or_else(|| "it is not said why".to_owned()) }
            }
            Ok(StateCode::Unspecified) | Err(_) => {
                return Err(bad("is unknown here: is the agent newer than its controller?"));
            }
        };
        let mended = Some(cleaned(mended)).filter(|said| !said.is_empty());
        Ok(Self { namespace: namespace.clone(), name: name.clone(), uid, state, mended })
    }
}

/// Whether the agent of `node` may say what it says in `report`, by what `snapshot` knows: of pods on its own node alone.
///
/// # Errors
/// Why not.
pub fn check(report: &PodReport, node: &str, snapshot: &Snapshot) -> Result<(), Denial> {
    let pod = || report.pod();
    let uid = WorkloadUid::pod(&snapshot.mesh.cluster, &report.namespace, &report.name);
    let Some(known) = snapshot.workload(&uid) else { return Err(Denial::Unknown { pod: pod() }) };
    if *known.node != *node {
        return Err(Denial::NotOnNode { pod: pod(), node: node.to_owned() });
    }
    if known.pod_uid != Some(report.uid) {
        return Err(Denial::OtherPod { pod: pod(), uid: report.uid });
    }
    Ok(())
}

/// `text` as a line that is no longer than is kept.
fn cleaned(text: &str) -> String {
    let mut line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    line.truncate(line.floor_char_boundary(LONGEST_TEXT));
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ambit_model::{Mesh, Workload};

    use super::*;

    const UID: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "11111111-2222-3333-4444-666666666666";

    fn report(name: &str, uid: &str) -> PodReport {
        let state = State::Captured { obstacle: None };
        PodReport {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: uid.parse().unwrap(),
            state,
            mended: None,
        }
    }

    fn mesh() -> Snapshot {
        let mut snapshot = Snapshot::new(Mesh::default());
        let identity = "spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap();
        let pod = crate::desk::tests::pod("reviews-1", "a", &identity);
        snapshot.insert_workload(Arc::new(Workload { pod_uid: UID.parse().ok(), ..Workload::clone(&pod) }));
        snapshot
    }

    #[test]
    fn a_node_reports_of_its_own_pods_and_of_no_others() {
        let mesh = mesh();
        let told =
            |name: &str, uid: &str, node: &str| check(&report(name, uid), node, &mesh).map_err(|denial| denial.code());
        assert_eq!(told("reviews-1", UID, "a"), Ok(()));
        assert_eq!(told("reviews-1", UID, "b"), Err("not-on-node"));
        assert_eq!(told("reviews-1", UID, ""), Err("not-on-node"));
        assert_eq!(told("reviews-1", OTHER, "a"), Err("other-pod"));
        assert_eq!(told("reviews-1", OTHER, "b"), Err("not-on-node"), "nor does it learn whether an ID is right");
        assert_eq!(told("reviews-2", UID, "a"), Err("unknown-pod"));
        let denial = check(&report("reviews-1", UID), "b", &mesh).unwrap_err().to_string();
        assert!(denial.contains("pod shop/reviews-1 does not run on node b") && denial.contains("token"), "{denial}");
    }

    #[test]
    fn what_travels_arrives_as_it_was_said() {
        let why = || "its network namespace cannot be opened".to_owned();
        for state in [
            State::Captured { obstacle: None },
            State::Captured { obstacle: Some(why()) },
            State::Outside,
            State::OtherMesh,
            State::Failed { obstacle: why() },
        ] {
            for mended in [None, Some("steering".to_owned())] {
                let said = PodReport { state: state.clone(), mended, ..report("reviews-1", UID) };
                assert_eq!(PodReport::read(&said.message()), Ok(said));
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_an_agents_words_are_a_line_of_bounded_length() {
        let read = |change: fn(&mut PodMessage)| {
            let mut message =
                PodReport { state: State::Failed { obstacle: "x".to_owned() }, ..report("reviews-1", UID) }.message();
            change(&mut message);
            PodReport::read(&message)
        };
        for change in [
            |message: &mut PodMessage| message.uid = "web".to_owned(),
            |message: &mut PodMessage| message.state = 0,
            |message: &mut PodMessage| message.state = 99,
        ] {
            let refusal = read(change).unwrap_err();
            assert!(refusal.code() == "bad-request" && refusal.to_string().contains("shop/reviews-1"), "{refusal}");
        }
        let Ok(PodReport { state: State::Failed { obstacle }, .. }) =
            read(|message| message.obstacle = "a\nb\u{1b}[31m".to_owned())
        else {
            panic!()
        };
        assert_eq!(obstacle, "a b [31m");
        let Ok(PodReport { mended: Some(mended), .. }) = read(|message| message.mended = "ä".repeat(1000)) else {
            panic!()
        };
        assert_eq!(mended, "ä".repeat(LONGEST_TEXT / 2));
    }
}
