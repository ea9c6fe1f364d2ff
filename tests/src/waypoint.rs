//! A waypoint under test: its process in a pod of its own, started as its users start it, and the objects that a
//! deployment of it consists of. Its Gateway is the user's to write.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::http;
use crate::manifests::{DATAPLANE_MODE, Manifests, ServiceSpec};
use crate::metrics::Metrics;
use crate::place::Place;
use crate::process::{Launcher, Process};
use crate::topology::{Pod, Topology};
use crate::until::await_ready;

/// The port at which agents reach it.
const HBONE: u16 = 15008;
/// The label by which its pods are told.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// A waypoint: running, or not.
#[derive(Debug)]
pub struct Waypoint {
    name: String,
    place: Place,
    launcher: Launcher,
    program: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Waypoint {
    /// Writes the Pod and the Service of the waypoint `name`, with `vips` as the Service's addresses.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn declare(
        manifests: &mut Manifests,
        (namespace, name): (&str, &str),
        pod: &Pod,
        vips: &[IpAddr],
    ) -> anyhow::Result<()> {
        manifests.pod(namespace, pod, name)?;
        for (label, value) in [(GATEWAY_NAME, name), (DATAPLANE_MODE, "none")] {
            manifests.label(("Pod", namespace, &pod.name), label, Some(value))?;
        }
        manifests.service(namespace, &ServiceSpec { name, vips, ports: &[(HBONE, HBONE)] })?;
        manifests.edit("Service", namespace, name, |service| {
            let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
            spec.insert("selector".to_owned(), json!({GATEWAY_NAME: name}));
        })
    }

    /// The waypoint `name` of `namespace` in `pod`, reading the manifests in `config`; not started.
    ///
    /// # Errors
    /// When the program is missing or stale.
    pub fn new(
        topology: &Topology,
        config: &Path,
        (namespace, name): (&str, &str),
        pod: &Pod,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        topology.binaries().check_waypoint()?;
        let ca = topology.directory().join("ca.pem");
        let mut all = vec!["--namespace".to_owned(), namespace.to_owned(), "--name".to_owned(), name.to_owned()];
        for (flag, path) in [("--config", config), ("--ca", &ca)] {
            all.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Ok(Self {
            name: pod.name.clone(),
            place: pod.place(),
            launcher: topology.launcher().clone(),
            program: topology.binaries().waypoint.clone(),
            arguments: all,
            process: None,
        })
    }

    /// The name of its pod.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it runs already, cannot be started or does not get ready; the message shows what it wrote.
    pub fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let process = Process::start(&format!("{}/waypoint", self.name), &self.place, &self.launcher, command)?;
        await_ready(&process, || http::is_well(&self.place.netns, 15021, "/healthz/ready"))?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().with_context(|| format!("{} is not running", self.name))?.kill()
    }

    /// The running process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn process(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().with_context(|| format!("{} is not running", self.name))
    }

    /// An admin page that is JSON, such as `/config_dump`.
    ///
    /// # Errors
    /// When it cannot be had or is not JSON.
    pub fn admin(&self, path: &str) -> anyhow::Result<Value> {
        http::json(&self.place.netns, 15000, path)
    }

    /// Its metrics.
    ///
    /// # Errors
    /// When they cannot be scraped or read.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::scrape(&self.place.netns, 15020)
    }
}
