//! A node of a cluster: containerd, kubelet and kube-proxy in a network namespace, a cgroup and a file system of their own.
//! What they run as pods stays in all three.

mod configuration;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::certificates::{Credential, Subject};
use super::control_plane::{ControlPlane, READY};
use super::kubeconfig;
use super::network::{self, API_SERVER};
use super::programs::NodePrograms;
use crate::leftovers::BPFFS;
use crate::netns::Netns;
use crate::place::{self, Place};
use crate::process::{Launcher, Process};
use crate::until::await_ready_within;

/// The cgroup of a node's pods, in the node's own.
const POD_CGROUP: &str = "kubepods";

/// What nodes are made of.
pub(super) struct Ground<'a> {
    pub(super) programs: &'a NodePrograms,
    pub(super) launcher: &'a Launcher,
    pub(super) control_plane: &'a ControlPlane,
    /// The directory of the node's files; what is in it is what the node finds on its disk.
    pub(super) directory: PathBuf,
    /// The cgroup (v2) that everything of the node is in.
    pub(super) cgroup: PathBuf,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// From 1.
    pub number: u8,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network namespace.
    pub netns: Netns,
    /// The cgroup (v2) that its components and its pods are in, and nothing else.
    pub cgroup: PathBuf,
    place: Place,
    launcher: Launcher,
    programs: NodePrograms,
    // What was started last ends first.
    proxy: Option<Process>,
    kubelet: Option<Process>,
    containerd: Process,
}

impl Node {
    /// Starts the node numbered `number` of `nodes`; that it is ready is awaited apart.
    pub(super) fn start(ground: &Ground<'_>, cluster: &str, number: u8, nodes: u8) -> anyhow::Result<Self> {
        let name = format!("node-{number}");
        let netns = Netns::create(&format!("{cluster}-{name}"))?;
        network::lay_node(ground.control_plane.netns(), &netns, number, nodes)?;
        let place = Place { netns: netns.path(), cgroup: ground.cgroup.join("components") };
        fs::create_dir_all(&place.cgroup)?;
        // Where there are controllers of cgroup v1, the kubelet limits its pods by those.
        let group = group(&ground.cgroup)?;
        place::make_cgroups_v1(&group)?;
        let directory = &ground.directory;
        fs::create_dir_all(directory)?;
        let config = configuration::containerd(ground, number)?;
        // Pods are in the cgroup (v2) of who starts them: apart from the kubelet, as on any node.
        let within = Place { cgroup: ground.cgroup.join(POD_CGROUP), ..place.clone() };
        fs::create_dir_all(&within.cgroup)?;
        let containerd = containerd(ground, &name, &within, &config)?;
        let mut node = Self {
            address: network::node(number),
            cgroup: ground.cgroup.clone(),
            launcher: ground.launcher.clone(),
            programs: ground.programs.clone(),
            proxy: None,
            kubelet: None,
            name,
            number,
            netns,
            place,
            containerd,
        };
        let kubelet = node.kubelet(ground, &group)?;
        node.kubelet = Some(node.run("kubelet", kubelet)?);
        let proxy = node.kube_proxy(ground)?;
        node.proxy = Some(node.run("kube-proxy", proxy)?);
        Ok(node)
    }

    /// Ends it as the loss of its power does: whatever runs on it, its pods included, is killed at once, and what was in its
    /// memory is gone: its network, what is pinned for it, what it had mounted.
    pub(super) fn cut_power(self, cluster: &str) -> anyhow::Result<()> {
        place::remove_cgroup(&self.cgroup)?;
        place::remove_cgroups_v1(&group(&self.cgroup)?)?;
        let pins = Path::new(BPFFS).join(cluster).join(&self.name);
        if pins.exists() {
            fs::remove_dir_all(&pins).with_context(|| format!("cannot remove {}", pins.display()))?;
        }
        Ok(())
    }

    /// Imports the images of `archives`, as `docker save` writes them.
    pub(super) fn import(&self, archives: &[PathBuf]) -> anyhow::Result<()> {
        for archive in archives {
            let mut import = Command::new(self.programs.runtime.join("ctr"));
            import.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
            self.run("ctr", import)?.finish(READY)?.success()?;
        }
        Ok(())
    }

    /// Waits until the API server says that the node is ready.
    pub(super) fn await_ready(&self, control_plane: &ControlPlane) -> anyhow::Result<()> {
        let path = format!("/api/v1/nodes/{}", self.name);
        let kubelet = self.kubelet.as_ref().context("no kubelet")?;
        await_ready_within(READY, kubelet, || {
            control_plane.probe().get(API_SERVER, &path).is_ok_and(|answer| is_ready(&answer.body))
        })
    }

    /// The cgroup (v2) of its pods, with containerd: where an agent of the node attaches.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.cgroup.join(POD_CGROUP)
    }

    /// Its components, the last one started first.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.proxy.iter().chain(&self.kubelet).chain(std::iter::once(&self.containerd))
    }

    /// The ID of the process whose namespaces are the node's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.containerd.pid()
    }

    /// Where its components run.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its root directory as its own processes see it, such as for `etc/cni/net.d` below it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.containerd.pid()))
    }

    /// Starts a program on the node: in its network namespace, its file system, and the cgroup of its components.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, label: &str, command: Command) -> anyhow::Result<Process> {
        let mut join = self.joined(&command);
        join.env("PATH", configuration::path(&self.programs));
        Process::start(&format!("{}/{label}", self.name), &self.place, &self.launcher, join)
    }

    /// What becomes `command` in the node's file system, started anywhere.
    pub(crate) fn joined(&self, command: &Command) -> Command {
        let mut join = Command::new(&self.launcher.testapp);
        join.args(["room", "join", "--of", &self.containerd.pid().to_string(), "--"]);
        join.arg(command.get_program()).args(command.get_args());
        join
    }

    /// What starts programs on it.
    pub(crate) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// Lets it run on when this value is dropped.
    pub(super) fn leave(mut self) {
        self.netns.keep();
        self.proxy.into_iter().chain(self.kubelet).chain([self.containerd]).for_each(Process::detach);
    }

    /// The programs that it runs.
    pub(super) fn programs(&self) -> &NodePrograms {
        &self.programs
    }

    fn kubelet(&self, ground: &Ground<'_>, group: &Path) -> anyhow::Result<Command> {
        let address: [IpAddr; 1] = [self.address.into()];
        let names = [self.name.as_str()];
        let user = format!("system:node:{}", self.name);
        let subject = Subject::user(&user).of("system:nodes").serving(&names, &address);
        let credential = ground.control_plane.authority().issue(&self.name, subject)?;
        let config = configuration::kubelet(ground, self, &credential, group)?;
        let mut command = Command::new(&ground.programs.kubelet);
        command.arg("--config").arg(config);
        command.arg("--kubeconfig").arg(self.kubeconfig(ground, "kubelet", &credential)?);
        command.arg(format!("--hostname-override={}", self.name)).arg(format!("--node-ip={}", self.address));
        command
            .args(["--container-runtime=remote", &format!("--container-runtime-endpoint={}", configuration::SOCKET)]);
        // It measures disks, which it does not find from within a namespace.
        command.arg("--feature-gates=LocalStorageCapacityIsolation=false");
        Ok(command)
    }

    fn kube_proxy(&self, ground: &Ground<'_>) -> anyhow::Result<Command> {
        let authority = ground.control_plane.authority();
        let credential = authority.issue(&format!("{}-proxy", self.name), Subject::user("system:kube-proxy"))?;
        let kubeconfig = self.kubeconfig(ground, "kube-proxy", &credential)?;
        let mut command = Command::new(&ground.programs.kube_proxy);
        command.arg("--config").arg(configuration::kube_proxy(ground, self, &kubeconfig)?);
        Ok(command)
    }

    fn kubeconfig(&self, ground: &Ground<'_>, name: &str, credential: &Credential) -> anyhow::Result<PathBuf> {
        let path = ground.directory.join(format!("{name}.kubeconfig"));
        kubeconfig::write(&path, API_SERVER, ground.control_plane.authority(), credential)
    }
}

/// The cgroup at `path` by its place below the root.
fn group(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(path.strip_prefix(place::cgroup_root()?)?.to_owned())
}

/// Starts containerd in a file system of the node's own and waits until it answers.
fn containerd(ground: &Ground<'_>, name: &str, place: &Place, config: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(&ground.launcher.testapp);
    command.args(["room", "make", "--hostname", name, "--directory"]).arg(&ground.directory);
    command.arg("--cni").arg(&ground.programs.cni).arg("--");
    command.arg(ground.programs.runtime.join("containerd")).arg("--config").arg(config);
    command.env("PATH", configuration::path(ground.programs));
    let process = Process::start(&format!("{name}/containerd"), place, ground.launcher, command)?;
    // Found through the process, whatever is mounted where it is for others.
    let socket = format!("/proc/{}/root/run/containerd/containerd.sock", process.pid());
    await_ready_within(READY, &process, || UnixStream::connect(&socket).is_ok())?;
    Ok(process)
}

fn is_ready(node: &str) -> bool {
    let conditions = |node: &Value| Some(node.pointer("/status/conditions")?.as_array()?.clone());
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    let node = serde_json::from_str(node).ok();
    node.as_ref().and_then(conditions).is_some_and(|conditions| conditions.iter().any(ready))
}
