//! The stage of a scenario: its nodes with an agent each, its pods with their servers, its waypoints.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_tests::topology::Plan;
use ambit_tests::{Manifests, Process, Waypoint, yaml};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::script::{PodSpec, Script, WaypointSpec};
use crate::databases::Postgres;
use crate::world::{LOG_LEVEL, SOON, World, await_dump, by_name};

/// The object whose presence in a configuration tells that what was written before it is there, too: a policy for
/// nobody.
const MARK: (&str, &str) = ("scenario-marks", "applied");
/// What the manifests of examples have for the names of network namespaces.
const EXAMPLE: &str = "/run/netns/ambit-demo-";

/// Everything that a scenario runs on; processes first, as they are to go before their namespaces.
pub(super) struct Stage {
    pub(super) waypoints: Vec<Waypoint>,
    pub(super) servers: BTreeMap<String, Process>,
    _databases: Vec<Postgres>,
    pub(super) world: World,
    /// Its own directory, and that of what scenarios share.
    directories: [PathBuf; 2],
    pods: Vec<PodSpec>,
    marks: usize,
    /// The `x-request-id` of the last requests; none if what came last were no requests.
    pub(super) asked: Option<String>,
    asks: usize,
    /// How much each process had written when the last requests began.
    pub(super) written: BTreeMap<String, usize>,
}

/// The script in `file`, with the scene that it begins with.
pub(super) fn read(directory: &Path, shared: &Path) -> anyhow::Result<Script> {
    let mut script = parse(&directory.join("scenario.yaml"))?;
    if let Some(scene) = script.scene.take() {
        let scene = parse(&shared.join(scene).join("scene.yaml"))?;
        ensure!(scene.steps.is_empty(), "a scene has no steps");
        script.pods.splice(0..0, scene.pods);
        script.waypoints.splice(0..0, scene.waypoints);
        script.manifests.splice(0..0, scene.manifests);
        script.agents.splice(0..0, scene.agents);
        if script.nodes.is_empty() {
            script.nodes = scene.nodes;
        }
    }
    if script.nodes.is_empty() {
        script.nodes = vec!["a".to_owned(), "b".to_owned()];
    }
    Ok(script)
}

fn parse(file: &Path) -> anyhow::Result<Script> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let [document] =
        yaml::load(&text)?.try_into().map_err(|_| anyhow::anyhow!("{}: not one document", file.display()))?;
    serde_json::from_value(document).with_context(|| file.display().to_string())
}

impl Stage {
    /// Lays it out and starts everything.
    pub(super) fn set(directories: [PathBuf; 2], script: &mut Script) -> anyhow::Result<Self> {
        let nodes: Vec<&str> = script.nodes.iter().map(String::as_str).collect();
        let mut plan = Plan::new(&nodes);
        for pod in &script.pods {
            plan = match pod.host {
                Some(host) => plan.pod_at(&pod.name, &pod.node, host),
                None => plan.pod(&pod.name, &pod.node),
            };
        }
        for waypoint in &script.waypoints {
            plan = plan.pod(waypoint.pod_name(), &waypoint.node);
        }
        let topology = plan.build()?;
        let manifests = Manifests::create(&topology.directory().join("config"), &topology)?;
        let agents: Vec<&str> = script.agents.iter().map(String::as_str).collect();
        let mut stage = Self {
            waypoints: Vec::new(),
            servers: BTreeMap::new(),
            _databases: Vec::new(),
            world: World::closed(topology, manifests, &agents),
            directories,
            pods: std::mem::take(&mut script.pods),
            marks: 0,
            asked: None,
            asks: 0,
            written: BTreeMap::new(),
        };
        for file in &script.manifests {
            let text = stage.text(file)?;
            stage.world.manifests.apply_text(&text)?;
        }
        stage.declare(&script.waypoints)?;
        stage.open()?;
        Ok(stage)
    }

    /// Writes the objects of pods and waypoints that no manifest has.
    fn declare(&mut self, waypoints: &[WaypointSpec]) -> anyhow::Result<()> {
        let World { manifests, topology, .. } = &mut self.world;
        for spec in &self.pods {
            if manifests.of_kind("Pod").any(|pod| pod["metadata"]["name"] == spec.name.as_str()) {
                continue;
            }
            let account = spec.account.as_ref().unwrap_or(&spec.name);
            manifests.pod(&spec.namespace, topology.pod(&spec.name)?, account)?;
            manifests.edit("Pod", &spec.namespace, &spec.name, |pod| pod["metadata"]["labels"] = json!(spec.labels))?;
        }
        for (number, spec) in waypoints.iter().enumerate() {
            let vip: IpAddr = match &spec.vip {
                Some(vip) => vip.parse()?,
                None => format!("10.96.255.{}", number + 1).parse()?,
            };
            let (key, pod) = ((spec.namespace.as_str(), spec.name.as_str()), topology.pod(spec.pod_name())?);
            Waypoint::declare(manifests, key, pod, &[vip])?;
            let arguments = ["--log-level", LOG_LEVEL];
            self.waypoints.push(Waypoint::new(topology, manifests.directory(), key, pod, &arguments)?);
        }
        Ok(())
    }

    fn open(&mut self) -> anyhow::Result<()> {
        self.world.mesh.start_all()?;
        for waypoint in &mut self.waypoints {
            waypoint.start()?;
        }
        for place in 0..self.pods.len() {
            self.serve(place)?;
        }
        for spec in self.pods.iter().filter(|spec| !spec.outside) {
            self.world.agent(&spec.node).wait_captured(&spec.namespace, &spec.name, true, SOON)?;
        }
        self.settle()
    }

    /// Starts what a pod serves.
    fn serve(&mut self, place: usize) -> anyhow::Result<()> {
        let Some(spec) = self.pods.get(place) else { return Ok(()) };
        if spec.postgres {
            self._databases.push(Postgres::start(&self.world, &spec.name));
        }
        let mut arguments: Vec<String> = Vec::new();
        if !spec.serve.is_empty() {
            arguments.extend(["serve".to_owned(), "--name".to_owned(), spec.name.clone()]);
            arguments.extend(spec.serve.iter().cloned());
        }
        arguments.extend(self.arguments(&spec.name, &spec.run)?);
        if arguments.is_empty() {
            return Ok(());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = self.world.topology.pod(&spec.name)?.testapp(&arguments)?;
        server.wait_line("listening", SOON)?;
        self.servers.insert(spec.name.clone(), server);
        Ok(())
    }

    /// `arguments` with the addresses that `{service:port}` stands for.
    pub(super) fn arguments(&self, from: &str, arguments: &[String]) -> anyhow::Result<Vec<String>> {
        let resolve =
            |argument: &String| match argument.strip_prefix('{').and_then(|argument| argument.strip_suffix('}')) {
                Some(to) => self.address(from, to, false).map(|address| address.to_string()),
                None => Ok(argument.clone()),
            };
        arguments.iter().map(resolve).collect()
    }

    /// Kills the waypoint or the server in the pod `name`.
    pub(super) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(waypoint) = self.waypoints.iter_mut().find(|waypoint| waypoint.name() == name) {
            return waypoint.kill();
        }
        self.servers.remove(name).with_context(|| format!("nothing runs in {name}"))?.kill()
    }

    /// Starts it again.
    pub(super) fn start(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(waypoint) = self.waypoints.iter_mut().find(|waypoint| waypoint.name() == name) {
            waypoint.start()?;
            return self.settle();
        }
        let place = self.pods.iter().position(|pod| pod.name == name).with_context(|| format!("no pod {name}"))?;
        self.serve(place)
    }

    /// The manifests in `file`, of the scenario or shared.
    pub(super) fn text(&self, file: &str) -> anyhow::Result<String> {
        let found = self.directories.iter().map(|directory| directory.join(file)).find(|path| path.is_file());
        let text = fs::read_to_string(found.with_context(|| format!("there is no {file}"))?)?;
        Ok(text.replace(EXAMPLE, &format!("/run/netns/{}-", self.world.topology.name())))
    }

    /// Waits until everything that runs has what is written.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        let (namespace, name) = MARK;
        let last = format!("{name}-{}", self.marks);
        if self.marks > 0 {
            self.world.manifests.delete("AuthorizationPolicy", namespace, &last)?;
        }
        self.marks += 1;
        let name = format!("{name}-{}", self.marks);
        self.world.manifests.apply(json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"rules": [{}]},
        }))?;
        let key = format!("{namespace}/{name}");
        let has = |dump: &Value| by_name(dump, "authorizationPolicies", "key", &key).is_some();
        for agent in self.world.mesh.agents() {
            await_dump(agent.process()?, || agent.admin("/config_dump"), has)?;
        }
        for waypoint in self.waypoints.iter().filter(|waypoint| waypoint.process().is_ok()) {
            await_dump(waypoint.process()?, || waypoint.admin("/config_dump"), has)?;
        }
        Ok(())
    }

    /// The waypoint or agent that `name` names: its process, and what a page of it says.
    pub(super) fn operated(&self, name: &str) -> anyhow::Result<Operated<'_>> {
        if let Some(waypoint) = self.waypoints.iter().find(|waypoint| waypoint.name() == name) {
            return Ok(Operated::Waypoint(waypoint));
        }
        Ok(Operated::Agent(self.world.mesh.agent(name)?))
    }

    /// The `x-request-id` of requests that come next, by which they are told from those before.
    pub(super) fn next_asked(&mut self) -> String {
        self.asks += 1;
        format!("scenario-{}.", self.asks)
    }

    /// Notes how much everything has written.
    pub(super) fn note_written(&mut self) -> anyhow::Result<()> {
        self.asked = None;
        self.written = self.servers.iter().map(|(name, server)| (name.clone(), server.mark())).collect();
        for agent in self.world.mesh.agents() {
            self.written.insert(agent.node().to_owned(), agent.process()?.mark());
        }
        for waypoint in &self.waypoints {
            let mark = waypoint.process().map_or(0, Process::mark);
            self.written.insert(waypoint.name().to_owned(), mark);
        }
        Ok(())
    }

    /// The address of `service:port`, as the pod `from` calls it, of `@pod:port` or of `ip:port`.
    pub(super) fn address(&self, from: &str, to: &str, ipv6: bool) -> anyhow::Result<SocketAddr> {
        let (host, port) = to.rsplit_once(':').with_context(|| format!("{to}: no port"))?;
        let port = port.parse().with_context(|| format!("{to}: no port"))?;
        if let Ok(ip) = host.parse() {
            return Ok(SocketAddr::new(ip, port));
        }
        if let Some(pod) = host.strip_prefix('@') {
            return self.address_of_pod(pod, port, ipv6);
        }
        let own = self.pods.iter().find(|pod| pod.name == from).map_or("default", |pod| pod.namespace.as_str());
        let (name, namespace) = match host.split_once('.') {
            Some((name, rest)) => (name, rest.split('.').next().unwrap_or(rest)),
            None => (host, own),
        };
        let is_it = |service: &&Value| {
            let metadata = &service["metadata"];
            metadata["name"] == name && metadata["namespace"].as_str().unwrap_or("default") == namespace
        };
        if let Some(service) = self.world.manifests.of_kind("Service").find(is_it) {
            let ips = service["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
            let ips = ips.iter().chain([&service["spec"]["clusterIP"]]).filter_map(Value::as_str);
            let ip = ips.filter_map(|ip| ip.parse::<IpAddr>().ok()).find(|ip| ip.is_ipv6() == ipv6);
            return Ok(SocketAddr::new(ip.with_context(|| format!("{to}: no such address of the Service"))?, port));
        }
        bail!("{to}: there is no such Service; a pod is called @{host}")
    }

    fn address_of_pod(&self, name: &str, port: u16, ipv6: bool) -> anyhow::Result<SocketAddr> {
        let ip = self.world.topology.pod(name)?.addresses().into_iter().find(|ip| ip.is_ipv6() == ipv6);
        Ok(SocketAddr::new(ip.context("no address")?, port))
    }

    /// Every one of `found` is an address of `pod`.
    pub(super) fn compare_peers(&self, pod: &str, found: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        let own = self.world.topology.pod(pod)?.addresses();
        let other = found.into_iter().find(|found| !own.iter().any(|ip| ip.to_string() == *found));
        ensure!(other.is_none(), "a server was reached from {other:?}, not from {pod} ({own:?})");
        Ok(())
    }

    /// Writes whether the pod `name` is ready.
    pub(super) fn set_ready(&mut self, name: &str, ready: bool) -> anyhow::Result<()> {
        let pods = self.world.manifests.of_kind("Pod");
        let pod =
            pods.into_iter().find(|pod| pod["metadata"]["name"] == name).with_context(|| format!("no pod {name}"))?;
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let status = if ready { "True" } else { "False" };
        let edit = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = status.into();
        self.world.manifests.edit("Pod", &namespace, name, edit)?;
        self.settle()
    }

    /// Does `attempt` again and again, for as long as it may take.
    pub(super) fn within(
        &mut self,
        limit: Option<u64>,
        mut attempt: impl FnMut(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let limit = Duration::from_millis(limit.unwrap_or_default());
        let mut outcome = Ok(());
        let _ = ambit_tests::until(limit, || {
            outcome = attempt(self);
            outcome.is_ok() || limit.is_zero()
        });
        outcome
    }
}

impl WaypointSpec {
    pub(super) fn pod_name(&self) -> &str {
        self.pod.as_ref().unwrap_or(&self.name)
    }
}

/// What operators look at.
pub(super) enum Operated<'a> {
    Agent(&'a ambit_tests::Agent),
    Waypoint(&'a Waypoint),
}

impl Operated<'_> {
    pub(super) fn process(&self) -> anyhow::Result<&Process> {
        match self {
            Self::Agent(agent) => agent.process(),
            Self::Waypoint(waypoint) => waypoint.process(),
        }
    }

    pub(super) fn admin(&self, path: &str) -> anyhow::Result<Value> {
        match self {
            Self::Agent(agent) => agent.admin(path),
            Self::Waypoint(waypoint) => waypoint.admin(path),
        }
    }

    pub(super) fn metrics(&self) -> anyhow::Result<ambit_tests::Metrics> {
        match self {
            Self::Agent(agent) => agent.metrics(),
            Self::Waypoint(waypoint) => waypoint.metrics(),
        }
    }
}
