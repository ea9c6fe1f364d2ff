//! The manifests of examples/bookinfo say what the demo needs, and nothing about them is to be reported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::PathBuf;

use ambit_discovery::{Settings, publish, run};
use ambit_model::{ServiceKey, Snapshot};

#[tokio::test]
async fn bookinfo_is_a_mesh_of_six_pods_on_two_nodes() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/bookinfo");
    let (publisher, mut snapshots) = publish(Snapshot::default());
    let (reporter, mut reports) = publish(Vec::new());
    let task = run(Settings::new(directory), publisher, reporter, async {
        reports.changed().await;
    });
    task.await.unwrap();
    assert_eq!(*reports.load(), []);
    let snapshot = snapshots.changed().await.unwrap();
    let pods: Vec<_> = snapshot.workloads().map(|pod| (&*pod.name, &*pod.node, pod.identity.to_string())).collect();
    let identity = |app: &str| format!("spiffe://cluster.local/ns/default/sa/bookinfo-{app}");
    let expected = [
        ("details-v1", "node-b", identity("details")),
        ("productpage-v1", "node-a", identity("productpage")),
        ("ratings-v1", "node-b", identity("ratings")),
        ("reviews-v1", "node-a", identity("reviews")),
        ("reviews-v2", "node-b", identity("reviews")),
        ("reviews-v3", "node-b", identity("reviews")),
    ];
    assert_eq!(pods, expected);
    for pod in snapshot.workloads() {
        assert!(pod.is_enrolled() && pod.ready && !pod.zone.is_empty(), "{pod:?}");
        assert_eq!(pod.netns, Some(PathBuf::from(format!("/run/netns/ambit-demo-{}", pod.name))));
        let both = [true, false].map(|v4| pod.addresses.iter().filter(|ip| ip.is_ipv4() == v4).count());
        assert_eq!(both, [1, 1]);
    }
    assert_eq!(snapshot.disputed_addresses().count(), 0);
    for (service, endpoints) in [("productpage", 1), ("details", 1), ("reviews", 3), ("ratings", 1)] {
        let service = snapshot.service(&ServiceKey::new("default", service)).unwrap();
        assert_eq!(service.vips.len(), 2);
        let port = service.port(9080).unwrap();
        assert_eq!((&*port.name, port.targets.len()), ("http", endpoints * 2));
    }
    assert!(snapshot.nodes().all(|node| node.addresses.len() == 2));
}
