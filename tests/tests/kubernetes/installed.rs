//! The mesh as it is installed: by its chart, from an image, on two nodes that have nothing of it before and nothing after.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ambit_tests::cluster::{Node, crds};
use ambit_tests::image::{self, Files, Image, PAUSE, TESTAPP};
use ambit_tests::leftovers::BPFFS;
use ambit_tests::mesh::mount_bpffs;
use ambit_tests::{Binaries, http, until};
use serde_json::{Value, json};

use crate::helm::{ask, chart};
use crate::shop::{DUPLEX, SERVICE, SOON, Shop, WHO};

/// The mesh's namespace.
const HOME: &str = "istio-system";
/// The chart's image.
const AMBIT: &str = "localhost/ambit/ambit:0.1.0";
/// The controller's address: there is no DNS server in these clusters.
const CONTROLLER: &str = "10.96.15.12";
/// Pods of the mesh's own have to start one after the other.
const LATER: &str = "--timeout=180s";

/// The tests' images and the chart's.
fn images(archive: &Path) {
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
fn values(shop: &Shop) -> Value {
    let kubepods = shop.cluster.nodes()[0].pods();
    let kubepods = kubepods.to_string_lossy().replace("/node-1/", "/$(NODE_NAME)/");
    let pins = format!("{BPFFS}/{}/$(NODE_NAME)", shop.cluster.name());
    json!({
        "imagePullPolicy": "Never",
        "caAddress": format!("{CONTROLLER}:15012"),
        "cgroup": kubepods,
        "crds": {"keep": false},
        "ztunnel": {"pinsDir": pins, "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
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

fn helm(shop: &Shop, verb: &str) {
    let kubeconfig = shop.cluster.kubectl().kubeconfig();
    let request =
        json!({"do": verb, "chart": chart("ambit"), "name": "ambit", "values": values(shop), "kubeconfig": kubeconfig});
    ask(&request).unwrap();
}

/// Waits until what `what` names has been rolled out.
fn rolled_out(shop: &Shop, what: &str) {
    let kubectl = shop.cluster.kubectl();
    if let Err(error) = kubectl.run(&["rollout", "status", what, "-n", HOME, LATER]) {
        let described = kubectl.run(&["describe", "pods", "-n", HOME]).unwrap_or_default();
        let logs = kubectl.run(&["logs", "-n", HOME, what, "--tail=60"]).unwrap_or_default();
        panic!("{error}\n{described}\n{logs}");
    }
}

/// Waits until the agent of every node has, or has not, captured the pod of its node.
fn captured(shop: &Shop, captured: bool) {
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

/// What the node's network configuration says.
fn network(node: &Node) -> String {
    std::fs::read_to_string(node.root().join("etc/cni/net.d/10-pods.conflist")).unwrap()
}

/// Takes the mesh out of a node whose agent is gone, as its operator does.
fn clean(shop: &Shop, node: &Node) {
    let pins = format!("{BPFFS}/{}/{}", shop.cluster.name(), node.name);
    let mut command = Command::new(Binaries::beside_this().unwrap().ztunnel);
    command.args(["--uninstall", "--cni-conf-dir", "/etc/cni/net.d", "--pins", &pins, "--cgroup"]).arg(node.pods());
    node.run("uninstall", command).unwrap().finish(SOON).unwrap().success().unwrap();
    assert!(!Path::new(&pins).exists());
}

#[test]
fn installed_by_its_chart_it_takes_a_namespace_in_routes_its_requests_and_leaves_nothing() {
    // Nodes see what is mounted before they are made.
    mount_bpffs().unwrap();
    let shop = Shop::of(images);
    let pods = shop.pods();
    let ((from, _), (to, address)) = (pods["node-1"].clone(), pods["node-2"].clone());
    let (before, found) = (shop.lives(), shop.cluster.nodes().iter().map(network).collect::<Vec<_>>());
    prepare(&shop);
    let begun = Instant::now();
    helm(&shop, "install");
    rolled_out(&shop, "deployment/ambit-controller");
    rolled_out(&shop, "daemonset/ztunnel");
    println!("installed and ready after {:.1} s", begun.elapsed().as_secs_f64());
    webhook(&shop);

    let kubectl = shop.cluster.kubectl();
    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"]).unwrap();
    captured(&shop, true);
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen == 0 && ports.contains(&15008), "{seen} times, {ports:?}");
    assert!(!ports.contains(&DUPLEX) && !ports.contains(&WHO), "{ports:?}");
    assert_eq!(shop.lives(), before, "no pod was touched");

    waypoint(&shop, &from);

    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode-"]).unwrap();
    captured(&shop, false);
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen > 0 && ports.contains(&DUPLEX), "{seen} times, {ports:?}");
    helm(&shop, "uninstall");
    let gone = until::until(3 * SOON, || {
        kubectl.run(&["get", "pods", "-n", HOME, "-o", "name"]).is_ok_and(|all| all.is_empty())
    });
    gone.unwrap_or_else(|_| panic!("{}", kubectl.run(&["get", "pods", "-n", HOME]).unwrap()));
    for (node, found) in shop.cluster.nodes().iter().zip(found) {
        clean(&shop, node);
        assert_eq!(network(node), found);
    }
    shop.close();
}

/// The API server asks the webhook by its Service, and what the mesh could not use is refused by its path.
fn webhook(shop: &Shop) {
    let kubectl = shop.cluster.kubectl();
    let policies =
        ["get", "validatingwebhookconfiguration", "ambit-validator", "-o", "jsonpath={.webhooks[*].failurePolicy}"];
    let mut seen = String::new();
    let asked = until::until(3 * SOON, || {
        seen = kubectl.run(&policies).unwrap();
        seen == "Fail Fail"
    });
    asked.unwrap_or_else(|_| {
        let logs = kubectl.run(&["logs", "-n", HOME, "deployment/ambit-controller", "--tail=60"]).unwrap_or_default();
        panic!("{seen}\n{logs}")
    });
    let route = json!([{"destination": {"host": "web"}}]);
    let unusable = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "unusable", "namespace": "shop"},
        "spec": {"hosts": ["web"], "http": [{"match": [{"uri": {"regex": "("}}], "route": route}]},
    });
    let refused = kubectl.apply(&[unusable]).unwrap_err().to_string();
    assert!(refused.contains("denied the request: spec.http[0].match[0].uri.regex: "), "{refused}");
}

/// A waypoint is deployed for a Gateway, routes and refuses as a VirtualService says, and goes.
fn waypoint(shop: &Shop, from: &str) {
    let kubectl = shop.cluster.kubectl();
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": "shop"},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    });
    let fault = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "hosts": ["web"],
            "http": [
                {
                    "match": [{"uri": {"prefix": "/teapot"}}],
                    "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}},
                    "route": [{"destination": {"host": "web"}}],
                },
                {"route": [{"destination": {"host": "web"}}]},
            ],
        },
    });
    kubectl.apply(&[gateway, fault]).unwrap();
    let mut told = Value::Null;
    let programmed = until::until(3 * SOON, || {
        told = kubectl.get(&["gateways.gateway.networking.k8s.io", "waypoint", "-n", "shop"]).unwrap();
        let conditions = told["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Programmed" && condition["status"] == "True")
    });
    programmed.unwrap_or_else(|_| panic!("{told:#}\n{}", kubectl.run(&["describe", "pods", "-n", "shop"]).unwrap()));
    kubectl.run(&["label", "namespace", "shop", "istio.io/use-waypoint=waypoint"]).unwrap();
    let status = |path: &str| {
        let fetched = shop.exec(from, &["fetch", "--to", &format!("{SERVICE}:80"), "--path", path]).unwrap_or_default();
        serde_json::from_str::<Value>(&fetched).unwrap_or_default()["status"].clone()
    };
    for (path, expected) in [("/teapot", 418), ("/", 200)] {
        let mut answered = Value::Null;
        let come = until::until(SOON, || {
            answered = status(path);
            answered == expected
        });
        assert!(come.is_ok(), "{path} is answered {answered} and not {expected}");
    }
    kubectl.run(&["label", "namespace", "shop", "istio.io/use-waypoint-"]).unwrap();
    kubectl.run(&["delete", "gateways.gateway.networking.k8s.io", "waypoint", "-n", "shop"]).unwrap();
    let rest = || kubectl.run(&["get", "deployments,serviceaccounts", "-n", "shop", "-o", "name"]).unwrap();
    until::until(3 * SOON, || rest().trim() == "serviceaccount/default").unwrap_or_else(|_| panic!("{}", rest()));
    let come = until::until(SOON, || status("/teapot") == 404 || status("/teapot") == 200);
    assert!(come.is_ok(), "without a waypoint the application answers itself: {}", status("/teapot"));
}
