//! Where the network namespaces of this node's pods are: as their annotations say, where there is no cluster; else where
//! their processes are, since whoever may annotate a pod is not to choose what is captured as it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ambit_model::{PodUid, Snapshot, Workload};

use super::plan::Obstacle;
use super::processes::Processes;

/// How the network namespaces of pods are found.
#[derive(Debug)]
pub(crate) enum Finder {
    /// By the annotation `ambit.dev/netns`.
    Annotations,
    /// By the pods' processes.
    Processes(Processes),
}

impl Finder {
    /// Takes up what has changed of where the pods of `node` are.
    pub(super) async fn refresh(&mut self, snapshot: &Snapshot, node: &str, closely: bool) {
        let Self::Processes(processes) = self else { return };
        let here = || snapshot.workloads().filter(|workload| &*workload.node == node);
        // A pod that has no address yet has no namespace to find either.
        let wanted = here().filter(|workload| workload.is_enrolled() && !workload.addresses.is_empty());
        let wanted: BTreeSet<PodUid> = wanted.filter_map(|workload| workload.pod_uid).collect();
        let local = here().filter_map(|workload| workload.pod_uid).collect();
        processes.refresh(&wanted, local, closely).await;
    }

    /// Where the network namespace of `workload` is.
    pub(super) fn netns(&self, workload: &Workload) -> Result<PathBuf, Obstacle> {
        match self {
            Self::Annotations => workload.netns.clone().ok_or(Obstacle::NoNetns),
            Self::Processes(processes) => {
                workload.pod_uid.and_then(|pod| processes.netns(pod)).ok_or(Obstacle::NoProcess)
            }
        }
    }

    /// True if what was opened where [`Self::netns`] said is the pod's: a process's number can have been given to another
    /// in between.
    pub(super) fn confirms(&self, pod: Option<PodUid>) -> bool {
        match self {
            Self::Annotations => true,
            Self::Processes(processes) => pod.is_some_and(|pod| processes.confirms(pod)),
        }
    }
}
