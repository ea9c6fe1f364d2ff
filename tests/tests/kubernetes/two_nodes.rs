//! Two nodes: pods of an image that was made here become ready on both, reach one another and a Service across nodes, and
//! are where an agent of their node finds them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ambit_tests::cluster::{self, Cluster};
use ambit_tests::{Binaries, image, until};
use serde_json::{Value, json};

use crate::{own, traces};

const SOON: Duration = Duration::from_secs(60);

/// A server on every node, each with a token for an audience of its own, and a Service before them.
fn objects() -> [Value; 3] {
    let own_name = json!({"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    let container = json!({
        "name": "web",
        "image": image::TESTAPP,
        "imagePullPolicy": "Never",
        "args": ["serve", "whoami=0.0.0.0:7000", "http=0.0.0.0:8080", "--name", "$(NAME)"],
        "env": [own_name],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "token", "mountPath": "/var/run/mesh"}],
    });
    let token = json!({"serviceAccountToken": {"audience": "istio-ca", "path": "token", "expirationSeconds": 600}});
    let volumes = json!([{"name": "token", "projected": {"sources": [token]}}]);
    let pod = json!({"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1});
    let labels = json!({"app": "web"});
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": labels, "clusterIP": "10.96.7.7", "ports": [{"port": 70, "targetPort": 7000}]},
        }),
    ]
}

/// The pods' names and addresses, by their nodes, once all of them are ready.
fn ready(cluster: &Cluster) -> BTreeMap<String, (String, String)> {
    let kubectl = cluster.kubectl();
    let rolled_out = kubectl.run(&["rollout", "status", "daemonset/web", "-n", "shop", "--timeout=90s"]);
    let pods = kubectl.get(&["pods", "-n", "shop", "-l", "app=web"]).unwrap();
    if let Err(error) = rolled_out {
        let described = kubectl.run(&["describe", "pods", "-n", "shop"]).unwrap_or_default();
        let tails: String = cluster.nodes().iter().flat_map(|node| node.processes()).map(|one| one.tail()).collect();
        panic!("{error}\n{described}\n{tails}");
    }
    let text = |pod: &Value, field: &str| pod.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let pods = pods["items"].as_array().unwrap().iter();
    pods.map(|pod| (text(pod, "/spec/nodeName"), (text(pod, "/metadata/name"), text(pod, "/status/podIP")))).collect()
}

/// Runs the tests' program in a pod.
fn exec(cluster: &Cluster, pod: &str, arguments: &[&str]) -> anyhow::Result<String> {
    cluster.kubectl().run(&[&["exec", "-n", "shop", pod, "--", "/testapp"], arguments].concat())
}

/// Whoever answers at `address` when the pod asks 16 times: their names and how often.
fn answers(cluster: &Cluster, pod: &str, address: &str) -> anyhow::Result<Value> {
    let greeted = exec(cluster, pod, &["greeting", "--to", address, "--count", "16"])?;
    Ok(serde_json::from_str::<Value>(&greeted)?["lines"].clone())
}

/// The processes of the pods of a node: those in its cgroup that its components are not.
fn serving(node: &ambit_tests::cluster::Node) -> Vec<u32> {
    let of_pods = |pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.starts_with(b"/testapp\0serve")
    };
    ambit_tests::place::processes(&node.cgroup).into_iter().filter(of_pods).collect()
}

#[test]
fn pods_of_two_nodes_are_ready_and_reach_one_another_and_a_service() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("images.tar");
    image::write_for_tests(&archive, &Binaries::beside_this().unwrap().testapp).unwrap();
    let links = traces::links();
    let cluster = own().nodes(2).image(&archive).start().unwrap();
    cluster.kubectl().apply(&objects()).unwrap();
    let pods = ready(&cluster);
    assert_eq!(pods.keys().collect::<Vec<_>>(), ["node-1", "node-2"]);

    for (node, (pod, _)) in &pods {
        for (other, address) in pods.values() {
            let lines = answers(&cluster, pod, &format!("{address}:7000")).unwrap().to_string();
            assert!(lines.contains(other), "{pod} on {node} asks {other}: {lines}");
        }
        // kube-proxy may hear of the endpoints after kubectl has.
        let mut told = Value::Null;
        let both = until::until(SOON, || {
            told = answers(&cluster, pod, "10.96.7.7:70").unwrap_or_default();
            pods.values().all(|(other, _)| told.to_string().contains(other))
        });
        assert!(both.is_ok(), "{pod} on {node} asks the Service: {told}");
    }

    for node in cluster.nodes() {
        // Where the node's agent would attach, and where its plugin would be put.
        assert_eq!(serving(node).len(), 1, "the pod of {} is in its node's cgroup", node.name);
        assert!(node.root().join("etc/cni/net.d/10-pods.conflist").is_file());
        assert!(node.root().join("opt/cni/bin/bridge").is_file());
        assert!(!Path::new("/etc/cni/net.d/10-pods.conflist").exists());
        let (pid, token) = (serving(node)[0], "root/var/run/mesh/token");
        let token = std::fs::read_to_string(format!("/proc/{pid}/{token}")).unwrap();
        assert_eq!(token.split('.').count(), 3, "a pod has a token");
    }

    let (name, processes) = (cluster.name().to_owned(), cluster::processes_of(cluster.name()));
    drop(cluster);
    assert_eq!(traces::of(&name), [] as [&str; 0]);
    assert_eq!(traces::links(), links);
    assert!(!traces::alive(&processes));
}
