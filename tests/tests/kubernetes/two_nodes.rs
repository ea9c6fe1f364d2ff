//! Two nodes: pods of an image that was made here become ready on both, reach one another and a Service across nodes, and
//! are where an agent of their node finds them.

use std::path::Path;

use ambit_tests::{cluster, until};
use serde_json::Value;

use crate::shop::{self, SERVICE, SOON, Shop, WHO};
use crate::traces;

#[test]
fn pods_of_two_nodes_are_ready_and_reach_one_another_and_a_service() {
    let links = traces::links();
    let shop = Shop::open();
    let pods = shop.pods();
    assert_eq!(pods.keys().collect::<Vec<_>>(), ["node-1", "node-2"]);

    for (node, (pod, _)) in &pods {
        for (other, address) in pods.values() {
            let lines = shop.answers(pod, &format!("{address}:{WHO}")).unwrap().to_string();
            assert!(lines.contains(other), "{pod} on {node} asks {other}: {lines}");
        }
        // kube-proxy may hear of the endpoints after kubectl has.
        let mut told = Value::Null;
        let both = until::until(SOON, || {
            told = shop.answers(pod, &format!("{SERVICE}:70")).unwrap_or_default();
            pods.values().all(|(other, _)| told.to_string().contains(other))
        });
        assert!(both.is_ok(), "{pod} on {node} asks the Service: {told}");
    }

    for node in shop.cluster.nodes() {
        // Where the node's agent would attach, and where its plugin would be put.
        assert_eq!(shop::serving(node).len(), 1, "the pod of {} is in its node's cgroup", node.name);
        assert!(node.root().join("etc/cni/net.d/10-pods.conflist").is_file());
        assert!(node.root().join("opt/cni/bin/bridge").is_file());
        assert!(!Path::new("/etc/cni/net.d/10-pods.conflist").exists());
        let (pid, token) = (shop::serving(node)[0], "root/var/run/mesh/token");
        let token = std::fs::read_to_string(format!("/proc/{pid}/{token}")).unwrap();
        assert_eq!(token.split('.').count(), 3, "a pod has a token");
    }

    let (name, processes) = (shop.cluster.name().to_owned(), cluster::processes_of(shop.cluster.name()));
    drop(shop);
    assert_eq!(traces::of(&name), [] as [&str; 0]);
    assert_eq!(traces::links(), links);
    assert!(!traces::alive(&processes));
}
