//! Wires the controller together: discovery, the CA, the port at which it is asked, and the ports for operators. All of it
//! runs on one thread; a signature takes less than a millisecond.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_ca::{Desk, Intake, Tokens, server};
use ambit_discovery::{Origin, Snapshots, publish};
use ambit_identity::{Clock, channel};
use ambit_model::{Snapshot, TrustDomain};
use ambit_process::drain::Drain;
use ambit_process::files::Files;
use ambit_process::http_server::Server;
use ambit_process::ready::Ready;
use ambit_process::{drain, metrics, signal};
use ambit_telemetry::{Exposition, Family, Logging};
use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admission::{self, Tally, configuration};
use crate::authority::secrets::Secrets;
use crate::authority::{self, Place, Serving};
use crate::callers::Callers;
use crate::captures::Captures;
use crate::cluster::Cluster;
use crate::events::Events;
use crate::injection;
use crate::lease;
use crate::listener;
use crate::review::Reviewer;
use crate::roots;
use crate::settings::Settings;
use crate::uninstall;
use crate::verdicts;
use crate::waypoints;

/// Clients at once; more wait in the kernel's queue.
const CLIENTS: usize = 4096;

/// Runs until the process is told to stop.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let logging = Logging::install(settings.log_format.into(), &settings.log_level, Box::new(std::io::stdout()))?;
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let outcome = match &settings.uninstall_nodes {
        Some(manifest) => runtime.block_on(uninstall_nodes(settings, manifest)),
        None => runtime.block_on(serve(settings, &logging)),
    };
    runtime.shutdown_background();
    logging.flush();
    outcome
}

/// Takes the mesh out of the nodes of the cluster.
async fn uninstall_nodes(settings: &Settings, manifest: &Path) -> anyhow::Result<()> {
    let Origin::Cluster(api) = settings.origin()? else { bail!("--uninstall-nodes needs a cluster: give --kube") };
    let client = ambit_discovery::client(&api).await?;
    let cluster = Cluster { client, namespace: settings.namespace.clone() };
    uninstall::run(&cluster, &settings.agents, manifest).await
}

async fn serve(settings: &Settings, logging: &Logging) -> anyhow::Result<()> {
    let origin = settings.origin()?;
    // Before anything is made.
    settings.token_file()?;
    let (signals, _quit) = signal::Signals::listen()?;
    let (trigger, drain) = drain::channel();
    let (publisher, mut snapshots) = publish(Snapshot::new(settings.mesh()));
    let (reports_publisher, reports) = publish(Vec::new());
    let tls = channel::Server::new(&Clock::system())?;
    let cluster = match &origin {
        Origin::Cluster(api) => {
            let client = ambit_discovery::client(api).await?;
            Some(Cluster { client, namespace: settings.namespace.clone() })
        }
        Origin::Directory(_) => None,
    };
    let mut kept = match (&cluster, &settings.ca_dir) {
        (Some(cluster), None) => authority::Origin::Secrets(Box::new(Secrets::new(cluster))),
        (_, directory) => authority::Origin::directory(directory.as_deref()),
    };
    let signing = kept.open(&settings.trust_domain).await?;
    let serving =
        Serving { names: settings.names(), ttl: settings.certificate_ttl, trust_domain: settings.trust_domain.clone() };
    authority::certify(&tls, &serving, &signing)?;
    let (roots, published) = watch::channel(authority::roots(&signing));
    // Whatever changes from here on is seen.
    let watched = Files::new(settings.tokens.as_deref());
    let callers = callers(settings, cluster.as_ref(), &snapshots)?;
    let current = snapshots.clone();
    let longest = settings.certificate_ttl;
    let replica = settings.replica();
    let events = cluster.as_ref().map(|cluster| Arc::new(Events::new(cluster.client.clone(), replica.clone())));
    let desk = Desk::new(signing, callers, move || current.load(), longest, Clock::system());
    let desk = Arc::new(match cluster.clone().zip(events.clone()) {
        Some((cluster, events)) => desk.with_intake(intake(Captures::new(cluster, events, snapshots.clone()))),
        None => desk,
    });

    let ready = Ready::new();
    let configured = ready.wait_for("the first look at the configuration");
    let listener = TcpListener::bind(settings.address).await;
    let listener = listener.with_context(|| format!("certificates cannot be asked for at {}", settings.address))?;
    let address = listener.local_addr()?;
    let names = serving.names.clone();
    let tally = Arc::new(Tally::default());
    open_ports(settings, logging, Counted { desk: &desk, tally: &tally, events: events.as_ref() }, &ready).await?;
    let place = Place { serving, server: tls.clone(), desk: desk.clone(), roots };
    tokio::task::spawn_local(authority::follow(kept, place));
    if let Some(path) = settings.tokens.clone() {
        tokio::task::spawn_local(follow_tokens(path, settings.trust_domain.clone(), watched, desk.clone()));
    }
    if let Some((cluster, events)) = cluster.as_ref().zip(events) {
        let lead = lease::hold(cluster, replica, drain.clone());
        tokio::task::spawn_local(injection::explain(cluster.clone(), lead.clone(), events, snapshots.clone()));
        tokio::task::spawn_local(roots::publish(cluster.clone(), lead.clone(), published.clone()));
        admission::serve(settings.webhook_address, &tls, settings.mesh(), tally, drain.clone()).await?;
        if let Some(terms) = settings.webhook() {
            tokio::task::spawn_local(configuration::keep(cluster.clone(), lead.clone(), published, terms));
        }
        tokio::task::spawn_local(waypoints::run(cluster.clone(), lead.clone(), settings.waypoints()));
        let mesh = verdicts::Mesh { snapshots: snapshots.clone(), reports };
        tokio::task::spawn_local(verdicts::run(cluster.clone(), lead, mesh));
    }
    let accepting = listener::accept(listener, tls, CLIENTS, drain.clone(), move |stream, drain: Drain| {
        let desk = desk.clone();
        async move { server::serve(desk, stream, drain.graceful()).await }
    });
    tokio::task::spawn_local(async move {
        // Whatever comes first is the whole directory; before it nobody would be known to run anywhere.
        if snapshots.changed().await.is_some() {
            configured.met();
            info!(%address, ?names, "certificates are signed here");
            accepting.await;
        }
    });
    let discovery = ambit_discovery::Settings::new(origin);
    let discovery = ambit_discovery::Settings { mesh: settings.mesh(), ..discovery };
    let stopping = drain.clone();
    let discovery =
        ambit_discovery::run(discovery, publisher, reports_publisher, async move { stopping.graceful().await });
    tokio::select! {
        // If it ends without an error, the process is stopping, which takes longer.
        Err(error) = discovery => Err(error).context("the configuration cannot be read"),
        drained = signal::drain_when_asked(signals, trigger, settings.drain_deadline) => {
            info!(?drained, "stopped");
            Ok(())
        }
    }
}

/// Who may ask for certificates: whom the file of tokens names or, where there is none, who has a service account token.
fn callers(settings: &Settings, cluster: Option<&Cluster>, snapshots: &Snapshots) -> anyhow::Result<Callers> {
    let Some(path) = settings.token_file()? else {
        let cluster = cluster.context("there is no Kubernetes API that could say whose tokens are")?;
        let reviewer = Reviewer::new(cluster.client.clone(), settings.terms(), snapshots.clone());
        return Ok(Callers::Accounts(Box::new(reviewer)));
    };
    Ok(Callers::Named(Tokens::open(path, &settings.trust_domain)?))
}

/// Takes what agents report for `captures` to write.
fn intake(captures: Captures) -> Intake {
    let captures = Arc::new(captures);
    Box::new(move |node, reports| {
        let captures = captures.clone();
        Box::pin(async move { captures.take(&node, reports).await })
    })
}

/// Keeps whose tokens are whose what the file at `path` says.
async fn follow_tokens(path: PathBuf, trust_domain: TrustDomain, mut files: Files, desk: Arc<Desk<Callers>>) {
    loop {
        files.changed().await;
        match Tokens::open(&path, &trust_domain) {
            Ok(tokens) => {
                info!(?tokens, "tokens read anew");
                desk.replace_authenticator(Callers::Named(tokens));
            }
            Err(cause) => warn!("the tokens stay as they are: {cause}"),
        }
    }
}

/// Who counts what Prometheus is told.
struct Counted<'a> {
    desk: &'a Arc<Desk<Callers>>,
    tally: &'a Arc<Tally>,
    events: Option<&'a Arc<Events>>,
}

/// Opens the ports for probes and Prometheus.
async fn open_ports(settings: &Settings, logging: &Logging, counted: Counted<'_>, ready: &Ready) -> anyhow::Result<()> {
    let scrape = Server::bind("metrics", settings.metrics_address).await?;
    let readiness = Server::bind("readiness", settings.readiness_address).await?;
    let mut exposition = Exposition::new("controller", env!("CARGO_PKG_VERSION"), logging.access_log());
    let (desk, tally) = (counted.desk.clone(), counted.tally.clone());
    exposition.register(move || families(&desk));
    exposition.register(move || tally.families());
    if let Some(events) = counted.events.cloned() {
        exposition.register(move || events.families());
    }
    let exposition = std::rc::Rc::new(exposition);
    let page = move || {
        let exposition = exposition.clone();
        async move { Ok(exposition.text([])) }
    };
    tokio::task::spawn_local(scrape.serve(metrics::routes(page)));
    tokio::task::spawn_local(readiness.serve(ready.routes()));
    Ok(())
}

fn families(desk: &Desk<Callers>) -> Vec<Family> {
    let tally = desk.tally();
    let signed = Family::counter("ambit_ca_certificates_signed", "Certificates signed for workloads");
    let refused =
        Family::counter("ambit_ca_requests_refused", "Requests for a certificate that were refused, by reason");
    let refused = tally.refused.iter().fold(refused, |family, (reason, n)| family.count([("reason", *reason)], *n));
    let left =
        Family::gauge("ambit_ca_seconds_left", "Seconds until the CA's own certificate, or one above it, expires");
    #[allow(clippy::cast_precision_loss, reason = "seconds of a certificate's life are far below 2^52")]
    let left = left.level([], desk.authority_left().as_secs() as f64);
    let reported = Family::counter("ambit_pod_reports", "Pods of which agents' reports were taken");
    let unreported = Family::counter("ambit_pod_reports_refused", "Reports of agents that were refused, by reason");
    let unreported =
        tally.reports_refused.iter().fold(unreported, |family, (reason, n)| family.count([("reason", *reason)], *n));
    vec![signed.count([], tally.signed), refused, left, reported.count([], tally.reported), unreported]
}
