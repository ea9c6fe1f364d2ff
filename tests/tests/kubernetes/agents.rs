//! Node agents on a real cluster: configured by its API, they find their pods by themselves, capture them by a label and
//! let them go by its removal, and the pods never notice.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ambit_tests::leftovers::BPFFS;
use ambit_tests::mesh::{Agent, mount_bpffs};
use ambit_tests::payload::MARKER;
use ambit_tests::{Binaries, Wire, until};
use serde_json::Value;

use crate::shop::{DUPLEX, SERVICE, Shop, WHO};

const SOON: Duration = Duration::from_secs(60);
const LABEL: &str = "istio.io/dataplane-mode";

/// The nodes' agents, started and ready, by their nodes.
fn agents(shop: &mut Shop) -> BTreeMap<String, Agent> {
    let binaries = Binaries::beside_this().unwrap();
    binaries.check_ztunnel().unwrap();
    mount_bpffs().unwrap();
    let (name, directory) = (shop.cluster.name().to_owned(), shop.cluster.directory().to_owned());
    let places: Vec<_> = shop.cluster.nodes().iter().map(|node| (node.name.clone(), node.place().clone())).collect();
    for (node, place) in &places {
        let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        shop.cluster.open_to(place, listen, &directory.join(format!("{node}.agent.kubeconfig"))).unwrap();
    }
    let mut agents = BTreeMap::new();
    for node in shop.cluster.nodes() {
        let pins = Path::new(BPFFS).join(&name).join(&node.name);
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let arguments = [
            ("--node", node.name.clone()),
            ("--kubeconfig", path(&format!("{}.agent.kubeconfig", node.name))),
            ("--cgroup", node.cgroup.to_string_lossy().into_owned()),
            ("--pins", pins.to_string_lossy().into_owned()),
            ("--ca", path("ca.pem")),
        ];
        let mut arguments: Vec<_> = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        arguments.push("--kube".to_owned());
        let mut agent = Agent::on(node, &binaries.ztunnel, &pins, &arguments);
        agent.start().unwrap();
        agents.insert(node.name.clone(), agent);
    }
    agents
}

/// What a rollout would change of the pods: their IDs, and how often their containers have been started.
fn lives(shop: &Shop) -> BTreeMap<String, Value> {
    let pods = shop.cluster.kubectl().get(&["pods", "-n", "shop"]).unwrap();
    let life = |pod: &Value| {
        let restarts = pod.pointer("/status/containerStatuses/0/restartCount").cloned();
        (
            pod["metadata"]["name"].as_str().unwrap().to_owned(),
            Value::from(vec![pod["metadata"]["uid"].clone(), restarts.unwrap()]),
        )
    };
    pods["items"].as_array().unwrap().iter().map(life).collect()
}

/// What crosses the link of the first node while its pod exchanges bytes with that of the other, by its address and by the
/// Service: how often the bytes were seen, and the ports.
fn exchange(shop: &Shop, from: &str, to: (&str, &str)) -> (u64, Vec<u16>) {
    let wire = Wire::capture(&shop.cluster.nodes()[0].netns, "eth0", &[MARKER]).unwrap();
    let (name, address) = to;
    let sent = shop.exec(from, &["duplex", "--to", &format!("{address}:{DUPLEX}"), "--bytes", "300000"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sent).unwrap()["received"], 300_000, "{sent}");
    for at in [format!("{address}:{WHO}"), format!("{SERVICE}:70")] {
        let mut told = Value::Null;
        let answered = until::until(SOON, || {
            told = shop.answers(from, &at).unwrap_or_default();
            told.to_string().contains(name)
        });
        assert!(answered.is_ok(), "{from} asks {at}: {told}");
    }
    let report = wire.stop().unwrap();
    (report.marker_hits() as u64, report.ports().into_iter().collect())
}

#[test]
fn a_label_takes_running_pods_into_the_mesh_and_out_again() {
    let mut shop = Shop::open();
    let pods = shop.pods();
    let ((from, _), (to, address)) = (pods["node-1"].clone(), pods["node-2"].clone());
    let before = lives(&shop);
    let agents = agents(&mut shop);
    let captured = |pods: &BTreeMap<String, (String, String)>, captured: bool| {
        for (node, agent) in &agents {
            agent.wait_captured("shop", &pods[node].0, captured, SOON).unwrap();
        }
    };
    let kubectl = shop.cluster.kubectl();
    let (seen, ports) = exchange(&shop, &from, (&to, &address));
    assert!(seen > 0 && ports.contains(&DUPLEX) && !ports.contains(&15008), "{seen} times, {ports:?}");

    kubectl.run(&["label", "namespace", "shop", &format!("{LABEL}=ambient")]).unwrap();
    captured(&pods, true);
    let (seen, ports) = exchange(&shop, &from, (&to, &address));
    assert!(seen == 0 && ports.contains(&15008), "{seen} times, {ports:?}");
    assert!(!ports.contains(&DUPLEX) && !ports.contains(&WHO), "{ports:?}");
    assert_eq!(lives(&shop), before, "no pod was touched");
    let principal = "spiffe://cluster.local/ns/shop/sa/default";
    let fields =
        [("src.identity", principal), ("dst.identity", principal), ("dst.service", "web.shop.svc.cluster.local")];
    agents["node-2"].wait_access_log(&[("direction", "inbound"), fields[0], fields[1], fields[2]], SOON).unwrap();

    // Another pod of the same name's kind takes the place of one: it is found by its own ID.
    kubectl.run(&["delete", "pod", "-n", "shop", &to]).unwrap();
    let renewed = shop.pods();
    assert_ne!(renewed["node-2"].0, to);
    captured(&renewed, true);
    agents["node-2"].wait_captured("shop", &to, false, SOON).unwrap();
    let (to, address) = renewed["node-2"].clone();
    let (seen, ports) = exchange(&shop, &from, (&to, &address));
    assert!(seen == 0 && ports.contains(&15008), "{seen} times, {ports:?}");

    kubectl.run(&["label", "namespace", "shop", &format!("{LABEL}-")]).unwrap();
    captured(&renewed, false);
    let (seen, ports) = exchange(&shop, &from, (&to, &address));
    assert!(seen > 0 && ports.contains(&DUPLEX), "{seen} times, {ports:?}");
    drop(agents);
    shop.close();
}
