//! The control plane under test: one controller, started as its users start it, and what agents ask it with.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::http;
use crate::metrics::Metrics;
use crate::place::Place;
use crate::process::{Launcher, Process};
use crate::topology::Topology;
use crate::until::await_ready;

/// A controller on a node: running, or not.
#[derive(Debug)]
pub struct Controller {
    place: Place,
    launcher: Launcher,
    program: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

impl Controller {
    /// A controller for `topology`, on its node `node`, that reads the manifests in `config`; not started. Each node has a
    /// token of its own.
    ///
    /// # Errors
    /// When the program is missing or stale, there is no such node, or its files cannot be written.
    pub fn new(topology: &Topology, node: &str, config: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        topology.binaries().check_controller()?;
        let node = topology.node(node)?;
        let directory = topology.directory().join("controller");
        fs::create_dir_all(&directory)?;
        let mut lines = String::new();
        for node in topology.nodes() {
            let token = format!("token-of-the-agent-of-node-{}", node.name);
            fs::write(directory.join(format!("token-{}", node.name)), &token)?;
            lines.push_str(&format!("{token},system:node:{}\n", node.name));
        }
        let tokens = directory.join("tokens");
        fs::write(&tokens, lines)?;
        fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600))?;
        let (ca, address) = (directory.join("ca"), SocketAddr::new(node.v4.into(), 15012));
        let mut all = vec!["--server-names".to_owned(), address.ip().to_string()];
        for (name, path) in [("--config", config), ("--ca-dir", &ca), ("--tokens", &tokens)] {
            all.extend([name.to_owned(), path.to_string_lossy().into_owned()]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Ok(Self {
            place: node.agent_place(),
            launcher: topology.launcher().clone(),
            program: topology.binaries().controller.clone(),
            arguments: all,
            directory,
            address,
            process: None,
        })
    }

    /// The arguments by which an agent has its certificates from here, with its node's own token.
    #[must_use]
    pub fn agent_arguments(&self) -> Vec<String> {
        let path = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        let pairs = [
            ("--ca-address", format!("https://{}", self.address)),
            ("--ca-token", path("token-{node}")),
            ("--roots", path("ca/root-cert.pem")),
            ("--crl", path("ca-crl.pem")),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// The directory with its CA (`ca`), the tokens and, once written, the revocation lists (`ca-crl.pem`).
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it runs already, cannot be started or does not get ready; the message shows what it wrote.
    pub fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "the controller runs already");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let process = Process::start("controller", &self.place, &self.launcher, command)?;
        await_ready(&process, || http::is_well(&self.place.netns, 8080, "/healthz/ready"))?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the controller is not running")?.kill()
    }

    /// The running process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn process(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().context("the controller is not running")
    }

    /// Its metrics.
    ///
    /// # Errors
    /// When they cannot be scraped or read.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::scrape(&self.place.netns, 15014)
    }
}
