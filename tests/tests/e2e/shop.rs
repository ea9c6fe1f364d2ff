//! The mesh that the tests of behaviour run in: two nodes, a client, servers on both nodes and strangers outside.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ambit_tests::manifests::{Manifests, ServiceSpec};
use ambit_tests::mesh::{Mesh, MeshOptions};
use ambit_tests::topology::Plan;
use ambit_tests::{Process, Topology};
use serde_json::Value;

/// More than anything here takes unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// The cluster IPs of the service `near`, whose pod is on the client's node.
pub(crate) const NEAR: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
/// The cluster IPs of the service `far`, whose pod is on the other node.
pub(crate) const FAR: [&str; 2] = ["10.96.0.2", "fd00:96::2"];
/// The ports that services `near` and `far` have and serve: see [`Shop::serve`].
pub(crate) const ECHO: u16 = 7000;
pub(crate) const HTTP: u16 = 7002;

/// Two nodes `a` and `b`; in the mesh's namespace `shop`: `client` and `near` on `a`, `far` on `b`; outside, in the
/// namespace `out`: `stranger` on `a` and `outsider` on `b`.
pub(crate) struct Shop {
    pub(crate) mesh: Mesh,
    pub(crate) manifests: Manifests,
    pub(crate) topology: Topology,
}

impl Shop {
    /// The shop with every agent ready and every pod of `shop` captured.
    pub(crate) fn open(arguments: &[&str]) -> Self {
        let mut shop = Self::closed(arguments);
        for node in ["a", "b"] {
            shop.mesh.agent_mut(node).unwrap().start().unwrap();
        }
        shop
    }

    /// The shop with no agent started yet.
    pub(crate) fn closed(arguments: &[&str]) -> Self {
        let pods = [("client", "a"), ("near", "a"), ("far", "b"), ("stranger", "a"), ("outsider", "b")];
        let plan = pods.iter().fold(Plan::new(&["a", "b"]), |plan, (pod, node)| plan.pod(pod, node));
        let topology = plan.build().unwrap();
        let mut manifests = Manifests::create(&topology.directory().join("config"), &topology).unwrap();
        manifests.namespace("shop", true).unwrap();
        manifests.namespace("out", false).unwrap();
        for (name, _) in pods {
            let namespace = if matches!(name, "stranger" | "outsider") { "out" } else { "shop" };
            manifests.pod(namespace, topology.pod(name).unwrap(), name).unwrap();
        }
        for (name, ips) in [("near", NEAR), ("far", FAR)] {
            let vips = ips.map(|ip| ip.parse::<IpAddr>().unwrap());
            let ports: Vec<(u16, u16)> = (7000..7010).map(|port| (port, port)).collect();
            manifests.service("shop", &ServiceSpec { name, vips: &vips, ports: &ports }).unwrap();
        }
        let options =
            MeshOptions { arguments: arguments.iter().map(ToString::to_string).collect(), ..MeshOptions::default() };
        let mesh = Mesh::stopped(&topology, manifests.directory(), &options).unwrap();
        Self { mesh, manifests, topology }
    }

    /// Starts testapp's servers in `pod`.
    pub(crate) fn serve(&self, pod: &str, services: &[&str]) -> Process {
        let arguments = [&["serve"], services].concat();
        let server = self.topology.pod(pod).unwrap().testapp(&arguments).unwrap();
        server.wait_line("listening", SOON).unwrap();
        server
    }

    /// Starts testapp in `pod`.
    pub(crate) fn start(&self, pod: &str, arguments: &[&str]) -> Process {
        self.topology.pod(pod).unwrap().testapp(arguments).unwrap()
    }

    /// What testapp reports when run in `pod` to its end.
    pub(crate) fn report(&self, pod: &str, arguments: &[&str]) -> Value {
        self.start(pod, arguments).report(SOON).unwrap()
    }

    /// The addresses of a pod with `port`, IPv4 first.
    pub(crate) fn at(&self, pod: &str, port: u16) -> [String; 2] {
        self.topology.pod(pod).unwrap().addresses().map(|ip| SocketAddr::new(ip, port).to_string())
    }
}

/// A service's cluster IPs with `port`, IPv4 first.
pub(crate) fn vip(ips: [&str; 2], port: u16) -> [String; 2] {
    ips.map(|ip| SocketAddr::new(ip.parse().unwrap(), port).to_string())
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
