//! All of it on a node: the controller as a pod, and a waypoint that it has deployed, which comes to be ready (G-01).

use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_tests::image::{self, Files, Image, PAUSE};
use ambit_tests::{Binaries, until};
use serde_json::{Value, json};

use crate::support::{HOME, World};

/// A node has to start pods one after the other.
const LATER: Duration = Duration::from_secs(120);
/// There is no DNS server: the controller is known by the address of its Service.
const ADDRESS: &str = "10.96.0.12";
const CONTROLLER: &str = "localhost/ambit/controller:1";
const WAYPOINT: &str = "localhost/ambit/waypoint:1";

/// The controller, as it would be installed beside what the example has.
fn deployment() -> Value {
    let labels = json!({"app": "ambit-controller"});
    let from = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let address = format!("https://{ADDRESS}:15012");
    let container = json!({
        "name": "controller",
        "image": CONTROLLER,
        "imagePullPolicy": "Never",
        "args": ["--kube", "--server-names", ADDRESS, "--waypoint-image", WAYPOINT, "--waypoint-ca-address", address],
        "env": [from("POD_NAME", "metadata.name"), from("POD_NAMESPACE", "metadata.namespace")],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 8080}, "periodSeconds": 1},
        "securityContext": {"runAsUser": 1337, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "ambit-controller", "namespace": HOME},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"serviceAccountName": "ambit-controller", "containers": [container]},
            },
        },
    })
}

/// The programs, by the names that pods call them by.
fn archive(directory: &Path) -> PathBuf {
    let binaries = Binaries::beside_this().unwrap();
    binaries.check_waypoint().unwrap();
    let mut files = Files::default();
    for (program, place) in
        [(&binaries.testapp, "/testapp"), (&binaries.controller, "/controller"), (&binaries.waypoint, "/bin/waypoint")]
    {
        files.add(program, place).unwrap();
        files.add_libraries(program).unwrap();
    }
    let images = [
        Image { name: PAUSE, entrypoint: &["/testapp", "pause"], labels: &[] },
        Image { name: CONTROLLER, entrypoint: &["/controller"], labels: &[] },
        Image { name: WAYPOINT, entrypoint: &["/bin/waypoint"], labels: &[] },
    ];
    let archive = directory.join("images.tar");
    image::write(&archive, &images, &files).unwrap();
    archive
}

#[test]
fn a_waypoint_that_was_deployed_comes_to_be_ready_and_goes_with_its_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::with_nodes(1, &archive(directory.path()));
    let kubectl = world.kubectl();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "certificates", "namespace": HOME},
        "spec": {"clusterIP": ADDRESS, "selector": {"app": "ambit-controller"}, "ports": [{"port": 15012}]},
    });
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": "shop"},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    });
    world.namespace("shop");
    kubectl.apply(&[service, deployment(), gateway]).unwrap();
    let state = || {
        let described = kubectl.run(&["describe", "pods", "-A"]).unwrap_or_default();
        let log = |namespace: &str, what: &str| kubectl.run(&["logs", "-n", namespace, what]).unwrap_or_default();
        format!("{described}\n{}\n{}", log(HOME, "deployment/ambit-controller"), log("shop", "deployment/waypoint"))
    };
    let programmed = until(LATER, || {
        let gateway = kubectl.get(&["gateway", "waypoint", "-n", "shop"]).unwrap();
        let conditions = gateway["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Programmed" && condition["status"] == "True")
    });
    programmed.unwrap_or_else(|_| panic!("the waypoint does not come to be ready\n{}", state()));
    let deployment = kubectl.get(&["deployment", "waypoint", "-n", "shop"]).unwrap();
    assert_eq!(deployment["status"]["availableReplicas"], 1, "{}", state());

    kubectl.run(&["delete", "gateway", "waypoint", "-n", "shop"]).unwrap();
    let rest =
        || kubectl.run(&["get", "deployments,services,pods,serviceaccounts", "-n", "shop", "-o", "name"]).unwrap();
    until(LATER, || rest().trim() == "serviceaccount/default").unwrap_or_else(|_| panic!("{}", rest()));
}
