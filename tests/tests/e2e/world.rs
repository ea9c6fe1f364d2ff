//! The mesh that the tests of behaviour run in, and how they lay it out: two nodes with an agent each, a client, a
//! server near it and one far from it, all enrolled, and an outsider on either node; or another plan.

mod asks;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::topology::Plan;
use ambit_tests::{Agent, Manifests, Mesh, MeshOptions, Pod, Process, Topology};
use serde_json::{Value, json};

pub(crate) use asks::{Greeting, Held, Way, by_name};

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

/// What agents log: their life, and two events that tests wait for.
pub(crate) const LOG_LEVEL: &str = "info,ambit_discovery=debug,ztunnel::proxy::verdict=debug";

/// A mesh with its manifests and its topology; dropped in this order.
pub(crate) struct World {
    pub(crate) mesh: Mesh,
    pub(crate) manifests: Manifests,
    pub(crate) topology: Topology,
}

/// The service addresses of `near` or `far`, IPv4 first.
pub(crate) fn vips(pod: &str) -> [IpAddr; 2] {
    let number = if pod == "near" { 1 } else { 2 };
    [format!("10.96.0.{number}"), format!("fd00:10:96::{number}")].map(|ip| ip.parse().unwrap())
}

/// The same with `port`.
pub(crate) fn vip(pod: &str, port: u16) -> [SocketAddr; 2] {
    vips(pod).map(|ip| SocketAddr::new(ip, port))
}

/// `ip`, as it is written, with `port`.
pub(crate) fn socket(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// The SPIFFE ID of a service account, by default its pod's name, of the namespace in the mesh.
pub(crate) fn spiffe(account: &str) -> String {
    format!("spiffe://cluster.local/ns/{SHOP}/sa/{account}")
}

fn is_enrolled(pod: &Pod) -> bool {
    !pod.name.starts_with("outsider")
}

impl World {
    /// The usual world.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The usual world, with further arguments of every agent.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::build(Self::usual(), arguments)
    }

    /// A world of this plan: pods whose names begin with `outsider` are not enrolled, `near` and `far` have services.
    pub(crate) fn build(plan: Plan, arguments: &[&str]) -> Self {
        let (topology, manifests) = Self::lay(plan);
        let mut world = Self::closed(topology, manifests, arguments);
        world.open();
        world
    }

    /// The plan of the usual world.
    pub(crate) fn usual() -> Plan {
        let pods = [("client", "a"), ("near", "a"), ("outsider-a", "a"), ("far", "b"), ("outsider-b", "b")];
        pods.iter().fold(Plan::new(&["a", "b"]), |plan, (pod, node)| plan.pod(pod, node))
    }

    /// Everything but the agents.
    pub(crate) fn lay(plan: Plan) -> (Topology, Manifests) {
        let topology = plan.build().unwrap();
        let config = topology.directory().join("config");
        let mut manifests = Manifests::create(&config, &topology).unwrap();
        manifests.namespace(SHOP, true).unwrap();
        manifests.namespace(OUTSIDE, false).unwrap();
        for pod in topology.pods() {
            let namespace = if is_enrolled(pod) { SHOP } else { OUTSIDE };
            manifests.pod(namespace, pod, &pod.name).unwrap();
        }
        let ports = SERVICES.map(|(_, port)| (port, port));
        for name in ["near", "far"] {
            manifests.service(SHOP, &ServiceSpec { name, vips: &vips(name), ports: &ports }).unwrap();
        }
        (topology, manifests)
    }

    /// A world of what was laid, with no agent started yet.
    pub(crate) fn closed(topology: Topology, manifests: Manifests, arguments: &[&str]) -> Self {
        let arguments = ["--log-level", LOG_LEVEL].iter().chain(arguments).map(ToString::to_string).collect();
        let options = MeshOptions { arguments, ..MeshOptions::default() };
        let mesh = Mesh::stopped(&topology, manifests.directory(), &options).unwrap();
        Self { mesh, manifests, topology }
    }

    /// The usual world with no agent started yet.
    pub(crate) fn usual_closed(arguments: &[&str]) -> Self {
        let (topology, manifests) = Self::lay(Self::usual());
        Self::closed(topology, manifests, arguments)
    }

    /// Starts every agent, and waits until every pod is captured that is to be.
    pub(crate) fn open(&mut self) {
        self.mesh.start_all().unwrap();
        for pod in self.topology.pods().iter().filter(|pod| is_enrolled(pod)) {
            self.agent(&pod.node).wait_captured(SHOP, &pod.name, true, SOON).unwrap();
        }
    }

    pub(crate) fn pod(&self, name: &str) -> &Pod {
        self.topology.pod(name).unwrap()
    }

    pub(crate) fn agent(&self, node: &str) -> &Agent {
        self.mesh.agent(node).unwrap()
    }

    pub(crate) fn agent_mut(&mut self, node: &str) -> &mut Agent {
        self.mesh.agent_mut(node).unwrap()
    }

    /// The running agent of `node`.
    pub(crate) fn process(&self, node: &str) -> &Process {
        self.agent(node).process().unwrap()
    }

    /// The addresses of `pod` with `port`, IPv4 first.
    pub(crate) fn at(&self, pod: &str, port: u16) -> [SocketAddr; 2] {
        self.pod(pod).addresses().map(|ip| SocketAddr::new(ip, port))
    }

    /// The address of `pod` that is of the same family as `other`.
    pub(crate) fn ip_like(&self, pod: &str, other: IpAddr) -> IpAddr {
        self.pod(pod).addresses().into_iter().find(|ip| ip.is_ipv4() == other.is_ipv4()).unwrap()
    }

    /// Starts a server of every protocol in `pod`.
    pub(crate) fn serve(&self, pod: &str) -> Process {
        let services = SERVICES.map(|(protocol, port)| format!("{protocol}={port}"));
        self.serve_only(pod, &services.each_ref().map(String::as_str))
    }

    /// Starts servers in `pod`, each given as `protocol=port`.
    pub(crate) fn serve_only(&self, pod: &str, services: &[&str]) -> Process {
        let server = self.start(pod, &[&["serve", "--name", pod], services].concat());
        server.wait_line("listening", SOON).unwrap();
        server
    }

    /// Writes an object of the namespace in the mesh.
    pub(crate) fn apply(&mut self, kind: &str, name: &str, spec: Value) {
        let version = match kind {
            "PeerAuthentication" | "AuthorizationPolicy" => "security.istio.io/v1",
            "ServiceEntry" | "WorkloadEntry" => "networking.istio.io/v1",
            _ => "v1",
        };
        let metadata = json!({"name": name, "namespace": SHOP});
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        self.manifests.apply(object).unwrap();
    }

    /// Writes whether `pod` is ready.
    pub(crate) fn set_ready(&mut self, pod: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let edit = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = status.into();
        self.manifests.edit("Pod", SHOP, pod, edit).unwrap();
    }

    /// Waits until the configuration in force on each of `nodes` is `such`.
    pub(crate) fn await_config(&self, nodes: &[&str], such: impl Fn(&Value) -> bool) {
        for node in nodes {
            let (agent, process) = (self.agent(node), self.process(node));
            await_dump(process, || agent.admin("/config_dump"), &such).unwrap();
        }
    }

    /// Waits until `nodes` know the service `hostname`, and with it everything that was written before it.
    pub(crate) fn await_service(&self, nodes: &[&str], hostname: &str) {
        self.await_config(nodes, |dump| by_name(dump, "services", "hostname", hostname).is_some());
    }
}

/// Waits until the configuration that `process` has in force, as `dump` shows it, is `such`.
pub(crate) fn await_dump(
    process: &Process,
    dump: impl Fn() -> anyhow::Result<Value>,
    such: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    loop {
        let mark = process.mark();
        if such(&dump()?) {
            return Ok(());
        }
        process.wait_line_after(mark, "snapshot published", SOON)?;
    }
}
