//! The demo's course: nodes, pods and their programs, a capture on the link, the mesh, and the requests.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ambit_tests::topology::Plan;
use ambit_tests::wire::Report;
use ambit_tests::{Binaries, Manifests, Mesh, MeshOptions, Process, Topology, Wire};
use anyhow::{Context, ensure};
use serde::Deserialize;

use super::calls::{self, Calls};
use super::cast::{Cast, Player};
use super::show::{Check, Shown};
use super::{DIRECTORY, NAME};

const SOON: Duration = Duration::from_secs(20);
/// Who fetches the pages: a pod of the demo's own, enrolled as the others are.
pub(crate) const VISITOR: &str = "visitor";
const VISITOR_NODE: &str = "node-b";
/// What the application says in clear: seen on the link, it has leaked.
const CLEAR: [&[u8]; 6] = [b"HTTP/1.1", b"GET /", b"Shakespeare", b"Reviewer1", b"Book Details", b"\"ratings\""];

/// What is on stage; dropped in this order.
pub(crate) struct Stage {
    wire: Option<Wire>,
    mesh: Option<Mesh>,
    servers: Vec<Process>,
    topology: Topology,
}

#[derive(Deserialize)]
struct Fetched {
    status: u16,
    body: String,
}

impl Stage {
    /// Makes the nodes and pods, copies the manifests, and starts the application.
    pub(crate) fn set(cast: &Cast, binaries: Binaries) -> anyhow::Result<Self> {
        let directory = Path::new(DIRECTORY);
        let plan = Plan::new(&["node-a", "node-b"]).lasting(NAME, directory).binaries(binaries);
        let place = |plan: Plan, player: &Player| plan.pod_at(&player.name, &player.node, player.host());
        let plan = cast.pods.iter().fold(plan, place).pod_at(VISITOR, VISITOR_NODE, 100);
        fs::create_dir_all(directory.join("config"))?;
        let topology = plan.build()?;
        for file in &cast.files {
            fs::copy(file, directory.join("config").join(file.file_name().context("a manifest has no name")?))?;
        }
        Manifests::open(&directory.join("config"))?.pod("default", topology.pod(VISITOR)?, VISITOR)?;
        let mut stage = Self { wire: None, mesh: None, servers: Vec::new(), topology };
        for player in &cast.pods {
            stage.servers.push(stage.serve(player, cast)?);
        }
        Ok(stage)
    }

    /// One request across the link without the mesh; answers what the capture saw of it.
    pub(crate) fn without_mesh(&self, cast: &Cast) -> anyhow::Result<Report> {
        let wire = Wire::between(&self.topology, &CLEAR)?;
        let page = cast.pods.iter().find(|pod| pod.app == "productpage").context("no productpage in the manifests")?;
        self.fetch(page.listens_at(), "/api/v1/products")?;
        wire.stop()
    }

    /// Starts an agent on each node and waits until every pod is captured.
    pub(crate) fn start_mesh(&mut self) -> anyhow::Result<()> {
        // From here on every frame counts: the first connection of each pod is captured too.
        self.wire = Some(Wire::between(&self.topology, &CLEAR)?);
        let config = self.topology.directory().join("config");
        let mesh = Mesh::start(&self.topology, &config, &MeshOptions::default())?;
        for pod in self.topology.pods() {
            mesh.agent(&pod.node)?.wait_captured("default", &pod.name, true, SOON)?;
        }
        self.mesh = Some(mesh);
        Ok(())
    }

    /// Fetches the pages and gathers what was seen of that.
    pub(crate) fn play(&self, cast: &Cast, pages: u32, before: Report) -> anyhow::Result<Shown> {
        let mesh = self.mesh.as_ref().context("the mesh has not been started")?;
        let page = cast.service("productpage")?;
        let started = Instant::now();
        let mut versions = BTreeMap::new();
        for _ in 0..pages {
            let fetched = self.fetch(page, "/productpage")?;
            ensure!(fetched.status == 200, "productpage answers {}: {}", fetched.status, fetched.body);
            let version = ["reviews-v1", "reviews-v2", "reviews-v3"].into_iter().find(|v| fetched.body.contains(v));
            let version = version.with_context(|| format!("a page without reviews: {}", fetched.body))?;
            *versions.entry(version.to_owned()).or_insert(0) += 1;
        }
        let seconds = started.elapsed().as_secs_f64();
        let calls = calls::gather(mesh)?;
        let wire = self.wire.as_ref().context("nothing is captured")?.report()?;
        let checks = checks(&calls, &versions, &wire, &before);
        let held = checks.iter().all(|check| check.held);
        Ok(Shown { held, pages, seconds, versions, calls, checks, before, wire })
    }

    /// Leaves everything running.
    pub(crate) fn leave(self) -> anyhow::Result<()> {
        drop(self.wire);
        self.servers.into_iter().for_each(Process::detach);
        if let Some(mesh) = self.mesh {
            mesh.detach();
        }
        self.topology.leave()
    }

    fn serve(&self, player: &Player, cast: &Cast) -> anyhow::Result<Process> {
        let mut arguments = vec!["bookinfo".to_owned(), player.app.clone()];
        arguments.extend(["--version".to_owned(), player.version.clone()]);
        for service in ["details", "reviews", "ratings"] {
            arguments.extend([format!("--{service}"), cast.service(service)?.to_string()]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let server = self.topology.pod(&player.name)?.testapp(&arguments)?;
        server.wait_line("listening", SOON)?;
        Ok(server)
    }

    fn fetch(&self, to: SocketAddr, path: &str) -> anyhow::Result<Fetched> {
        let visitor = self.topology.pod(VISITOR)?;
        visitor.testapp(&["fetch", "--to", &to.to_string(), "--path", path])?.report(SOON)
    }
}

fn checks(calls: &Calls, versions: &BTreeMap<String, u32>, wire: &Report, before: &Report) -> Vec<Check> {
    let only_hbone = wire.only_hbone();
    let identified = calls.rows.iter().all(|call| !call.caller_identity.is_empty() && !call.called_identity.is_empty());
    let tunnelled = calls.rows.iter().filter(|call| call.from_node != call.to_node).all(|call| call.is_hbone);
    vec![
        Check::new("the capture sees clear text where there is any", before.marker_hits() > 0, || {
            format!("{} times in one request without the mesh", before.marker_hits())
        }),
        Check::new("with the mesh, only TLS on port 15008 crossed the link", only_hbone.is_ok(), || {
            let seen = || format!("{} TLS records in {} tunnels", wire.records(), wire.tunnels());
            only_hbone.as_ref().map_or_else(|error| format!("{error:#}"), |()| seen())
        }),
        Check::new("every call between nodes was carried by HBONE", tunnelled, || {
            format!("{} of {} calls", calls.connections(|call| call.is_hbone), calls.connections(|_| true))
        }),
        Check::new("every call has the identity of both its ends", identified, || {
            format!("{} pairs of pods", calls.rows.len())
        }),
        Check::new("the access log and the metrics agree", calls.logged == calls.metered, || {
            format!("{} logged, {} counted", calls.logged, calls.metered)
        }),
        Check::new("no call failed", calls.failed == 0, || format!("{} failed", calls.failed)),
        Check::new("all three versions of reviews answered", versions.len() == 3, || format!("{versions:?}")),
    ]
}
