//! The mesh that most tests want: two nodes with an agent each, a client, a server near it and one far from it, all
//! enrolled, and an outsider on either node.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

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

/// One way from the client to a server.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// For messages: where to, by what address.
    pub(crate) name: String,
    /// Where to connect.
    pub(crate) to: SocketAddr,
    /// The pod that answers.
    pub(crate) pod: &'static str,
}

/// The service address of `near` or `far`, IPv4 first.
pub(crate) fn vips(pod: &str) -> [IpAddr; 2] {
    let number = if pod == "near" { 1 } else { 2 };
    [format!("10.96.0.{number}"), format!("fd00:10:96::{number}")].map(|ip| ip.parse().unwrap())
}

impl World {
    /// The usual world.
    pub(crate) fn new() -> Self {
        Self::with(&MeshOptions::default())
    }

    /// The usual world, with agents run differently.
    pub(crate) fn with(options: &MeshOptions) -> Self {
        let plan = Plan::new(&["a", "b"])
            .pod("client", "a")
            .pod("near", "a")
            .pod("outsider-a", "a")
            .pod("far", "b")
            .pod("outsider-b", "b");
        Self::build(plan, options)
    }

    /// A world of this plan: pods whose names begin with `outsider` are not enrolled, `near` and `far` have services.
    pub(crate) fn build(plan: Plan, options: &MeshOptions) -> Self {
        let (topology, manifests) = Self::lay(plan);
        Self::start(topology, manifests, options)
    }

    /// The same without agents yet.
    pub(crate) fn lay(plan: Plan) -> (Topology, Manifests) {
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
        (topology, manifests)
    }

    /// Starts the agents of what was laid, and waits until every pod is captured that is to be.
    pub(crate) fn start(topology: Topology, manifests: Manifests, options: &MeshOptions) -> Self {
        let mesh = Mesh::start(&topology, manifests.directory(), options).unwrap();
        let world = Self { mesh, manifests, topology };
        for pod in world.topology.pods().iter().filter(|pod| !pod.name.starts_with("outsider")) {
            world.agent(&pod.node).wait_captured(SHOP, &pod.name, true, SOON).unwrap();
        }
        world
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

    /// Runs a client in `pod` to its end and reads its report.
    pub(crate) fn report(&self, pod: &str, arguments: &[&str]) -> Value {
        self.try_report(pod, arguments).unwrap()
    }

    pub(crate) fn try_report(&self, pod: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        self.pod(pod).testapp(arguments)?.report(Duration::from_secs(60))
    }

    /// Every way from the client to `port`: on its node and across, by pod and by service address, by both families.
    pub(crate) fn ways(&self, port: u16) -> Vec<Way> {
        let mut ways = Vec::new();
        for pod in ["near", "far"] {
            let kinds = [("pod", self.pod(pod).addresses()), ("service", vips(pod))];
            for (kind, addresses) in kinds {
                for address in addresses {
                    let family = if address.is_ipv4() { "v4" } else { "v6" };
                    let to = SocketAddr::new(address, port);
                    ways.push(Way { name: format!("{pod} by {kind} address, {family}"), to, pod });
                }
            }
        }
        ways
    }
}
