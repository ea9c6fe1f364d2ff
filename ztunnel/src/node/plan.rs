//! Which pods should be captured on this node, and what to do about the difference from what is. Pure: opens nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ambit_model::{Identity, PodUid, Workload, WorkloadUid};

use super::finder::Spot;

/// A pod of this node that is in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whom its certificate names.
    pub(crate) identity: Identity,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where its network namespace is found.
    pub(crate) netns: PathBuf,
    /// Which pod of a cluster it is.
    pub(crate) pod: Option<PodUid>,
    /// Whether its DNS queries are captured as well.
    pub(crate) dns: bool,
}

/// Why a pod that is in the mesh cannot be captured (yet). Nothing of it is refused or sent on the mesh's behalf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    /// Nothing says where its network namespace is.
    #[error("its network namespace is not known: add the annotation ambit.dev/netns with the namespace's path")]
    NoNetns,
    /// No process of it is running on this node.
    #[error(
        "no process of it is found on this node: it is starting, or the agent does not see the node's processes (--proc)"
    )]
    NoProcess,
    /// It has no address yet.
    #[error("it has no address yet (status.podIPs)")]
    NoAddress,
    /// The namespace cannot be opened.
    #[error("its network namespace {path} cannot be opened: {error}")]
    Unopened {
        /// The path tried.
        path: PathBuf,
        /// What the kernel said.
        error: String,
    },
    /// The kernel or the pod's namespace refused a step of the capture.
    #[error("{0}")]
    Refused(String),
}

impl Obstacle {
    /// True if the pod may be captured already, by an earlier agent, without this one being able to tell.
    pub(crate) fn hides_a_pod(&self) -> bool {
        !matches!(self, Self::NoNetns)
    }

    /// True if it passes by itself when the pod has begun or ended.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::NoProcess | Self::NoAddress)
    }
}

/// The enrolled ones of the node's pods, `local`, each with its place or with what is missing; `find` says where a pod is.
pub(crate) fn wanted(
    local: &[Arc<Workload>],
    find: impl Fn(&Workload) -> Result<Spot, Obstacle>,
) -> BTreeMap<WorkloadUid, Result<Wanted, Obstacle>> {
    let wanted = |workload: &Workload| {
        let Spot { netns, addresses } = find(workload)?;
        let (identity, pod, dns) = (workload.identity.clone(), workload.pod_uid, workload.dns_capture);
        Ok(Wanted { identity, addresses, netns, pod, dns })
    };
    let enrolled = local.iter().filter(|workload| workload.is_enrolled());
    enrolled.map(|workload| (workload.uid.clone(), wanted(workload))).collect()
}

/// What a capture depends on: when it changes, the capture is made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The network namespace's cookie.
    pub(crate) cookie: u64,
    /// Which pod of a cluster it is.
    pub(crate) pod: Option<PodUid>,
    /// Whom the pod's certificate names.
    pub(crate) identity: Identity,
    /// Every address of the pod, ascending.
    pub(crate) addresses: Vec<IpAddr>,
    /// Those by which others reach it.
    pub(crate) own: Vec<IpAddr>,
    /// Whether its DNS queries are captured as well.
    pub(crate) dns: bool,
}

/// A step towards what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// End a pod's capture; what it has open goes on.
    Withdraw(WorkloadUid),
    /// Capture a pod, or renew its capture in place.
    Enrol(WorkloadUid),
}

/// The steps from what is `held` to what is `found` to be wanted, withdrawals first.
pub(crate) fn steps(found: &BTreeMap<WorkloadUid, Place>, held: &BTreeMap<WorkloadUid, Place>) -> Vec<Step> {
    let moved = |uid: &WorkloadUid, place: &Place| found.get(uid).is_none_or(|now| now.cookie != place.cookie);
    let withdrawn = held.iter().filter(|(uid, place)| moved(uid, place)).map(|(uid, _)| Step::Withdraw(uid.clone()));
    let changed = found.iter().filter(|(uid, place)| held.get(*uid) != Some(*place));
    withdrawn.chain(changed.map(|(uid, _)| Step::Enrol(uid.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> WorkloadUid {
        WorkloadUid::pod("Kubernetes", "shop", name)
    }

    fn place(cookie: u64, last: u8) -> Place {
        let identity = Identity::new("cluster.local".parse().unwrap(), "shop", "web");
        let addresses = vec![IpAddr::from([10, 0, 0, last])];
        Place { cookie, pod: None, identity, own: addresses.clone(), addresses, dns: true }
    }

    #[test]
    fn what_is_held_as_wanted_needs_no_step() {
        let both = BTreeMap::from([(uid("a"), place(1, 1)), (uid("b"), place(2, 2))]);
        assert_eq!(steps(&both, &both), []);
    }

    #[test]
    fn a_new_address_renews_in_place_and_a_new_namespace_starts_over() {
        let held = BTreeMap::from([(uid("a"), place(1, 1)), (uid("b"), place(2, 2)), (uid("c"), place(3, 3))]);
        let found = BTreeMap::from([(uid("a"), place(1, 9)), (uid("b"), place(7, 2)), (uid("d"), place(4, 4))]);
        assert_eq!(
            steps(&found, &held),
            [
                Step::Withdraw(uid("b")),
                Step::Withdraw(uid("c")),
                Step::Enrol(uid("a")),
                Step::Enrol(uid("b")),
                Step::Enrol(uid("d")),
            ]
        );
    }
}
