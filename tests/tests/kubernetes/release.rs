//! The release of the chart on a cluster of two nodes: its image, its values, and when it is there.

use std::path::Path;

use ambit_tests::cluster::crds;
use ambit_tests::image::{self, Files, Image, PAUSE, TESTAPP};
use ambit_tests::leftovers::BPFFS;
use ambit_tests::{Binaries, http, until};
use serde_json::{Value, json};

use crate::helm::{ask, chart};
use crate::shop::{SOON, Shop};

/// The mesh's namespace.
pub(crate) const HOME: &str = "istio-system";
/// The chart's image.
const AMBIT: &str = "localhost/ambit/ambit:0.1.0";
/// The controller's address: there is no DNS server in these clusters.
pub(crate) const CONTROLLER: &str = "10.96.15.12";
/// Pods of the mesh's own have to start one after the other.
const LATER: &str = "--timeout=180s";

/// The tests' images and the chart's.
pub(crate) fn images(archive: &Path) {
    let binaries = Binaries::beside_this().unwrap();
    binaries
        .check_ztunnel()
        .and_then(|()| binaries.check_controller())
        .and_then(|()| binaries.check_waypoint())
        .unwrap();
    let mut files = Files::default();
    for (program, place) in [
        (&binaries.testapp, "/testapp"),
        (&binaries.ztunnel, "/usr/local/bin/ztunnel"),
        (&binaries.controller, "/usr/local/bin/controller"),
        (&binaries.waypoint, "/usr/local/bin/waypoint"),
    ] {
        files.add_program(program, place).unwrap();
        files.add_libraries(program).unwrap();
    }
    let images = [
        Image { name: PAUSE, entrypoint: &["/testapp", "pause"], labels: &[] },
        Image { name: TESTAPP, entrypoint: &["/testapp"], labels: &[] },
        Image { name: AMBIT, entrypoint: &[], labels: &[] },
    ];
    image::write(archive, &images, &files).unwrap();
}

/// The release's values: what two nodes on one kernel need, and what no DNS server takes.
fn values(shop: &Shop, agents: &[&str]) -> Value {
    let kubepods = shop.cluster.nodes()[0].pods();
    let kubepods = kubepods.to_string_lossy().replace("/node-1/", "/$(NODE_NAME)/");
    let pins = format!("{BPFFS}/{}/$(NODE_NAME)", shop.cluster.name());
    json!({
        "imagePullPolicy": "Never",
        "caAddress": format!("{CONTROLLER}:15012"),
        "cgroup": kubepods,
        "crds": {"keep": false},
        "ztunnel": {"args": agents, "pinsDir": pins, "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
        "controller": {
            "serverNames": [CONTROLLER],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        },
    })
}

/// Makes room for the release: kinds that it brings go, and its Service has an address that is known before.
fn prepare(shop: &Shop) {
    let kubectl = shop.cluster.kubectl();
    let kinds: Vec<_> = crds::MESH.into_iter().filter(crds::Definition::is_of_chart).map(|kind| kind.name()).collect();
    let mut delete = vec!["delete", "crd"];
    delete.extend(kinds.iter().map(String::as_str));
    kubectl.run(&delete).unwrap();
    let annotations = json!({"meta.helm.sh/release-name": "ambit", "meta.helm.sh/release-namespace": HOME});
    let labels = json!({"app.kubernetes.io/managed-by": "Helm"});
    kubectl
        .apply(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}),
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "ambit-controller", "namespace": HOME, "labels": labels, "annotations": annotations},
                "spec": {
                    "clusterIP": CONTROLLER,
                    "selector": {"app": "ambit-controller"},
                    "ports": [
                        {"name": "grpc-ca", "port": 15012, "targetPort": 15012},
                        {"name": "http-metrics", "port": 15014, "targetPort": 15014},
                    ],
                },
            }),
        ])
        .unwrap();
}

/// Installs the release, its agents having further arguments, and waits until all of it is ready.
pub(crate) fn install(shop: &Shop, agents: &[&str]) {
    prepare(shop);
    helm(shop, "install", agents);
    rolled_out(shop, "deployment/ambit-controller");
    rolled_out(shop, "daemonset/ztunnel");
}

/// Has Helm `install` or `uninstall` the release, its agents having further arguments.
pub(crate) fn helm(shop: &Shop, verb: &str, agents: &[&str]) {
    let kubeconfig = shop.cluster.kubectl().kubeconfig();
    let request = json!({"do": verb, "chart": chart("ambit"), "name": "ambit", "values": values(shop, agents), "kubeconfig": kubeconfig});
    ask(&request).unwrap();
}

/// Waits until what `what` names has been rolled out.
pub(crate) fn rolled_out(shop: &Shop, what: &str) {
    let kubectl = shop.cluster.kubectl();
    if let Err(error) = kubectl.run(&["rollout", "status", what, "-n", HOME, LATER]) {
        let described = kubectl.run(&["describe", "pods", "-n", HOME]).unwrap_or_default();
        let logs = kubectl.run(&["logs", "-n", HOME, what, "--tail=60"]).unwrap_or_default();
        panic!("{error}\n{described}\n{logs}");
    }
}

/// Waits until the agent of every node has, or has not, captured the pod of its node.
pub(crate) fn captured(shop: &Shop, captured: bool) {
    for (node, (pod, _)) in shop.pods() {
        let netns = shop.cluster.nodes().iter().find(|other| other.name == node).unwrap().netns.path();
        let uid = format!("Kubernetes//Pod/shop/{pod}");
        let mut told = Value::Null;
        let come = until::until(SOON, || {
            told = http::json(&netns, 15000, "/pods").unwrap_or_default();
            told["captured"].is_object() && told["captured"].get(&uid).is_some() == captured
        });
        assert!(come.is_ok(), "{uid} captured is not {captured}: {told}");
    }
}
