//! What runs on the nodes: a server on every one of them, made of an image that was made here, and a Service before them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ambit_tests::cluster::{Cluster, Node};
use ambit_tests::payload::MARKER;
use ambit_tests::{Binaries, Wire, image, place, until};
use serde_json::{Value, json};

use crate::own;

/// The port at which a pod says who it is.
pub(crate) const WHO: u16 = 7000;
/// The port at which it takes and sends any number of bytes.
pub(crate) const DUPLEX: u16 = 7001;
/// How long a node may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The port of every node at which the servers can be reached from outside.
pub(crate) const DOOR: u16 = 30080;
/// The Service's address.
pub(crate) const SERVICE: &str = "10.96.7.7";

/// A cluster of two nodes with the servers on them.
pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
    images: tempfile::TempDir,
}

impl Shop {
    /// Starts the cluster and the servers.
    pub(crate) fn open() -> Self {
        Self::of(|archive| {
            image::write_for_tests(archive, &Binaries::beside_this().unwrap().testapp).unwrap();
        })
    }

    /// Starts the cluster with the images that `write` writes to an archive, those of the tests among them, and the servers.
    pub(crate) fn of(write: impl FnOnce(&Path)) -> Self {
        let images = tempfile::tempdir().unwrap();
        let archive = images.path().join("images.tar");
        write(&archive);
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

    /// What a rollout would change of the pods: their IDs, and how often their containers have been started.
    pub(crate) fn lives(&self) -> BTreeMap<String, Value> {
        let pods = self.cluster.kubectl().get(&["pods", "-n", "shop"]).unwrap();
        let life = |pod: &Value| {
            let restarts = pod.pointer("/status/containerStatuses/0/restartCount").cloned();
            let life = Value::from(vec![pod["metadata"]["uid"].clone(), restarts.unwrap()]);
            (pod["metadata"]["name"].as_str().unwrap().to_owned(), life)
        };
        pods["items"].as_array().unwrap().iter().map(life).collect()
    }

    /// What crosses the link of the first node while its pod exchanges bytes with that of the other, by its address and by
    /// the Service: how often the bytes were seen, and the ports.
    pub(crate) fn exchange(&self, from: &str, to: (&str, &str)) -> (u64, Vec<u16>) {
        let wire = Wire::capture(&self.cluster.nodes()[0].netns, "eth0", &[MARKER]).unwrap();
        let (name, address) = to;
        let sent = self.exec(from, &["duplex", "--to", &format!("{address}:{DUPLEX}"), "--bytes", "300000"]).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&sent).unwrap()["received"], 300_000, "{sent}");
        for at in [format!("{address}:{WHO}"), format!("{SERVICE}:70")] {
            let mut told = Value::Null;
            let answered = until::until(SOON, || {
                told = self.answers(from, &at).unwrap_or_default();
                told.to_string().contains(name)
            });
            assert!(answered.is_ok(), "{from} asks {at}: {told}");
        }
        let report = wire.stop().unwrap();
        (report.marker_hits(), report.ports().into_iter().collect())
    }

    /// Waits until the field `path` of an object is `value`.
    pub(crate) fn await_field(&self, what: &[&str], path: &str, value: &Value) {
        let mut object = Value::Null;
        let come = until::until(3 * SOON, || {
            object = self.cluster.kubectl().get(what).unwrap_or_default();
            object.pointer(path) == Some(value)
        });
        assert!(come.is_ok(), "{what:?}: {path} is not {value}: {object:#}");
    }

    /// Ends the cluster.
    pub(crate) fn close(self) {
        drop(self.cluster);
        drop(self.images);
    }
}

/// A pod template of the tests' program.
pub(crate) fn pod(arguments: &[&str]) -> Value {
    let container = json!({"name": "main", "image": image::TESTAPP, "imagePullPolicy": "Never", "args": arguments});
    json!({"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1})
}

/// A Job of pods that ask the Service with their first breath, each once: by a container before those of the application.
pub(crate) fn first_breath(namespace: &str, name: &str, count: u32) -> Value {
    let to = format!("{SERVICE}:70");
    let mut spec = pod(&["--help"]);
    let mut first = spec["containers"][0].clone();
    first["name"] = "first".into();
    first["args"] = json!(["greeting", "--to", to, "--count", "1", "--patience", "20000"]);
    spec["initContainers"] = json!([first]);
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parallelism": count, "completions": count, "backoffLimit": 0,
            "template": {"spec": spec},
        },
    })
}

/// Whoever comes to the shop in clear is refused.
pub(crate) fn strict() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"mtls": {"mode": "STRICT"}},
    })
}

/// A server on every node, each with a token for an audience of its own, and Services before them: one at an address, one at
/// a port of every node.
fn objects() -> [Value; 4] {
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
            "spec": {"selector": labels, "clusterIP": SERVICE, "ports": [
                {"name": "tcp-who", "port": 70, "targetPort": WHO},
                {"name": "http", "port": 80, "targetPort": 8080},
            ]},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "door", "namespace": "shop"},
            "spec": {
                "type": "NodePort",
                "selector": labels,
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": DOOR}],
            },
        }),
    ]
}

/// The processes of the servers on a node: those in its cgroup that its components are not.
pub(crate) fn serving(node: &Node) -> Vec<u32> {
    running(node, b"/testapp\0serve")
}

/// The processes of a node, its pods' included, whose command line begins so.
pub(crate) fn running(node: &Node, command: &[u8]) -> Vec<u32> {
    let does = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(command);
    place::processes(&node.cgroup).into_iter().filter(does).collect()
}
