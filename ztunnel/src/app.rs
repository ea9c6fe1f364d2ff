//! Wires the agent together: discovery, certificates, workers, capture and the ports for operators. The control thread
//! runs here; what carries bytes runs on the workers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::{Origin, Snapshots, publish};
use ambit_ebpf_loader as ebpf;
use ambit_hbone as hbone;
use ambit_identity::store::Certificates;
use ambit_model::Snapshot;
use ambit_net::netns::NetNs;
use ambit_net::socket::Keepalive;
use ambit_process::http_server::Server;
use ambit_process::limits::raise_open_files;
use ambit_process::ready::Ready;
use ambit_process::routes::Routes;
use ambit_process::workers::Workers;
use ambit_process::{drain, metrics, series, signal};
use ambit_telemetry::{Living, Logging};
use ambit_transport::credentials::{self, Signer};
use anyhow::Context;
use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::admin::{self, Sources};
use crate::cni::{Desk, Installation, Known};
use crate::node::report;
use crate::node::succession::{self, Charge};
use crate::node::{self, Agent, Board, Finder, Gate, Here, Reign};
use crate::proxy::{Limits, Shared, Succession, Taps, Worker};
use crate::settings::{Settings, Task};

/// How often it is seen that the CNI plugin is in its place: others write the network's configuration when they like.
const PLACED: Duration = Duration::from_secs(1);
/// How often it is seen whether certificates that are missing are there.
const AGAIN: Duration = Duration::from_millis(500);
/// Certificates that are asked for at once.
const AT_ONCE: usize = 8;
/// How often one that stops sees whether another agent has come.
const COME: Duration = Duration::from_secs(1);
/// How often it is seen whether the agent before has left its ports.
const FREED: Duration = Duration::from_millis(100);

/// Does what the settings ask for, until it is done or the process is told to stop.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    match settings.task()? {
        Task::Ask(socket) => {
            let answer = Ready::ask(socket).with_context(|| format!("no agent answers at {}", socket.display()))?;
            answer.map_err(anyhow::Error::msg)
        }
        Task::Uninstall => on_node(settings, |capture, _| uninstall(capture, settings)),
        Task::Run { origin, node } => on_node(settings, |capture, logging| {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
            let finder = match *origin {
                Origin::Directory(_) => Finder::Annotations,
                Origin::Cluster(_) => Finder::of_cluster(&settings.proc),
            };
            let discovery = ambit_discovery::Settings {
                origin: *origin,
                mesh: settings.mesh(),
                excluded_namespaces: settings.excluded_namespaces.clone(),
            };
            let agent = Preparation { settings, node, finder, discovery, capture, logging };
            let outcome = runtime.block_on(serve(agent));
            // A blocking look at the configuration directory must not hold up the end.
            runtime.shutdown_background();
            outcome
        }),
    }
}

/// Does `work` with this node's pods, and logs.
fn on_node(
    settings: &Settings,
    work: impl FnOnce(&ebpf::Settings, &Logging) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let logging = Logging::install(settings.log_format.into(), &settings.log_level, Box::new(std::io::stdout()))?;
    let host = NetNs::current().context("the network namespace of the node cannot be told")?.cookie();
    let cgroup = settings.cgroup.clone().map_or_else(ebpf::cgroup::of_pods, Ok);
    let cgroup = cgroup
        .context("there is no cgroup (v2) to capture the pods in: mount the hierarchy, or name one by --cgroup")?;
    let capture = ebpf::Settings { cgroup, pins: settings.pins.clone(), host };
    let outcome = work(&capture, &logging);
    logging.flush();
    outcome
}

fn uninstall(capture: &ebpf::Settings, settings: &Settings) -> anyhow::Result<()> {
    let plugin = Installation::new(&settings.cni).map_or(Ok(()), |installation| installation.remove());
    let capture = ebpf::Capture::open(capture)?;
    node::uninstall(capture, &settings.proc).context("the capture cannot be taken out of the kernel")?;
    let sockets = settings.handover_socket.as_deref().map_or(Ok(()), succession::remove);
    plugin.context("the CNI plugin cannot be taken out")?;
    sockets.context("the socket at which agents are found cannot be removed")?;
    match settings.source.kube_cache.as_deref().map(std::fs::remove_dir_all) {
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("what was kept of the configuration cannot be removed")
        }
        _ => Ok(()),
    }
}

/// What an agent is made from.
struct Preparation<'a> {
    settings: &'a Settings,
    node: &'a str,
    finder: Finder,
    discovery: ambit_discovery::Settings,
    capture: &'a ebpf::Settings,
    logging: &'a Logging,
}

async fn serve(preparation: Preparation<'_>) -> anyhow::Result<()> {
    let Preparation { settings, node, finder, discovery, capture, logging } = preparation;
    let (mut signals, quit) = signal::Signals::listen()?;
    match raise_open_files() {
        Ok(files) => info!("at most {files} files and sockets can be open; a connection takes one or two"),
        Err(error) => warn!("the limit of open files cannot be raised: {error}; connections beyond it wait"),
    }
    let capabilities = ebpf::probe::probe(&capture.cgroup);
    // A line of the log is one line, and a table is read line by line.
    capabilities.to_string().lines().for_each(|line| info!("{line}"));
    let ready = Ready::new();
    if let Some(socket) = &settings.readiness_socket {
        tokio::task::spawn_local(Server::at("readiness", socket)?.serve(ready.routes()));
    }
    let captured = ready.wait_for("the first look at the configuration and at this node's pods");
    let (trigger, drain) = drain::channel();
    let (certificates, watched) = credentials::open(&settings.credentials())?;
    let certificates = Arc::new(certificates);
    tokio::task::spawn_local(credentials::follow(settings.credentials(), watched, certificates.trust_store().clone()));
    tokio::task::spawn_local({
        let (certificates, stop) = (certificates.clone(), stopping(&drain));
        async move { certificates.renew_loop(stop).await }
    });
    let (publisher, snapshots) = publish(Snapshot::new(settings.mesh()));
    let (reports_publisher, reports) = publish(Vec::new());
    // What is open is judged by what the mesh is now, to the end.
    let discovery = ambit_discovery::run(discovery, publisher, reports_publisher, std::future::pending());
    let mut discovery = tokio::task::spawn_local(discovery);
    let accession = Accession { settings, node, ready: &ready, snapshots: &snapshots, certificates: &certificates };
    let charge = tokio::select! {
        charge = accession.take_charge() => charge?,
        ended = &mut discovery => return unreadable(ended),
        cause = signals.next() => {
            info!(?cause, "stopped before it was in charge of the node");
            return Ok(());
        }
    };
    let ports = Ports::bind(settings, charge.is_some()).await?;
    let capture_settings = capture.clone();
    let capture = ebpf::Capture::open(&capture_settings)?;
    let shared = Arc::new(Shared {
        snapshots: snapshots.clone(),
        certificates,
        taps: ArcSwap::from_pointee(Taps::of(&capture)),
        migration: migration(),
        succession: watch::Sender::new(Succession::InCharge),
        limits: limits(settings),
        dns_upstream: settings.dns_upstream,
    });
    let workers = start_workers(settings.worker_count(), &shared, logging, &drain).await?;
    let board = Board::default();
    let sources = Sources {
        snapshots: snapshots.clone(),
        reports,
        board: board.clone(),
        shared: shared.clone(),
        workers: workers.clone(),
        capabilities: Arc::new(capabilities),
        settings: settings.clone(),
    };
    let page = admin::metrics_page(&sources, logging.access_log());
    let routes = [admin::routes(sources, logging.levels(), quit), metrics::routes(page), ready.routes()];
    tokio::task::spawn_local(ports.serve(routes, given_up(&drain, &shared, settings.handover_socket.clone())));
    let living = move || Living::of(&snapshots.load());
    tokio::task::spawn_local(series::sweep(workers.clone(), |worker| &worker.meter, living, settings.series_idle));
    let at = shared.succession.subscribe();
    if matches!(finder, Finder::Cluster(_)) {
        tell(settings, node, (&shared, &board), &drain)?;
    }
    let (gate, attend) = gate(settings, &ready);
    let here = Here { node: node.to_owned(), proc: settings.proc.clone(), finder, gate };
    let (takes_turns, turns) = mpsc::channel(1);
    let reign = Reign::new(capture, move || ebpf::Capture::open(&capture_settings), attend, turns);
    let agent = Agent::new(here, reign, shared, workers.clone(), board);
    let (done, complete) = oneshot::channel();
    tokio::task::spawn_local(succession::reign(charge, complete, takes_turns));
    let looked = move || {
        captured.met();
        // Nobody may have to be told.
        let _ = done.send(());
    };
    tokio::task::spawn_local(agent.run(stopping(&drain), looked));
    tokio::task::spawn_local(ready.withdraw_when(stopping(&drain)));
    tokio::select! {
        ended = discovery => unreadable(ended),
        drained = signal::drain_when_asked(signals, trigger, settings.drain_deadline) => {
            let after = match *at.borrow() {
                Succession::InCharge => "captured pods are refused until an agent is here",
                Succession::SteppedBack | Succession::Succeeded => "another agent serves",
            };
            info!(?drained, "stopped; {after}");
            Ok(())
        }
    }
}

/// Has the control plane told what becomes of the pods of `node`, if one is asked for certificates.
fn tell(
    settings: &Settings,
    node: &str,
    (shared, board): (&Shared, &Board),
    drain: &drain::Drain,
) -> anyhow::Result<()> {
    let reporter = credentials::reporter(&settings.credentials(), shared.certificates.trust_store().clone())?;
    let Some(reporter) = reporter else { return Ok(()) };
    let (node, snapshots, board) = (node.to_owned(), shared.snapshots.clone(), board.clone());
    let subject = report::Subject { node, snapshots, board, succession: shared.succession.subscribe() };
    tokio::task::spawn_local(report::tell(reporter, subject, stopping(drain)));
    Ok(())
}

/// What is said of a configuration that nobody reads any more.
fn unreadable(ended: Result<Result<(), ambit_discovery::Error>, tokio::task::JoinError>) -> anyhow::Result<()> {
    ended.map_err(anyhow::Error::new).and_then(|ended| Ok(ended?)).context("the configuration cannot be read")
}

/// What is needed to be in charge of the node.
struct Accession<'a> {
    settings: &'a Settings,
    node: &'a str,
    ready: &'a Ready,
    snapshots: &'a Snapshots,
    certificates: &'a Certificates<Signer>,
}

impl Accession<'_> {
    /// In charge of the node: at once where no other agent is, else when everything is there that its pods need to be served
    /// by this one as well. None where the settings do not provide for another.
    async fn take_charge(&self) -> anyhow::Result<Option<Charge>> {
        let Some(socket) = &self.settings.handover_socket else { return Ok(None) };
        let prepared = self.ready.wait_for("the configuration and the certificates of this node's pods");
        while succession::is_taken(socket).await {
            info!("another agent is in charge of this node: it serves until this one can");
            tokio::select! {
                () = self.prepared() => break,
                // It has ended, or another is in its place.
                () = succession::vacant(socket) => {}
            }
        }
        prepared.met();
        let charge = Charge::take(socket).await;
        charge.map(Some).with_context(|| format!("this agent cannot be found at {}", socket.display()))
    }

    /// Resolves when the configuration is there, and a certificate for each of this node's enrolled pods.
    async fn prepared(&self) {
        let mut snapshots = self.snapshots.clone();
        let mut troubled = false;
        loop {
            if snapshots.is_synced() {
                match self.certified().await {
                    Ok(()) => return,
                    Err(error) if !std::mem::replace(&mut troubled, true) => {
                        warn!("this agent waits for certificates before it takes over: {error}");
                    }
                    Err(_) => {}
                }
            }
            // A certificate is asked for again by itself.
            let _ = tokio::time::timeout(AGAIN, snapshots.changed()).await;
        }
    }

    async fn certified(&self) -> Result<(), ambit_identity::Error> {
        let snapshot = self.snapshots.load();
        let local = snapshot.workloads().filter(|workload| *workload.node == *self.node && workload.is_enrolled());
        let identities: BTreeSet<_> = local.map(|workload| &workload.identity).collect();
        let asked = stream::iter(identities).map(|identity| self.certificates.ensure(identity));
        // Every one is asked for, whatever becomes of the others.
        let obtained: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
        obtained.into_iter().collect()
    }
}

/// What has connections move over from one listener to another, where the kernel can.
fn migration() -> Option<ebpf::Migration> {
    let loaded = ebpf::Migration::load();
    loaded.inspect_err(|error| warn!("connections that wait cannot move over to another agent: {error}")).ok()
}

/// Resolves when the process stops and another agent is in charge, which wants its ports: one that was when it stopped, or one that
/// has come since, found at `socket`.
fn given_up(drain: &drain::Drain, shared: &Shared, socket: Option<PathBuf>) -> impl Future<Output = ()> + use<> {
    let (drain, succession) = (drain.clone(), shared.succession.subscribe());
    async move {
        drain.graceful().await;
        let Some(socket) = socket else { return std::future::pending().await };
        while *succession.borrow() == Succession::InCharge {
            // Its own place there is free by then.
            tokio::time::sleep(COME).await;
            if succession::is_taken(&socket).await {
                return;
            }
        }
    }
}

/// What holds pods back until they are captured, if the settings want it, and what begins once the agent can tell which pods
/// these are and is in charge: its plugin is kept in its place and answered.
fn gate(settings: &Settings, ready: &Ready) -> (Option<Gate>, impl Fn() -> JoinSet<()> + use<>) {
    let cni = settings.cni.clone();
    let installation = Installation::new(&cni);
    let (desk, questions) = Desk::new();
    let placed = installation.map(|_| ready.wait_for("the CNI plugin's place in the network configuration"));
    let gate = placed.is_some().then(|| Gate::new(questions, Known::at(cni.known())));
    let placed = placed.map(Rc::new);
    let attend = move || {
        let mut attending = JoinSet::new();
        let Some((installation, placed)) = Installation::new(&cni).zip(placed.clone()) else { return attending };
        let (desk, socket) = (desk.clone(), cni.cni_socket.clone());
        attending.spawn_local(async move {
            if let Err(error) = desk.serve(&socket).await {
                let socket = socket.display();
                error!("the CNI plugin cannot ask at {socket}: {error}; pods of the mesh wait or start uncaptured");
            }
        });
        attending.spawn_local(keep_placed(installation, move || placed.met()));
        attending
    };
    (gate, attend)
}

/// Sees again and again that the plugin is in its place; calls `placed` when it is.
async fn keep_placed(mut installation: Installation, placed: impl Fn()) {
    let mut ticks = tokio::time::interval(PLACED);
    loop {
        ticks.tick().await;
        // A copy of this program is some ten megabytes: not on the thread that everything waits for.
        let looked = tokio::task::spawn_blocking(move || (installation.look(), installation));
        let Ok((is_placed, again)) = looked.await else { return };
        installation = again;
        if is_placed {
            placed();
        }
    }
}

/// The ports for operators, probes and Prometheus.
struct Ports {
    admin: Port,
    metrics: Port,
    readiness: Port,
}

/// A port, bound if nobody else has it.
struct Port {
    purpose: &'static str,
    address: SocketAddr,
    server: Option<Server>,
}

impl Ports {
    /// Binds them; those that somebody else has are bound later, if that may be another agent (`shared`).
    async fn bind(settings: &Settings, shared: bool) -> Result<Self, ambit_process::Error> {
        let bind = async |purpose, address| match Server::bind(purpose, address).await {
            Ok(server) => Ok(Port { purpose, address, server: Some(server) }),
            Err(ambit_process::Error::Bind { source, .. }) if shared && source.kind() == ErrorKind::AddrInUse => {
                warn!(%address, "the port for {purpose} is bound when whoever has it has left it: the agent before, perhaps");
                Ok(Port { purpose, address, server: None })
            }
            Err(error) => Err(error),
        };
        Ok(Self {
            admin: bind("the admin interface", settings.admin_address).await?,
            metrics: bind("metrics", settings.metrics_address).await?,
            readiness: bind("readiness", settings.readiness_address).await?,
        })
    }

    /// Serves on them what is for operators, for Prometheus and for probes, until `given_up` resolves, to leave them to another agent.
    async fn serve(self, [admin, metrics, readiness]: [Routes; 3], given_up: impl Future<Output = ()>) {
        let serving = async {
            tokio::join!(self.admin.serve(admin), self.metrics.serve(metrics), self.readiness.serve(readiness))
        };
        tokio::select! {
            _ = serving => {}
            () = given_up => {}
        }
    }
}

impl Port {
    async fn serve(self, routes: Routes) -> Infallible {
        let mut server = self.server;
        loop {
            if let Some(server) = server {
                return server.serve(routes).await;
            }
            tokio::time::sleep(FREED).await;
            server = Server::bind(self.purpose, self.address).await.ok();
        }
    }
}

/// Resolves when the process begins to stop.
fn stopping(drain: &drain::Drain) -> impl Future<Output = ()> + use<> {
    let drain = drain.clone();
    async move { drain.graceful().await }
}

fn limits(settings: &Settings) -> Limits {
    let keepalive = (!settings.keepalive_time.is_zero()).then(|| Keepalive {
        time: settings.keepalive_time,
        interval: settings.keepalive_interval,
        probes: settings.keepalive_retries,
        user_timeout: (!settings.user_timeout.is_zero()).then_some(settings.user_timeout),
    });
    Limits {
        connect_timeout: settings.connect_timeout,
        patience: settings.patience,
        linger: settings.linger,
        keepalive,
        tunnel_idle: settings.tunnel_idle,
        tunnel: hbone::Config {
            stream_window: settings.stream_window,
            frame_size: settings.frame_size,
            max_concurrent_streams: settings.streams_per_tunnel,
            ..hbone::Config::default()
        },
        response_baggage: settings.response_baggage,
    }
}

async fn start_workers(
    count: usize,
    shared: &Arc<Shared>,
    logging: &Logging,
    drain: &drain::Drain,
) -> anyhow::Result<Arc<Workers<Worker>>> {
    let count = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    let (shared, access, drain) = (shared.clone(), logging.access_log(), drain.clone());
    let setup = move |_| {
        let worker = Worker::new(shared.clone(), access.clone(), &drain);
        std::future::ready(Ok::<_, std::io::Error>(worker))
    };
    Ok(Arc::new(Workers::start(count, setup).await?))
}
