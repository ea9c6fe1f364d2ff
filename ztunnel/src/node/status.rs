//! What the node agent reports of its pods: captured, or not and why. Published as a whole, read by admin and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::{PodUid, WorkloadUid};
use arc_swap::ArcSwap;
use serde::{Serialize, Serializer};

/// What the node agent reports of the pods of its node that are in the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Pods whose connections are captured.
    pub(crate) captured: BTreeMap<WorkloadUid, Captured>,
    /// Pods that are in the mesh but cannot be captured as they should be, with what stands in the way. One that was
    /// captured before stays so, and is listed there as well.
    pub(crate) uncaptured: BTreeMap<WorkloadUid, Uncaptured>,
    /// Captured pods of whose capture somebody else had taken something out of the kernel.
    #[serde(skip)]
    pub(crate) mended: BTreeMap<WorkloadUid, Mended>,
    /// What the kernel programs counted, by the counter's name.
    pub(crate) counters: BTreeMap<&'static str, u64>,
}

/// A captured pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Captured {
    /// Its network namespace's cookie.
    pub(crate) cookie: u64,
    /// Which pod of a cluster it is.
    #[serde(skip)]
    pub(crate) pod: Option<PodUid>,
    /// Its connections from before it was captured, `local -> remote`: left alone.
    pub(crate) pre_mesh: Vec<String>,
}

/// A pod that cannot be captured as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uncaptured {
    /// What stands in the way.
    pub(crate) why: String,
    /// True if that passes by itself when the pod has begun or ended.
    pub(crate) is_passing: bool,
}

/// As what stands in the way.
impl Serialize for Uncaptured {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.why)
    }
}

/// What was missing of a pod's capture and has been put back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mended {
    /// How often, since the agent has begun.
    pub(crate) times: u32,
    /// What it was the last time.
    pub(crate) what: String,
}

/// The status as it is now. Clones read the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<ArcSwap<Status>>);

impl Board {
    /// The status as it is now.
    pub(crate) fn read(&self) -> Arc<Status> {
        self.0.load_full()
    }

    /// Replaces the status.
    pub(crate) fn publish(&self, status: Status) {
        self.0.store(Arc::new(status));
    }
}
