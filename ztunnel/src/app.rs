//! Wires the agent together: discovery, certificates, workers, capture and the ports for operators. The control thread
//! runs here; what carries bytes runs on the workers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::{Origin, publish};
use ambit_ebpf_loader as ebpf;
use ambit_hbone as hbone;
use ambit_model::Snapshot;
use ambit_net::netns::NetNs;
use ambit_net::socket::Keepalive;
use ambit_process::http_server::Server;
use ambit_process::limits::raise_open_files;
use ambit_process::ready::Ready;
use ambit_process::workers::Workers;
use ambit_process::{drain, metrics, series, signal};
use ambit_telemetry::{Living, Logging};
use ambit_transport::credentials;
use anyhow::Context;
use tokio::runtime::{Builder, LocalOptions};
use tracing::{error, info, warn};

use crate::admin::{self, Sources};
use crate::cni::{Desk, Installation, Known};
use crate::node::{self, Agent, Board, Finder, Gate, Here};
use crate::proxy::{Limits, Shared, Worker};
use crate::settings::{Settings, Task};

/// How often it is seen that the CNI plugin is in its place: others write the network's configuration when they like.
const PLACED: Duration = Duration::from_secs(1);

/// Does what the settings ask for, until it is done or the process is told to stop.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let task = settings.task()?;
    let logging = Logging::install(settings.log_format.into(), &settings.log_level, Box::new(std::io::stdout()))?;
    let host = NetNs::current().context("the network namespace of the node cannot be told")?.cookie();
    let cgroup = settings.cgroup.clone().map_or_else(ebpf::cgroup::of_pods, Ok);
    let cgroup = cgroup
        .context("there is no cgroup (v2) to capture the pods in: mount the hierarchy, or name one by --cgroup")?;
    let capture = ebpf::Settings { cgroup, pins: settings.pins.clone(), host };
    let outcome = match task {
        Task::Uninstall => uninstall(&capture, settings),
        Task::Run { origin, node } => {
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
            let agent = Preparation { settings, node, finder, discovery, capture: &capture, logging: &logging };
            let outcome = runtime.block_on(serve(agent));
            // A blocking look at the configuration directory must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
    };
    logging.flush();
    outcome
}

fn uninstall(capture: &ebpf::Settings, settings: &Settings) -> anyhow::Result<()> {
    let plugin = Installation::new(&settings.cni).map_or(Ok(()), |installation| installation.remove());
    let capture = ebpf::Capture::open(capture)?;
    node::uninstall(capture, &settings.proc).context("the capture cannot be taken out of the kernel")?;
    plugin.context("the CNI plugin cannot be taken out")
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
    let (signals, quit) = signal::Signals::listen()?;
    match raise_open_files() {
        Ok(files) => info!("at most {files} files and sockets can be open; a connection takes one or two"),
        Err(error) => warn!("the limit of open files cannot be raised: {error}; connections beyond it wait"),
    }
    let capabilities = ebpf::probe::probe(&capture.cgroup);
    // A line of the log is one line, and a table is read line by line.
    capabilities.to_string().lines().for_each(|line| info!("{line}"));
    let capture = ebpf::Capture::open(capture)?;
    let (certificates, watched) = credentials::open(&settings.credentials())?;
    let (publisher, snapshots) = publish(Snapshot::new(settings.mesh()));
    let (reports_publisher, reports) = publish(Vec::new());
    let shared = Arc::new(Shared {
        snapshots: snapshots.clone(),
        certificates,
        originals: capture.original_destinations(),
        host_pods: capture.host_pods(),
        limits: limits(settings),
        dns_upstream: settings.dns_upstream,
    });
    let (trigger, drain) = drain::channel();
    let workers = start_workers(settings.worker_count(), &shared, logging, &drain).await?;
    let (ready, board) = (Ready::new(), Board::default());
    let captured = ready.wait_for("the first look at the configuration and at this node's pods");
    let sources = Sources {
        snapshots: snapshots.clone(),
        reports,
        board: board.clone(),
        shared: shared.clone(),
        workers: workers.clone(),
        capabilities: Arc::new(capabilities),
        settings: settings.clone(),
    };
    open_ports(sources, logging, quit, &ready).await?;
    let living = move || Living::of(&snapshots.load());
    tokio::task::spawn_local(series::sweep(workers.clone(), |worker| &worker.meter, living, settings.series_idle));
    let discovery = ambit_discovery::run(discovery, publisher, reports_publisher, stopping(&drain));
    let trust = shared.certificates.trust_store().clone();
    tokio::task::spawn_local(credentials::follow(settings.credentials(), watched, trust));
    let renewing = tokio::task::spawn_local({
        let (shared, stop) = (shared.clone(), stopping(&drain));
        async move { shared.certificates.renew_loop(stop).await }
    });
    let (gate, began) = gate(settings, &ready, stopping(&drain));
    let here = Here { node: node.to_owned(), proc: settings.proc.clone(), finder, gate };
    let agent = Agent::new(here, capture, shared, workers.clone(), board);
    let looked = move || {
        captured.met();
        began();
    };
    let agent = tokio::task::spawn_local(agent.run(stopping(&drain), looked));
    tokio::task::spawn_local(ready.withdraw_when(stopping(&drain)));
    let stopped = tokio::select! {
        // If it ends without an error, the process is stopping, which takes longer.
        Err(error) = discovery => Err(error).context("the configuration cannot be read"),
        drained = signal::drain_when_asked(signals, trigger, settings.drain_deadline) => {
            info!(?drained, "stopped; captured pods are refused until the agent is back");
            Ok(())
        }
    };
    renewing.abort();
    agent.abort();
    stopped
}

/// What holds pods back until they are captured, if the settings want it, and what is to be done once the agent can tell
/// which pods these are: from then on its plugin is kept in its place and answered.
fn gate(
    settings: &Settings,
    ready: &Ready,
    stop: impl Future<Output = ()> + 'static,
) -> (Option<Gate>, Box<dyn FnOnce()>) {
    let Some(installation) = Installation::new(&settings.cni) else { return (None, Box::new(|| {})) };
    let placed = ready.wait_for("the CNI plugin's place in the network configuration");
    let (desk, questions) = Desk::new();
    let socket = settings.cni.cni_socket.clone();
    let began = move || {
        tokio::task::spawn_local(async move {
            if let Err(error) = desk.serve(&socket).await {
                let socket = socket.display();
                error!("the CNI plugin cannot ask at {socket}: {error}; pods of the mesh wait or start uncaptured");
            }
        });
        tokio::task::spawn_local(async move {
            tokio::select! {
                // Another agent may have taken over.
                () = stop => {}
                () = keep_placed(installation, move || placed.met()) => {}
            }
        });
    };
    (Some(Gate::new(questions, Known::at(settings.cni.known()))), Box::new(began))
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

/// Opens the ports for operators, probes and Prometheus.
async fn open_ports(sources: Sources, logging: &Logging, quit: signal::Quit, ready: &Ready) -> anyhow::Result<()> {
    let settings = &sources.settings;
    let admin = Server::bind("the admin interface", settings.admin_address).await?;
    let scrape = Server::bind("metrics", settings.metrics_address).await?;
    let readiness = Server::bind("readiness", settings.readiness_address).await?;
    let page = admin::metrics_page(&sources, logging.access_log());
    tokio::task::spawn_local(admin.serve(admin::routes(sources, logging.levels(), quit)));
    tokio::task::spawn_local(scrape.serve(metrics::routes(page)));
    tokio::task::spawn_local(readiness.serve(ready.routes()));
    Ok(())
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
