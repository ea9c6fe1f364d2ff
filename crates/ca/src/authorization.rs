//! Whether the one who asks may have the certificate. Pure: who asks and what runs where are values.

use ambit_model::{Identity, Snapshot};

use crate::caller::Caller;
use crate::error::Refusal;

/// Whom to certify for `caller`, who asks for `requested` or for himself: a workload for itself alone, a node for the
/// service accounts of the pods that run on it and for no others (as Istio's node authorizer).
///
/// # Errors
/// [`Refusal::NoIdentity`], [`Refusal::NotItself`] or [`Refusal::NotOnNode`].
pub fn authorize(snapshot: &Snapshot, caller: &Caller, requested: Option<Identity>) -> Result<Identity, Refusal> {
    match (caller, requested) {
        (Caller::Workload(own), None) => Ok(own.clone()),
        (Caller::Workload(own), Some(requested)) if requested == *own => Ok(requested),
        (Caller::Workload(own), Some(identity)) => Err(Refusal::NotItself { caller: own.clone(), identity }),
        (Caller::Node(_), None) => Err(Refusal::NoIdentity),
        (Caller::Node(node), Some(identity)) => {
            if snapshot.workloads().any(|pod| pod.node == *node && pod.identity == identity) {
                return Ok(identity);
            }
            Err(Refusal::NotOnNode { node: node.to_string(), identity })
        }
    }
}

#[cfg(test)]
mod tests {
    use ambit_model::{Mesh, Workload};

    use super::*;

    fn identity(text: &str) -> Identity {
        text.parse().unwrap()
    }

    const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";
    const RATINGS: &str = "spiffe://cluster.local/ns/shop/sa/ratings";

    /// Reviews on node a, ratings on node b.
    fn mesh() -> Snapshot {
        let mut snapshot = Snapshot::new(Mesh::default());
        for (name, node, who) in [("reviews-1", "a", REVIEWS), ("ratings-1", "b", RATINGS)] {
            snapshot.insert_workload(crate::desk::tests::pod(name, node, &identity(who)));
        }
        snapshot
    }

    #[test]
    fn a_node_gets_certificates_for_the_pods_on_it_and_for_no_others() {
        let mesh = mesh();
        let ask = |node: &str, who: Option<&str>| authorize(&mesh, &Caller::Node(node.into()), who.map(identity));
        assert_eq!(ask("a", Some(REVIEWS)), Ok(identity(REVIEWS)));
        assert_eq!(ask("b", Some(RATINGS)), Ok(identity(RATINGS)));
        let elsewhere = |node: &str, who| Err(Refusal::NotOnNode { node: node.to_owned(), identity: identity(who) });
        assert_eq!(ask("a", Some(RATINGS)), elsewhere("a", RATINGS));
        assert_eq!(ask("nowhere", Some(REVIEWS)), elsewhere("nowhere", REVIEWS));
        let other = "spiffe://foreign.example/ns/shop/sa/reviews";
        assert_eq!(ask("a", Some(other)), elsewhere("a", other));
        assert_eq!(ask("a", None), Err(Refusal::NoIdentity));
        assert_eq!(ask("", Some(REVIEWS)), elsewhere("", REVIEWS));
    }

    #[test]
    fn a_pod_that_is_gone_or_has_moved_takes_the_leave_with_it() {
        let mut mesh = mesh();
        let ask = |mesh: &Snapshot, node: &str| authorize(mesh, &Caller::Node(node.into()), Some(identity(REVIEWS)));
        let uid = mesh.workloads().find(|pod: &&std::sync::Arc<Workload>| &*pod.node == "a").unwrap().uid.clone();
        mesh.remove_workload(&uid);
        assert!(ask(&mesh, "a").is_err());
        mesh.insert_workload(crate::desk::tests::pod("reviews-1", "b", &identity(REVIEWS)));
        assert!(ask(&mesh, "a").is_err() && ask(&mesh, "b").is_ok());
    }

    #[test]
    fn a_workload_gets_its_own() {
        let caller = Caller::Workload(identity(REVIEWS));
        let ask = |who: Option<&str>| authorize(&mesh(), &caller, who.map(identity));
        assert_eq!(ask(None), Ok(identity(REVIEWS)));
        assert_eq!(ask(Some(REVIEWS)), Ok(identity(REVIEWS)));
        assert!(matches!(ask(Some(RATINGS)), Err(Refusal::NotItself { .. })));
    }
}
