//! What the desk signs and what it refuses, without a network.

use std::time::SystemTime;

use ambit_identity::csr;
use ambit_model::workload::{Enrolment, NetworkMode, Owner};
use ambit_model::{Mesh, Workload, WorkloadUid};

use super::*;
use crate::caller::Caller;

const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";
const RATINGS: &str = "spiffe://cluster.local/ns/shop/sa/ratings";

/// The pod `name` on `node`.
pub(crate) fn pod(name: &str, node: &str, identity: &Identity) -> Arc<Workload> {
    Arc::new(Workload {
        uid: WorkloadUid::pod("Kubernetes", &identity.namespace, name),
        name: name.into(),
        namespace: identity.namespace.clone(),
        identity: identity.clone(),
        addresses: Vec::new(),
        node: node.into(),
        network_mode: NetworkMode::Standard,
        enrolment: Enrolment::Enrolled,
        ready: true,
        dns_capture: true,
        waypoint: None,
        labels: BTreeMap::new(),
        owner: Owner { kind: "pod".into(), name: name.into() },
        canonical_name: name.into(),
        canonical_revision: "latest".into(),
        cluster: "Kubernetes".into(),
        region: "".into(),
        zone: "".into(),
        subzone: "".into(),
        pod_uid: None,
        netns: None,
    })
}

/// Node `a`, whose token is its name.
pub(crate) struct NodeA;

impl Authenticate for NodeA {
    async fn authenticate(&self, token: &str) -> Result<Caller, Refusal> {
        match token {
            "a" => Ok(Caller::Node("a".into())),
            "away" => Err(Refusal::Unavailable("nobody answers".to_owned())),
            _ => Err(Refusal::Unauthenticated("no such token".to_owned())),
        }
    }
}

pub(crate) fn desk() -> Desk<NodeA> {
    let mut snapshot = Snapshot::new(Mesh::default());
    snapshot.insert_workload(pod("reviews-1", "a", &REVIEWS.parse().unwrap()));
    snapshot.insert_workload(pod("ratings-1", "b", &RATINGS.parse().unwrap()));
    let snapshot = Arc::new(snapshot);
    let authority = Authority::generate(&"cluster.local".parse().unwrap(), SystemTime::now()).unwrap();
    Desk::new(authority, NodeA, move || snapshot.clone(), Duration::from_secs(3600), Clock::system())
}

fn request(who: &str) -> CertificateRequest {
    let identity = who.parse().unwrap();
    let (_, csr) = csr::request(&identity).unwrap();
    CertificateRequest::for_identity(csr.to_pem(), 600, &identity)
}

#[tokio::test]
async fn what_a_node_may_have_is_signed_and_comes_with_the_roots() {
    let desk = desk();
    let chain = desk.certify(Some("a"), &request(REVIEWS)).await.unwrap();
    assert_eq!(chain.len(), 2);
    assert!(chain.iter().all(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----\n")));
    let read = ambit_identity::client::chain_from_pem(chain.iter().map(String::as_str)).unwrap();
    assert_eq!(read.len(), 1, "the root at the end is left out");
    assert_eq!(desk.tally(), Tally { signed: 1, ..Tally::default() });
}

#[tokio::test]
async fn every_refusal_has_its_code_and_is_counted() {
    let desk = desk();
    let damaged = |change: fn(&mut CertificateRequest)| {
        let mut request = request(REVIEWS);
        change(&mut request);
        request
    };
    for (token, request, code, said) in [
        (None, request(REVIEWS), "no-token", "no bearer token"),
        (Some("b"), request(REVIEWS), "unauthenticated", "no such token"),
        (Some("away"), request(REVIEWS), "unavailable", "nobody answers"),
        (
            Some("a"),
            request(RATINGS),
            "not-on-node",
            "no pod of spiffe://cluster.local/ns/shop/sa/ratings runs on node a",
        ),
        (Some("a"), damaged(|request| request.metadata = None), "no-identity", "ImpersonatedIdentity is missing"),
        (Some("a"), damaged(|request| request.csr = "CSR".to_owned()), "bad-request", "cannot be used"),
        (Some("a"), damaged(|request| request.csr.clear()), "bad-request", "cannot be used"),
    ] {
        let refusal = desk.certify(token, &request).await.unwrap_err();
        assert_eq!(refusal.code(), code);
        assert!(refusal.to_string().contains(said), "{refusal}");
    }
    let identity = request("spiffe://cluster.local/ns/shop/sa/reviews");
    let mut nobody = identity.clone();
    let fields = &mut nobody.metadata.as_mut().unwrap().fields;
    for value in fields.values_mut() {
        value.kind = Some(prost_types::value::Kind::StringValue("reviews".to_owned()));
    }
    assert_eq!(desk.certify(Some("a"), &nobody).await.unwrap_err().code(), "bad-identity");
    let tally = desk.tally();
    assert_eq!((tally.signed, tally.refused["bad-request"], tally.refused["no-token"]), (0, 2, 1));
    assert_eq!(tally.refused.len(), 7);
}

#[tokio::test]
async fn a_new_authority_signs_what_comes_after_it() {
    let desk = desk();
    let before = desk.certify(Some("a"), &request(REVIEWS)).await.unwrap();
    let next = Authority::generate(&"cluster.local".parse().unwrap(), SystemTime::now()).unwrap();
    let root = chain_to_pem(&next.roots().roots().cloned().collect());
    desk.replace_authority(Arc::new(next));
    let after = desk.certify(Some("a"), &request(REVIEWS)).await.unwrap();
    assert_eq!(after.last(), root.last());
    assert_ne!(before.last(), after.last());
}
