//! `cargo xtask bench l7`: requests through a waypoint against the raw path and, where it is given, Envoy with the same
//! routes, alternating in one run.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ambit_tests::manifests::ServiceSpec;
use ambit_tests::topology::Plan;
use ambit_tests::{Binaries, Manifests, Mesh, MeshOptions, Process, Topology, Waypoint, leftovers};
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::field::{CONGESTION_CONTROL, cpu_seconds_of, resident_bytes_of};
use super::outcome::Spread;

const NAME: &str = "ambit-bench-l7";
const DIRECTORY: &str = "/run/ambit-bench-l7";
const SOON: Duration = Duration::from_secs(20);
/// Ports of the servers, and of the service: for HTTP/1.1 and for HTTP/2.
const PORTS: [u16; 2] = [7001, 7002];
/// Where Envoy listens for each.
const ENVOY: [u16; 2] = [10_000, 10_001];
const VIP: &str = "10.96.0.1";

/// How many routes there are, of which the last is taken.
const ROUTES: [usize; 2] = [1, 1000];
const LOADS: [Load; 3] = [
    Load { version: 0, connections: 16, streams: None },
    Load { version: 0, connections: 64, streams: None },
    Load { version: 1, connections: 16, streams: Some(10) },
];

/// What is sent.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Which of the ports.
    version: usize,
    connections: u32,
    /// Requests at once on each connection; none for HTTP/1.1.
    streams: Option<u32>,
}

/// What one case came to.
#[derive(Debug, Serialize)]
struct Outcome {
    case: String,
    raw: Figures,
    waypoint: Figures,
    envoy: Option<Figures>,
    /// Requests a second of the waypoint to those of the raw path.
    ratio: f64,
    /// Processor time of Envoy for a request to that of the waypoint.
    cpu_ratio: Option<f64>,
    rounds: u32,
    seconds: f64,
    congestion_control: &'static str,
}

/// What was measured of one way.
#[derive(Debug, Default, Serialize)]
struct Figures {
    per_second: Spread,
    p50_us: Spread,
    p99_us: Spread,
    /// Processor time of the proxy that knows HTTP, for a request.
    cpu_us: Spread,
    /// What it held before the first request.
    idle_bytes: u64,
}

#[derive(Deserialize)]
struct Report {
    units: u64,
    per_second: f64,
    failed: u64,
    latency: Latency,
}

#[derive(Deserialize)]
struct Latency {
    p50_us: u64,
    p99_us: u64,
}

/// One way to the server: who asks, whom, and who stands between.
struct Way {
    client: &'static str,
    to: [SocketAddr; 2],
    proxy: Option<u32>,
    idle_bytes: u64,
    found: Vec<[f64; 4]>,
}

/// Measures it.
///
/// # Errors
/// When something cannot be laid out or started, or a request fails.
pub(crate) fn run(binaries: &Binaries, envoy: Option<&Path>, rounds: u32, seconds: f64) -> anyhow::Result<()> {
    clean_up();
    let mut field = Field::lay(binaries, envoy)?;
    for routes in ROUTES {
        field.route(routes)?;
        for sent in LOADS {
            let outcome = field.measure((routes, sent), rounds, seconds)?;
            println!("{}", serde_json::to_string(&outcome)?);
            let envoy = outcome.envoy.as_ref().map_or_else(String::new, |envoy| {
                format!(", envoy {:.1}k/s {:.1} us", envoy.per_second.median / 1e3, envoy.cpu_us.median)
            });
            eprintln!(
                "{}: raw {:.1}k/s, waypoint {:.1}k/s {:.1} us a request{envoy}",
                outcome.case,
                outcome.raw.per_second.median / 1e3,
                outcome.waypoint.per_second.median / 1e3,
                outcome.waypoint.cpu_us.median,
            );
        }
    }
    Ok(())
}

/// Removes what an interrupted benchmark leaves.
pub(crate) fn clean_up() {
    leftovers::remove(NAME);
    // It may not be there, which is what is wanted.
    let _ = fs::remove_dir_all(DIRECTORY);
}

/// Everything, dropped in this order.
struct Field {
    envoy: Option<Process>,
    waypoint: Waypoint,
    _mesh: Mesh,
    manifests: Manifests,
    _servers: Vec<Process>,
    topology: Topology,
    ways: [Way; 3],
    has_envoy: bool,
}

impl Field {
    fn lay(binaries: &Binaries, envoy: Option<&Path>) -> anyhow::Result<Self> {
        let directory = Path::new(DIRECTORY);
        fs::create_dir_all(directory)?;
        let pods = [
            ("client", "a"),
            ("outside", "a"),
            ("v1", "b"),
            ("v2", "b"),
            ("waypoint", "b"),
            ("bare", "b"),
            ("envoy", "b"),
        ];
        let plan = Plan::new(&["a", "b"]).lasting(NAME, directory).binaries(binaries.clone());
        let plan = plan.congestion_control(CONGESTION_CONTROL);
        let topology = pods.iter().fold(plan, |plan, (pod, node)| plan.pod(pod, node)).build()?;
        let mut servers = Vec::new();
        for pod in ["v1", "v2", "bare"] {
            let [http1, http2] = [format!("http={}", PORTS[0]), format!("http2={}", PORTS[1])];
            let server = topology.pod(pod)?.testapp(&["serve", &http1, &http2])?;
            server.wait_line("listening", SOON)?;
            servers.push(server);
        }
        let manifests = manifests(&topology)?;
        let mesh = Mesh::start(&topology, manifests.directory(), &MeshOptions::default())?;
        for (pod, node) in [("client", "a"), ("v1", "b"), ("v2", "b")] {
            mesh.agent(node)?.wait_captured("bench", pod, true, SOON)?;
        }
        let pod = topology.pod("waypoint")?;
        // The access log is written, as in production; and what is in force, which only happens between measurements.
        let log = ["--log-level", "info,ambit_discovery=debug"];
        let mut waypoint = Waypoint::new(&topology, manifests.directory(), ("bench", "waypoint"), pod, &log)?;
        waypoint.start()?;
        let at = |address: IpAddr, ports: [u16; 2]| ports.map(|port| SocketAddr::new(address, port));
        let of = |pod: &str| anyhow::Ok(IpAddr::V4(topology.pod(pod)?.v4));
        let way = |client, to, proxy: Option<u32>| {
            let idle_bytes = proxy.map(resident_bytes_of).transpose()?.unwrap_or_default();
            anyhow::Ok(Way { client, to, proxy, idle_bytes, found: Vec::new() })
        };
        let process = match envoy {
            Some(program) => Some(start_envoy(program, &topology, at(of("bare")?, PORTS))?),
            None => None,
        };
        let ways = [
            way("outside", at(of("bare")?, PORTS), None)?,
            way("client", at(VIP.parse()?, PORTS), Some(waypoint.process()?.pid()))?,
            way("outside", at(of("envoy")?, ENVOY), process.as_ref().map(Process::pid))?,
        ];
        let has_envoy = process.is_some();
        Ok(Self { envoy: process, waypoint, _mesh: mesh, manifests, _servers: servers, topology, ways, has_envoy })
    }

    /// Puts so many routes into force: nine in ten requests go to one version and the tenth to the other, unless one of the
    /// routes before matches, which none does.
    fn route(&mut self, routes: usize) -> anyhow::Result<()> {
        let to =
            |subset: &str, weight: u32| json!({"destination": {"host": "web", "subset": subset}, "weight": weight});
        let before = (1..routes).map(|number| {
            let matched = json!([{"uri": {"prefix": format!("/api/v{number}/")}, "headers": {"x-group": {"exact": number.to_string()}}}]);
            json!({"match": matched, "route": [to("v2", 100)]})
        });
        let last = json!({"match": [{"uri": {"prefix": "/"}}], "route": [to("v1", 90), to("v2", 10)]});
        let http: Vec<Value> = before.chain([last]).collect();
        let process = self.waypoint.process()?;
        let mark = process.mark();
        self.manifests.apply(json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "web", "namespace": "bench"},
            "spec": {"hosts": ["web"], "http": http},
        }))?;
        self.waypoint.process()?.wait_line_after(mark, "snapshot published", SOON)?;
        Ok(())
    }

    fn measure(&mut self, (routes, sent): (usize, Load), rounds: u32, seconds: f64) -> anyhow::Result<Outcome> {
        let taken = if self.has_envoy && routes == 1 { 3 } else { 2 };
        for way in self.ways.iter_mut().take(taken) {
            way.found.clear();
            // Once without counting: caches, tunnels and the processor's clock are then as they will be.
            load(&self.topology, way, sent, seconds.min(0.5))?;
        }
        for _ in 0..rounds {
            for way in self.ways.iter_mut().take(taken) {
                let found = load(&self.topology, way, sent, seconds)?;
                way.found.push(found);
            }
        }
        let [raw, waypoint, envoy] = self.ways.each_ref().map(Way::figures);
        let envoy = (taken == 3).then_some(envoy);
        Ok(Outcome {
            case: format!("l7 {sent}, {routes} routes"),
            ratio: waypoint.per_second.median / raw.per_second.median,
            cpu_ratio: envoy.as_ref().map(|envoy| envoy.cpu_us.median / waypoint.cpu_us.median),
            raw,
            waypoint,
            envoy,
            rounds,
            seconds,
            congestion_control: CONGESTION_CONTROL,
        })
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.envoy = None;
    }
}

impl Way {
    fn figures(&self) -> Figures {
        let spread =
            |place: usize| Spread::of(self.found.iter().filter_map(|found| found.get(place).copied()).collect());
        Figures {
            per_second: spread(0),
            p50_us: spread(1),
            p99_us: spread(2),
            cpu_us: spread(3),
            idle_bytes: self.idle_bytes,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.streams {
            Some(streams) => write!(f, "HTTP/2 {} connections x {streams}", self.connections),
            None => write!(f, "HTTP/1.1 {} connections", self.connections),
        }
    }
}

/// Requests a second, the median and the last hundredth of their times, and what the proxy spent on each.
#[allow(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
fn load(topology: &Topology, way: &Way, sent: Load, seconds: f64) -> anyhow::Result<[f64; 4]> {
    let to = way.to.get(sent.version).context("there is no such version")?.to_string();
    let (connections, time) = (sent.connections.to_string(), seconds.to_string());
    let (kind, streams) = match sent.streams {
        Some(streams) => ("streams", vec!["--streams".to_owned(), streams.to_string()]),
        None => ("requests", Vec::new()),
    };
    let spent = || way.proxy.map_or(Ok(0.0), cpu_seconds_of);
    let before = spent()?;
    let mut arguments = vec!["load", kind, "--to", &to, "--connections", &connections, "--seconds", &time];
    arguments.extend(streams.iter().map(String::as_str));
    let client = topology.pod(way.client)?.testapp(&arguments)?;
    let load: Report = client.report(Duration::from_secs_f64(seconds) + SOON)?;
    let cpu = spent()? - before;
    ensure!(load.failed == 0 && load.units > 0, "{} of {} failed", load.failed, load.units);
    let [p50, p99] = [load.latency.p50_us as f64, load.latency.p99_us as f64];
    Ok([load.per_second, p50, p99, cpu * 1e6 / load.units as f64])
}

fn manifests(topology: &Topology) -> anyhow::Result<Manifests> {
    let mut manifests = Manifests::create(&topology.directory().join("config"), topology)?;
    manifests.namespace("bench", true)?;
    let vip: IpAddr = VIP.parse()?;
    for (name, app) in [("client", "client"), ("v1", "web"), ("v2", "web")] {
        manifests.pod("bench", topology.pod(name)?, app)?;
        manifests.label(("Pod", "bench", name), "version", Some(name))?;
    }
    manifests.service("bench", &ServiceSpec { name: "web", vips: &[vip], ports: &PORTS.map(|port| (port, port)) })?;
    manifests.edit("Service", "bench", "web", |service| {
        for (place, protocol) in ["http", "http2"].iter().enumerate() {
            if let Some(name) = service.pointer_mut(&format!("/spec/ports/{place}/name")) {
                *name = json!(protocol);
            }
        }
    })?;
    manifests.label(("Service", "bench", "web"), "istio.io/use-waypoint", Some("waypoint"))?;
    manifests.apply(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": "bench"},
        "spec": {
            "gatewayClassName": "ambit-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    }))?;
    let subsets = ["v1", "v2"].map(|version| json!({"name": version, "labels": {"version": version}}));
    manifests.apply(json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "web", "namespace": "bench"},
        "spec": {"host": "web", "subsets": subsets},
    }))?;
    let own: IpAddr = "10.96.0.9".parse()?;
    Waypoint::declare(&mut manifests, ("bench", "waypoint"), topology.pod("waypoint")?, &[own])?;
    Ok(manifests)
}

/// Envoy with the route that is taken, in clear on both sides.
fn start_envoy(program: &Path, topology: &Topology, servers: [SocketAddr; 2]) -> anyhow::Result<Process> {
    let (listeners, clusters): (Vec<_>, Vec<_>) =
        ENVOY.into_iter().zip(servers).map(|(port, server)| envoy_listener(port, server)).unzip();
    let clusters: Vec<Value> = clusters.into_iter().flatten().collect();
    let config = json!({"static_resources": {"listeners": listeners, "clusters": clusters}});
    let file = topology.directory().join("envoy.json");
    fs::write(&file, config.to_string())?;
    let mut command = Command::new(program);
    command.arg("--config-path").arg(&file).args(["--concurrency", "2", "--base-id", "77", "--log-level", "info"]);
    let process = topology.pod("envoy")?.start(command)?;
    process.wait_line("starting main dispatch loop", SOON).context("Envoy does not start")?;
    Ok(process)
}

/// A listener of Envoy's, and the clusters that it sends to, all being `server`.
fn envoy_listener(port: u16, server: SocketAddr) -> (Value, [Value; 2]) {
    let named = |name: &str| format!("{name}-{port}");
    let cluster = |name: &str| {
        let address = json!({"socket_address": {"address": server.ip().to_string(), "port_value": server.port()}});
        let mut cluster = json!({
            "name": named(name),
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": named(name),
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        });
        if let Some(cluster) = cluster.as_object_mut().filter(|_| port == ENVOY[1]) {
            let options = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            });
            cluster.insert("typed_extension_protocol_options".to_owned(), options);
        }
        cluster
    };
    let weights = [("v1", 90), ("v2", 10)].map(|(name, weight)| json!({"name": named(name), "weight": weight}));
    let group = json!({"prefix": "/api/", "headers": [{"name": "x-group", "string_match": {"exact": "1"}}]});
    let routes = json!([
        {"match": group, "route": {"cluster": named("v2")}},
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": weights}}},
    ]);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": "/dev/null",
            },
        }],
    });
    let listener = json!({
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        }]}],
    });
    (listener, ["v1", "v2"].map(cluster))
}
