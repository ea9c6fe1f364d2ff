//! The mesh as it is installed: by its chart, from an image, on two nodes that have nothing of it before and nothing after.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ambit_tests::cluster::Node;
use ambit_tests::leftovers::BPFFS;
use ambit_tests::mesh::mount_bpffs;
use ambit_tests::until;
use serde_json::{Value, json};

use crate::cli::{ambit, does};
use crate::ingress::let_in;
use crate::release::{HOME, captured, helm, images, install, rolled_out};
use crate::shop::{DUPLEX, SERVICE, SOON, Shop, WHO, first_breath, strict};

/// Pods that are made while an agent takes over from another.
const MEANWHILE: u32 = 6;

/// The files of the node's network configuration, with what they say.
fn network(node: &Node) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(node.root().join("etc/cni/net.d")).unwrap().flatten().map(|entry| entry.path());
    files
        .map(|file| (file.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(file).unwrap()))
        .collect()
}

/// Nothing of the mesh is left on the node.
fn is_clean(shop: &Shop, node: &Node) {
    let pins = format!("{BPFFS}/{}/{}", shop.cluster.name(), node.name);
    assert!(!Path::new(&pins).exists());
    assert!(!node.root().join("opt/cni/bin/ambit-cni").exists());
    let sockets = ["run/ambit/agent.sock", "run/ambit/agent.lock", "run/ambit/cni.sock"];
    for place in sockets.into_iter().chain(["var/lib/ambit/mesh", "var/lib/ambit/cni/enrolled"]) {
        assert!(!node.root().join(place).exists(), "{place}");
    }
}

#[test]
fn installed_by_its_chart_it_takes_a_namespace_in_routes_its_requests_and_leaves_nothing() {
    // Nodes see what is mounted before they are made.
    mount_bpffs().unwrap();
    let shop = Shop::of(images);
    let pods = shop.pods();
    let ((from, _), (to, address)) = (pods["node-1"].clone(), pods["node-2"].clone());
    let (before, found) = (shop.lives(), shop.cluster.nodes().iter().map(network).collect::<Vec<_>>());
    let begun = Instant::now();
    install(&shop, &[]);
    println!("installed and ready after {:.1} s", begun.elapsed().as_secs_f64());
    webhook(&shop);
    for (node, found) in shop.cluster.nodes().iter().zip(&found) {
        let mut now = network(node);
        let own = now.remove("00-ambit.conflist").expect("a configuration of the agent's own");
        assert!(own.contains("ambit-cni") && own.contains("bridge"), "{own}");
        assert_eq!(&now, found, "the network's own is as it was found");
    }

    let kubectl = shop.cluster.kubectl();
    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"]).unwrap();
    captured(&shop, true);
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen == 0 && ports.contains(&15008), "{seen} times, {ports:?}");
    assert!(!ports.contains(&DUPLEX) && !ports.contains(&WHO), "{ports:?}");
    assert_eq!(shop.lives(), before, "no pod was touched");

    looked_at(&shop, &from);
    println!("{} requests while both agents were replaced twice", replaced_under_load(&shop, &from));
    waypoint(&shop, &from);
    let_in(&shop);

    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode-"]).unwrap();
    captured(&shop, false);
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen > 0 && ports.contains(&DUPLEX), "{seen} times, {ports:?}");
    helm(&shop, "uninstall", &[]);
    let gone = until::until(3 * SOON, || {
        kubectl.run(&["get", "pods", "-n", HOME, "-o", "name"]).is_ok_and(|all| all.is_empty())
    });
    gone.unwrap_or_else(|_| panic!("{}", kubectl.run(&["get", "pods", "-n", HOME]).unwrap()));
    for (node, found) in shop.cluster.nodes().iter().zip(found) {
        is_clean(&shop, node);
        assert_eq!(network(node), found);
    }
    shop.close();
}

/// Every agent is replaced by one that begins beside it, and that by another, while `from` asks: nobody is refused. It is what a
/// DaemonSet with maxSurge does, of which this Kubernetes knows nothing: a second DaemonSet is rolled out, then the first goes. How many requests there were.
fn replaced_under_load(shop: &Shop, from: &str) -> u64 {
    let kubectl = shop.cluster.kubectl();
    let found = kubectl.get(&["daemonset", "ztunnel", "-n", HOME]).unwrap();
    let named = |name: &str| {
        let mut next = found.clone();
        next.as_object_mut().unwrap().remove("status");
        let labels = next["metadata"]["labels"].clone();
        let annotations = json!({
            "meta.helm.sh/release-name": found["metadata"]["annotations"]["meta.helm.sh/release-name"],
            "meta.helm.sh/release-namespace": found["metadata"]["annotations"]["meta.helm.sh/release-namespace"],
        });
        next["metadata"] = json!({"name": name, "namespace": HOME, "labels": labels, "annotations": annotations});
        next["spec"]["selector"]["matchLabels"]["app"] = name.into();
        next["spec"]["template"]["metadata"]["labels"]["app"] = name.into();
        next
    };
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let to = format!("{SERVICE}:80");
                let asks = ["requests", "--to", &to, "--every", "10", "--count", "200", "--verbose"];
                let told = shop.exec(from, &asks).unwrap();
                let report: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
                let logs = || {
                    let of = |name| kubectl.run(&["logs", "-n", HOME, "-l", &format!("app={name}"), "--tail=400"]);
                    ["ztunnel", "ztunnel-next"].map(|name| of(name).unwrap_or_default()).join("---\n")
                };
                assert_eq!(report["failed"], 0, "{told}\n{}", logs());
                asked.fetch_add(report["ok"].as_u64().unwrap(), Ordering::Relaxed);
            }
        });
        for (next, before) in [("ztunnel-next", "ztunnel"), ("ztunnel", "ztunnel-next")] {
            // Pods that are made meanwhile are captured before their first packet: in clear they would be refused.
            let meanwhile = format!("beside-{next}");
            kubectl.apply(&[strict(), named(next), first_breath("shop", &meanwhile, MEANWHILE)]).unwrap();
            rolled_out(shop, &format!("daemonset/{next}"));
            shop.await_field(&["job", &meanwhile, "-n", "shop"], "/status/succeeded", &json!(MEANWHILE));
            kubectl.run(&["delete", "job", &meanwhile, "-n", "shop", "--wait"]).unwrap();
            kubectl.run(&["delete", "daemonset", before, "-n", HOME, "--wait"]).unwrap();
            let gone = || {
                let pods = kubectl.run(&["get", "pods", "-n", HOME, "-l", &format!("app={before}"), "-o", "name"]);
                pods.is_ok_and(|pods| pods.is_empty())
            };
            until::until(2 * SOON, gone).unwrap_or_else(|_| panic!("{before} does not end"));
            captured(shop, true);
        }
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
    kubectl.run(&["delete", "peerauthentication", "default", "-n", "shop"]).unwrap();
    assert!(asked.load(Ordering::Relaxed) > 0);
    asked.into_inner()
}

/// What `ambit proxy-status` says of every proxy.
fn proxies(shop: &Shop) -> Vec<Value> {
    serde_json::from_str(&does(&shop.cluster, "ps -o json")).unwrap()
}

/// The command line finds the agents, by node and by the pods there, and shows that `from`, a pod of node-1, and all else
/// of its namespace is carried by HBONE.
fn looked_at(shop: &Shop, from: &str) {
    let cluster = &shop.cluster;
    let standing: Vec<_> = proxies(shop).into_iter().map(|it| (it["node"].clone(), it["status"].clone())).collect();
    let synced = |node: &str| (json!(node), json!("SYNCED"));
    assert!(
        standing.len() == 2 && standing.contains(&synced("node-1")) && standing.contains(&synced("node-2")),
        "{standing:?}"
    );
    let version = does(cluster, "version");
    let expected =
        "client version: 0.1.0\ncontrol plane version: 0.1.0 (2 replicas)\ndata plane version: 0.1.0 (2 proxies)\n";
    assert_eq!(version, expected);

    let workloads = does(cluster, "zc workload --workload-namespace shop -o json");
    let workloads: Vec<Value> = serde_json::from_str(&workloads).unwrap();
    assert!(workloads.len() >= 2, "{workloads:?}");
    let table = does(cluster, "zc workload --node node-2 --workload-namespace shop");
    assert_eq!(table.lines().skip(1).filter(|line| line.ends_with("HBONE")).count(), workloads.len(), "{table}");
    // An application's pod means the agent of its node, which alone has its certificate.
    let certificates = |agent: &str| does(cluster, &format!("zc certificate {agent} -o json"));
    assert_eq!(certificates(&format!("{from}.shop")), certificates("--node node-1"));
    assert!(
        certificates("--node node-1").contains("spiffe://cluster.local/ns/shop/sa/"),
        "{}",
        certificates("--node node-1")
    );
    does(cluster, "zc connections daemonset/ztunnel");
    let everything = does(cluster, "zc all --node node-1");
    assert!(
        everything.contains("SERVICE VIP") && everything.contains("REMOTE TARGET") || everything.contains("No open"),
        "{everything}"
    );
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
    kubectl.apply(&[fault]).unwrap();
    let applied = ambit(&shop.cluster, "waypoint apply -n shop --enroll-namespace --wait");
    let described = || kubectl.run(&["describe", "pods", "-n", "shop"]).unwrap();
    assert!(applied.well, "{}{}\n{}", applied.stdout, applied.stderr, described());
    assert_eq!(applied.stderr, "", "the namespace is in the mesh");
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
    let services = does(&shop.cluster, "zc service --service-namespace shop");
    let bound = |service: &str| {
        services.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row[1] == service).unwrap()
            [3]
    };
    assert_eq!((bound("web"), bound("waypoint")), ("waypoint", "None"), "{services}");
    let all = proxies(shop);
    let waypoints: Vec<_> = all.iter().filter(|proxy| proxy["type"] == "waypoint").collect();
    let [waypoint] = &waypoints[..] else { panic!("{all:?}") };
    assert!(waypoint["status"] == "SYNCED" && waypoint["name"].as_str().unwrap().ends_with(".shop"), "{waypoint}");
    let deleted = ambit(&shop.cluster, "waypoint delete waypoint -n shop");
    assert!(deleted.well && deleted.stdout == "waypoint shop/waypoint deleted\n", "{}", deleted.stderr);
    assert!(deleted.stderr.contains("still labelled istio.io/use-waypoint=waypoint"), "{}", deleted.stderr);
    let refused = until::until(SOON, || status("/").is_null());
    assert!(refused.is_ok(), "what asks for a waypoint that is gone is refused");
    let services = || does(&shop.cluster, "zc service --service-namespace shop");
    until::until(SOON, || services().contains("waypoint (missing)")).unwrap_or_else(|_| panic!("{}", services()));
    kubectl.run(&["label", "namespace", "shop", "istio.io/use-waypoint-"]).unwrap();
    let rest = || kubectl.run(&["get", "deployments,serviceaccounts", "-n", "shop", "-o", "name"]).unwrap();
    until::until(3 * SOON, || rest().trim() == "serviceaccount/default").unwrap_or_else(|_| panic!("{}", rest()));
    let come = until::until(SOON, || status("/teapot") == 404 || status("/teapot") == 200);
    assert!(come.is_ok(), "without a waypoint the application answers itself: {}", status("/teapot"));
}
