//! The control plane away, the API and the CA alike: traffic goes on, and so it does after the agents' containers and the
//! applications' were started again, for as long as certificates last.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use ambit_tests::cluster::Node;
use ambit_tests::mesh::mount_bpffs;
use ambit_tests::place::Place;
use ambit_tests::process::{Launcher, is_alive};
use ambit_tests::{Binaries, Process, Wire, http, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::release::{HOME, captured, images, install};
use crate::shop::{SERVICE, SOON, Shop, running, serving};

/// How long certificates last, in seconds: half of it is soon over.
const TTL: u64 = 240;
/// The command of an agent.
const AGENT: &[u8] = b"/usr/local/bin/ztunnel\0";
/// That of a server.
const SERVER: &[u8] = b"/testapp\0serve";
/// What the answers of the servers begin with.
const GREETING: &[u8] = b"HTTP/1.1 200";

/// The one process of a node whose command line begins so.
fn only(node: &Node, command: &[u8]) -> anyhow::Result<u32> {
    let found = running(node, command);
    let [pid] = found[..] else { anyhow::bail!("{} runs {found:?}", node.name) };
    Ok(pid)
}

/// What becomes of requests from the server's pod on `node` to the Service, with no API having a part in it.
fn ask(node: &Node, count: u32) -> anyhow::Result<Value> {
    let testapp = Binaries::beside_this()?.testapp;
    let place = Place::of(only(node, SERVER)?)?;
    let mut command = Command::new(&testapp);
    let to = format!("{SERVICE}:80");
    command.args(["requests", "--to", &to, "--every", "20", "--count", &count.to_string(), "--verbose"]);
    Process::start("requests", &place, &Launcher { testapp, logs: None }, command)?.report(SOON)
}

/// Waits until a few requests from either node are all answered.
fn served(shop: &Shop) {
    let well = |node: &Node| ask(node, 8).is_ok_and(|report| report["failed"] == 0);
    until::until(SOON, || shop.cluster.nodes().iter().all(well)).expect("requests go on to fail");
}

/// Requests from either node, and what crosses the first one's link: HBONE alone.
fn carried(shop: &Shop) {
    let [first, second] = shop.cluster.nodes() else { panic!("two nodes") };
    let wire = Wire::capture(&first.netns, "eth0", &[GREETING]).unwrap();
    for node in [first, second] {
        let report = ask(node, 60).unwrap();
        assert_eq!((&report["ok"], &report["failed"]), (&60.into(), &0.into()), "{}: {report}", node.name);
    }
    let report = wire.stop().unwrap();
    assert!(report.ports().contains(&15008), "{:?}", report.ports());
    assert_eq!(report.marker_hits(), 0);
}

/// The serial numbers of the certificates that the agent of `node` holds, and whether each is valid; none if it is away.
fn serials(node: &Node) -> BTreeMap<String, String> {
    let held = http::json(&node.netns.path(), 15000, "/certificates").unwrap_or_default();
    let leaves = held.as_array().into_iter().flatten().filter(|row| row["kind"] == "Leaf");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    leaves.map(|row| (text(&row["identity"]), text(&row["certificate"]["serial"]))).collect()
}

/// The least seconds for which a certificate of the agent of `node` is still valid.
fn seconds_left(node: &Node) -> u64 {
    let metrics = http::local(&node.netns.path(), 15020, "/metrics").unwrap().body;
    let left = metrics.lines().filter(|line| line.starts_with("ambit_certificate_seconds_left{"));
    left.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).min().expect("no certificate")
}

/// Kills the process as nobody can hold back, and waits until the kubelet has started the container again.
fn killed(node: &Node, command: &[u8]) {
    let before = only(node, command).unwrap();
    kill(Pid::from_raw(before.try_into().unwrap()), Signal::SIGKILL).unwrap();
    let again = || !is_alive(before) && running(node, command).len() == 1;
    until::until(SOON, again).unwrap_or_else(|_| panic!("{} does not run it again", node.name));
}

/// Kills the agent of `node`; the next one begins with what the one before has left.
fn agent_killed(node: &Node) {
    let before = serials(node);
    assert!(!before.is_empty());
    killed(node, AGENT);
    let mut now = BTreeMap::new();
    let taken_up = until::until(SOON, || {
        now = serials(node);
        now == before
    });
    assert!(taken_up.is_ok(), "{} has {now:?}, and had {before:?}", node.name);
}

#[test]
fn without_its_control_plane_the_mesh_carries_on_through_restarts_for_as_long_as_certificates_last() {
    mount_bpffs().unwrap();
    let shop = Shop::of(images);
    shop.pods();
    install(&shop, &[&format!("--certificate-ttl={TTL}")]);
    let kubectl = shop.cluster.kubectl();
    kubectl.run(&["label", "namespace", "shop", "istio.io/dataplane-mode=ambient"]).unwrap();
    captured(&shop, true);
    carried(&shop);
    // What an agent begins with is written every ten seconds.
    let kept =
        |node: &Node| node.root().join("var/lib/ambit/mesh").read_dir().is_ok_and(|mut all| all.next().is_some());
    until::until(SOON, || shop.cluster.nodes().iter().all(kept)).expect("nothing is kept");

    kubectl.run(&["scale", "deployment/ambit-controller", "-n", HOME, "--replicas=0"]).unwrap();
    let ca_is_gone = || kubectl.run(&["get", "pods", "-n", HOME, "-l", "app=ambit-controller", "-o", "name"]).unwrap();
    until::until(SOON, || ca_is_gone().is_empty()).expect("the controller does not end");
    let [first, second] = shop.cluster.nodes() else { panic!("two nodes") };
    let before = shop.cluster.while_api_hangs(|| {
        carried(&shop);
        agent_killed(first);
        served(&shop);
        carried(&shop);
        // The application's container is another one; its pod is the same.
        let before = serving(second);
        killed(second, SERVER);
        assert_ne!(serving(second), before);
        served(&shop);
        carried(&shop);
        // Certificates are due to be renewed, and nobody renews them.
        let overdue = |node: &Node| seconds_left(node) < TTL * 2 / 5;
        until::until(Duration::from_secs(TTL), || overdue(first) && overdue(second)).expect("who renews them?");
        agent_killed(second);
        served(&shop);
        carried(&shop);
        serials(first)
    });
    let before = before.unwrap();

    kubectl.run(&["scale", "deployment/ambit-controller", "-n", HOME, "--replicas=2"]).unwrap();
    let renewed = || {
        let now = serials(first);
        before.iter().all(|(identity, serial)| now.get(identity).is_some_and(|new| new != serial))
    };
    until::until(3 * SOON, renewed).unwrap_or_else(|_| panic!("{:?}", serials(first)));
    served(&shop);
    carried(&shop);
    shop.close();
}
