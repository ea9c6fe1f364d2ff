//! The control plane of a cluster: etcd, kube-apiserver, kube-controller-manager and kube-scheduler in a network namespace
//! of their own, each at its usual port, and a way in from outside.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;

use super::certificates::{Authority, Credential, Subject};
use super::kubeconfig;
use super::network::{self, API_SERVER, API_SERVICE, CONTROL_PLANE};
use super::probe::Probe;
use super::programs::Programs;
use crate::netns::Netns;
use crate::place::Place;
use crate::process::{Launcher, Process};
use crate::until::await_ready_within;

/// How long a component may take to be ready on a busy machine.
pub(crate) const READY: Duration = Duration::from_secs(90);
/// The directory of its certificates, below the cluster's.
pub(crate) const CERTIFICATES: &str = "certificates";
/// The directory of what is stored, below the cluster's.
pub(crate) const STORE: &str = "etcd";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CONTROLLER_MANAGER: SocketAddr = SocketAddr::new(LOOPBACK, 10257);
const SCHEDULER: SocketAddr = SocketAddr::new(LOOPBACK, 10259);

/// A running control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    processes: Vec<Process>,
    netns: Netns,
    place: Place,
    launcher: Launcher,
    directory: PathBuf,
    authority: Authority,
    serving: Credential,
    admin: Credential,
    probe: Probe,
    /// Whether it serves the EndpointSlices of its own version, and its controllers write them.
    own_slices: bool,
}

impl ControlPlane {
    /// Starts etcd and the API server in the network namespace `netns` and the cgroup at `cgroup`, with everything that
    /// they write below `directory`, and waits until the API server is ready. What is there of an earlier one is gone on
    /// with. EndpointSlices are Kubernetes' own, or they are not served.
    pub(crate) fn start(
        (programs, own_slices): (&Programs, bool),
        launcher: &Launcher,
        place: (Netns, &Path),
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let (netns, cgroup) = place;
        fs::create_dir_all(cgroup)?;
        network::lay_control_plane(&netns)?;
        let authority = Authority::of(&directory.join(CERTIFICATES))?;
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let addresses = [LOOPBACK, CONTROL_PLANE, API_SERVICE];
        let serving = authority.issue("serving", Subject::user("kube-apiserver").serving(&names, &addresses))?;
        let admin = authority.issue("admin", Subject::user("admin").of("system:masters"))?;
        let place = Place { netns: netns.path(), cgroup: cgroup.to_owned() };
        let probe = Probe::new(&place.netns, &authority, &admin)?;
        let (processes, launcher, directory) = (Vec::new(), launcher.clone(), directory.to_owned());
        let mut plane =
            Self { processes, netns, place, launcher, directory, authority, serving, admin, probe, own_slices };
        plane.run("etcd", etcd(&programs.etcd, &plane.directory.join(STORE))?)?;
        let server = plane.apiserver(programs)?;
        plane.run("kube-apiserver", server)?;
        plane.await_well(API_SERVER, "/readyz")?;
        Ok(plane)
    }

    /// Starts the controllers and waits until they work.
    pub(crate) fn start_controllers(&mut self, program: &Path, minor: u32) -> anyhow::Result<()> {
        let user = self.user("system:kube-controller-manager")?;
        let mut command = Command::new(program);
        self.serve(&mut command, &user, CONTROLLER_MANAGER);
        command.arg("--use-service-account-credentials=true");
        // A node that is gone is found gone within a test.
        command.arg("--node-monitor-grace-period=20s");
        command.arg(flag("service-account-private-key-file", &self.authority.file("tokens.key")));
        command.arg(flag("root-ca-file", &self.authority.file("ca.crt")));
        command.arg(flag("cluster-signing-cert-file", &self.authority.file("ca.crt")));
        command.arg(flag("cluster-signing-key-file", &self.authority.file("ca.key")));
        if has_insecure_ports(minor) {
            command.arg("--port=0");
        }
        if !self.own_slices {
            command.arg("--controllers=*,-endpointslice,-endpointslicemirroring");
        }
        self.run("kube-controller-manager", command)?;
        self.await_well(CONTROLLER_MANAGER, "/healthz")?;
        // Without it no pod can be made in the namespace: the controllers' first visible work.
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        self.await_well(API_SERVER, account)
    }

    /// Starts the scheduler and waits until it works.
    pub(crate) fn start_scheduler(&mut self, program: &Path, minor: u32) -> anyhow::Result<()> {
        let user = self.user("system:kube-scheduler")?;
        let mut command = Command::new(program);
        self.serve(&mut command, &user, SCHEDULER);
        if has_insecure_ports(minor) {
            command.arg("--port=0");
        }
        self.run("kube-scheduler", command)?;
        self.await_well(SCHEDULER, "/healthz")
    }

    /// Makes the API server reachable from `place` at `listen`, whose port may be 0, and writes a kubeconfig for there to
    /// `kubeconfig`: as an administrator.
    pub(crate) fn open_to(
        &mut self,
        place: &Place,
        listen: SocketAddr,
        kubeconfig: &Path,
    ) -> anyhow::Result<SocketAddr> {
        let mut command = Command::new(&self.launcher.testapp);
        command.args(["forward", "--listen", &listen.to_string(), "--to", &API_SERVER.to_string(), "--net"]);
        command.arg(&self.place.netns);
        let forward = Process::start("forward", place, &self.launcher, command)?;
        let line = forward.wait_line("listening", READY)?;
        let address = line.text.rsplit(' ').next().unwrap_or_default().parse().context("where does it listen?")?;
        kubeconfig::write(kubeconfig, address, &self.authority, &self.admin)?;
        self.processes.push(forward);
        Ok(address)
    }

    /// Has the process of its API server stop where it stands (`SIGSTOP`), or go on (`SIGCONT`).
    pub(crate) fn signal_api_server(&self, signal: Signal) -> anyhow::Result<()> {
        let server = self.processes.iter().find(|process| process.label().ends_with("/kube-apiserver"));
        server.context("no API server was started here")?.signal(signal)
    }

    /// Has everything end in order, the store last.
    ///
    /// # Errors
    /// When something does not end.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.processes.into_iter().rev().try_for_each(|process| process.stop(READY).map(drop))
    }

    /// Its network namespace.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// What signs its certificates.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What asks its components.
    pub(crate) fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Lets everything run on when this value is dropped.
    pub(crate) fn leave(mut self) {
        self.netns.keep();
        self.processes.into_iter().for_each(Process::detach);
    }

    fn apiserver(&self, programs: &Programs) -> anyhow::Result<Command> {
        let (private, public) = self.authority.key_pair("tokens")?;
        let ca = self.authority.file("ca.crt");
        let mut command = Command::new(&programs.apiserver);
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
        ]);
        command.arg(format!("--bind-address={CONTROL_PLANE}")).arg(format!("--secure-port={}", API_SERVER.port()));
        command.arg(format!("--advertise-address={CONTROL_PLANE}"));
        command.arg(format!("--service-cluster-ip-range={}", network::SERVICES));
        command.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        command.args(["--api-audiences", "https://kubernetes.default.svc"]);
        command.arg(flag("service-account-signing-key-file", &private));
        command.arg(flag("service-account-key-file", &public));
        command.arg(flag("cert-dir", &self.authority.file("apiserver")));
        command.arg(flag("tls-cert-file", &self.serving.certificate_file));
        command.arg(flag("tls-private-key-file", &self.serving.key_file));
        command.arg(flag("client-ca-file", &ca)).arg(flag("kubelet-certificate-authority", &ca));
        command.arg(flag("kubelet-client-certificate", &self.admin.certificate_file));
        command.arg(flag("kubelet-client-key", &self.admin.key_file));
        command.arg("--kubelet-preferred-address-types=InternalIP");
        // Controllers look for them, and complain for as long as there are none.
        command.arg(flag("requestheader-client-ca-file", &ca)).arg("--requestheader-allowed-names=front-proxy");
        command
            .args(["--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"]);
        // Webhooks are dialled at their pods' addresses, which are routed here; those of Services are not.
        command.arg("--enable-aggregator-routing=true");
        command.arg("--enable-admission-plugins=NodeRestriction");
        if programs.controller_manager.is_none() {
            // Nobody makes the accounts that it asks of every pod.
            command.arg("--disable-admission-plugins=ServiceAccount");
        }
        if !self.own_slices {
            command.arg("--runtime-config=discovery.k8s.io/v1beta1=false");
        }
        Ok(command)
    }

    /// A kubeconfig of the component `user`.
    fn user(&self, user: &str) -> anyhow::Result<PathBuf> {
        let name = user.trim_start_matches("system:");
        let credential = self.authority.issue(name, Subject::user(user))?;
        kubeconfig::write(&self.authority.file(&format!("{name}.kubeconfig")), API_SERVER, &self.authority, &credential)
    }

    /// What controllers and scheduler have in common.
    fn serve(&self, command: &mut Command, user: &Path, at: SocketAddr) {
        for name in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(flag(name, user));
        }
        command.arg("--leader-elect=false");
        command.arg(format!("--bind-address={}", at.ip())).arg(format!("--secure-port={}", at.port()));
        command.arg(flag("tls-cert-file", &self.serving.certificate_file));
        command.arg(flag("tls-private-key-file", &self.serving.key_file));
    }

    fn run(&mut self, name: &str, command: Command) -> anyhow::Result<()> {
        let process = Process::start(&format!("control-plane/{name}"), &self.place, &self.launcher, command)?;
        self.processes.push(process);
        Ok(())
    }

    /// Waits until `path` of `server` answers 200, which the process that was started last brings about.
    fn await_well(&self, server: SocketAddr, path: &str) -> anyhow::Result<()> {
        let process = self.processes.last().context("nothing is started")?;
        await_ready_within(READY, process, || self.probe.is_well(server, path))
    }
}

/// True if API servers of this version serve EndpointSlices of v1, as Kubernetes does from 1.21 on.
pub(crate) const fn serves_endpoint_slices(minor: u32) -> bool {
    minor >= 21
}

/// True if components of this version have ports without TLS, as they had until 1.23, that must be turned off.
const fn has_insecure_ports(minor: u32) -> bool {
    minor < 24
}

fn etcd(program: &Path, directory: &Path) -> anyhow::Result<Command> {
    let (clients, peers) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(directory);
    command.args(["--listen-client-urls", clients, "--advertise-client-urls", clients]);
    command.args(["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]);
    command.args(["--initial-cluster", &format!("default={peers}")]);
    // From 3.5 on: what is kept for a test need not survive the machine.
    let help = Command::new(program).arg("--help").output()?;
    if memchr::memmem::find(&[help.stdout, help.stderr].concat(), b"--unsafe-no-fsync").is_some() {
        command.arg("--unsafe-no-fsync");
    }
    Ok(command)
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
