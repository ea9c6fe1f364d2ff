//! What operators see of the waypoint: the configuration in force, clusters, connections, certificates and metrics.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ambit_discovery::{Reports, Standing};
use ambit_model::waypoint;
use ambit_process::Error;
use ambit_process::admin;
use ambit_process::routes::{Routes, json, text};
use ambit_process::signal::Quit;
use ambit_process::workers::Workers;
use ambit_telemetry::{AccessLog, ConnectionSummary, Exposition, Family, Levels, certificates};
use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use serde_json::{Value, json as object};

use crate::proxy::{Proxy, Shared};
use crate::settings::Settings;

/// Where the answers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reports: Reports,
    pub(crate) workers: Arc<Workers<Rc<Proxy>>>,
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
    admin::routes("waypoint", levels, quit)
        .get("/config_dump", "everything the waypoint knows of what it serves", on(config_dump))
        .get("/status", "who this is, and whether what is in force is what the configuration says", on(status))
        .get("/clusters", "where it carries requests: endpoints, limits, ejections", on(|s| clusters(&s.shared)))
        .get("/connections", "the open connections that carry bytes, a list for each worker", connections)
        .get("/certificates", "the certificates held, with their roots", on(|s| object!(s.shared.certificates.list())))
        .get(
            "/listeners",
            "where a gateway listens, for which servers, and what of them is not in effect",
            on(listeners),
        )
        .get(
            "/tokens",
            "the keys by which end users' tokens are verified, and which of them cannot be had",
            on(|s| object!(s.shared.keys.shown())),
        )
        .get("/reports", "what is wrong with the configuration", on(|s| object!(*s.reports.load())))
}

fn status(sources: &Sources) -> Value {
    let settings = &sources.settings;
    object!({
        "program": "waypoint",
        "version": env!("CARGO_PKG_VERSION"),
        "cluster": settings.cluster,
        "domain": settings.domain,
        "mode": settings.mode,
        "namespace": settings.namespace,
        "name": settings.name,
        "source": settings.source.name(),
        "configuration": Standing::of(sources.shared.snapshots.is_synced(), &sources.reports.load()),
    })
}

fn config_dump(sources: &Sources) -> Value {
    let shared = &sources.shared;
    let snapshot = shared.snapshots.load();
    let served = snapshot.services().filter(|service| waypoint::serves(&snapshot, &shared.key, service));
    object!({
        "version": env!("CARGO_PKG_VERSION"),
        "settings": sources.settings,
        "waypoint": snapshot.waypoint(&shared.key),
        "gateways": snapshot.gateways.iter().collect::<Vec<_>>(),
        "listeners": listeners(sources),
        "services": served.collect::<Vec<_>>(),
        "virtualServices": snapshot.routes.virtual_services().collect::<Vec<_>>(),
        "routes": snapshot.routes.service_routes().collect::<Vec<_>>(),
        "destinationRules": snapshot.destinations.rules().collect::<Vec<_>>(),
        "requestAuthentications": snapshot.policies.authentications().collect::<Vec<_>>(),
        "tokens": shared.keys.shown(),
        "authorizationPolicies": snapshot.policies.authorizations().collect::<Vec<_>>(),
        "clusters": clusters(shared),
        "certificates": shared.certificates.list(),
        "reports": *sources.reports.load(),
    })
}

fn listeners(sources: &Sources) -> Value {
    let Some(gateway) = &sources.shared.gateway else { return Value::Array(Vec::new()) };
    let listening = gateway.listening.load();
    let conflicts = listening.conflicts.iter().map(
        |conflict| object!({ "gateway": conflict.gateway, "server": conflict.server, "message": conflict.to_string() }),
    );
    let faults = gateway.credentials.faults().into_iter().map(|(what, why)| object!({ "of": what, "message": why }));
    object!({
        "listeners": listening.listeners,
        "conflicts": conflicts.collect::<Vec<_>>(),
        "credentials": faults.collect::<Vec<_>>(),
    })
}

fn clusters(shared: &Shared) -> Value {
    let all = shared.registry.all();
    let shown = all.iter().map(|known| {
        let [connections, pending, requests, retries] = known.cluster.limits().active();
        object!({
            "name": known.name,
            "endpoints": known.cluster.endpoints(),
            "ejected": known.cluster.ejected(),
            "active": { "connections": connections, "pending": pending, "requests": requests, "retries": retries },
        })
    });
    Value::Array(shown.collect())
}

async fn open_connections(sources: &Sources) -> Result<Vec<Vec<ConnectionSummary>>, Error> {
    let now = Instant::now();
    sources.workers.ask(move |proxy: &Rc<Rc<Proxy>>| proxy.meter.connections(now)).await
}

/// What a scrape answers: made anew each time from what every worker counted.
pub(crate) fn metrics_page(
    sources: &Sources,
    access: AccessLog,
) -> impl Fn() -> LocalBoxFuture<'static, Result<String, Error>> + 'static {
    let mut exposition = Exposition::new("waypoint", env!("CARGO_PKG_VERSION"), access);
    let shared = sources.shared.clone();
    exposition.register(move || {
        #[allow(clippy::cast_precision_loss, reason = "seconds of a certificate's life are far below 2^52")]
        let left = shared.certificates.seconds_left().into_iter().map(|(identity, left)| (identity, left as f64));
        vec![certificates(left)]
    });
    let shared = sources.shared.clone();
    exposition.register(move || families(&shared));
    let exposition = Rc::new(exposition);
    let workers = sources.workers.clone();
    move || {
        let (exposition, workers) = (exposition.clone(), workers.clone());
        Box::pin(async move {
            let values = workers.ask(|proxy: &Rc<Rc<Proxy>>| proxy.meter.values()).await?;
            Ok(exposition.text(values))
        })
    }
}

/// What is limited and passed over, by cluster.
fn families(shared: &Shared) -> Vec<Family> {
    use std::sync::atomic::Ordering::Relaxed;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut endpoints = Family::gauge("ambit_upstream_endpoints", "Endpoints of a destination");
    let mut ejected =
        Family::gauge("ambit_upstream_ejected", "Endpoints of a destination that are passed over as outliers");
    let mut active =
        Family::gauge("ambit_upstream_active", "Connections, and requests, that are open to a destination, by kind");
    let mut overflow = Family::counter(
        "ambit_upstream_overflow",
        "What was refused since as many were open to a destination as its DestinationRule allows, by kind",
    );
    for known in shared.registry.all() {
        let (name, cluster) = (&known.name, &known.cluster);
        endpoints = endpoints.count([("cluster", name)], count(cluster.endpoints()));
        ejected = ejected.count([("cluster", name)], count(cluster.ejected()));
        for (kind, n) in ["connections", "pending", "requests", "retries"].into_iter().zip(cluster.limits().active()) {
            active = active.count([("cluster", &**name), ("kind", kind)], n.into());
        }
        let overflows = cluster.limits().overflows();
        for (kind, n) in [
            ("connections", &overflows.connections),
            ("requests", &overflows.requests),
            ("retries", &overflows.retries),
        ] {
            overflow = overflow.count([("cluster", &**name), ("kind", kind)], n.load(Relaxed));
        }
    }
    let copies = Family::counter(
        "ambit_mirrored_requests",
        "Copies of requests, by where they went and what came back (0 for nothing)",
    );
    let copies = shared.mirrors.counts().into_iter().fold(copies, |family, ((destination, code), n)| {
        family.count([("destination", &*destination), ("response_code", &code.to_string())], n)
    });
    vec![endpoints, ejected, active, overflow, copies]
}
