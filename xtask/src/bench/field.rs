//! Where it is measured: two topologies that are alike, one without a mesh, one with it. Nothing else runs in either.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ambit_tests::topology::Plan;
use ambit_tests::{Binaries, Manifests, Mesh, MeshOptions, Pod, Process, Topology, leftovers};
use anyhow::Context;

use super::cases::Placement;

/// Namespaces inherit `bbr` on some machines, whose pacing would be what is measured.
pub(crate) const CONGESTION_CONTROL: &str = "reno";
const RAW: &str = "ambit-bench-raw";
const MESH: &str = "ambit-bench-mesh";
const DIRECTORY: &str = "/run/ambit-bench";
const SOON: Duration = Duration::from_secs(20);
/// Clock ticks a second in /proc/<pid>/stat: 100 on every architecture that Linux still runs on (USER_HZ, proc(5)).
const TICKS: f64 = 100.0;

/// Both topologies.
pub(crate) struct Field {
    pub(crate) raw: Side,
    pub(crate) mesh: Side,
    pub(crate) same_node: String,
}

/// A topology with its servers and, on one of the two, its mesh; dropped in this order.
pub(crate) struct Side {
    mesh: Option<Mesh>,
    _servers: Vec<Process>,
    topology: Topology,
}

/// Removes what an interrupted benchmark leaves.
pub(crate) fn clean_up() {
    leftovers::remove(RAW);
    leftovers::remove(MESH);
    // It may not be there, which is what is wanted.
    let _ = fs::remove_dir_all(DIRECTORY);
}

impl Field {
    /// Lays both topologies and starts the servers and the mesh.
    pub(crate) fn lay(binaries: &Binaries, same_node: &str) -> anyhow::Result<Self> {
        clean_up();
        let raw = Side::lay(RAW, binaries)?;
        let mut mesh = Side::lay(MESH, binaries)?;
        mesh.start_mesh(binaries, same_node)?;
        Ok(Self { raw, mesh, same_node: same_node.to_owned() })
    }
}

impl Side {
    pub(crate) const DISCARD: u16 = 7000;
    pub(crate) const HTTP: u16 = 7001;
    pub(crate) const ECHO: u16 = 7002;

    fn lay(name: &str, binaries: &Binaries) -> anyhow::Result<Self> {
        let directory = Path::new(DIRECTORY).join(name);
        fs::create_dir_all(&directory)?;
        let plan = Plan::new(&["a", "b"]).lasting(name, &directory).binaries(binaries.clone());
        let plan = plan.pod("client", "a").pod("near", "a").pod("far", "b").congestion_control(CONGESTION_CONTROL);
        let topology = plan.build()?;
        let services = [("discard", Self::DISCARD), ("http", Self::HTTP), ("echo", Self::ECHO)];
        let services = services.map(|(protocol, port)| format!("{protocol}={port}"));
        let mut servers = Vec::new();
        for pod in ["near", "far"] {
            let arguments: Vec<_> = ["serve"].into_iter().chain(services.iter().map(String::as_str)).collect();
            let server = topology.pod(pod)?.testapp(&arguments)?;
            server.wait_line("listening", SOON)?;
            servers.push(server);
        }
        Ok(Self { mesh: None, _servers: servers, topology })
    }

    fn start_mesh(&mut self, binaries: &Binaries, same_node: &str) -> anyhow::Result<()> {
        let directory = self.topology.directory();
        let mut manifests = Manifests::create(&directory.join("config"), &self.topology)?;
        manifests.namespace("bench", true)?;
        for pod in self.topology.pods() {
            manifests.pod("bench", pod, &pod.name)?;
        }
        // The access log is written, as in production, but kept by nobody: a reader would cost what is measured.
        let program = directory.join("ztunnel");
        fs::write(&program, format!("#!/bin/sh\nexec {} \"$@\" >/dev/null\n", binaries.ztunnel.display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let arguments = vec!["--same-node".to_owned(), same_node.to_owned()];
        let options = MeshOptions { arguments, ztunnel: Some(program) };
        self.mesh = Some(Mesh::start(&self.topology, manifests.directory(), &options)?);
        self.wait_captured()
    }

    /// Starts the agents anew, so that their memory is that of agents that have done nothing yet.
    pub(crate) fn restart_mesh(&mut self) -> anyhow::Result<()> {
        let mesh = self.mesh.as_mut().context("there is no mesh on this side")?;
        mesh.stop()?;
        mesh.start_all()?;
        self.wait_captured()
    }

    fn wait_captured(&self) -> anyhow::Result<()> {
        let mesh = self.mesh.as_ref().context("there is no mesh on this side")?;
        let captured = |pod: &Pod| mesh.agent(&pod.node)?.wait_captured("bench", &pod.name, true, SOON);
        self.topology.pods().iter().try_for_each(captured)
    }

    /// The pod that produces the load.
    pub(crate) fn client(&self) -> anyhow::Result<&Pod> {
        self.topology.pod("client")
    }

    /// A server's address.
    pub(crate) fn server(&self, placement: Placement, port: u16) -> anyhow::Result<SocketAddr> {
        let pod = match placement {
            Placement::Across => "far",
            Placement::OneNode => "near",
        };
        Ok(SocketAddr::new(self.topology.pod(pod)?.v4.into(), port))
    }

    /// Processor time that the agents have used so far, in seconds: user and system, all threads (proc(5), stat).
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.agents()?.into_iter().map(cpu_seconds_of).sum()
    }

    /// Memory that the agents hold (VmRSS), in bytes, one after the other.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<Vec<u64>> {
        self.agents()?.into_iter().map(resident_bytes_of).collect()
    }

    fn agents(&self) -> anyhow::Result<Vec<u32>> {
        self.mesh.iter().flat_map(Mesh::agents).map(|agent| Ok(agent.process()?.pid())).collect()
    }
}

/// Processor time that a process has used so far, in seconds: user and system, all threads (proc(5), stat).
pub(crate) fn cpu_seconds_of(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().context("no stat")?;
    // The first field after the name is the third of the page: 14 and 15 are user and system time.
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
}

/// Memory that a process holds (VmRSS), in bytes.
pub(crate) fn resident_bytes_of(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
