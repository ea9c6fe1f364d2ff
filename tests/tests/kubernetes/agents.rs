//! Node agents on a real cluster: configured by its API, they find their pods by themselves, capture them by a label and
//! let them go by its removal, and the pods never notice.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ambit_tests::cluster::Node;
use ambit_tests::leftovers::BPFFS;
use ambit_tests::mesh::{Agent, mount_bpffs};
use ambit_tests::{Binaries, netns, until};
use serde_json::{Value, json};

use crate::shop::{DOOR, DUPLEX, SOON, Shop, WHO, first_breath, pod, strict};

const LABEL: &str = "istio.io/dataplane-mode";

/// Where the agents are told to put their plugin, as their nodes see it.
const CNI: [(&str, &str); 4] = [
    ("--cni-conf-dir", "/etc/cni/net.d"),
    ("--cni-bin-dir", "/opt/cni/bin"),
    ("--cni-socket", "/run/ambit/cni.sock"),
    ("--cni-state-dir", "/var/lib/ambit/cni"),
];

/// The nodes' agents, by their nodes, none of them started.
fn agents(shop: &mut Shop) -> BTreeMap<String, Agent> {
    let binaries = Binaries::beside_this().unwrap();
    binaries.check_ztunnel().unwrap();
    mount_bpffs().unwrap();
    let directory = shop.cluster.directory().to_owned();
    let places: Vec<_> = shop.cluster.nodes().iter().map(|node| (node.name.clone(), node.place().clone())).collect();
    for (node, place) in &places {
        let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        shop.cluster.open_to(place, listen, &directory.join(format!("{node}.agent.kubeconfig"))).unwrap();
    }
    let agent = |node: &Node| {
        let arguments = arguments(shop, node);
        (node.name.clone(), Agent::on(node, &binaries.ztunnel, &pins(shop, node), &arguments))
    };
    shop.cluster.nodes().iter().map(agent).collect()
}

fn pins(shop: &Shop, node: &Node) -> PathBuf {
    Path::new(BPFFS).join(shop.cluster.name()).join(&node.name)
}

/// What the agent of `node` is told.
fn arguments(shop: &Shop, node: &Node) -> Vec<String> {
    let path = |name: &str| shop.cluster.directory().join(name).to_string_lossy().into_owned();
    let own = [
        ("--node", node.name.clone()),
        ("--kubeconfig", path(&format!("{}.agent.kubeconfig", node.name))),
        ("--cgroup", node.pods().to_string_lossy().into_owned()),
        ("--pins", pins(shop, node).to_string_lossy().into_owned()),
        ("--ca", path("ca.pem")),
    ];
    let all = own.into_iter().chain(CNI.map(|(name, value)| (name, value.to_owned())));
    let mut arguments: Vec<_> = all.flat_map(|(name, value)| [name.to_owned(), value]).collect();
    arguments.push("--kube".to_owned());
    arguments
}

#[test]
fn a_label_takes_running_pods_into_the_mesh_and_out_again() {
    let mut shop = Shop::open();
    let pods = shop.pods();
    let ((from, _), (to, address)) = (pods["node-1"].clone(), pods["node-2"].clone());
    let before = shop.lives();
    let mut agents = agents(&mut shop);
    agents.values_mut().for_each(|agent| agent.start().unwrap());
    let captured = |pods: &BTreeMap<String, (String, String)>, captured: bool| {
        for (node, agent) in &agents {
            agent.wait_captured("shop", &pods[node].0, captured, SOON).unwrap();
        }
    };
    let kubectl = shop.cluster.kubectl();
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen > 0 && ports.contains(&DUPLEX) && !ports.contains(&15008), "{seen} times, {ports:?}");

    kubectl.run(&["label", "namespace", "shop", &format!("{LABEL}=ambient")]).unwrap();
    captured(&pods, true);
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen == 0 && ports.contains(&15008), "{seen} times, {ports:?}");
    assert!(!ports.contains(&DUPLEX) && !ports.contains(&WHO), "{ports:?}");
    assert_eq!(shop.lives(), before, "no pod was touched");
    let principal = "spiffe://cluster.local/ns/shop/sa/default";
    let fields =
        [("src.identity", principal), ("dst.identity", principal), ("dst.service", "web.shop.svc.cluster.local")];
    agents["node-2"].wait_access_log(&[("direction", "inbound"), fields[0], fields[1], fields[2]], SOON).unwrap();

    nobody_comes_in_as_the_node(&shop);

    // Another pod of the same name's kind takes the place of one: it is found by its own ID.
    kubectl.run(&["delete", "pod", "-n", "shop", &to]).unwrap();
    let renewed = shop.pods();
    assert_ne!(renewed["node-2"].0, to);
    captured(&renewed, true);
    agents["node-2"].wait_captured("shop", &to, false, SOON).unwrap();
    let (to, address) = renewed["node-2"].clone();
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen == 0 && ports.contains(&15008), "{seen} times, {ports:?}");

    kubectl.run(&["label", "namespace", "shop", &format!("{LABEL}-")]).unwrap();
    captured(&renewed, false);
    let (seen, ports) = shop.exchange(&from, (&to, &address));
    assert!(seen > 0 && ports.contains(&DUPLEX), "{seen} times, {ports:?}");
    drop(agents);
    shop.close();
}

/// How many pods are started at once and dial at once.
const AT_ONCE: u32 = 100;

/// Whoever comes by a port of a node is seen by its pods at the node's own address, and so is their kubelet: the one is
/// refused where clear text is, and the other gets his answer.
fn nobody_comes_in_as_the_node(shop: &Shop) {
    let kubectl = shop.cluster.kubectl();
    let (door, stranger) = (&shop.cluster.nodes()[0], &shop.cluster.nodes()[1]);
    let address = SocketAddr::new(door.address.into(), DOOR);
    let knock = || {
        let answered = netns::run_in(&stranger.netns.path(), || -> io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: door\r\n\r\n")?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            Ok(&head == b"HTTP/1.1 200")
        });
        answered.unwrap().unwrap_or(false)
    };
    until::until(SOON, || (0..8).all(|_| knock())).expect("in clear everybody may come");
    kubectl.apply(&[strict()]).unwrap();
    until::until(SOON, || (0..16).all(|_| !knock())).expect("nobody comes in clear any more");
    // Longer than it takes a kubelet to find out that nobody answers it.
    let (mut ready, since) = (Value::Null, Instant::now());
    let unready = until::until(Duration::from_secs(6), || {
        ready = kubectl.get(&["daemonset", "web", "-n", "shop"]).unwrap()["status"]["numberReady"].clone();
        ready != 2
    });
    assert!(unready.is_err(), "{ready} pods are ready after {:?}", since.elapsed());
    kubectl.run(&["delete", "peerauthentication", "default", "-n", "shop"]).unwrap();
}

#[test]
fn no_pod_runs_before_it_is_captured_whether_its_agent_is_there_or_not() {
    let mut shop = Shop::open();
    let mut agents = agents(&mut shop);
    let conflist = |node: &Node| std::fs::read_to_string(node.root().join("etc/cni/net.d/10-pods.conflist")).unwrap();
    let found: Vec<_> = shop.cluster.nodes().iter().map(conflist).collect();
    agents.values_mut().for_each(|agent| agent.start().unwrap());
    let kubectl = shop.cluster.kubectl();
    let outside = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "outside"}});
    kubectl.apply(&[strict(), outside]).unwrap();
    kubectl.run(&["label", "namespace", "shop", &format!("{LABEL}=ambient")]).unwrap();
    let pods = shop.pods();
    agents.iter().for_each(|(node, agent)| agent.wait_captured("shop", &pods[node].0, true, SOON).unwrap());

    // What dials with its first breath, in clear, would be refused.
    kubectl.apply(&[first_breath("shop", "at-once", AT_ONCE), first_breath("outside", "in-clear", 1)]).unwrap();
    shop.await_field(&["job", "in-clear", "-n", "outside"], "/status/failed", &json!(1));
    shop.await_field(&["job", "at-once", "-n", "shop"], "/status/succeeded", &json!(AT_ONCE));

    // While the agent is away pods of the mesh wait, and say why; others start.
    agents.get_mut("node-1").unwrap().kill().unwrap();
    let on = |namespace: &str, name: &str| {
        let mut spec = pod(&["pause"]);
        spec["nodeName"] = json!("node-1");
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    };
    kubectl.apply(&[on("shop", "waits"), on("outside", "starts")]).unwrap();
    shop.await_field(&["pod", "starts", "-n", "outside"], "/status/phase", &json!("Running"));
    let mut events = Value::Null;
    let told = until::until(SOON, || {
        events =
            kubectl.get(&["events", "-n", "shop", "--field-selector", "involvedObject.name=waits"]).unwrap_or_default();
        events
            .to_string()
            .contains("pod shop/waits waits for the mesh: its namespace is in the mesh and this node's agent is away")
    });
    assert!(told.is_ok(), "{events:#}");
    let phase = kubectl.get(&["pod", "waits", "-n", "shop"]).unwrap()["status"]["phase"].clone();
    assert_eq!(phase, "Pending");
    agents.get_mut("node-1").unwrap().start().unwrap();
    shop.await_field(&["pod", "waits", "-n", "shop"], "/status/phase", &json!("Running"));
    agents["node-1"].wait_captured("shop", "waits", true, SOON).unwrap();

    // What the agents have put on their nodes they take away again.
    for (node, found) in shop.cluster.nodes().iter().zip(found) {
        assert!(conflist(node).contains("ambit-cni"), "{}", conflist(node));
        agents.get_mut(&node.name).unwrap().stop(SOON).unwrap();
        let mut uninstall = Command::new(Binaries::beside_this().unwrap().ztunnel);
        uninstall.args(arguments(&shop, node)).arg("--uninstall");
        node.run("uninstall", uninstall).unwrap().finish(SOON).unwrap().success().unwrap();
        assert_eq!(conflist(node), found);
        for gone in ["opt/cni/bin/ambit-cni", "run/ambit/cni.sock", "var/lib/ambit/cni/enrolled"] {
            assert!(!node.root().join(gone).exists(), "{gone}");
        }
        assert!(!pins(&shop, node).exists());
    }
    drop(agents);
    shop.close();
}
