//! The mesh under test: one ztunnel a node, started as its users start it and seen as they see it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::access_log::AccessLog;
use crate::cluster;
use crate::http;
use crate::leftovers::{self, BPFFS};
use crate::metrics::Metrics;
use crate::place::Place;
use crate::process::{Finished, Launcher, Process};
use crate::topology::{Node, Topology};
use crate::until::{await_ready, until};

/// How the agents are run.
#[derive(Clone, Debug, Default)]
pub struct MeshOptions {
    /// Further arguments of every agent; `{node}` in them stands for its node's name.
    pub arguments: Vec<String>,
    /// A program to run instead of the topology's `ztunnel`.
    pub ztunnel: Option<PathBuf>,
}

/// One ztunnel a node.
#[derive(Debug)]
pub struct Mesh {
    agents: BTreeMap<String, Agent>,
}

/// The ztunnel of a node: running, or not.
#[derive(Debug)]
pub struct Agent {
    node: String,
    place: Place,
    launcher: Launcher,
    program: PathBuf,
    pins: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
    /// Where its sockets are: that at which a successor finds it, and those at which each process says whether it is ready.
    sockets: PathBuf,
    started: usize,
}

impl Mesh {
    /// Starts an agent on every node of `topology`, reading the manifests in `config`, and waits until all are ready.
    ///
    /// # Errors
    /// When the program is missing or stale, BPF is not to be had, or an agent does not get ready; the message shows
    /// what it wrote.
    pub fn start(topology: &Topology, config: &Path, options: &MeshOptions) -> anyhow::Result<Self> {
        let mut mesh = Self::stopped(topology, config, options)?;
        mesh.start_all()?;
        Ok(mesh)
    }

    /// Starts every agent and waits until all are ready.
    ///
    /// # Errors
    /// When one runs already or does not get ready; the message shows what it wrote.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.agents.values_mut().try_for_each(Agent::launch)?;
        self.agents.values().try_for_each(Agent::wait_ready)
    }

    /// The agents, none of them started.
    ///
    /// # Errors
    /// When the program is missing or stale, or bpffs cannot be mounted.
    pub fn stopped(topology: &Topology, config: &Path, options: &MeshOptions) -> anyhow::Result<Self> {
        if options.ztunnel.is_none() {
            topology.binaries().check_ztunnel()?;
        }
        mount_bpffs()?;
        let agent = |node: &Node| (node.name.clone(), Agent::new(topology, node, config, options));
        Ok(Self { agents: topology.nodes().iter().map(agent).collect() })
    }

    /// The agent of the node `name`.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn agent(&self, name: &str) -> anyhow::Result<&Agent> {
        self.agents.get(name).with_context(|| format!("no agent on {name}"))
    }

    /// The agent of the node `name`, to stop or start it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn agent_mut(&mut self, name: &str) -> anyhow::Result<&mut Agent> {
        self.agents.get_mut(name).with_context(|| format!("no agent on {name}"))
    }

    /// The agents, by their nodes' names.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Lets the agents run on when this value is dropped.
    pub fn detach(self) {
        self.agents.into_values().filter_map(|agent| agent.process).for_each(Process::detach);
    }

    /// Stops every agent gracefully.
    ///
    /// # Errors
    /// When one does not stop in time or fails.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.agents.values_mut().try_for_each(|agent| agent.stop(Duration::from_secs(20)).map(drop))
    }
}

impl Agent {
    fn new(topology: &Topology, node: &Node, config: &Path, options: &MeshOptions) -> Self {
        let pins = Path::new(BPFFS).join(topology.name()).join(&node.name);
        let ca = topology.directory().join("ca.pem");
        let sockets = topology.directory().join("run").join(&node.name);
        let handover = sockets.join("agent.sock");
        let paths = [("--config", config), ("--cgroup", &node.cgroup), ("--ca", &ca), ("--pins", &pins)];
        let paths = paths.into_iter().chain([("--handover-socket", &*handover)]);
        let mut arguments = vec!["--node".to_owned(), node.name.clone()];
        for (name, path) in paths {
            arguments.extend([name.to_owned(), path.to_string_lossy().into_owned()]);
        }
        arguments.extend(options.arguments.iter().map(|argument| argument.replace("{node}", &node.name)));
        Self {
            node: node.name.clone(),
            place: node.agent_place(),
            launcher: topology.launcher().clone(),
            program: options.ztunnel.clone().unwrap_or_else(|| topology.binaries().ztunnel.clone()),
            pins,
            arguments,
            process: None,
            sockets,
            started: 0,
        }
    }

    /// The agent of a cluster's node, not started: `program` with `arguments`, in the node's network and file system.
    #[must_use]
    pub fn on(node: &cluster::Node, program: &Path, pins: &Path, arguments: &[String]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        let joined = node.joined(&command);
        let arguments = joined.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        Self {
            node: node.name.clone(),
            place: node.place().clone(),
            launcher: node.launcher().clone(),
            program: joined.get_program().into(),
            pins: pins.to_owned(),
            arguments,
            process: None,
            sockets: PathBuf::new(),
            started: 0,
        }
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Makes it read the manifests in `config`, and no others, from its next start on.
    pub fn read(&mut self, config: &Path) {
        let place = self.arguments.iter().position(|argument| argument == "--config").map(|name| name + 1);
        if let Some(directory) = place.and_then(|place| self.arguments.get_mut(place)) {
            *directory = config.to_string_lossy().into_owned();
        }
    }

    /// Starts it without waiting until it is ready.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "the agent of {} runs already", self.node);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let label = format!("{}/ztunnel", self.node);
        self.process = Some(Process::start(&label, &self.place, &self.launcher, command)?);
        Ok(())
    }

    /// Starts another beside it, with the same arguments and `further` ones, and does not wait. Returns the process and the
    /// socket at which it says whether it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_beside(&mut self, further: &[&str]) -> anyhow::Result<(Process, PathBuf)> {
        self.started += 1;
        let readiness = self.sockets.join(format!("ready-{}.sock", self.started));
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("--readiness-socket").arg(&readiness).args(further);
        let label = format!("{}/ztunnel-{}", self.node, self.started);
        Ok((Process::start(&label, &self.place, &self.launcher, command)?, readiness))
    }

    /// Has another with the same arguments take over, and returns the one before once the new one is ready: both serve.
    ///
    /// # Errors
    /// When it is not running, or the new one does not get ready; the message shows what it wrote.
    pub fn succeed(&mut self) -> anyhow::Result<Process> {
        let (new, readiness) = self.launch_beside(&[])?;
        await_ready(&new, || self.ask_ready(&readiness).is_ok())?;
        self.process.replace(new).with_context(|| format!("the agent of {} was not running", self.node))
    }

    /// Takes `process` for it, which has been this agent's before.
    pub fn resume(&mut self, process: Process) {
        self.process = Some(process);
    }

    /// Asks whoever has the socket `readiness` whether he is ready, as a container's probe does.
    ///
    /// # Errors
    /// When he is not; the message is what the probe says.
    pub fn ask_ready(&self, readiness: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        let output = command.arg("--is-ready").arg("--readiness-socket").arg(readiness).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// As [`Agent::launch`] and [`Agent::wait_ready`].
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Waits until `/healthz/ready` answers 200.
    ///
    /// # Errors
    /// When it does not within [`crate::until::READY`], or the process has ended.
    pub fn wait_ready(&self) -> anyhow::Result<()> {
        await_ready(self.process()?, || self.is_ready())
    }

    /// True if `/healthz/ready` answers 200.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        http::is_well(&self.place.netns, 15021, "/healthz/ready")
    }

    /// Waits until the pod `name` of `namespace` is captured, or is not, as `captured` says. Asks the agent's page for
    /// it: its log, which would tell, may be kept by nobody, as in the benchmark.
    ///
    /// # Errors
    /// When it does not come to that within `timeout`, or the page cannot be had.
    pub fn wait_captured(&self, namespace: &str, name: &str, captured: bool, timeout: Duration) -> anyhow::Result<()> {
        let uid = format!("Kubernetes//Pod/{namespace}/{name}");
        let such = |pods: &Value| pods.get("captured").and_then(|all| all.get(&uid)).is_some() == captured;
        let mut pods = Ok(Value::Null);
        let come = until(timeout, || {
            pods = self.admin("/pods");
            pods.as_ref().map_or(true, such)
        });
        let pods = pods?;
        ensure!(come.is_ok(), "{uid} captured is not {captured} after {timeout:?}: {pods}");
        Ok(())
    }

    /// The running process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn process(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().with_context(|| format!("the agent of {} is not running", self.node))
    }

    /// Stops it gracefully and returns how it ended.
    ///
    /// # Errors
    /// When it does not stop within `timeout` or ends with a failure.
    pub fn stop(&mut self, timeout: Duration) -> anyhow::Result<Finished> {
        let process = self.process.take().with_context(|| format!("the agent of {} is not running", self.node))?;
        process.stop(timeout)?.success()
    }

    /// Waits until it ends by itself with success.
    ///
    /// # Errors
    /// When it does not within `timeout` or ends with a failure.
    pub fn finish(&mut self, timeout: Duration) -> anyhow::Result<Finished> {
        let process = self.process.take().with_context(|| format!("the agent of {} is not running", self.node))?;
        process.finish(timeout)?.success()
    }

    /// Where it pins what it has in the kernel.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().with_context(|| format!("the agent of {} is not running", self.node))?.kill()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process()?.signal(signal)
    }

    /// Its metrics.
    ///
    /// # Errors
    /// When they cannot be scraped or read.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::scrape(&self.place.netns, 15020)
    }

    /// An admin page that is JSON, such as `/config_dump`.
    ///
    /// # Errors
    /// When it cannot be had or is not JSON.
    pub fn admin(&self, path: &str) -> anyhow::Result<Value> {
        http::json(&self.place.netns, 15000, path)
    }

    /// The lines of its access log so far.
    #[must_use]
    pub fn access_log(&self) -> Vec<AccessLog> {
        let lines = self.process.as_ref().map(Process::lines).unwrap_or_default();
        lines.iter().filter_map(|line| AccessLog::parse(&line.text)).collect()
    }

    /// Waits for a line of the access log with all of `fields`.
    ///
    /// # Errors
    /// When none comes within `timeout`; the message shows what it wrote instead.
    pub fn wait_access_log(&self, fields: &[(&str, &str)], timeout: Duration) -> anyhow::Result<AccessLog> {
        let process = self.process()?;
        let found = process.wait_for(timeout, |lines| {
            lines.iter().filter_map(|line| AccessLog::parse(&line.text)).find(|line| line.has(fields))
        });
        found.with_context(|| format!("{}: no access log line with {fields:?}\n{}", self.node, process.tail()))
    }

    /// Waits until the lines of its access log are `such`.
    ///
    /// # Errors
    /// When they are not within `timeout`; the message shows what it wrote.
    pub fn wait_access_logs(&self, timeout: Duration, such: impl Fn(&[AccessLog]) -> bool) -> anyhow::Result<()> {
        let process = self.process()?;
        let come = process.wait_for(timeout, |lines| {
            let lines: Vec<_> = lines.iter().filter_map(|line| AccessLog::parse(&line.text)).collect();
            such(&lines).then_some(())
        });
        come.with_context(|| format!("{}: not such an access log after {timeout:?}\n{}", self.node, process.tail()))
    }

    /// GETs `path` from a port of the agent, from within its node.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn get(&self, port: u16, path: &str) -> anyhow::Result<http::Response> {
        http::local(&self.place.netns, port, path)
    }
}

/// Mounts bpffs where it is expected, unless it is there.
///
/// # Errors
/// When the kernel has no BPF or the rights are missing.
pub fn mount_bpffs() -> anyhow::Result<()> {
    // Two that find it missing at once would mount one over the other and hide what the first has pinned.
    let _one_at_a_time = leftovers::exclusively("bpffs")?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    if mounts.lines().any(|line| line.split_whitespace().nth(1) == Some(BPFFS)) {
        return Ok(());
    }
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount bpffs at {BPFFS}: is this a kernel with BPF, and are you root?"))
}
