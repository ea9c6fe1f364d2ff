//! A network namespace with a waypoint in it, clients that reach it by tunnels, and servers that it reaches.

mod client;
mod outside;
mod rules;
mod server;
mod tls;
mod token;

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use ambit_identity::client::LocalIssuer;
use ambit_identity::store::Certificates;
use ambit_identity::{Authority, Clock, TrustStore};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::spawn_local;

pub(crate) use client::{Answer, Client, Here, Http, request};
pub(crate) use outside::{Outside, Roots};
pub(crate) use rules::{destination_rule, near, subsets, virtual_service};
pub(crate) use server::{Asked, Handshake, Listening, Server, listen, read_head};
pub(crate) use tls::{Issuer, Shown};
pub(crate) use token::{Key, jwks, now};

/// Longer than anything takes that is not measured.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Where the waypoint is.
const WAYPOINT: &str = "10.9.0.1";
/// Where the gateway is.
pub(crate) const GATEWAY: &str = "10.9.0.2";
/// The address of the service `reviews`, and its port.
pub(crate) const REVIEWS: &str = "10.96.0.1:9080";
/// The address of the service `raw`, whose port says nothing, and its port.
pub(crate) const RAW: &str = "10.96.0.2:7000";
/// The same of `bytes`, whose port says that it is TCP.
pub(crate) const BYTES: &str = "10.96.0.3:5432";

/// Everything.
pub(crate) struct Mesh {
    directory: TempDir,
    waypoint: Child,
    log: watch::Receiver<Vec<String>>,
    certificates: Certificates<LocalIssuer>,
}

/// Runs `test` in a network namespace of its own, on one thread.
pub(crate) fn run(test: impl Future<Output = ()>) {
    unshare(CloneFlags::CLONE_NEWNET).expect("cannot make a network namespace: are you root?");
    ip(&["link", "set", "lo", "up"]);
    for address in ["10.9.0.0/24", "10.9.1.0/24", "10.9.2.0/24", "fd09::/64"] {
        // Every address of these is this namespace's own.
        ip(&["route", "add", "local", address, "dev", "lo"]);
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs") });
}

fn ip(arguments: &[&str]) {
    let family = if arguments.iter().any(|argument| argument.contains("::")) { "-6" } else { "-4" };
    let done = Command::new("ip").arg(family).args(arguments).status().unwrap();
    assert!(done.success(), "ip {arguments:?}");
}

/// The pods of the mesh: name, address, labels.
const PODS: [(&str, &str, &str); 8] = [
    ("reviews-v1", "10.9.1.1", "app: reviews, version: v1"),
    ("reviews-v2", "10.9.1.2", "app: reviews, version: v2"),
    ("reviews-v3", "10.9.1.3", "app: reviews, version: v3"),
    ("raw-1", "10.9.1.4", "app: raw"),
    ("bytes-1", "10.9.1.5", "app: bytes, version: v1"),
    ("bytes-2", "10.9.1.6", "app: bytes, version: v2"),
    ("client", "10.9.2.1", "app: client, tier: front"),
    ("stranger", "10.9.2.2", "app: stranger"),
];

impl Mesh {
    /// A waypoint for the namespace `shop`, which further `objects` are for.
    pub(crate) async fn new(objects: &str) -> Self {
        Self::with(objects, &[]).await
    }

    /// The same with further arguments.
    pub(crate) async fn with(objects: &str, arguments: &[&str]) -> Self {
        let (address, own) = (format!("{WAYPOINT}:15008"), ["--namespace", "shop", "--address"]);
        Self::start(&base(true), objects, &[&own[..], &[address.as_str()], arguments].concat()).await
    }

    /// A gateway that further `objects` are for, in the namespace `edge`. What it leads to is reached without a waypoint.
    pub(crate) async fn gateway(objects: &str, arguments: &[&str]) -> Self {
        Self::edge(false, objects, arguments).await
    }

    /// The same where what it leads to is reached by a waypoint, which is another process.
    pub(crate) async fn gateway_before_waypoint(objects: &str) -> (Self, Beside) {
        // It comes from its own address, as it would from a network of its own.
        ip(&["route", "add", "local", WAYPOINT, "dev", "lo", "src", GATEWAY]);
        // Gateways of the root namespace may go past waypoints.
        let mesh = Self::edge(true, objects, &["--root-namespace", "edge"]).await;
        let beside = mesh.beside().await;
        (mesh, beside)
    }

    async fn edge(bound: bool, objects: &str, arguments: &[&str]) -> Self {
        let own = ["--mode", "gateway", "--namespace", "edge", "--name", "ingress", "--pod", "ingress-1"];
        // For workloads as well nobody could go past it.
        let base = base(bound).replace("istio.io/waypoint-for: all", "istio.io/waypoint-for: service");
        Self::start(&(base + &edge()), objects, &[&own[..], arguments].concat()).await
    }

    async fn start(base: &str, objects: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config");
        fs::create_dir(&config).unwrap();
        fs::write(config.join("mesh.yaml"), base).unwrap();
        fs::write(config.join("rules.yaml"), objects).unwrap();
        let ca = directory.path().join("ca.pem");
        let authority = Authority::open_or_create(&ca, &"cluster.local".parse().unwrap(), SystemTime::now()).unwrap();
        let store = TrustStore::new(authority.roots());
        let issuer = LocalIssuer::new(authority, Duration::from_secs(3600), Clock::system());
        let certificates = Certificates::new(issuer, store, Clock::system());
        let (waypoint, log) = program(&config, &ca, arguments);
        let mesh = Self { directory, waypoint, log, certificates };
        mesh.ready("127.0.0.1:15021").await;
        // Its log is what later changes are told by.
        mesh.logged(&["snapshot published"]).await;
        mesh
    }

    /// Starts the waypoint of `shop` beside this one, on other ports.
    async fn beside(&self) -> Beside {
        let address = format!("{WAYPOINT}:15008");
        let own = ["--namespace", "shop", "--address", &address, "--admin-address", "127.0.0.1:16000"];
        let ports = ["--metrics-address", "127.0.0.1:16020", "--readiness-address", "127.0.0.1:16021"];
        let ca = self.directory.path().join("ca.pem");
        let (process, log) = program(&self.config(), &ca, &[&own[..], &ports].concat());
        self.ready("127.0.0.1:16021").await;
        Beside { process, log }
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    async fn ready(&self, address: &str) {
        let page = async || self.page(address, "/healthz/ready").await;
        until("it is ready", async || page().await.is_some_and(|page| page.starts_with("HTTP/1.1 200"))).await;
    }

    /// Writes other objects, and waits until they are in force.
    pub(crate) async fn apply(&self, objects: &str) {
        let mut log = self.log.clone();
        let seen = log.borrow_and_update().len();
        self.write(objects);
        self.published(seen, log).await;
    }

    /// Writes other objects, of which only Secrets may be others than before.
    pub(crate) fn write(&self, objects: &str) {
        let new = self.directory.path().join("rules.new");
        fs::write(&new, objects).unwrap();
        fs::rename(new, self.config().join("rules.yaml")).unwrap();
    }

    /// Gives the Service `name` these labels, and waits until that is in force.
    pub(crate) async fn relabel(&self, name: &str, labels: &str) {
        let file = self.config().join("mesh.yaml");
        let mesh = fs::read_to_string(&file).unwrap();
        let own = format!("kind: Service\nmetadata: {{name: {name}, namespace: shop");
        assert!(mesh.contains(&own));
        let mut log = self.log.clone();
        let seen = log.borrow_and_update().len();
        let new = self.directory.path().join("mesh.new");
        fs::write(&new, mesh.replace(&own, &format!("{own}, labels: {{{labels}}}"))).unwrap();
        fs::rename(new, file).unwrap();
        self.published(seen, log).await;
    }

    /// Waits until a snapshot is published behind the first `seen` lines of the log.
    async fn published(&self, seen: usize, mut log: watch::Receiver<Vec<String>>) {
        let published = |lines: &Vec<String>| lines[seen..].iter().any(|line| line.contains("snapshot published"));
        tokio::time::timeout(SOON, log.wait_for(published)).await.expect("not in force").unwrap();
    }

    /// Waits for a line of the log that has all `parts`.
    pub(crate) async fn logged(&self, parts: &[&str]) -> String {
        let mut log = self.log.clone();
        let found = |lines: &Vec<String>| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        let waited = tokio::time::timeout(SOON, log.wait_for(found)).await.map(drop);
        assert!(waited.is_ok(), "no line with {parts:?} in\n{}", self.log_text());
        let log = self.log.borrow();
        log.iter().find(|line| parts.iter().all(|part| line.contains(part))).unwrap().clone()
    }

    /// Every line of the log.
    pub(crate) fn log_text(&self) -> String {
        self.log.borrow().join("\n")
    }

    /// The value of a metric whose name and labels have all `parts`; 0 if there is none.
    pub(crate) async fn metric(&self, parts: &[&str]) -> f64 {
        let page = self.page("127.0.0.1:15020", "/metrics").await.unwrap();
        let line = page.lines().find(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// A page of one of its ports for operators.
    pub(crate) async fn page(&self, address: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await.ok()?;
        Some(page)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.waypoint.id()
    }

    /// A tunnel of the pod `name` to the waypoint.
    pub(crate) async fn client(&self, name: &str) -> Client {
        let (_, address, _) = PODS.iter().find(|(pod, ..)| *pod == name).unwrap();
        Client::open(&self.certificates, name, address.parse().unwrap()).await
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.pid().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let mut log = self.log.clone();
        // Its output is closed when it has.
        while tokio::time::timeout(SOON, log.changed()).await.expect("it goes on").is_ok() {}
        self.waypoint.wait().unwrap()
    }
}

/// The program, and its log.
fn program(config: &Path, ca: &Path, arguments: &[&str]) -> (Child, watch::Receiver<Vec<String>>) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_waypoint"))
        .args(["--log-level", "info,waypoint=debug,ambit_discovery=debug"])
        .arg("--config")
        .arg(config)
        .arg("--ca")
        .arg(ca)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let log = follow(&mut process);
    (process, log)
}

/// A waypoint beside a gateway.
pub(crate) struct Beside {
    process: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Beside {
    /// Every line of its log.
    pub(crate) fn log_text(&self) -> String {
        self.log.borrow().join("\n")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.waypoint.kill();
        let _ = self.waypoint.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log_text());
        }
    }
}

/// Follows what `process` writes, until it ends.
fn follow(process: &mut Child) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    let output = process.stdout.take().unwrap();
    nonblocking(&output);
    let output = tokio::net::unix::pipe::Receiver::from_owned_fd(output.as_fd().try_clone_to_owned().unwrap()).unwrap();
    spawn_local(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|all| all.push(line));
        }
    });
    receiver
}

fn nonblocking(output: &impl AsFd) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(output.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
}

/// The namespace with its waypoint, its services, which are `bound` to it, and their pods.
fn base(bound: bool) -> String {
    let mut text = format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: shop, labels: {{istio.io/dataplane-mode: ambient{bound}}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: waypoint, namespace: shop, labels: {{istio.io/waypoint-for: all}}}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{{name: mesh, port: 15008, protocol: HBONE}}]
---
{waypoint}
",
        bound = if bound { ", istio.io/use-waypoint: waypoint" } else { "" },
        waypoint = pod(
            ("shop", "waypoint"),
            WAYPOINT,
            "gateway.networking.k8s.io/gateway-name: waypoint, istio.io/dataplane-mode: none"
        ),
    );
    for (name, address, labels) in PODS {
        // Servers are reached in clear: what stands before them is not under test.
        let mode = if address.starts_with("10.9.1.") { ", istio.io/dataplane-mode: none" } else { "" };
        text.push_str(&format!("---\n{}", pod(("shop", name), address, &format!("{labels}{mode}"))));
    }
    let named = |prefix: &str| {
        PODS.iter().filter(|(name, ..)| name.starts_with(prefix)).map(|(name, ip, _)| (*name, *ip)).collect::<Vec<_>>()
    };
    text.push_str(&service("waypoint", "10.96.0.9", &[("mesh", 15008)], &[("waypoint", WAYPOINT)]));
    text.push_str(&service("reviews", "10.96.0.1", &[("http", 9080), ("grpc", 9090)], &named("reviews")));
    text.push_str(&service("raw", "10.96.0.2", &[("", 7000)], &named("raw")));
    text.push_str(&service("bytes", "10.96.0.3", &[("tcp", 5432)], &named("bytes")));
    text
}

/// The namespace with the gateway's pod, and the Service in front of it.
fn edge() -> String {
    let pod = pod(("edge", "ingress-1"), GATEWAY, "istio: ingressgateway, istio.io/dataplane-mode: none")
        .replace("serviceAccountName: ingress-1", "serviceAccountName: ingress");
    format!(
        "
---
apiVersion: v1
kind: Namespace
metadata: {{name: edge}}
---
{pod}
---
apiVersion: v1
kind: Service
metadata: {{name: ingress, namespace: edge}}
spec:
  clusterIP: 10.96.0.8
  clusterIPs: [10.96.0.8]
  selector: {{istio: ingressgateway}}
  ports: [{{name: http2, port: 80, targetPort: 8080}}, {{name: https, port: 443, targetPort: 8443}}]
"
    )
}

fn pod((namespace, name): (&str, &str), address: &str, labels: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}
spec: {{nodeName: a, serviceAccountName: {name}, containers: []}}
status:
  podIP: {address}
  podIPs: [{{ip: {address}}}]
  conditions: [{{type: Ready, status: 'True'}}]
"
    )
}

fn service(name: &str, vip: &str, ports: &[(&str, u16)], pods: &[(&str, &str)]) -> String {
    let port = |(name, port): &(&str, u16)| {
        let name = if name.is_empty() { String::new() } else { format!("name: {name}, ") };
        format!("{{{name}port: {port}, protocol: TCP}}")
    };
    let ports: Vec<_> = ports.iter().map(port).collect();
    let ports = ports.join(", ");
    let endpoint = |(name, ip): &(&str, &str)| {
        format!(
            "  - {{addresses: [{ip}], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: {name}, namespace: shop}}}}\n"
        )
    };
    let endpoints: String = pods.iter().map(endpoint).collect();
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: {vip}, clusterIPs: [{vip}], ports: [{ports}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{ports}]
endpoints:
{endpoints}"
    )
}

/// Asks `holds` again and again until it is true: for what can be asked, and does not tell.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, asking).await.unwrap_or_else(|_| panic!("it is never so that {what}"));
}

/// `text` as a socket address.
pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Reads `path`, such as a page of `/proc`.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
