//! The API server alone, with a large cluster's objects: an agent follows it through whatever goes wrong in between, and has
//! in the end what an agent has that lists everything anew (promise 31). What that costs is printed.
#![allow(clippy::disallowed_methods, reason = "who writes and what stands between are tasks of a runtime of their own")]

mod server;
mod trouble;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ambit_tests::cluster::{Cluster, Plan};
use ambit_tests::leftovers::BPFFS;
use ambit_tests::mesh::mount_bpffs;
use ambit_tests::topology::{self, Node, Topology};
use ambit_tests::{Process, http, netns, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use self::server::{Change, Server, Writer};
use self::trouble::Trouble;
use crate::stand_in::without_controllers;

const PODS: u32 = 10_000;
const SERVICES: u32 = 2_000;
const NAMESPACES: u32 = 20;
const NODES: u32 = 100;
/// Who writes at once.
const WRITERS: usize = 24;
/// How long an agent may take on a busy machine to come to what it should.
const SOON: Duration = Duration::from_secs(120);

/// The agents' node.
const NODE: &str = "node-0";

#[test]
fn ten_thousand_pods_are_followed_through_faults_and_are_what_a_fresh_list_says() {
    let stage = Stage::new();
    let background = Background::start();
    let mut report = String::new();
    let server = Server::of(stage.cluster.kubectl().kubeconfig());
    let begun = Instant::now();
    let writing = server.clone();
    let made = background.run(async move { write(&writing, ground()).await + write(&writing, everything()).await });
    told(
        &mut report,
        format_args!("{made} writes made {PODS} pods and {SERVICES} services in {:.1?}", begun.elapsed()),
    );

    let listener = netns::run_in(&stage.node(0).agent_place().netns, || std::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    let proxy = listener.local_addr().unwrap();
    let upstream = server.clone();
    let trouble = background.run(async { Trouble::at(TcpListener::from_std(listener).unwrap(), upstream) });
    let (mut agent, ready) = stage.agent(0, &stage.troubled(proxy));
    told(&mut report, format_args!("an agent is ready {ready:.1?} after its start, and holds {}", memory(&agent)));

    costs(&background, &server, (&agent, &stage), &mut report);

    let mut random = 1;
    for round in 1..=3_u32 {
        trouble.fail_one_in(3);
        for _ in 0..4 {
            let (changes, writing) = (churn(500, &mut random), server.clone());
            background.run(async move { write(&writing, changes).await });
            trouble.cut_watches();
        }
        trouble.fail_one_in(0);
        let healed = Instant::now();
        let (fresh, ready) = stage.agent(1, &stage.direct.clone());
        let expected = stage.snapshot(1);
        let mut seen = String::new();
        let same = until(SOON, || {
            seen = stage.snapshot(0);
            seen == expected
        });
        if same.is_err() {
            panic!("round {round}: {}\n{}", difference(&seen, &expected), agent.tail());
        }
        told(
            &mut report,
            format_args!(
                "round {round}: 2,000 changes, {} requests failed so far; the same as a fresh list {:.1?} after the last \
                 fault; the fresh agent ready in {ready:.1?}, {}",
                trouble.failed(),
                healed.elapsed(),
                memory(&fresh)
            ),
        );
        fresh.stop(SOON).unwrap();
    }
    assert!(trouble.failed() > 10, "{} requests failed", trouble.failed());
    told(&mut report, format_args!("in the end the agent holds {}", memory(&agent)));
    assert!(agent.status().unwrap().is_none(), "it runs on");
    agent.stop(SOON).unwrap();
    println!("{report}");
}

/// What changes cost an agent that nothing goes wrong for, and how soon they are seen.
fn costs(background: &Background, server: &Server, (agent, stage): (&Process, &Stage), report: &mut String) {
    let (changes, seconds) = (1_000_u32, 10_u32);
    let (before, begun) = (processor(agent), Instant::now());
    let writing = server.clone();
    background.run(async move {
        let mut writer = Writer::to(&writing).await;
        let mut random = 7;
        let mut pace = tokio::time::interval(Duration::from_secs(1) * seconds / changes);
        for change in churn(changes, &mut random) {
            pace.tick().await;
            writer.write(change).await;
        }
    });
    let (spent, took) = (processor(agent) - before, begun.elapsed());
    let rate = f64::from(changes) / took.as_secs_f64();
    let share = spent.as_secs_f64() / took.as_secs_f64() * 100.0;
    told(
        report,
        format_args!(
            "{rate:.0} changes a second cost {share:.0} % of a processor: {:.2} % for one a second, {:.1} ms for each",
            share / rate,
            spent.as_secs_f64() * 1_000.0 / f64::from(changes)
        ),
    );

    let mut lags: Vec<Duration> = Vec::new();
    for round in 0..100 {
        let (label, listed) = if round % 2 == 0 { (json!("none"), false) } else { (Value::Null, true) };
        let fields = json!({"metadata": {"labels": {"istio.io/dataplane-mode": label}}});
        let writing = server.clone();
        background.run(async move { Writer::to(&writing).await.write(Change::Patch(pod_path(0), fields)).await });
        let written = Instant::now();
        let uid = format!("Kubernetes//Pod/{}/{}", namespace_of(0), pod_name(0));
        until(SOON, || stage.pods(0)["uncaptured"].get(&uid).is_some() == listed).unwrap();
        lags.push(written.elapsed());
    }
    lags.sort_unstable();
    let (median, high) = (lags[lags.len() / 2], lags[lags.len() * 99 / 100]);
    told(report, format_args!("a change of a pod of the node is acted on {median:.0?} later (p50), {high:.0?} (p99)"));
}

fn told(report: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(report, "{line}").unwrap();
}

/// Where what is asynchronous runs, while the test waits for it or for something else.
struct Background(Handle);

impl Background {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Self(handle)
    }

    /// What `work` comes to.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.0.spawn(async move { done.send(work.await) });
        result.recv().expect("the work panicked")
    }
}

/// An API server without controllers, and two nodes to run agents on.
struct Stage {
    cluster: Cluster,
    nodes: Topology,
    direct: PathBuf,
    _assets: TempDir,
}

impl Stage {
    fn new() -> Self {
        // Nobody else is to change anything.
        let (settings, assets) = without_controllers();
        let mut cluster = Plan::new().settings(settings).start().unwrap();
        let nodes = topology::Plan::new(&["a", "b"]).build().unwrap();
        nodes.binaries().check_ztunnel().unwrap();
        mount_bpffs().unwrap();
        let direct = nodes.directory().join("direct");
        let place = nodes.node("b").unwrap().agent_place();
        cluster.open_to(&place, "127.0.0.1:0".parse().unwrap(), &direct).unwrap();
        Self { cluster, nodes, direct, _assets: assets }
    }

    fn node(&self, number: usize) -> &Node {
        &self.nodes.nodes()[number]
    }

    /// A kubeconfig that leads to `proxy`.
    fn troubled(&self, proxy: SocketAddr) -> PathBuf {
        let path = self.nodes.directory().join("troubled");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{proxy}")}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// An agent in the place of a node, and how long it took to be ready.
    fn agent(&self, number: usize, kubeconfig: &Path) -> (Process, Duration) {
        let node = self.node(number);
        let pins = Path::new(BPFFS).join(self.nodes.name()).join(&node.name);
        let mut command = Command::new(&self.nodes.binaries().ztunnel);
        command.arg("--kube").arg("--kubeconfig").arg(kubeconfig).args(["--node", NODE]);
        command.arg("--cgroup").arg(&node.cgroup).arg("--pins").arg(pins);
        command.arg("--ca").arg(self.nodes.directory().join("ca.pem"));
        let begun = Instant::now();
        let label = format!("{}/ztunnel", node.name);
        let agent = Process::start(&label, &node.agent_place(), self.nodes.launcher(), command).unwrap();
        let netns = &node.agent_place().netns;
        let ready = until(SOON, || http::is_well(netns, 15021, "/healthz/ready"));
        ready.unwrap_or_else(|_| panic!("not ready: {}", agent.tail()));
        (agent, begun.elapsed())
    }

    /// The pods of the node as the agent has them.
    fn pods(&self, number: usize) -> Value {
        http::json(&self.node(number).agent_place().netns, 15000, "/pods").unwrap()
    }

    /// What an agent knows of the mesh, a line for each object.
    fn snapshot(&self, number: usize) -> String {
        let dump = http::json(&self.node(number).agent_place().netns, 15000, "/config_dump").unwrap();
        let mut lines = Vec::new();
        for list in ["workloads", "services", "waypoints", "peerAuthentications", "authorizationPolicies", "nodes"] {
            lines.extend(dump[list].as_array().unwrap().iter().map(|object| format!("{list} {object}")));
        }
        lines.push(format!("bound {}", dump["bound"]));
        lines.join("\n")
    }
}

/// The first lines that one has and the other has not.
fn difference(seen: &str, expected: &str) -> String {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let (seen, expected) = (lines(seen), lines(expected));
    let first = |these: &std::collections::BTreeSet<String>, others| {
        these.difference(others).take(3).cloned().collect::<Vec<_>>()
    };
    format!("not there {:#?}, there {:#?}", first(&expected, &seen), first(&seen, &expected))
}

/// What `process` holds, and has held at the most.
fn memory(process: &Process) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let mebibytes = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    format!("{} MiB ({} at the most)", mebibytes("VmRSS:"), mebibytes("VmHWM:"))
}

/// The processor time that `process` has had.
fn processor(process: &Process) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // Hundredths of a second, in user space and in the kernel (proc(5)).
    let hundredths: u64 = [11, 12].iter().map(|field| fields[*field].parse::<u64>().unwrap()).sum();
    Duration::from_millis(hundredths * 10)
}

/// Makes `changes`, several at once, and says how many they were.
async fn write(server: &Server, changes: Vec<Change>) -> usize {
    let count = changes.len();
    let mut shares: Vec<Vec<Change>> = (0..WRITERS).map(|_| Vec::new()).collect();
    for change in changes {
        // What is done to one object is done in its order.
        let sum: usize = change.object().bytes().map(usize::from).sum();
        shares[sum % WRITERS].push(change);
    }
    let writing = shares.into_iter().map(|share| {
        let server = server.clone();
        tokio::spawn(async move {
            let mut writer = Writer::to(&server).await;
            for change in share {
                writer.write(change).await;
            }
        })
    });
    for one in writing.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    count
}

fn namespace_of(number: u32) -> String {
    format!("ns-{}", number % NAMESPACES)
}

fn pod_name(number: u32) -> String {
    format!("app{}-{number}", number % SERVICES)
}

fn pods_of(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

fn pod_path(number: u32) -> String {
    format!("{}/{}", pods_of(&namespace_of(number)), pod_name(number))
}

fn slice_path(service: u32) -> String {
    let namespace = namespace_of(service);
    format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/app{service}-0")
}

/// The address of a pod, of which there are as many as versions.
fn address(number: u32, version: u32) -> String {
    format!("10.{}.{}.{}", 1 + (number / 62_500 + version * 7) % 200, number / 250 % 250, number % 250 + 1)
}

fn pod(number: u32) -> Change {
    let labels = json!({"app": format!("app{}", number % SERVICES), "pod-template-hash": "5d4f8c7b9"});
    let container =
        json!({"name": "web", "image": "localhost/web:1", "ports": [{"name": "http", "containerPort": 8080}]});
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod_name(number), "labels": labels},
        "spec": {"nodeName": format!("node-{}", number % NODES), "containers": [container]},
    });
    Change::Create(pods_of(&namespace_of(number)), object)
}

/// It runs, at the address of this version.
fn running(number: u32, version: u32) -> Change {
    let ip = address(number, version);
    let ready = json!({"type": "Ready", "status": "True"});
    let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready]});
    Change::Patch(format!("{}/status", pod_path(number)), json!({ "status": status }))
}

/// The endpoints of a service: its pods, at the addresses of this version.
fn endpoints(service: u32, version: u32) -> Value {
    let pods = (0..PODS / SERVICES).map(|nth| nth * SERVICES + service);
    let endpoint = |number: u32| {
        let target = json!({"kind": "Pod", "name": pod_name(number), "namespace": namespace_of(number)});
        json!({"addresses": [address(number, version)], "conditions": {"ready": true}, "targetRef": target})
    };
    pods.map(endpoint).collect()
}

/// What the rest stands on.
fn ground() -> Vec<Change> {
    let named = |kind: &str, name: String, labels: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}});
    let ambient = json!({"istio.io/dataplane-mode": "ambient"});
    let namespaces = (0..NAMESPACES).map(|number| {
        Change::Create("/api/v1/namespaces".to_owned(), named("Namespace", namespace_of(number), ambient.clone()))
    });
    let nodes = (0..NODES).map(|number| {
        let zone = json!({"topology.kubernetes.io/zone": format!("z{}", number % 3)});
        Change::Create("/api/v1/nodes".to_owned(), named("Node", format!("node-{number}"), zone))
    });
    namespaces.chain(nodes).collect()
}

fn everything() -> Vec<Change> {
    let services = (0..SERVICES).flat_map(|number| {
        let (name, namespace) = (format!("app{number}"), namespace_of(number));
        let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
        let service =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}});
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-0"), "labels": {"kubernetes.io/service-name": name}},
            "endpoints": endpoints(number, 0), "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        });
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        [Change::Create(format!("/api/v1/namespaces/{namespace}/services"), service), Change::Create(slices, slice)]
    });
    let pods = (0..PODS).flat_map(|number| [pod(number), running(number, 0)]);
    services.chain(pods).collect()
}

/// As many changes to what is there, of which none depends on another.
fn churn(changes: u32, random: &mut u32) -> Vec<Change> {
    let mut made = Vec::new();
    let first = *random;
    for nth in 0..changes {
        *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Every pod and service at most once: who writes first does not matter. The first pod is left alone.
        let number = 1 + (first.wrapping_add(nth * 17)) % (PODS - 1);
        let version = 1 + (*random >> 8) % 200;
        match (*random >> 24) % 10 {
            0..4 => made.push(running(number, version)),
            4..6 => {
                let revision = json!({"metadata": {"labels": {"version": format!("v{version}")}}});
                made.push(Change::Patch(pod_path(number), revision));
            }
            6 => {
                let mode = json!({"metadata": {"labels": {"istio.io/dataplane-mode": "none"}}});
                made.push(Change::Patch(pod_path(number), mode));
            }
            7 | 8 => {
                let service = number % SERVICES;
                made.push(Change::Patch(slice_path(service), json!({"endpoints": endpoints(service, version)})));
            }
            _ => made.push(Change::Delete(pod_path(number))),
        }
    }
    made
}
