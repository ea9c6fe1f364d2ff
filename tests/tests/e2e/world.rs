//! The mesh that most tests want: two nodes with an agent each, a client, a server near it and one far from it, all
//! enrolled, and an outsider on either node.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::topology::Plan;
use ambit_tests::{Agent, Manifests, Mesh, MeshOptions, Pod, Process, Topology};
use serde_json::Value;

/// Longer than anything takes that is not measured.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The namespace that is in the mesh.
pub(crate) const SHOP: &str = "shop";
/// The namespace that is not.
pub(crate) const OUTSIDE: &str = "outside";

/// Ports of every server: each protocol has its own.
pub(crate) const ECHO: u16 = 7000;
pub(crate) const BANNER: u16 = 7001;
pub(crate) const WHOAMI: u16 = 7002;
pub(crate) const DISCARD: u16 = 7003;
pub(crate) const SLEEPER: u16 = 7004;
pub(crate) const DUPLEX: u16 = 7005;
pub(crate) const HTTP: u16 = 7006;
pub(crate) const HTTP2: u16 = 7007;
pub(crate) const WEBSOCKET: u16 = 7008;

const SERVICES: [(&str, u16); 9] = [
    ("echo", ECHO),
    ("banner", BANNER),
    ("whoami", WHOAMI),
    ("discard", DISCARD),
    ("sleeper", SLEEPER),
    ("duplex", DUPLEX),
    ("http", HTTP),
    ("http2", HTTP2),
    ("websocket", WEBSOCKET),
];

/// A mesh with its manifests and its topology; dropped in this order.
pub(crate) struct World {
    pub(crate) mesh: Mesh,
    pub(crate) manifests: Manifests,
    pub(crate) topology: Topology,
}

/// The service addresses of `near` or `far` with `port`, IPv4 first.
pub(crate) fn service(pod: &str, port: u16) -> [String; 2] {
    vips(pod).map(|ip| SocketAddr::new(ip, port).to_string())
}

/// Waits until `holds`; for what can be asked but not awaited.
///
/// # Errors
/// When it does not hold within `timeout`.
pub(crate) fn until(timeout: Duration, holds: impl Fn() -> bool) -> Result<(), Duration> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > timeout {
            return Err(timeout);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

fn vips(pod: &str) -> [IpAddr; 2] {
    let number = if pod == "near" { 1 } else { 2 };
    [format!("10.96.0.{number}"), format!("fd00:10:96::{number}")].map(|ip| ip.parse().unwrap())
}

impl World {
    /// The usual world, with every pod of the mesh captured.
    pub(crate) fn new() -> Self {
        Self::with(&MeshOptions::default())
    }

    /// The usual world, with agents run differently.
    pub(crate) fn with(options: &MeshOptions) -> Self {
        Self::build(plan(), options).started()
    }

    /// The usual world with no agent started yet.
    pub(crate) fn closed() -> Self {
        Self::build(plan(), &MeshOptions::default())
    }

    /// A world of this plan with no agent started yet: pods whose names begin with `outsider` are not enrolled, `near`
    /// and `far` have services.
    pub(crate) fn build(plan: Plan, options: &MeshOptions) -> Self {
        let topology = plan.build().unwrap();
        let config = topology.directory().join("config");
        let mut manifests = Manifests::create(&config, &topology).unwrap();
        manifests.namespace(SHOP, true).unwrap();
        manifests.namespace(OUTSIDE, false).unwrap();
        for pod in topology.pods() {
            let namespace = if pod.name.starts_with("outsider") { OUTSIDE } else { SHOP };
            manifests.pod(namespace, pod, &pod.name).unwrap();
        }
        let ports = SERVICES.map(|(_, port)| (port, port));
        for name in ["near", "far"] {
            manifests.service(SHOP, &ServiceSpec { name, vips: &vips(name), ports: &ports }).unwrap();
        }
        let mesh = Mesh::stopped(&topology, &config, options).unwrap();
        Self { mesh, manifests, topology }
    }

    /// With every agent started and every pod of the mesh captured.
    pub(crate) fn started(mut self) -> Self {
        self.mesh.start_all().unwrap();
        for pod in self.topology.pods().iter().filter(|pod| !pod.name.starts_with("outsider")) {
            self.agent(&pod.node).wait_captured(SHOP, &pod.name, true, SOON).unwrap();
        }
        self
    }

    pub(crate) fn pod(&self, name: &str) -> &Pod {
        self.topology.pod(name).unwrap()
    }

    pub(crate) fn agent(&self, node: &str) -> &Agent {
        self.mesh.agent(node).unwrap()
    }

    /// Starts a server of every protocol in `pod`.
    pub(crate) fn serve(&self, pod: &str) -> Process {
        let services = SERVICES.map(|(protocol, port)| format!("{protocol}={port}"));
        let arguments: Vec<_> =
            ["serve", "--name", pod].into_iter().chain(services.iter().map(String::as_str)).collect();
        let server = self.pod(pod).testapp(&arguments).unwrap();
        server.wait_line("listening", SOON).unwrap();
        server
    }

    /// Starts testapp in `pod`.
    pub(crate) fn start(&self, pod: &str, arguments: &[&str]) -> Process {
        self.pod(pod).testapp(arguments).unwrap()
    }

    /// Runs a client in `pod` to its end and reads its report.
    pub(crate) fn report(&self, pod: &str, arguments: &[&str]) -> Value {
        self.start(pod, arguments).report(Duration::from_secs(60)).unwrap()
    }

    /// The addresses of a pod with `port`, IPv4 first.
    pub(crate) fn at(&self, pod: &str, port: u16) -> [String; 2] {
        self.pod(pod).addresses().map(|ip| SocketAddr::new(ip, port).to_string())
    }

    /// Every way from the client to `port`: on its node and across, by pod and by service address, by both families.
    pub(crate) fn ways(&self, port: u16) -> Vec<String> {
        ["near", "far"].iter().flat_map(|pod| [self.at(pod, port), service(pod, port)].concat()).collect()
    }
}

fn plan() -> Plan {
    let pods = [("client", "a"), ("near", "a"), ("outsider-a", "a"), ("far", "b"), ("outsider-b", "b")];
    pods.iter().fold(Plan::new(&["a", "b"]), |plan, (pod, node)| plan.pod(pod, node))
}
