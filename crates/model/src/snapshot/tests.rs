//! Whatever happened to a snapshot, it is what would have been built from what is left.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;
use crate::fixtures::{any_node, any_pod, any_service, pod, service};

#[derive(Clone, Debug)]
enum Change {
    Pod(Arc<Workload>),
    PodGone(WorkloadUid),
    Service(Arc<Service>),
    ServiceGone(ServiceKey),
    Node(Arc<Node>),
    NodeGone(Arc<str>),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => any_pod().prop_map(|pod| Change::Pod(pod.into())),
        1 => any_pod().prop_map(|pod| Change::PodGone(pod.uid)),
        3 => any_service().prop_map(|service| Change::Service(service.into())),
        1 => any_service().prop_map(|service| Change::ServiceGone(service.key)),
        1 => any_node().prop_map(|node| Change::Node(node.into())),
        1 => any_node().prop_map(|node| Change::NodeGone(node.name)),
    ]
}

/// What is left of a sequence of changes, without any index.
#[derive(Default)]
struct Left {
    pods: BTreeMap<WorkloadUid, Arc<Workload>>,
    services: BTreeMap<ServiceKey, Arc<Service>>,
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
}

impl Left {
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Pod(pod) => drop(self.pods.insert(pod.uid.clone(), pod)),
            Change::PodGone(uid) => drop(self.pods.remove(&uid)),
            Change::Service(service) => drop(self.services.insert(service.key.clone(), service)),
            Change::ServiceGone(key) => drop(self.services.remove(&key)),
            Change::Node(node) => drop(self.nodes.insert(node.name.clone(), node)),
            Change::NodeGone(name) => drop(self.nodes.remove(&name)),
        }
    }

    fn built(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.nodes.values().rev().for_each(|node| snapshot.insert_node(node.clone()));
        self.services.values().rev().for_each(|service| snapshot.insert_service(service.clone()));
        self.pods.values().rev().for_each(|pod| snapshot.insert_workload(pod.clone()));
        snapshot
    }
}

fn apply(snapshot: &mut Snapshot, change: &Change) {
    match change.clone() {
        Change::Pod(pod) => snapshot.insert_workload(pod),
        Change::PodGone(uid) => snapshot.remove_workload(&uid),
        Change::Service(service) => snapshot.insert_service(service),
        Change::ServiceGone(key) => snapshot.remove_service(&key),
        Change::Node(node) => snapshot.insert_node(node),
        Change::NodeGone(name) => snapshot.remove_node(&name),
    }
}

proptest! {
    #![proptest_config(Config { cases: 1000, ..Config::default() })]

    #[test]
    fn any_history_equals_building_from_what_is_left(changes in prop::collection::vec(any_change(), 0..40)) {
        let (mut snapshot, mut left) = (Snapshot::default(), Left::default());
        for change in &changes {
            apply(&mut snapshot, change);
            left.apply(change);
        }
        prop_assert_eq!(&snapshot, &left.built());
        for pod in left.pods.values() {
            prop_assert_eq!(snapshot.workload(&pod.uid), Some(pod));
        }
        for service in left.services.values() {
            prop_assert_eq!(snapshot.service(&service.key), Some(service));
            for vip in &service.vips {
                let has = |other: &&Arc<Service>| other.vips.iter().any(|v| v.to_canonical() == vip.to_canonical());
                let of_client = |other: &&Arc<Service>| has(other) && *other.key.namespace == *"shop";
                let expected = left.services.values().find(of_client).or_else(|| left.services.values().find(has));
                prop_assert_eq!(snapshot.service_dialled(*vip, "shop"), expected);
            }
        }
        for node in left.nodes.values() {
            prop_assert_eq!(snapshot.node(&node.name), Some(node));
        }
    }

    #[test]
    fn a_copy_does_not_see_later_changes(
        before in prop::collection::vec(any_change(), 0..20),
        after in prop::collection::vec(any_change(), 1..20),
    ) {
        let (mut snapshot, mut left) = (Snapshot::default(), Left::default());
        for change in &before {
            apply(&mut snapshot, change);
            left.apply(change);
        }
        let copy = snapshot.clone();
        after.iter().for_each(|change| apply(&mut snapshot, change));
        prop_assert_eq!(copy, left.built());
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_address_in_dispute_is_reported_and_the_first_claimant_answers() {
    let mut snapshot = Snapshot::default();
    for name in ["late", "early"] {
        snapshot.insert_workload(Arc::new(pod(name, "east", &["10.0.0.1"])));
    }
    assert_eq!(&*snapshot.workload_at(ip("10.0.0.1")).unwrap().name, "early");
    let disputed: Vec<_> = snapshot.disputed_addresses().map(|(ip, uids)| (*ip, uids.len())).collect();
    assert_eq!(disputed, [(ip("10.0.0.1"), 2)]);
    snapshot.remove_workload(&crate::fixtures::uid("early"));
    assert_eq!(&*snapshot.workload_at(ip("::ffff:10.0.0.1")).unwrap().name, "late");
    assert_eq!(snapshot.disputed_addresses().count(), 0);
}

#[test]
fn a_v4_address_is_found_however_it_is_written() {
    let mut snapshot = Snapshot::default();
    snapshot.insert_workload(Arc::new(pod("web", "east", &["::ffff:10.0.0.1"])));
    snapshot.insert_service(Arc::new(service("web", &["::ffff:10.96.0.1"], vec![])));
    snapshot.insert_node(Arc::new(Node {
        name: "east".into(),
        addresses: vec![ip("::ffff:192.168.0.1")],
        region: "".into(),
        zone: "".into(),
        subzone: "".into(),
    }));
    assert!(snapshot.workload_at(ip("10.0.0.1")).is_some_and(|web| web.owns(ip("10.0.0.1"))));
    assert!(snapshot.service_dialled(ip("10.96.0.1"), "shop").is_some());
    assert!(snapshot.node_at(ip("192.168.0.1")).is_some());
}
