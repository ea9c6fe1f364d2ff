//! Wires the waypoint together: discovery, its certificate, workers and the ports for operators. The control thread runs
//! here; what carries requests runs on the workers.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_discovery::secrets::Secrets;
use ambit_discovery::{Origin, Snapshots, publish};
use ambit_hbone as hbone;
use ambit_identity::Clock;
use ambit_identity::store::Certificates;
use ambit_model::waypoint::WaypointKey;
use ambit_model::{Snapshot, WorkloadUid};
use ambit_net::netns::NetNs;
use ambit_net::socket::{self, Keepalive, ListenOptions};
use ambit_process::http_server::Server;
use ambit_process::limits::raise_open_files;
use ambit_process::ready::Ready;
use ambit_process::workers::Workers;
use ambit_process::{drain, metrics, series, signal};
use ambit_telemetry::{Living, Logging};
use ambit_transport::credentials::{self, Signer};
use anyhow::Context;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::admin::{self, Sources};
use crate::gateway::{self, Credentials, Gateway, Listening};
use crate::inbound;
use crate::proxy::{Limits, Proxy, Shared};
use crate::record::Mirrors;
use crate::settings::{Mode, Settings};
use crate::tokens::{self, Fetcher, KeyRing, Known};
use crate::upstream::Registry;

/// How often it is looked which endpoints return, and what can be forgotten.
const SWEEP: Duration = Duration::from_millis(250);

/// Runs until the process is told to stop.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let logging = Logging::install(settings.log_format.into(), &settings.log_level, Box::new(std::io::stdout()))?;
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let outcome = runtime.block_on(serve(settings, &logging));
    // A blocking look at the configuration directory must not hold up the end.
    runtime.shutdown_background();
    logging.flush();
    outcome
}

async fn serve(settings: &Settings, logging: &Logging) -> anyhow::Result<()> {
    let origin = settings.origin()?;
    let (signals, quit) = signal::Signals::listen()?;
    if let Err(error) = raise_open_files() {
        warn!("the limit of open files cannot be raised: {error}; connections beyond it wait");
    }
    let sources = settings.credentials();
    let (certificates, watched) = credentials::open(&sources).context("there is no certificate to be had")?;
    let (publisher, mut snapshots) = publish(Snapshot::new(settings.mesh()));
    let (reports_publisher, reports) = publish(Vec::new());
    let discovery =
        ambit_discovery::Settings { mesh: settings.mesh(), ..ambit_discovery::Settings::new(origin.clone()) };
    let (trigger, drain) = drain::channel();
    let (known_publisher, known) = publish(Known::default());
    let (keys, asks) = KeyRing::new(known);
    let here = tokens::Here {
        key: WaypointKey::new(&settings.namespace, &settings.name),
        pod: settings.gateway_pod(),
        refresh: settings.jwks_refresh,
    };
    tokio::task::spawn_local(tokens::follow(snapshots.clone(), here, fetcher(settings)?, (known_publisher, asks)));
    let gateway = settings.gateway_pod().map(|pod| gateway(settings, pod, &origin, &snapshots, &certificates));
    let shared = Arc::new(Shared {
        snapshots: snapshots.clone(),
        certificates,
        identity: settings.identity(),
        key: WaypointKey::new(&settings.namespace, &settings.name),
        gateway,
        registry: Registry::default(),
        keys,
        originators: Arc::default(),
        mirrors: Mirrors::default(),
        limits: limits(settings),
        server: server_header(settings)?,
    });
    let workers = start_workers(settings, &shared, logging, &drain).await?;
    let ready = Ready::new();
    let (configured, certified) =
        (ready.wait_for("the first look at the configuration"), ready.wait_for("the waypoint's certificate"));
    open_ports(
        Sources { shared: shared.clone(), reports, workers: workers.clone(), settings: settings.clone() },
        logging,
        quit,
        &ready,
    )
    .await?;
    match &shared.gateway {
        Some(gateway) => info!(pod = %gateway.pod, identity = %shared.identity, name = %shared.key, "gateway"),
        None => info!(address = %settings.address, identity = %shared.identity, waypoint = %shared.key, "waypoint"),
    }
    if shared.gateway.is_some() {
        let (opened, shown) = (ready.wait_for("what Gateways say"), ready.wait_for("the Secrets of the namespace"));
        let (shared, count) = (shared.clone(), u32::try_from(settings.worker_count().get()).unwrap_or(u32::MAX));
        tokio::task::spawn_local(watch_credentials(shared.clone()));
        tokio::task::spawn_local(async move {
            let Some(gateway) = &shared.gateway else { return };
            gateway.credentials.known_once().await;
            shown.met();
            // It is closed by nobody.
            if gateway.opened.acquire_many(count).await.is_ok() {
                opened.met();
            }
        });
    }
    let trust = shared.certificates.trust_store().clone();
    tokio::task::spawn_local(credentials::follow(sources, watched, trust));
    let renewing = tokio::task::spawn_local(renew(shared.clone(), drain.clone(), move || certified.met()));
    let living = {
        let snapshots = snapshots.clone();
        move || Living::of(&snapshots.load())
    };
    tokio::task::spawn_local(series::sweep(workers, |proxy| &proxy.meter, living, settings.series_idle));
    tokio::task::spawn_local(sweep(shared));
    let stopping = drain.clone();
    tokio::task::spawn_local(ready.withdraw_when(async move { stopping.graceful().await }));
    tokio::task::spawn_local(async move {
        if snapshots.changed().await.is_some() {
            configured.met();
        }
    });
    let stopping = drain.clone();
    let discovery =
        ambit_discovery::run(discovery, publisher, reports_publisher, async move { stopping.graceful().await });
    let stopped = tokio::select! {
        // If it ends without an error, the process is stopping, which takes longer.
        Err(error) = discovery => Err(error).context("the configuration cannot be read"),
        drained = signal::drain_when_asked(signals, trigger, settings.drain_deadline) => {
            info!(?drained, "stopped");
            Ok(())
        }
    };
    renewing.abort();
    stopped
}

fn server_header(settings: &Settings) -> anyhow::Result<Option<HeaderValue>> {
    let name = settings.server_header.as_str();
    let value = (!name.is_empty()).then(|| HeaderValue::from_str(name)).transpose();
    value.with_context(|| format!("--server-header: {name:?} is no value of a header field"))
}

/// What keys of issuers of tokens are fetched by.
fn fetcher(settings: &Settings) -> anyhow::Result<Fetcher> {
    let roots = settings
        .jwks_roots
        .as_ref()
        .map(|file| std::fs::read(file).with_context(|| format!("--jwks-roots: {} cannot be read", file.display())));
    Ok(Fetcher::new(settings.jwks_blocked_cidrs.clone(), roots.transpose()?))
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        handshake: settings.handshake_timeout,
        header: settings.header_timeout,
        patience: settings.patience,
        termination_drain: settings.termination_drain_duration,
        normalization: settings.path_normalization,
        forwarded_for: settings.forwarded_for,
        trusted_proxies: settings.trusted_proxies,
        tunnel: hbone::Config { drain_timeout: None, ..hbone::Config::default() },
        tunnel_idle: Duration::from_secs(300),
    }
}

/// Has the waypoint's certificate made, and keeps it valid.
async fn renew(shared: Arc<Shared>, drain: drain::Drain, certified: impl FnOnce()) {
    let first = async {
        let mut certified = Some(certified);
        loop {
            match shared.certificate().await {
                Ok(()) => break certified.take().into_iter().for_each(|certified| certified()),
                Err(why) => warn!("no certificate yet: {why}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(first, shared.certificates.renew_loop(async move { drain.graceful().await }));
}

async fn start_workers(
    settings: &Settings,
    shared: &Arc<Shared>,
    logging: &Logging,
    drain: &drain::Drain,
) -> anyhow::Result<Arc<Workers<Rc<Proxy>>>> {
    let count = settings.worker_count();
    let listeners = match settings.mode {
        Mode::Waypoint => (0..count.get()).map(|_| listen(settings.address)).collect::<Result<_, _>>()?,
        // Each of its workers listens for itself, wherever Gateways say.
        Mode::Gateway => Vec::new(),
    };
    let listeners = Arc::new(std::sync::Mutex::new(listeners));
    let (shared, access, drain) = (shared.clone(), logging.access_log(), drain.clone());
    let setup = move |_| {
        let proxy = Proxy::new(shared.clone(), access.clone(), &drain);
        let listener = listeners.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let listener = listener.map(TcpListener::from_std).transpose();
        std::future::ready(listener.map(|listener| {
            match listener {
                Some(listener) => tokio::task::spawn_local(inbound::accept(proxy.clone(), listener)),
                None => tokio::task::spawn_local(gateway::listen(proxy.clone())),
            };
            proxy
        }))
    };
    Ok(Arc::new(Workers::start(count, setup).await?))
}

/// A listener for agents.
fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let here = NetNs::current().context("the network namespace cannot be told")?;
    let options =
        ListenOptions { dual_stack: true, mark: 0, keepalive: Some(Keepalive::default()), ..ListenOptions::default() };
    socket::listen(&here, address, &options).with_context(|| format!("agents cannot reach it at {address}"))
}

/// What makes this a gateway, whose pod is `pod`; and what keeps that up to date.
fn gateway(
    settings: &Settings,
    pod: WorkloadUid,
    origin: &Origin,
    snapshots: &Snapshots,
    certificates: &Certificates<Signer>,
) -> Gateway {
    let (publisher, listening) = publish(Listening::default());
    tokio::task::spawn_local(gateway::follow(snapshots.clone(), pod.clone(), publisher));
    let (publisher, secrets) = publish(Secrets::default());
    tokio::task::spawn_local(ambit_discovery::secrets::follow(origin.clone(), settings.namespace.clone(), publisher));
    let (own, certificates, snapshots) = (settings.identity(), certificates.clone(), snapshots.clone());
    let of_mesh = move |names: &[_]| certificates.terminator(&own, names, &snapshots.load().mesh.trust_domains);
    let credentials = Credentials::new(secrets, &settings.namespace, of_mesh, Clock::system());
    Gateway { pod, listening, opened: Semaphore::new(0), credentials }
}

/// Looks at what a gateway shows TLS clients before one comes.
async fn watch_credentials(shared: Arc<Shared>) {
    if let Some(gateway) = &shared.gateway {
        gateway.credentials.follow(|| gateway.listening.load().tls()).await;
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

/// Brings back endpoints whose time is over, and forgets what is gone.
async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        shared.registry.sweep(&shared.snapshots.load(), Instant::now());
    }
}
