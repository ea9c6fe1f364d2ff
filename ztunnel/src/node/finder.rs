//! Where the pods of this node are: as their annotations say, where there is no cluster; else as the CNI plugin has said or
//! where their processes are, since whoever may annotate a pod is not to choose what is captured as it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_model::{PodUid, Workload, WorkloadUid};
use ambit_net::netns::NetNs;

use super::plan::Obstacle;
use super::processes::Processes;

/// How pods are found.
#[derive(Debug)]
pub(crate) enum Finder {
    /// By the annotation `ambit.dev/netns`.
    Annotations,
    /// In a cluster.
    Cluster(Cluster),
}

/// Where the pods of a cluster's node are.
#[derive(Debug)]
pub(crate) struct Cluster {
    processes: Processes,
    /// Pods that were announced when they were made, and of which no process may run yet.
    announced: BTreeMap<WorkloadUid, Announced>,
}

/// A pod as it was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// `metadata.uid`; none where it was not said.
    pub(crate) pod: Option<PodUid>,
    /// Its network namespace.
    pub(crate) netns: PathBuf,
    /// The container that holds its network, as the runtime calls it (`CNI_CONTAINERID`): a pod can have another later.
    pub(crate) container: String,
}

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Its network namespace.
    pub(super) netns: PathBuf,
    /// Its addresses.
    pub(super) addresses: Vec<IpAddr>,
}

impl Finder {
    /// Finds the pods of a cluster's node, whose processes are seen at `proc`.
    pub(crate) fn of_cluster(proc: &Path) -> Self {
        Self::Cluster(Cluster { processes: Processes::at(proc.to_owned()), announced: BTreeMap::new() })
    }

    /// Takes up that the pod `uid` is being made.
    pub(super) fn announce(&mut self, uid: WorkloadUid, announced: Announced) {
        if let Self::Cluster(cluster) = self {
            cluster.announced.insert(uid, announced);
        }
    }

    /// Takes up that the network of `container` is gone, if it is what was announced of the pod `uid`.
    pub(super) fn withdraw(&mut self, uid: &WorkloadUid, container: &str) {
        if let Self::Cluster(cluster) = self
            && cluster.announced.get(uid).is_some_and(|announced| announced.container == container)
        {
            cluster.announced.remove(uid);
        }
    }

    /// Takes up what has changed of where the pods of the node, `local`, are.
    pub(super) async fn refresh(&mut self, local: &[Arc<Workload>], closely: bool) {
        let Self::Cluster(Cluster { processes, announced }) = self else { return };
        announced.retain(|_, announced| announced.netns.exists());
        // One that has no address yet may be there: its network is made before anybody tells of it.
        let sought = |workload: &&Arc<Workload>| workload.is_enrolled() && !announced.contains_key(&workload.uid);
        let wanted: BTreeSet<PodUid> = local.iter().filter(sought).filter_map(|workload| workload.pod_uid).collect();
        processes.refresh(&wanted, local.iter().filter_map(|workload| workload.pod_uid).collect(), closely).await;
    }

    /// Where `workload` is.
    pub(super) fn find(&self, workload: &Workload) -> Result<Spot, Obstacle> {
        let netns = match self {
            Self::Annotations => workload.netns.clone().ok_or(Obstacle::NoNetns)?,
            Self::Cluster(cluster) => cluster.netns(workload).ok_or(Obstacle::NoProcess)?,
        };
        let mut addresses = workload.addresses.clone();
        if addresses.is_empty() && matches!(self, Self::Cluster(_)) {
            // The API server hears of them later.
            addresses = NetNs::open(&netns).and_then(|netns| netns.addresses()).unwrap_or_default();
            addresses.retain(is_a_pods);
        }
        if addresses.is_empty() { Err(Obstacle::NoAddress) } else { Ok(Spot { netns, addresses }) }
    }

    /// The addresses of a pod that is said to have those `said`, and whose namespace has those `found`. Where a pod's network was
    /// made anew, as after a reboot, the API server tells for a while of addresses that it no longer has.
    pub(super) fn own(&self, said: &[IpAddr], found: &[IpAddr]) -> Vec<IpAddr> {
        if matches!(self, Self::Annotations) || said.iter().any(|address| found.contains(address)) {
            return said.to_vec();
        }
        let there: Vec<_> = found.iter().copied().filter(is_a_pods).collect();
        if there.is_empty() { said.to_vec() } else { there }
    }

    /// True if what was opened at `netns` is the pod's: a process's number can have been given to another since it was
    /// found.
    pub(super) fn confirms(&self, pod: Option<PodUid>, netns: &Path) -> bool {
        match self {
            Self::Annotations => true,
            Self::Cluster(Cluster { processes, announced }) => {
                announced.values().any(|announced| announced.netns == netns)
                    || pod.is_some_and(|pod| processes.confirms(pod))
            }
        }
    }
}

/// True if others reach a pod by it.
fn is_a_pods(address: &IpAddr) -> bool {
    !address.is_loopback() && !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

impl Cluster {
    /// The network namespace of `workload`, as it was announced or by its processes.
    fn netns(&self, workload: &Workload) -> Option<PathBuf> {
        let pod = workload.pod_uid;
        // One of its name that was there before is another pod.
        let announced = self.announced.get(&workload.uid);
        let announced = announced.filter(|announced| announced.pod.is_none() || announced.pod == pod);
        announced.map(|announced| announced.netns.clone()).or_else(|| self.processes.netns(pod?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_pod_has_the_addresses_of_its_namespace_where_it_is_told_of_others_alone() {
        let cluster = Finder::of_cluster(Path::new("/proc"));
        let found = addresses(&["10.244.2.13", "fd00::13", "fe80::1", "127.0.0.1"]);
        let there = addresses(&["10.244.2.13", "fd00::13"]);
        for (said, expected) in [
            (addresses(&["10.244.2.13"]), addresses(&["10.244.2.13"])),
            (addresses(&["fd00::13", "10.244.2.13"]), addresses(&["fd00::13", "10.244.2.13"])),
            (addresses(&["10.244.2.4"]), there.clone()),
            (Vec::new(), there),
        ] {
            assert_eq!(cluster.own(&said, &found), expected, "{said:?}");
        }
        let stale = addresses(&["10.244.2.4"]);
        assert_eq!(cluster.own(&stale, &addresses(&["127.0.0.1"])), stale, "its network is not there yet");
        assert_eq!(Finder::Annotations.own(&stale, &found), stale);
    }
}
