//! What operators see of the agent: the configuration in force, connections, certificates, pods and metrics.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ambit_discovery::{Reports, Snapshots, Standing};
use ambit_ebpf_loader::probe::Capabilities;
use ambit_model::Snapshot;
use ambit_model::waypoint::{self, Bound};
use ambit_process::Error;
use ambit_process::admin;
use ambit_process::routes::{Routes, json, text};
use ambit_process::signal::Quit;
use ambit_process::workers::Workers;
use ambit_telemetry::{AccessLog, ConnectionSummary, Exposition, Family, Levels, certificates};
use http::StatusCode;
use serde_json::{Map, Value, json as object};

use crate::node::{Board, Status};
use crate::proxy::{Shared, Worker};
use crate::settings::Settings;

/// Where the answers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) snapshots: Snapshots,
    pub(crate) reports: Reports,
    pub(crate) board: Board,
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Arc<Workers<Worker>>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) settings: Settings,
}

/// The admin interface.
pub(crate) fn routes(sources: Sources, levels: Levels, quit: Quit) -> Routes {
    let sources = Rc::new(sources);
    let on = |answer: fn(&Sources) -> Value| {
        let sources = sources.clone();
        move |_| std::future::ready(json(&answer(&sources)))
    };
    let connections = {
        let sources = sources.clone();
        move |_| {
            let sources = sources.clone();
            async move {
                match open_connections(&sources).await {
                    Ok(open) => json(&open),
                    Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
                }
            }
        }
    };
    admin::routes("ztunnel", levels, quit)
        .get("/config_dump", "everything the agent knows of the mesh, of its pods and of itself", on(config_dump))
        .get("/status", "who this is, and whether what is in force is what the configuration says", on(status))
        .get("/connections", "the open connections, a list for each worker", connections)
        .get("/certificates", "the certificates held, with their roots", on(|s| object!(s.shared.certificates.list())))
        .get("/reports", "what is wrong with the configuration", on(|s| object!(*s.reports.load())))
        .get("/pods", "this node's pods: captured, or not and why", on(|s| object!(*s.board.read())))
}

fn status(sources: &Sources) -> Value {
    let settings = &sources.settings;
    object!({
        "program": "ztunnel",
        "version": env!("CARGO_PKG_VERSION"),
        "cluster": settings.cluster,
        "domain": settings.domain,
        "node": settings.node,
        "source": settings.source.name(),
        "configuration": Standing::of(sources.snapshots.is_synced(), &sources.reports.load()),
    })
}

fn config_dump(sources: &Sources) -> Value {
    let snapshot = sources.snapshots.load();
    let mesh = &snapshot.mesh;
    let trust_domains = std::iter::once(&mesh.trust_domains.own).chain(&mesh.trust_domains.aliases);
    object!({
        "version": env!("CARGO_PKG_VERSION"),
        "settings": sources.settings,
        "mesh": {
            "trustDomains": trust_domains.map(ToString::to_string).collect::<Vec<_>>(),
            "cluster": mesh.cluster,
            "domain": mesh.domain,
            "sameNode": mesh.same_node,
            "waypoints": mesh.waypoints,
        },
        "workloads": snapshot.workloads().collect::<Vec<_>>(),
        "services": snapshot.services().collect::<Vec<_>>(),
        "waypoints": snapshot.waypoints().collect::<Vec<_>>(),
        "bound": bindings(&snapshot),
        "peerAuthentications": snapshot.policies.peers().collect::<Vec<_>>(),
        "authorizationPolicies": snapshot.policies.authorizations().collect::<Vec<_>>(),
        "nodes": snapshot.nodes().collect::<Vec<_>>(),
        "pods": *sources.board.read(),
        "certificates": sources.shared.certificates.list(),
        "reports": *sources.reports.load(),
        "capabilities": *sources.capabilities,
    })
}

/// By which waypoint each service and each workload is reached, as it is decided; those that are reached by none are left
/// out.
fn bindings(snapshot: &Snapshot) -> Value {
    let said = |bound: Bound<'_>| match bound {
        Bound::None => None,
        Bound::Waypoint(waypoint) => Some(object!({"waypoint": waypoint.key})),
        Bound::Unavailable(why) => Some(object!({"unavailable": why})),
    };
    let services = snapshot.services().filter_map(|service| {
        let bound = said(waypoint::of_service(snapshot, service))?;
        Some((service.key.to_string(), bound))
    });
    let workloads = snapshot.workloads().filter_map(|workload| {
        let bound = said(waypoint::of_workload(snapshot, workload))?;
        Some((workload.uid.to_string(), bound))
    });
    object!({"services": services.collect::<Map<_, _>>(), "workloads": workloads.collect::<Map<_, _>>()})
}

async fn open_connections(sources: &Sources) -> Result<Vec<Vec<ConnectionSummary>>, Error> {
    let now = Instant::now();
    sources.workers.ask(move |worker: &Rc<Worker>| worker.meter.connections(now)).await
}

/// What a scrape answers: made anew each time from what every worker counted.
pub(crate) fn metrics_page(
    sources: &Sources,
    access: AccessLog,
) -> impl Fn() -> futures_util::future::LocalBoxFuture<'static, Result<String, Error>> + 'static {
    let mut exposition = Exposition::new("ztunnel", env!("CARGO_PKG_VERSION"), access);
    let shared = sources.shared.clone();
    exposition.register(move || {
        #[allow(clippy::cast_precision_loss, reason = "seconds of a certificate's life are far below 2^52")]
        let left = shared.certificates.seconds_left().into_iter().map(|(identity, left)| (identity, left as f64));
        vec![certificates(left)]
    });
    let board = sources.board.clone();
    exposition.register(move || pod_families(&board.read()));
    let exposition = Rc::new(exposition);
    let workers = sources.workers.clone();
    move || {
        let (exposition, workers) = (exposition.clone(), workers.clone());
        Box::pin(async move {
            let values = workers.ask(|worker: &Rc<Worker>| worker.meter.values()).await?;
            Ok(exposition.text(values))
        })
    }
}

fn pod_families(status: &Status) -> Vec<Family> {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let captured = Family::gauge("ambit_captured_pods", "Pods of this node whose connections are captured");
    let uncaptured = Family::gauge("ambit_uncaptured_pods", "Pods of this node that should be captured and cannot be");
    let pre_mesh = Family::gauge("ambit_pre_mesh_connections", "Connections left alone, open since before the capture");
    let pre_mesh_open = status.captured.values().map(|captured| captured.pre_mesh.len()).sum();
    let kernel = Family::counter("ambit_capture", "What the capture programs counted in the kernel, by event");
    let kernel = status.counters.iter().fold(kernel, |family, (event, n)| family.count([("event", *event)], *n));
    vec![
        captured.count([], count(status.captured.len())),
        uncaptured.count([], count(status.uncaptured.len())),
        pre_mesh.count([], count(pre_mesh_open)),
        kernel,
    ]
}
