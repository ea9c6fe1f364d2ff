//! Applications and waypoints that are rolled out anew and scaled while they are asked: none of them waits before it stops
//! (there is no `preStop`), and nobody's request fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ambit_tests::image::TESTAPP;
use ambit_tests::mesh::mount_bpffs;
use ambit_tests::{http, until};
use serde_json::{Value, json};

use crate::cli::does;
use crate::release::{HOME, captured, images, install};
use crate::shop::{SERVICE, SOON, Shop, pod, strict};

/// The address of the application's Service.
const API: &str = "10.96.7.8";
/// How often everything is rolled out anew.
const ROUNDS: usize = 3;
/// Pods have to start one after the other.
const LATER: &str = "--timeout=180s";

/// The application: servers that stop listening at once when they are told to end, and finish what they have begun.
fn objects() -> [Value; 2] {
    let labels = json!({"app": "api"});
    let container = json!({
        "name": "api",
        "image": TESTAPP,
        "imagePullPolicy": "Never",
        "args": ["serve", "http=8080", "--finish"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    });
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 10});
    [
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "api", "namespace": "shop"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "api", "namespace": "shop"},
            "spec": {"selector": labels, "clusterIP": API, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }),
    ]
}

/// Asks the application from the pod `from`, a hundred times a second, while `work` is done: how many requests, none of which fails.
fn asked_while(shop: &Shop, from: &str, work: impl FnOnce()) -> u64 {
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let to = format!("{API}:80");
                let asks = [
                    "requests",
                    "--to",
                    &to,
                    "--every",
                    "10",
                    "--count",
                    "200",
                    "--patience",
                    "10000",
                    "--open",
                    "--verbose",
                ];
                let told = shop.exec(from, &asks).unwrap();
                let report: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
                assert_eq!(report["failed"], 0, "{told}\n{}", logs(shop));
                asked.fetch_add(report["ok"].as_u64().unwrap(), Ordering::Relaxed);
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
    let asked = asked.into_inner();
    assert!(asked > 0);
    asked
}

/// What agents and waypoints said last.
fn logs(shop: &Shop) -> String {
    let kubectl = shop.cluster.kubectl();
    let of = |namespace: &str, label: &str| {
        let told = kubectl.run(&["logs", "-n", namespace, "-l", label, "--prefix", "--tail=300"]).unwrap_or_default();
        let bad =
            |line: &&str| ["error", "warn", "stop", "drain"].iter().any(|word| line.to_lowercase().contains(word));
        told.lines().filter(bad).map(|line| format!("{line}\n")).collect::<String>()
    };
    let pods = kubectl.run(&["get", "pods", "-n", "shop", "-o", "wide"]).unwrap_or_default();
    [of(HOME, "app=ztunnel"), of("shop", "gateway.networking.k8s.io/gateway-name=waypoint"), pods].join("---\n")
}

/// Has the Deployment rolled out anew, and waits until it has been.
fn rolled(shop: &Shop, deployment: &str) {
    let kubectl = shop.cluster.kubectl();
    kubectl.run(&["rollout", "restart", deployment, "-n", "shop"]).unwrap();
    kubectl.run(&["rollout", "status", deployment, "-n", "shop", LATER]).unwrap();
}

fn scaled(shop: &Shop, deployment: &str, replicas: u32) {
    let kubectl = shop.cluster.kubectl();
    kubectl.run(&["scale", deployment, "-n", "shop", &format!("--replicas={replicas}")]).unwrap();
    kubectl.run(&["rollout", "status", deployment, "-n", "shop", LATER]).unwrap();
}

/// A pod asks a server after it was told to end, until it has: as itself, for in clear it would be refused.
fn asks_to_its_end(shop: &Shop) {
    const COUNT: usize = 1000;
    let kubectl = shop.cluster.kubectl();
    let mut spec = pod(&["pause"]);
    let to = format!("{SERVICE}:70");
    let last = json!(["/testapp", "greeting", "--to", to, "--count", COUNT.to_string()]);
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": last}}});
    spec["terminationGracePeriodSeconds"] = 60.into();
    let metadata = json!({"name": "leaver", "namespace": "shop"});
    kubectl.apply(&[strict(), json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})]).unwrap();
    shop.await_field(&["pod", "leaver", "-n", "shop"], "/status/phase", &json!("Running"));
    kubectl.run(&["delete", "pod", "leaver", "-n", "shop", "--wait"]).unwrap();
    let events = kubectl.get(&["events", "-n", "shop", "--field-selector", "involvedObject.name=leaver"]).unwrap();
    let events = events.to_string();
    assert!(events.contains("Killing") && !events.contains("FailedPreStopHook"), "{events}");
    // Each is in the log of the agent of the server.
    let mut seen = 0;
    let logged = until::until(SOON, || {
        let logs = kubectl.run(&["logs", "-n", HOME, "-l", "app=ztunnel", "--tail=-1"]).unwrap_or_default();
        let from = |line: &&str| line.contains("src.workload=\"leaver\"") && line.contains("direction=\"inbound\"");
        seen = logs.lines().filter(from).filter(|line| line.contains("complete")).count();
        seen >= COUNT
    });
    assert!(logged.is_ok(), "{seen} of {COUNT}");
    kubectl.run(&["delete", "peerauthentication", "default", "-n", "shop"]).unwrap();
}

/// Waits until every agent knows that the application's Service is `bound` to the waypoint, or that it is not.
fn bound(shop: &Shop, bound: bool) {
    for node in shop.cluster.nodes() {
        let knows = || {
            let dump = http::json(&node.netns.path(), 15000, "/config_dump").unwrap_or_default();
            let services = dump["services"].as_array().cloned().unwrap_or_default();
            let api = services.iter().find(|service| service["hostname"] == "api.shop.svc.cluster.local");
            api.is_some_and(|api| (api["waypoint"]["key"] == "shop/waypoint") == bound)
        };
        until::until(SOON, knows).unwrap_or_else(|_| panic!("{} does not know: bound {bound}", node.name));
    }
}

#[test]
fn nobody_notices_that_applications_and_waypoints_are_rolled_out_and_scaled() {
    mount_bpffs().unwrap();
    let shop = Shop::of(images);
    let kubectl = shop.cluster.kubectl();
    let from = shop.pods()["node-1"].0.clone();
    install(&shop, &[]);
    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"]).unwrap();
    captured(&shop, true);
    asks_to_its_end(&shop);
    kubectl.apply(&objects()).unwrap();
    kubectl.run(&["rollout", "status", "deployment/api", "-n", "shop", LATER]).unwrap();

    let asked = asked_while(&shop, &from, || {
        (0..ROUNDS).for_each(|_| rolled(&shop, "deployment/api"));
        [1, 3].into_iter().for_each(|replicas| scaled(&shop, "deployment/api", replicas));
    });
    println!("{asked} requests while the application was rolled out {ROUNDS} times");

    does(&shop.cluster, "waypoint apply -n shop --wait");
    let asked = asked_while(&shop, &from, || {
        // Not every agent hears of it at the same moment.
        for label in ["istio.io/use-waypoint=waypoint", "istio.io/use-waypoint-", "istio.io/use-waypoint=waypoint"] {
            kubectl.run(&["label", "namespace", "shop", label]).unwrap();
            bound(&shop, label.ends_with("=waypoint"));
        }
        [3, 1].into_iter().for_each(|replicas| scaled(&shop, "deployment/waypoint", replicas));
        rolled(&shop, "deployment/waypoint");
        (0..ROUNDS).for_each(|_| rolled(&shop, "deployment/api"));
    });
    println!("{asked} requests while the waypoint was bound, scaled and rolled out");
    let through = "dst.workload=\"waypoint-";
    let logs = kubectl.run(&["logs", "-n", HOME, "-l", "app=ztunnel", "--tail=-1"]).unwrap();
    let through = logs.lines().filter(|line| line.contains(through) && line.contains("api.shop.svc")).count();
    assert!(through as u64 > asked / 4, "{through} of {asked} went through the waypoint");
    shop.close();
}
