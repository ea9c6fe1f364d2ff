//! What runs on the nodes: a server on every one of them, made of an image that was made here, and a Service before them.

use std::collections::BTreeMap;

use ambit_tests::cluster::{Cluster, Node};
use ambit_tests::{Binaries, image, place};
use serde_json::{Value, json};

use crate::own;

/// The port at which a pod says who it is.
pub(crate) const WHO: u16 = 7000;
/// The port at which it takes and sends any number of bytes.
pub(crate) const DUPLEX: u16 = 7001;
/// The Service's address.
pub(crate) const SERVICE: &str = "10.96.7.7";

/// A cluster of two nodes with the servers on them.
pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
    images: tempfile::TempDir,
}

impl Shop {
    /// Starts the cluster and the servers, and waits until these are ready.
    pub(crate) fn open() -> Self {
        let images = tempfile::tempdir().unwrap();
        let archive = images.path().join("images.tar");
        image::write_for_tests(&archive, &Binaries::beside_this().unwrap().testapp).unwrap();
        let cluster = own().nodes(2).image(&archive).start().unwrap();
        cluster.kubectl().apply(&objects()).unwrap();
        Self { cluster, images }
    }

    /// The names and addresses of the servers' pods, by their nodes, once all of them are ready.
    pub(crate) fn pods(&self) -> BTreeMap<String, (String, String)> {
        let kubectl = self.cluster.kubectl();
        let rolled_out = kubectl.run(&["rollout", "status", "daemonset/web", "-n", "shop", "--timeout=90s"]);
        let pods = kubectl.get(&["pods", "-n", "shop", "-l", "app=web"]).unwrap();
        if let Err(error) = rolled_out {
            let described = kubectl.run(&["describe", "pods", "-n", "shop"]).unwrap_or_default();
            let tails: String =
                self.cluster.nodes().iter().flat_map(|node| node.processes()).map(|one| one.tail()).collect();
            panic!("{error}\n{described}\n{tails}");
        }
        let text = |pod: &Value, field: &str| pod.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let pods = pods["items"].as_array().unwrap().iter();
        let pods = pods.filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        pods.map(|pod| (text(pod, "/spec/nodeName"), (text(pod, "/metadata/name"), text(pod, "/status/podIP"))))
            .collect()
    }

    /// Runs the tests' program in a pod.
    pub(crate) fn exec(&self, pod: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl().run(&[&["exec", "-n", "shop", pod, "--", "/testapp"], arguments].concat())
    }

    /// Whoever answers at `address` when the pod asks 16 times: their names and how often.
    pub(crate) fn answers(&self, pod: &str, address: &str) -> anyhow::Result<Value> {
        let greeted = self.exec(pod, &["greeting", "--to", address, "--count", "16"])?;
        Ok(serde_json::from_str::<Value>(&greeted)?["lines"].clone())
    }

    /// Ends the cluster.
    pub(crate) fn close(self) {
        drop(self.cluster);
        drop(self.images);
    }
}

/// A server on every node, each with a token for an audience of its own, and a Service before them.
fn objects() -> [Value; 3] {
    let own_name = json!({"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    let serves = [format!("whoami=0.0.0.0:{WHO}"), format!("duplex=0.0.0.0:{DUPLEX}"), "http=0.0.0.0:8080".to_owned()];
    let arguments = [&["serve".to_owned()][..], &serves, &["--name".to_owned(), "$(NAME)".to_owned()]].concat();
    let container = json!({
        "name": "web",
        "image": image::TESTAPP,
        "imagePullPolicy": "Never",
        "args": arguments,
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
            "spec": {"selector": labels, "clusterIP": SERVICE, "ports": [{"port": 70, "targetPort": WHO}]},
        }),
    ]
}

/// The processes of the pods of a node: those in its cgroup that its components are not.
pub(crate) fn serving(node: &Node) -> Vec<u32> {
    let of_pods = |pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.starts_with(b"/testapp\0serve")
    };
    place::processes(&node.cgroup).into_iter().filter(of_pods).collect()
}
