//! A node that loses its power and comes back: its kubelet starts its pods and its agent at once, the network's configuration is
//! written anew, as the installers of most CNIs do, and no pod of the mesh runs before it is captured again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use ambit_tests::cluster::Node;
use ambit_tests::{Wire, until};
use serde_json::{Value, json};

use crate::release::{HOME, captured, images, install};
use crate::shop::{SERVICE, SOON, Shop, WHO, pod, strict};

/// The node that loses its power.
const NODE: &str = "node-2";
/// How often it does.
const REBOOTS: u64 = 3;
/// How many pods of it ask with their first breath.
const EAGER: u64 = 8;

/// Pods of the node that ask the servers before anything else runs in them, each time that they are started.
fn eager() -> Value {
    let mut spec = pod(&["pause"]);
    let mut first = spec["containers"][0].clone();
    first["name"] = "first".into();
    first["args"] = json!(["greeting", "--to", format!("{SERVICE}:70"), "--count", "1", "--patience", "20000"]);
    spec["initContainers"] = json!([first]);
    spec["restartPolicy"] = "Always".into();
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": NODE});
    let labels = json!({"app": "eager"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "eager", "namespace": "shop"},
        "spec": {
            "replicas": EAGER,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    })
}

/// How often the first container of each of those pods has been started anew; none of one that is not ready.
fn started(shop: &Shop) -> Vec<Option<u64>> {
    let pods = shop.cluster.kubectl().get(&["pods", "-n", "shop", "-l", "app=eager"]).unwrap();
    let count = |pod: &Value| {
        let ready = pod.pointer("/status/containerStatuses/0/ready") == Some(&json!(true));
        pod.pointer("/status/initContainerStatuses/0/restartCount").and_then(Value::as_u64).filter(|_| ready)
    };
    pods["items"].as_array().unwrap().iter().map(count).collect()
}

/// What the first containers of the node's pods have said, each time that they were started.
fn said(node: &Node) -> Vec<String> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let pods = entries(node.root().join("var/log/pods"));
    let logs = pods.flat_map(|pod| entries(pod.join("first")));
    logs.map(|log| format!("{}: {}", log.display(), fs::read_to_string(&log).unwrap_or_default())).collect()
}

#[test]
fn after_its_nodes_power_was_lost_no_pod_runs_before_it_is_captured() {
    let mut shop = Shop::of(images);
    install(&shop, &[]);
    let kubectl = shop.cluster.kubectl().clone();
    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"]).unwrap();
    captured(&shop, true);
    kubectl.apply(&[strict(), eager()]).unwrap();
    let expect = |shop: &Shop, times: u64| {
        let (mut seen, mut heard) = (Vec::new(), BTreeSet::new());
        let there = until::until(3 * SOON, || {
            // What a container has said is removed with it.
            heard.extend(said(&shop.cluster.nodes()[1]));
            seen = started(shop);
            seen.len() == EAGER as usize && seen.iter().all(|count| count.is_some_and(|count| count >= times))
        });
        let logs = ["logs", "-n", HOME, "-l", "app=ztunnel", "--tail=150", "--prefix"];
        let described = || {
            let described = kubectl.run(&["describe", "pods", "-n", "shop", "-l", "app=eager"]).unwrap_or_default();
            format!("{heard:#?}\n{described}\n{}", kubectl.run(&logs).unwrap_or_default())
        };
        assert!(there.is_ok(), "{seen:?}\n{}", described());
        assert!(seen.iter().all(|count| *count == Some(times)), "a first breath failed: {seen:?}\n{}", described());
    };
    expect(&shop, 0);
    // What leaves the other node's pods, and comes to them, in the meantime.
    let wire = Wire::capture(&shop.cluster.nodes()[0].netns, "eth0", &[]).unwrap();
    for reboot in 1..=REBOOTS {
        shop.cluster.reboot(NODE).unwrap();
        expect(&shop, reboot);
        captured(&shop, true);
    }
    let report = wire.stop().unwrap();
    let to = |port: u16| report.flows.iter().filter(|flow| flow.to.port() == port).count();
    assert!(to(15008) > 0, "{:?}", report.ports());
    assert_eq!(to(WHO), 0, "in clear: {:?}", report.flows);
    shop.close();
}
