//! `ambit waypoint` on an API server with the controller beside it: what it writes, what it waits for, and what it says where
//! something is not there.

use std::process::{Command, Output};
use std::time::Duration;

use ambit_tests::cluster::Cluster;
use ambit_tests::place::{self, Place};
use ambit_tests::process::Launcher;
use ambit_tests::{Binaries, Process, until};
use serde_json::{Value, json};

use crate::own;

const SOON: Duration = Duration::from_secs(30);

/// What the command line did.
pub(crate) struct Did {
    pub(crate) well: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `ambit` with these words on the cluster that `kubeconfig` names.
pub(crate) fn ambit(cluster: &Cluster, words: &str) -> Did {
    let binaries = Binaries::beside_this().unwrap();
    binaries.check_ambit().unwrap();
    let mut command = Command::new(&binaries.ambit);
    command.args(words.split_whitespace()).arg("--kubeconfig").arg(cluster.kubectl().kubeconfig());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    Did { well: status.success(), stdout, stderr }
}

/// The same, which has to succeed: what it printed.
pub(crate) fn does(cluster: &Cluster, words: &str) -> String {
    let did = ambit(cluster, words);
    assert!(did.well, "ambit {words}: {}{}", did.stdout, did.stderr);
    did.stdout
}

/// The same, which has to fail: what it said.
fn fails(cluster: &Cluster, words: &str) -> String {
    let did = ambit(cluster, words);
    assert!(!did.well, "ambit {words}: {}", did.stdout);
    did.stderr
}

fn namespace(cluster: &Cluster, name: &str, labels: &Value) {
    let metadata = json!({"name": name, "labels": labels});
    cluster.kubectl().apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})]).unwrap();
}

/// A controller, as the cluster's administrator.
fn controller(cluster: &Cluster) -> Process {
    let binaries = Binaries::beside_this().unwrap();
    binaries.check_controller().unwrap();
    let mut command = Command::new(&binaries.controller);
    command.arg("--kube").arg("--kubeconfig").arg(cluster.kubectl().kubeconfig());
    for port in ["--address", "--metrics-address", "--readiness-address"] {
        command.args([port, "127.0.0.1:0"]);
    }
    command.args(["--waypoint-image", "localhost/none:1"]);
    let here = Place { netns: "/proc/self/ns/net".into(), cgroup: place::cgroup_root().unwrap() };
    let launcher = Launcher { testapp: binaries.testapp, logs: None };
    let process = Process::start("controller", &here, &launcher, command).unwrap();
    process.wait_line("this controller writes", SOON).unwrap();
    process
}

/// Has the pods of the waypoint be ready, as their node would.
fn make_ready(cluster: &Cluster, waypoint: &str) {
    let selector = format!("gateway.networking.k8s.io/gateway-name={waypoint}");
    let pods = || cluster.kubectl().get(&["pods", "-n", "shop", "-l", &selector]).unwrap()["items"].clone();
    until::until(SOON, || !pods().as_array().unwrap().is_empty()).expect("no pod of the Deployment");
    for mut pod in pods().as_array().unwrap().clone() {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        pod["status"] = json!({"phase": "Running", "podIP": "10.244.9.9", "conditions": [ready]});
        let path = format!("/api/v1/namespaces/shop/pods/{}/status", pod["metadata"]["name"].as_str().unwrap());
        cluster.kubectl().run_with(&["replace", "--raw", &path, "-f", "-"], &pod.to_string()).unwrap();
    }
}

fn label(cluster: &Cluster, name: &str) -> Value {
    cluster.kubectl().get(&["namespace", "shop"]).unwrap()["metadata"]["labels"][name].clone()
}

#[test]
fn waypoints_are_applied_waited_for_listed_and_deleted() {
    let cluster = own().start().unwrap();
    for name in ["istio-system", "shop"] {
        namespace(&cluster, name, &json!({}));
    }
    let _controller = controller(&cluster);
    let class = || cluster.kubectl().get(&["gatewayclass", "istio-waypoint"]).is_ok();
    until::until(SOON, class).expect("the controller makes no class");

    // What is generated is what is applied: applying it again changes nothing.
    let printed = does(&cluster, "waypoint generate -n shop --for all --revision blue");
    cluster.kubectl().run_with(&["apply", "--validate=false", "-f", "-"], &printed).unwrap();
    let gateway = || cluster.kubectl().get(&["gateways.gateway.networking.k8s.io", "waypoint", "-n", "shop"]).unwrap();
    let generation = gateway()["metadata"]["generation"].clone();

    let waited = "waypoint apply -n shop --for all --revision blue --enroll-namespace --wait";
    let late = ambit(&cluster, &format!("{waited} --waypoint-timeout 1s"));
    assert!(
        !late.well && late.stderr.contains("Programmed is False (Pending): none of its pods is ready"),
        "{}",
        late.stderr
    );
    assert!(late.stderr.contains("istio.io/dataplane-mode=ambient"), "{}", late.stderr);
    assert_eq!(label(&cluster, "istio.io/use-waypoint"), Value::Null, "who is not ready is not asked for");
    make_ready(&cluster, "waypoint");
    let done = does(&cluster, waited);
    let lines = [
        "waypoint shop/waypoint applied",
        "waypoint shop/waypoint is ready",
        "namespace shop labelled istio.io/use-waypoint=waypoint",
    ];
    assert_eq!(done.lines().collect::<Vec<_>>(), lines);
    assert_eq!(label(&cluster, "istio.io/use-waypoint"), "waypoint");
    assert_eq!(gateway()["metadata"]["generation"], generation);

    // Another one for a namespace that has one.
    let other = "waypoint apply -n shop --name other --class ambit-waypoint --enroll-namespace";
    assert!(fails(&cluster, other).contains("--overwrite"));
    does(&cluster, &format!("{other} --overwrite"));
    assert_eq!(label(&cluster, "istio.io/use-waypoint"), "other");

    let listed = does(&cluster, "waypoint list -A");
    let rows = ["shop  other  default service False", "shop waypoint blue all True"].map(words);
    assert_eq!(listed.lines().skip(1).map(words).collect::<Vec<_>>(), rows, "{listed}");
    assert_eq!(does(&cluster, "waypoint list"), "No waypoints found.\n");
    let status = does(&cluster, "waypoint status -n shop --name waypoint");
    assert!(status.contains("its pods take connections"), "{status}");

    let gone = ambit(&cluster, "waypoint delete -n shop other nobody");
    assert!(!gone.well && gone.stdout == "waypoint shop/other deleted\n", "{}", gone.stdout);
    assert!(gone.stderr.contains("there is no waypoint shop/nobody"), "{}", gone.stderr);
    assert!(gone.stderr.contains("kubectl label namespace shop istio.io/use-waypoint-"), "{}", gone.stderr);
    assert_eq!(does(&cluster, "waypoint delete -n shop --revision green"), "no waypoints in namespace shop\n");
    assert_eq!(does(&cluster, "waypoint delete -n shop --revision blue"), "waypoint shop/waypoint deleted\n");
    assert_eq!(does(&cluster, "waypoint list -A"), "No waypoints found.\n");
}

#[test]
fn a_network_policy_that_lets_no_hbone_in_is_named_with_its_pods() {
    let cluster = own().start().unwrap();
    namespace(&cluster, "shop", &json!({}));
    let pod = |name: &str, app: &str| {
        let annotations = json!({"ambient.istio.io/redirection": "enabled"});
        let metadata = json!({"name": name, "namespace": "shop", "labels": {"app": app}, "annotations": annotations});
        let spec = json!({"containers": [{"name": "one", "image": "localhost/none:1"}]});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    };
    let account = || cluster.kubectl().get(&["serviceaccount", "default", "-n", "shop"]).is_ok();
    until::until(SOON, account).expect("no account");
    cluster.kubectl().apply(&[pod("web-1", "web"), pod("web-2", "web"), pod("api-1", "api")]).unwrap();
    let policy = |ports: Value| {
        let metadata = json!({"name": "only-http", "namespace": "shop"});
        let spec = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"ports": ports}]});
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
    };
    assert!(
        does(&cluster, "check -n shop")
            .contains("OK      NetworkPolicy          0 NetworkPolicies, 3 pods of the mesh")
    );
    cluster.kubectl().apply(&[policy(json!([{"port": 8080}]))]).unwrap();
    let found = ambit(&cluster, "check -A");
    assert!(!found.well && found.stderr.contains("found in the mesh's way: 1"), "{}", found.stderr);
    let line =
        found.stdout.lines().find(|line| line.starts_with("FAILED")).unwrap_or_else(|| panic!("{}", found.stdout));
    for part in ["NetworkPolicy shop/only-http", "2 pods of the mesh (web-1, web-2)", "TCP port 15008"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(does(&cluster, "check -n default").starts_with("STATUS"));
    cluster.kubectl().apply(&[policy(json!([{"port": 8080}, {"port": 15008}]))]).unwrap();
    assert!(does(&cluster, "check -n shop -o json").contains("\"findings\": []"));
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn what_a_waypoint_needs_and_is_not_there_is_named_with_what_to_install() {
    let cluster = own().start().unwrap();
    let no_namespace = fails(&cluster, "waypoint apply -n shop");
    // Nobody has made the class: no controller runs.
    assert!(no_namespace.contains("there is no GatewayClass istio-waypoint") && no_namespace.contains("charts/ambit"));
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "istio-waypoint"},
        "spec": {"controllerName": "example.com/other"},
    });
    cluster.kubectl().apply(&[class]).unwrap();
    assert!(fails(&cluster, "waypoint apply -n shop").contains("kubectl create namespace shop"));
    namespace(&cluster, "shop", &json!({"istio.io/dataplane-mode": "ambient"}));
    let applied = ambit(&cluster, "waypoint apply -n shop --enroll-namespace");
    assert!(applied.well && applied.stderr.contains("is run by \"example.com/other\""), "{}", applied.stderr);
    assert!(!applied.stderr.contains("not in the mesh"), "{}", applied.stderr);
    let silent = fails(&cluster, "waypoint status -n shop --wait --waypoint-timeout 0");
    assert!(silent.contains("no controller has said anything of it"), "{silent}");

    assert!(fails(&cluster, "ps").contains("there is no agent in namespace istio-system"));
    assert!(fails(&cluster, "zc workload --node node-1").contains("there is no agent on node \"node-1\""));
    assert!(fails(&cluster, "zc workload web.shop").contains("there is no Pod web with a pod in namespace shop"));
    let version = does(&cluster, "version");
    assert!(version.ends_with("data plane version: none\n"), "{version}");

    cluster.kubectl().run(&["delete", "crd", "gateways.gateway.networking.k8s.io"]).unwrap();
    let unserved = || ambit(&cluster, "waypoint list -A");
    until::until(SOON, || !unserved().well).expect("Gateways are served still");
    let said = unserved().stderr;
    assert!(said.contains("does not serve Gateway (gateway.networking.k8s.io): install the CRDs"), "{said}");
}
