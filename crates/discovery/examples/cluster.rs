//! Prints what following a cluster of 10,000 pods (or as many as the first argument says) and a tenth as many services
//! costs: reading them, keeping them, changing one, and listing all of them anew. The API is a process of its own.
//! Run with `cargo run --release -p ambit-discovery --example cluster`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "its product is text, and it may fail"
)]

#[path = "../tests/cluster"]
#[allow(dead_code, unreachable_pub, reason = "the tests use all of it")]
mod cluster {
    pub(crate) mod api;
    pub(crate) mod objects;
}

mod memory;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use ambit_discovery::{Cluster, Origin, Settings, Snapshots, publish, run};
use ambit_model::{Snapshot, WorkloadUid};
use cluster::api::Api;
use cluster::objects::{NAMESPACES, PODS, SERVICES, SLICES, namespace, pod, service, slice};
use memory::{peak, resident};

const NAMESPACE_COUNT: usize = 20;
const PODS_OF_A_SERVICE: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("serve") => serve(arguments.next().and_then(|pods| pods.parse().ok()).expect("a number")).await,
        pods => follow(pods.map_or(10_000, |pods| pods.parse().expect("a number"))).await,
    }
}

/// An API that changes the first pod, or forgets what happened, for each line that it is sent.
async fn serve(pods: usize) {
    let api = Api::start().await;
    api.with(|state| {
        (0..NAMESPACE_COUNT).for_each(|number| state.put(NAMESPACES, namespace(&format!("ns-{number}"))));
        for number in 0..pods / PODS_OF_A_SERVICE {
            let (space, name) = (format!("ns-{}", number % NAMESPACE_COUNT), format!("app{number}"));
            state.put(SERVICES, service(&space, &name, &format!("10.96.{}.{}", number / 250, number % 250 + 1)));
            state.put(SLICES, slice(&space, &name, Some(&address(number * PODS_OF_A_SERVICE, 1))));
        }
        (0..pods).for_each(|number| state.put(PODS, described(number, 1)));
        state.compact();
    });
    println!("{}", api.url());
    let (lines, mut received) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(Ok(())) = line.map(|line| lines.send(line)) else { return };
        }
    });
    while let Some(line) = received.recv().await {
        let version = line.parse().expect("a version");
        api.put(PODS, described(0, version));
        if version > 4 {
            api.with(|state| {
                state.compact();
                state.cuts += 1;
            });
        }
    }
}

fn address(number: usize, version: usize) -> String {
    format!("10.{}.{}.{}", version * 10 + number / 62_500, number / 250 % 250, number % 250 + 1)
}

fn described(number: usize, version: usize) -> serde_json::Value {
    let app = number / PODS_OF_A_SERVICE;
    let name = format!("app{app}-{}", number % PODS_OF_A_SERVICE);
    let mut pod =
        pod(&format!("ns-{}", app % NAMESPACE_COUNT), &name, &address(number, if number == 0 { version } else { 1 }));
    // Half of what an API server sends is who wrote what.
    pod["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"] = serde_json::json!("x".repeat(2_000));
    pod
}

async fn follow(pods: usize) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (mut server, mut commands, kubeconfig) = start(root.path().join("kubeconfig"), pods);
    let before = resident();
    let (publisher, mut snapshots) = publish(Snapshot::default());
    let (reporter, _reports) = publish(Vec::new());
    let cache = (std::env::args().nth(2).as_deref() != Some("without-cache")).then(|| root.path().join("cache"));
    let origin = Origin::Cluster(Cluster::new(vec![kubeconfig], cache));
    let begun = Instant::now();
    let script = async {
        let snapshot = snapshots.changed().await.expect("a snapshot");
        let (workloads, services) = (snapshot.workloads().count(), snapshot.services().count());
        let (took, memory) = (begun.elapsed(), (resident() - before) >> 10);
        println!("{workloads} workloads and {services} services read in {took:.0?}; {memory} MiB");
        drop(snapshot);
        for version in 2..7 {
            let what = if version > 4 { "after all were listed anew" } else { "by the watch" };
            let begun = Instant::now();
            writeln!(commands, "{version}").expect("the API");
            changed(&mut snapshots, version).await;
            println!("a changed pod in force {:.0?} later, {what}", begun.elapsed());
        }
    };
    run(Settings::new(origin), publisher, reporter, script).await.expect("a cluster");
    println!("{} MiB in the end, {} MiB at most", (resident() - before) >> 10, (peak() - before) >> 10);
    server.kill().expect("the API");
}

/// Waits until the first pod has the address of `version`.
async fn changed(snapshots: &mut Snapshots, version: usize) {
    let uid = WorkloadUid::pod("Kubernetes", "ns-0", "app0-0");
    let address = address(0, version);
    while snapshots.load().workload(&uid).is_none_or(|pod| pod.addresses[0].to_string() != address) {
        snapshots.changed().await.expect("a snapshot");
    }
}

/// The API, what it is told by, and the kubeconfig that leads to it.
fn start(kubeconfig: PathBuf, pods: usize) -> (Child, ChildStdin, PathBuf) {
    let mut server = Command::new(std::env::current_exe().expect("this program"))
        .args(["serve", &pods.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the API");
    let mut url = String::new();
    BufReader::new(server.stdout.take().expect("a pipe")).read_line(&mut url).expect("its address");
    let config = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url.trim()}}], "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
    fs::write(&kubeconfig, config.to_string()).expect("a file");
    let commands = server.stdin.take().expect("a pipe");
    (server, commands, kubeconfig)
}
