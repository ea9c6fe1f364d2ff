//! A real Kubernetes on this machine, out of Debian's packages alone: an API server for a test, or a cluster with nodes.
//! Everything of one, in the kernel and on disk, carries its name, and is removed with it. It knows nothing of the mesh
//! but which kinds of objects it reads.

pub mod build;
mod certificates;
mod control_plane;
pub mod crds;
mod kubeconfig;
mod kubectl;
mod network;
mod node;
mod probe;
mod programs;
pub mod recipe;
mod settings;
mod template;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

use self::control_plane::{ControlPlane, serves_endpoint_slices};
pub use self::kubectl::Kubectl;
pub use self::node::Node;
pub use self::programs::{NodePrograms, Programs};
pub use self::settings::Settings;
use crate::binaries::Binaries;
use crate::leftovers::{self, Claim};
use crate::netns::Netns;
use crate::place::{self, Place};
use crate::process::{Launcher, Process};

/// What the name of every cluster begins with.
pub const PREFIX: &str = "ambit-k8s";
/// Where clusters keep their files: on a disk, since nodes unpack images there, and below no overlay of a container.
const DIRECTORY: &str = "/var/tmp";
/// The network namespace that whoever asks is in.
const HERE: &str = "/proc/self/ns/net";

static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// What a cluster shall be.
#[derive(Clone, Debug)]
pub struct Plan {
    name: String,
    nodes: u8,
    lasting: bool,
    images: Vec<PathBuf>,
    settings: Settings,
    binaries: Option<Binaries>,
    origin: Origin,
}

/// What a cluster begins with.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// What others like it have come to when they were ready, if what is run was built here.
    Template,
    /// Nothing: it becomes the template of clusters with nodes, or of those without.
    Nothing { for_nodes: bool },
}

/// A cluster: its control plane and its nodes; all of it is removed on drop.
#[derive(Debug)]
pub struct Cluster {
    // Nodes before the control plane: no kubelet then waits for an API server that is gone.
    nodes: Vec<Node>,
    control_plane: Option<ControlPlane>,
    kubectl: Kubectl,
    launcher: Launcher,
    name: String,
    directory: PathBuf,
    claim: Option<Claim>,
}

impl Plan {
    /// An API server with its controllers, and the mesh's kinds defined; no nodes.
    #[must_use]
    pub fn new() -> Self {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("{PREFIX}-{}-{sequence}", std::process::id()),
            nodes: 0,
            lasting: false,
            images: Vec::new(),
            settings: Settings::from_environment(),
            binaries: None,
            origin: Origin::Template,
        }
    }

    /// Makes a cluster that can outlive this process, under a name of its own; [`remove`] removes it.
    #[must_use]
    pub fn lasting(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self.lasting = true;
        self
    }

    /// Adds nodes, `node-1` and so on, and a scheduler. All of such a cluster is what was built here: what
    /// `KUBEBUILDER_ASSETS` and `KUBECONFIG` name brings no nodes.
    #[must_use]
    pub fn nodes(mut self, nodes: u8) -> Self {
        self.nodes = nodes;
        self
    }

    /// Gives every node the images in this archive.
    #[must_use]
    pub fn image(mut self, archive: &Path) -> Self {
        self.images.push(archive.to_owned());
        self
    }

    /// Goes by these settings instead of the environment.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Runs these programs instead of those beside the running one.
    #[must_use]
    pub fn binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// What a cluster like this one begins with.
    fn template(&self) -> Self {
        let name = format!("{PREFIX}-{}-template", std::process::id());
        let origin = Origin::Nothing { for_nodes: self.nodes > 0 };
        let settings = Settings { assets: None, existing: None, ..self.settings.clone() };
        Self { name, nodes: 0, lasting: false, images: Vec::new(), settings, binaries: self.binaries.clone(), origin }
    }

    /// Whether its EndpointSlices are Kubernetes' own: where nodes are, kube-proxy reads them, betas or not.
    fn has_own_slices(&self, minor: u32) -> bool {
        let for_nodes = matches!(self.origin, Origin::Nothing { for_nodes: true });
        self.nodes > 0 || for_nodes || serves_endpoint_slices(minor)
    }

    fn launcher(&self, logs: Option<PathBuf>) -> anyhow::Result<Launcher> {
        let binaries = self.binaries.clone().map_or_else(Binaries::beside_this, Ok)?;
        Ok(Launcher { testapp: binaries.testapp, logs })
    }

    /// Removes what dead runs left, then starts the cluster and waits until it is ready. Where the settings name a cluster
    /// that is there already, only the mesh's kinds are added to that.
    ///
    /// # Errors
    /// Without the rights, when Kubernetes is not built, or when a component does not get ready; the message shows what it
    /// wrote.
    pub fn start(self) -> anyhow::Result<Cluster> {
        if let Some(kubeconfig) = self.settings.existing.as_ref().filter(|_| self.nodes == 0) {
            return Cluster::existing(kubeconfig, &self);
        }
        ensure!(nix::unistd::geteuid().is_root(), "clusters are made of network namespaces: run it as root");
        ensure!(self.nodes <= 200, "a cluster has up to 200 nodes");
        leftovers::sweep();
        Cluster::start(&self)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Cluster {
    fn existing(kubeconfig: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let beside = plan.settings.assets.as_ref().map(|directory| directory.join("kubectl"));
        let program = beside.filter(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("kubectl"));
        let kubectl = Kubectl::new(&program, kubeconfig, None);
        let (nodes, name, directory, launcher) = (Vec::new(), String::new(), PathBuf::new(), plan.launcher(None)?);
        let cluster = Self { nodes, control_plane: None, kubectl, launcher, name, directory, claim: None };
        let versions = cluster.kubectl.get_path("/apis/discovery.k8s.io")?.to_string();
        cluster.define(versions.contains("discovery.k8s.io/v1\""))?;
        Ok(cluster)
    }

    fn start(plan: &Plan) -> anyhow::Result<Self> {
        let mut settings = plan.settings.clone();
        settings.assets.take_if(|_| plan.nodes > 0);
        let programs = Programs::find(&settings)?;
        let node_programs = (plan.nodes > 0).then(|| NodePrograms::find(&settings)).transpose()?;
        let directory = directory_of(&plan.name);
        let launcher = plan.launcher(plan.lasting.then(|| directory.join("logs")))?;
        // With the claim held nobody else removes what carries the name, and whatever fails from here on, it is dropped.
        let claim = Claim::new(&plan.name)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("{} is in the way: of an earlier cluster of this name?", directory.display()))?;
        let kubeconfig = directory.join("kubeconfig");
        let mut cluster = Self {
            nodes: Vec::new(),
            control_plane: None,
            kubectl: Kubectl::new(&programs.kubectl, &kubeconfig, Some(&directory.join("kubectl"))),
            launcher: launcher.clone(),
            name: plan.name.clone(),
            directory,
            claim: Some(claim),
        };
        let own_slices = plan.has_own_slices(programs.minor);
        if settings.assets.is_none() && matches!(plan.origin, Origin::Template) {
            template::copy(&settings.cache(), plan.nodes > 0, &cluster.directory, || Self::settled(&plan.template()))?;
        }
        cluster.start_control_plane((&programs, own_slices), node_programs.as_ref(), &launcher)?;
        cluster.open_to(&cluster.here()?, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), &kubeconfig)?;
        cluster.define(own_slices)?;
        if let Some(programs) = &node_programs {
            cluster.start_nodes(plan, programs, &launcher)?;
        }
        Ok(cluster)
    }

    /// One that has come up and has ended in order: its files are left.
    fn settled(plan: &Plan) -> anyhow::Result<Self> {
        let mut cluster = Self::start(plan)?;
        cluster.control_plane.take().context("no control plane")?.stop()?;
        Ok(cluster)
    }

    /// Its name, which everything of it in the kernel begins with; empty for a cluster that was there already.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// kubectl as an administrator, from the network namespace that this process was started in.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Starts a kubectl that runs for a while, such as one that watches.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_kubectl(&self, label: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        Process::start(label, &self.here()?, &self.launcher, self.kubectl.command(arguments))
    }

    /// Its nodes, by number.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The directory that its files are in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the API server reachable from `place`, another network namespace, at `listen` there: writes an
    /// administrator's kubeconfig for there to `kubeconfig` and returns the address. It is to be 127.0.0.1, since its
    /// certificate names no other; the port may be 0.
    ///
    /// # Errors
    /// When the address is taken, or the cluster was there already.
    pub fn open_to(&mut self, place: &Place, listen: SocketAddr, kubeconfig: &Path) -> anyhow::Result<SocketAddr> {
        let control_plane = self.control_plane.as_mut().context("the cluster was there already")?;
        control_plane.open_to(place, listen, kubeconfig)
    }

    /// Takes the power from the node `name`, and starts it again with what is on its disk.
    ///
    /// # Errors
    /// When there is no such node, or it does not start; it is gone then.
    pub fn reboot(&mut self, name: &str) -> anyhow::Result<()> {
        let place = self.nodes.iter().position(|node| node.name == name).with_context(|| format!("no node {name}"))?;
        let nodes = u8::try_from(self.nodes.len())?;
        let node = self.nodes.remove(place);
        let (number, cgroup, programs) = (node.number, node.cgroup.clone(), node.programs().clone());
        node.cut_power(&self.name)?;
        let control_plane = self.control_plane.as_ref().context("no control plane")?;
        network::unplug_node(control_plane.netns(), number)?;
        let (launcher, directory) = (&self.launcher, self.directory.join(name));
        let ground = node::Ground { programs: &programs, launcher, control_plane, directory, cgroup };
        self.nodes.insert(place, Node::start(&ground, &self.name, number, nodes)?);
        Ok(())
    }

    /// Does `work` while the API server takes connections and answers nobody.
    ///
    /// # Errors
    /// When the cluster was there already.
    pub fn while_api_hangs<T>(&self, work: impl FnOnce() -> T) -> anyhow::Result<T> {
        let control_plane = self.control_plane.as_ref().context("the cluster was there already")?;
        control_plane.signal_api_server(Signal::SIGSTOP)?;
        let done = work();
        control_plane.signal_api_server(Signal::SIGCONT)?;
        Ok(done)
    }

    /// Leaves everything in place when this process ends; [`remove`] with its name removes it.
    pub fn leave(mut self) {
        std::mem::take(&mut self.nodes).into_iter().for_each(Node::leave);
        if let Some(control_plane) = self.control_plane.take() {
            control_plane.leave();
        }
        if let Some(claim) = self.claim.take() {
            claim.abandon();
        }
    }

    /// Where who asks is, in the cluster's own cgroup if it has one.
    fn here(&self) -> anyhow::Result<Place> {
        let own = self.control_plane.is_some().then(|| self.cgroup("control-plane"));
        Ok(Place { netns: HERE.into(), cgroup: own.unwrap_or_else(place::cgroup_root)? })
    }

    fn cgroup(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(place::cgroup_root()?.join(&self.name).join(name))
    }

    fn start_control_plane(
        &mut self,
        (programs, own_slices): (&Programs, bool),
        nodes: Option<&NodePrograms>,
        launcher: &Launcher,
    ) -> anyhow::Result<()> {
        let netns = Netns::create(&format!("{}-cp", self.name))?;
        let cgroup = self.cgroup("control-plane")?;
        let mut plane = ControlPlane::start((programs, own_slices), launcher, (netns, &cgroup), &self.directory)?;
        if let Some(program) = &programs.controller_manager {
            plane.start_controllers(program, programs.minor)?;
        }
        if let Some(nodes) = nodes {
            plane.start_scheduler(&nodes.scheduler, programs.minor)?;
        }
        self.control_plane = Some(plane);
        Ok(())
    }

    fn start_nodes(&mut self, plan: &Plan, programs: &NodePrograms, launcher: &Launcher) -> anyhow::Result<()> {
        let control_plane = self.control_plane.as_ref().context("no control plane")?;
        for number in 1..=plan.nodes {
            let name = format!("node-{number}");
            let cgroup = self.cgroup(&name)?;
            let ground =
                node::Ground { programs, launcher, control_plane, directory: self.directory.join(&name), cgroup };
            self.nodes.push(Node::start(&ground, &self.name, number, plan.nodes)?);
        }
        for node in &self.nodes {
            node.import(&plan.images)?;
        }
        self.nodes.iter().try_for_each(|node| node.await_ready(control_plane))
    }

    fn define(&self, has_endpoint_slices: bool) -> anyhow::Result<()> {
        let slices = (!has_endpoint_slices).then_some(crds::ENDPOINT_SLICE);
        crds::install(&self.kubectl, &crds::MESH.into_iter().chain(slices).collect::<Vec<_>>())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.claim.is_some() {
            remove(&self.name);
        }
    }
}

/// Removes everything of the cluster `name`, whatever state it is in: processes, cgroups, network namespaces and with them
/// links, mounts, files. What is not there is passed over.
pub fn remove(name: &str) {
    leftovers::remove(name);
}

/// The IDs of the processes of the cluster `name`, its pods' included.
#[must_use]
pub fn processes_of(name: &str) -> Vec<u32> {
    place::cgroup_root().map(|root| place::processes(&root.join(name))).unwrap_or_default()
}

/// The directory of the files of the cluster `name`.
#[must_use]
pub fn directory_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
