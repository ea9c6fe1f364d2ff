//! Nodes and pods: a network namespace for each, veth links between them, static routes, no NAT. Services' addresses
//! are routed nowhere: only the mesh knows them. Knows nothing of Kubernetes beyond names and addresses.

mod lay;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};

use crate::binaries::Binaries;
use crate::leftovers::{self, Claim};
use crate::netns::Netns;
use crate::place::{self, Place};
use crate::process::{Launcher, Process};

static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// What a topology shall be.
#[derive(Clone, Debug)]
pub struct Plan {
    name: String,
    nodes: Vec<String>,
    pods: Vec<PlannedPod>,
    congestion_control: Option<String>,
    binaries: Option<Binaries>,
    kept_in: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct PlannedPod {
    name: String,
    node: String,
    host: Option<u8>,
}

impl Plan {
    /// Nodes in the order of their numbers, from 1: node 1 has 172.18.0.2 and fd00:172:18::2, and its pods have
    /// 10.244.1.0/24 and fd00:244:1::/64.
    #[must_use]
    pub fn new(nodes: &[&str]) -> Self {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("ambit-{}-{sequence}", std::process::id()),
            nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
            pods: Vec::new(),
            congestion_control: None,
            binaries: None,
            kept_in: None,
        }
    }

    /// Makes a topology that can outlive this process: under a name of its own, with its files in `directory` and what
    /// its processes write in `directory/logs`.
    #[must_use]
    pub fn lasting(mut self, name: &str, directory: &Path) -> Self {
        name.clone_into(&mut self.name);
        self.kept_in = Some(directory.to_owned());
        self
    }

    /// Adds a pod on `node`, with the next free address.
    #[must_use]
    pub fn pod(self, name: &str, node: &str) -> Self {
        self.add(name, node, None)
    }

    /// Adds a pod on `node`, with `host` as the last part of its addresses: 10.244.n.host, and fd00:244:n::host in the same
    /// digits.
    #[must_use]
    pub fn pod_at(self, name: &str, node: &str, host: u8) -> Self {
        self.add(name, node, Some(host))
    }

    /// Sets the TCP congestion control of every namespace, such as `reno`.
    #[must_use]
    pub fn congestion_control(mut self, name: &str) -> Self {
        self.congestion_control = Some(name.to_owned());
        self
    }

    /// Runs these programs instead of those beside the running one.
    #[must_use]
    pub fn binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// Removes what dead runs left, then makes the topology.
    ///
    /// # Errors
    /// Without the rights, without iproute2 or cgroup v2, or when the plan names a node that it does not have.
    pub fn build(self) -> anyhow::Result<Topology> {
        leftovers::sweep();
        Topology::build(self)
    }

    fn add(mut self, name: &str, node: &str, host: Option<u8>) -> Self {
        self.pods.push(PlannedPod { name: name.to_owned(), node: node.to_owned(), host });
        self
    }
}

/// Nodes, pods and the links between them; all of it, with every process in it, is removed on drop.
#[derive(Debug)]
pub struct Topology {
    name: String,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    binaries: Binaries,
    launcher: Launcher,
    directory: Directory,
    claim: Option<Claim>,
}

/// Where a topology's files are.
#[derive(Debug)]
enum Directory {
    Temporary(tempfile::TempDir),
    Lasting(PathBuf),
}

/// A node: a network namespace that forwards between its pods and the other nodes.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// From 1, in the order of the plan.
    pub number: u8,
    /// Its address, IPv4.
    pub v4: Ipv4Addr,
    /// Its address, IPv6.
    pub v6: Ipv6Addr,
    /// Its network namespace.
    pub netns: Netns,
    /// The cgroup above its pods and its agent.
    pub cgroup: PathBuf,
    launcher: Launcher,
}

/// A pod: a network namespace with one link, to its node.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its node's name.
    pub node: String,
    /// Its address, IPv4.
    pub v4: Ipv4Addr,
    /// Its address, IPv6.
    pub v6: Ipv6Addr,
    /// Its network namespace.
    pub netns: Netns,
    /// Its cgroup, below its node's.
    pub cgroup: PathBuf,
    launcher: Launcher,
}

impl Topology {
    fn build(plan: Plan) -> anyhow::Result<Self> {
        let binaries = plan.binaries.clone().map_or_else(Binaries::beside_this, Ok)?;
        ensure!(!plan.nodes.is_empty() && plan.nodes.len() <= 200, "a topology has 1 to 200 nodes");
        let directory = match &plan.kept_in {
            Some(directory) => Directory::Lasting(directory.clone()),
            None => Directory::Temporary(tempfile::Builder::new().prefix("ambit-").tempdir()?),
        };
        let logs = plan.kept_in.as_ref().map(|directory| directory.join("logs"));
        let launcher = Launcher { testapp: binaries.testapp.clone(), logs };
        // Whatever fails from here on, what exists is dropped, and with the claim held nobody else removes it.
        let claim = Some(Claim::new(&plan.name)?);
        let mut topology =
            Self { name: plan.name.clone(), nodes: Vec::new(), pods: Vec::new(), binaries, launcher, directory, claim };
        let cgroup = place::cgroup_root()?.join(&plan.name);
        for (number, name) in (1..).zip(&plan.nodes) {
            topology.nodes.push(Node {
                name: name.clone(),
                number,
                v4: Ipv4Addr::new(172, 18, 0, number + 1),
                v6: Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, u16::from(number) + 1),
                netns: Netns::create(&format!("{}-{name}", plan.name))?,
                cgroup: cgroup.join(name),
                launcher: topology.launcher.clone(),
            });
        }
        for pod in &plan.pods {
            topology.add_pod(pod)?;
        }
        lay::cgroups(&topology)?;
        lay::network(&topology)?;
        if let Some(name) = &plan.congestion_control {
            for netns in topology.namespaces() {
                netns.set_sysctl("net/ipv4/tcp_congestion_control", name)?;
            }
        }
        Ok(topology)
    }

    fn add_pod(&mut self, planned: &PlannedPod) -> anyhow::Result<()> {
        let node = self.node(&planned.node)?;
        let used = |host: u8| self.pods.iter().any(|pod| pod.node == planned.node && pod.v4.octets()[3] == host);
        let host = planned.host.or_else(|| (10..=250).find(|host| !used(*host))).context("the node is full")?;
        let pod = Pod {
            name: planned.name.clone(),
            node: node.name.clone(),
            v4: Ipv4Addr::new(10, 244, node.number, host),
            v6: format!("fd00:244:{}::{host}", node.number).parse()?,
            netns: Netns::create(&format!("{}-{}", self.name, planned.name))?,
            cgroup: node.cgroup.join("pods").join(&planned.name),
            launcher: self.launcher.clone(),
        };
        self.pods.push(pod);
        Ok(())
    }

    /// Adds a pod to the running topology and returns it.
    ///
    /// # Errors
    /// When the node is unknown or full, or the kernel refuses.
    pub fn start_pod(&mut self, name: &str, node: &str) -> anyhow::Result<&Pod> {
        self.add_pod(&PlannedPod { name: name.to_owned(), node: node.to_owned(), host: None })?;
        let pod = self.pod(name)?;
        std::fs::create_dir_all(&pod.cgroup)?;
        lay::pod(pod, self.node(node)?)?;
        self.pod(name)
    }

    /// Kills the pod's processes and removes its network namespace, as when a node deletes a pod.
    ///
    /// # Errors
    /// When there is no such pod or its cgroup stays populated.
    pub fn delete_pod(&mut self, name: &str) -> anyhow::Result<()> {
        let place = self.pods.iter().position(|pod| pod.name == name).with_context(|| format!("no pod {name}"))?;
        let pod = self.pods.swap_remove(place);
        place::remove_cgroup(&pod.cgroup)
    }

    /// The name that everything of this topology in the kernel begins with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nodes, by number.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The pods.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The programs that it runs.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// How its processes are started.
    #[must_use]
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// A directory for this topology's files; a temporary one is removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match &self.directory {
            Directory::Temporary(directory) => directory.path(),
            Directory::Lasting(directory) => directory,
        }
    }

    /// The node `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> anyhow::Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| format!("no node {name} in the topology"))
    }

    /// The pod `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, name: &str) -> anyhow::Result<&Pod> {
        self.pods.iter().find(|pod| pod.name == name).with_context(|| format!("no pod {name} in the topology"))
    }

    /// Leaves everything in place when this process ends: [`leftovers::remove`] with its name removes it. Only a
    /// lasting one can be left.
    ///
    /// # Errors
    /// When it is not a lasting one.
    pub fn leave(mut self) -> anyhow::Result<()> {
        ensure!(matches!(self.directory, Directory::Lasting(_)), "only a lasting topology can be left in place");
        for node in &mut self.nodes {
            node.netns.keep();
        }
        for pod in &mut self.pods {
            pod.netns.keep();
        }
        if let Some(claim) = self.claim.take() {
            claim.abandon();
        }
        Ok(())
    }

    fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        self.nodes.iter().map(|node| &node.netns).chain(self.pods.iter().map(|pod| &pod.netns))
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if self.claim.is_some() {
            leftovers::remove(&self.name);
        }
    }
}

impl Node {
    /// Where the node's agent runs: in the node's network namespace, in a cgroup beside its pods'.
    #[must_use]
    pub fn agent_place(&self) -> Place {
        Place { netns: self.netns.path(), cgroup: self.cgroup.join("ztunnel") }
    }

    /// Where the node's other processes run, such as its kubelet: in no pod's cgroup, nor below the one above them.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { netns: self.netns.path(), cgroup: self.cgroup.with_file_name(format!("{}-host", self.name)) }
    }

    /// Where a pod runs that has the node's own network (`hostNetwork`).
    #[must_use]
    pub fn pod_place(&self) -> Place {
        Place { netns: self.netns.path(), cgroup: self.cgroup.join("pods/host-network") }
    }

    /// Starts `testapp` with `arguments` on the node, outside every pod.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn testapp(&self, arguments: &[&str]) -> anyhow::Result<Process> {
        self.launcher.testapp_in(&self.place(), &self.name, arguments)
    }

    /// Starts `testapp` with `arguments` in a pod that has the node's own network.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn pod_testapp(&self, arguments: &[&str]) -> anyhow::Result<Process> {
        self.launcher.testapp_in(&self.pod_place(), &format!("{}/host-pod", self.name), arguments)
    }

    /// The name of the node's end of its link to the node numbered `number`.
    #[must_use]
    pub fn link_to(&self, number: u8) -> String {
        format!("wire{number}")
    }
}

impl Pod {
    /// Where the pod's processes run.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { netns: self.netns.path(), cgroup: self.cgroup.clone() }
    }

    /// Its addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Starts `testapp` with `arguments` in the pod.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn testapp(&self, arguments: &[&str]) -> anyhow::Result<Process> {
        self.launcher.testapp_in(&self.place(), &self.name, arguments)
    }

    /// Starts a program in the pod.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, command: Command) -> anyhow::Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let label = format!("{}/{}", self.name, program.rsplit('/').next().unwrap_or(&program));
        Process::start(&label, &self.place(), &self.launcher, command)
    }
}
