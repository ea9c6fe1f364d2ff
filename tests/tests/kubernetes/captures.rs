//! What a pod is told of its capture, by the mesh as it is installed: real agents report, the controller writes, and kubectl
//! shows it (B-09, B-11, B-12).

use std::path::PathBuf;
use std::process::Command;

use ambit_tests::leftovers::BPFFS;
use ambit_tests::mesh::mount_bpffs;
use ambit_tests::until;
use serde_json::{Value, json};

use crate::release::{helm, images, install, rolled_out};
use crate::shop::{SOON, Shop, pod};

const ANNOTATION: &str = "/metadata/annotations/ambient.istio.io~1redirection";

/// The annotation of a pod of the shop.
fn annotation(shop: &Shop, pod: &str) -> Option<Value> {
    let pod = shop.cluster.kubectl().get(&["pod", pod, "-n", "shop"]).unwrap();
    pod.pointer(ANNOTATION).cloned()
}

/// The messages of the Events of a reason at a pod.
fn told(shop: &Shop, pod: &str, reason: &str) -> Vec<String> {
    let selector = format!("involvedObject.kind=Pod,involvedObject.name={pod},reason={reason}");
    let events = shop.cluster.kubectl().get(&["events", "-n", "shop", "--field-selector", &selector]).unwrap();
    let message =
        |event: &Value| format!("{} x{}: {}", event["type"].as_str().unwrap(), event["count"], event["message"]);
    events["items"].as_array().unwrap().iter().map(message).collect()
}

/// Waits until an Event of a reason is at a pod, and returns what it says.
fn once_told(shop: &Shop, pod: &str, reason: &str) -> String {
    let come = until::until(SOON, || !told(shop, pod, reason).is_empty());
    come.unwrap_or_else(|_| panic!("{pod}: no {reason}\n{}", state(shop, pod)));
    told(shop, pod, reason).remove(0)
}

fn state(shop: &Shop, pod: &str) -> String {
    let kubectl = shop.cluster.kubectl();
    let described = kubectl.run(&["describe", "pod", pod, "-n", "shop"]).unwrap_or_default();
    let logs = |app: &str| kubectl.run(&["logs", "-n", "istio-system", "-l", &format!("app={app}"), "--tail=60"]);
    format!("{described}\n{}\n{}", logs("ztunnel").unwrap_or_default(), logs("ambit-controller").unwrap_or_default())
}

/// Waits until each of the pods is, or is not, annotated.
fn annotated(shop: &Shop, pods: &[String], expected: Option<&str>) {
    let expected = expected.map(Value::from);
    for pod in pods {
        let come = until::until(SOON, || annotation(shop, pod) == expected);
        come.unwrap_or_else(|_| panic!("{pod}: not {expected:?}\n{}", state(shop, pod)));
    }
}

/// A pod of two containers, one of which is called as Istio's sidecar.
fn injected() -> Value {
    let mut spec = pod(&["pause"]);
    let mut proxy = spec["containers"][0].clone();
    proxy["name"] = json!("istio-proxy");
    spec["containers"].as_array_mut().unwrap().push(proxy);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "injected", "namespace": "shop"}, "spec": spec})
}

/// Takes every pod of the node out of what its kernel captures.
fn take_out(shop: &Shop, node: &str) {
    let map = PathBuf::from(BPFFS).join(shop.cluster.name()).join(node).join("v2/maps/enrolled");
    let map = map.to_str().unwrap();
    let dump = Command::new("/usr/sbin/bpftool").args(["-j", "map", "dump", "pinned", map]).output().unwrap();
    let entries: Vec<Value> = serde_json::from_slice(&dump.stdout).unwrap();
    assert!(!entries.is_empty(), "nothing is captured on {node}");
    for entry in entries {
        let key = entry["key"].as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().trim_start_matches("0x"));
        let delete =
            Command::new("/usr/sbin/bpftool").args(["map", "delete", "pinned", map, "key", "hex"]).args(key).status();
        assert!(delete.unwrap().success());
    }
}

/// A second DaemonSet of agents, whose pods begin beside those of the first.
fn next(shop: &Shop) -> Value {
    let mut next = shop.cluster.kubectl().get(&["daemonset", "ztunnel", "-n", "istio-system"]).unwrap();
    let name = "ztunnel-next";
    next.as_object_mut().unwrap().remove("status");
    next["metadata"] = json!({"name": name, "namespace": "istio-system"});
    next["spec"]["selector"]["matchLabels"]["app"] = name.into();
    next["spec"]["template"]["metadata"]["labels"]["app"] = name.into();
    next
}

#[test]
fn pods_show_that_they_are_captured_and_are_told_what_becomes_of_it() {
    mount_bpffs().unwrap();
    let shop = Shop::of(images);
    let pods: Vec<_> = shop.pods().into_values().map(|(name, _)| name).collect();
    install(&shop, &[]);
    let kubectl = shop.cluster.kubectl();
    kubectl.apply(&[injected()]).unwrap();
    annotated(&shop, &pods, None);

    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"]).unwrap();
    annotated(&shop, &pods, Some("enabled"));
    for pod in &pods {
        let message = once_told(&shop, pod, "EnteredMesh");
        assert!(message.starts_with("Normal x1: ") && message.contains("by the agent of node node-"), "{message}");
    }
    let described = kubectl.run(&["describe", "pod", &pods[0], "-n", "shop"]).unwrap();
    assert!(described.contains("ambient.istio.io/redirection: enabled"), "{described}");
    assert!(
        described.lines().any(|line| line.contains("EnteredMesh") && line.contains("ambit-controller")),
        "{described}"
    );
    println!("{described}");

    let message = once_told(&shop, "injected", "OtherMeshSidecar");
    assert!(message.starts_with("Warning x1: ") && message.contains("the container istio-proxy of Istio"), "{message}");
    assert_eq!(annotation(&shop, "injected"), None);

    take_out(&shop, "node-1");
    let captured = shop.pods()["node-1"].0.clone();
    let message = once_told(&shop, &captured, "CaptureRepaired");
    assert!(message.contains("what captures the connections that it opens"), "{message}");

    // Another agent takes over on each node beside the one there, and ends before it: what holds of the pods is the same.
    let unmoved = || {
        for pod in &pods {
            assert_eq!(annotation(&shop, pod), Some(json!("enabled")), "{}", state(&shop, pod));
            let told = ["EnteredMesh", "LeftMesh", "CaptureFailed"].map(|reason| told(&shop, pod, reason));
            assert!(told[0].len() == 1 && told[0][0].contains(" x1: "), "{told:?}\n{}", state(&shop, pod));
            assert!(told[1].is_empty() && told[2].is_empty(), "{told:?}\n{}", state(&shop, pod));
        }
    };
    kubectl.apply(&[next(&shop)]).unwrap();
    rolled_out(&shop, "daemonset/ztunnel-next");
    unmoved();
    kubectl.run(&["delete", "daemonset", "ztunnel-next", "-n", "istio-system", "--wait"]).unwrap();
    let theirs = ["get", "pods", "-n", "istio-system", "-l", "app=ztunnel-next", "-o", "name"];
    until::until(3 * SOON, || kubectl.run(&theirs).is_ok_and(|pods| pods.is_empty())).expect("it does not end");
    unmoved();

    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode-"]).unwrap();
    annotated(&shop, &pods, None);
    for pod in &pods {
        assert!(once_told(&shop, pod, "LeftMesh").starts_with("Normal x1: "));
        assert_eq!(told(&shop, pod, "CaptureFailed"), [] as [String; 0]);
    }
    helm(&shop, "uninstall", &[]);
    shop.close();
}
