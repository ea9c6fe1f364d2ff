//! Every setting of the node agent: by flag, by environment (`ZTUNNEL_<FLAG>`) or by the file that `--settings` names.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_discovery::{Cluster, Origin};
use ambit_model::{Mesh, SameNode, TrustDomain, TrustDomains, Waypoints};
use ambit_process::settings::{LogFormat, seconds};
use ambit_process::source::Source;
use ambit_transport::credentials;
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::cni;

/// The node agent of the Ambit service mesh: captures the connections of this node's enrolled pods and carries them
/// pod to pod as HBONE (mutual TLS with HTTP/2 CONNECT inside).
///
/// Each setting can be given as a flag, as an environment variable or in the file named by --settings (a map of the
/// flags' names); a flag wins over the environment, the environment over the file.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "ztunnel", version)]
pub(crate) struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) source: Source,

    /// This node's name, as spec.nodeName of its pods. Required, but for --uninstall.
    #[arg(long, env = "ZTUNNEL_NODE", value_name = "NAME")]
    pub(crate) node: Option<String>,

    /// The cgroup (v2) above this node's pods: connections of processes below it can be captured. Default: the one that
    /// the kubelet has made for them, or where it has made none, all of them.
    #[arg(long, env = "ZTUNNEL_CGROUP", value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,

    /// Where the node's processes are seen, as /proc has them: by them the pods of a cluster are found. In a container
    /// that is the node's own /proc, mounted somewhere.
    #[arg(long, env = "ZTUNNEL_PROC", value_name = "DIR", default_value = "/proc")]
    pub(crate) proc: PathBuf,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) cni: cni::Settings,

    /// The mesh's CA: key and certificate in one PEM file, made on first start. Not used where
    /// another CA is asked.
    #[arg(long, env = "ZTUNNEL_CA", value_name = "FILE", default_value = "/var/lib/ambit/ca.pem")]
    pub(crate) ca: PathBuf,

    /// A CA that is asked over the network (https://HOST:PORT), in the place of the local one: Ambit's controller, or
    /// whatever else speaks Istio's CreateCertificate. Needs --roots.
    #[arg(long, env = "CA_ADDRESS", value_name = "URL", requires = "roots")]
    pub(crate) ca_address: Option<String>,

    /// The name in the certificate of the CA at --ca-address. Default: the host of its address.
    #[arg(long, env = "ZTUNNEL_CA_NAME", value_name = "NAME")]
    pub(crate) ca_name: Option<String>,

    /// The file with the bearer token for the CA at --ca-address; read for every request.
    #[arg(long, env = "ZTUNNEL_CA_TOKEN", value_name = "FILE", default_value = "/var/run/secrets/tokens/istio-token")]
    pub(crate) ca_token: PathBuf,

    /// A directory on a tmpfs (in Kubernetes an emptyDir of medium Memory) where keys and certificates are kept, so that this
    /// program has them when it is started again while the CA is away. Default: they are kept nowhere.
    #[arg(long, env = "ZTUNNEL_KEEP_CERTIFICATES", value_name = "DIR")]
    pub(crate) keep_certificates: Option<PathBuf>,

    /// PEM file of the roots that peers and the CA at --ca-address are checked against; watched for changes. Default: the
    /// local CA's own.
    #[arg(long, env = "ZTUNNEL_ROOTS", value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,

    /// PEM file of certificate revocation lists; watched for changes, and for its appearance.
    #[arg(long, env = "ZTUNNEL_CRL", value_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,

    /// Directory in the BPF file system that keeps the capture in force while the agent is away.
    #[arg(long, env = "ZTUNNEL_PINS", value_name = "DIR", default_value = "/sys/fs/bpf/ambit")]
    pub(crate) pins: PathBuf,

    /// Take the capture out of the kernel and out of the pods, and end: pods go uncaptured from then on. For a node
    /// whose agent has stopped; --cgroup and --pins say where.
    #[arg(long)]
    pub(crate) uninstall: bool,

    /// Threads that carry connections; each has listeners of its own. Default: a quarter of the CPUs, at least 2.
    #[arg(long, env = "ZTUNNEL_WORKERS", value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,

    /// How enrolled pods of this node reach one another.
    #[arg(long, env = "ZTUNNEL_SAME_NODE", value_enum, default_value_t = SameNodePath::Direct)]
    pub(crate) same_node: SameNodePath,

    /// Whether what has a waypoint can be reached without it.
    #[arg(long, env = "ZTUNNEL_WAYPOINTS", value_enum, default_value_t = WaypointUse::Required)]
    pub(crate) waypoints: WaypointUse,

    /// SPIFFE trust domain of the mesh's identities.
    #[arg(long, env = "ZTUNNEL_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) trust_domain: TrustDomain,

    /// Trust domains that count as the mesh's own.
    #[arg(long, env = "ZTUNNEL_TRUST_DOMAIN_ALIASES", value_name = "DOMAIN", value_delimiter = ',')]
    pub(crate) trust_domain_aliases: Vec<TrustDomain>,

    /// Name of the cluster, as metrics and peers see it.
    #[arg(long, env = "ZTUNNEL_CLUSTER", value_name = "NAME", default_value = "Kubernetes")]
    pub(crate) cluster: String,

    /// DNS suffix of services.
    #[arg(long, env = "ZTUNNEL_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) domain: String,

    /// The namespace whose PeerAuthentications and AuthorizationPolicies are for the whole mesh.
    #[arg(long, env = "ZTUNNEL_ROOT_NAMESPACE", value_name = "NAME", default_value = "istio-system")]
    pub(crate) root_namespace: String,

    /// Server (ADDRESS:PORT, reached from within the pods) that DNS queries of names outside the mesh are forwarded to.
    /// Default: the server that the application asked.
    #[arg(long, env = "ZTUNNEL_DNS_UPSTREAM", value_name = "ADDRESS")]
    pub(crate) dns_upstream: Option<SocketAddr>,

    /// Namespaces that are never enrolled.
    #[arg(
        long,
        env = "ZTUNNEL_EXCLUDED_NAMESPACES",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "kube-system"
    )]
    pub(crate) excluded_namespaces: Vec<String>,

    /// Address of the admin interface (unauthenticated: keep it on localhost).
    #[arg(long, env = "ZTUNNEL_ADMIN_ADDRESS", value_name = "ADDRESS", default_value = "127.0.0.1:15000")]
    pub(crate) admin_address: SocketAddr,

    /// Address of the Prometheus metrics (/metrics and /stats/prometheus).
    #[arg(long, env = "ZTUNNEL_METRICS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15020")]
    pub(crate) metrics_address: SocketAddr,

    /// Address of the readiness probe (/healthz/ready).
    #[arg(long, env = "ZTUNNEL_READINESS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15021")]
    pub(crate) readiness_address: SocketAddr,

    /// Socket that answers the readiness probe as well, for this process alone: the port may be that of another agent, which
    /// this one replaces. Default: none.
    #[arg(long, env = "ZTUNNEL_READINESS_SOCKET", value_name = "PATH")]
    pub(crate) readiness_socket: Option<PathBuf>,

    /// Ask the agent whether it is ready, at its readiness socket, and end: with status 0 if it is.
    #[arg(long, requires = "readiness_socket")]
    pub(crate) is_ready: bool,

    /// Socket at which an agent that is to replace this one, started with the same, finds it: the new one takes over the pods
    /// while this one still serves them, and no connection is refused. The same for all agents with the same pins. Default:
    /// none, nobody replaces it while it runs.
    #[arg(long, env = "ZTUNNEL_HANDOVER_SOCKET", value_name = "PATH")]
    pub(crate) handover_socket: Option<PathBuf>,

    /// Seconds that open connections have to end by themselves when the agent stops.
    #[arg(long, env = "ZTUNNEL_DRAIN_DEADLINE", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) drain_deadline: Duration,

    /// Seconds within which port 15008 of a peer has to answer.
    #[arg(long, env = "ZTUNNEL_CONNECT_TIMEOUT", value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) connect_timeout: Duration,

    /// Seconds for which a connection waits for what is on its way: its pod, its certificate, a peer that is starting.
    #[arg(long, env = "ZTUNNEL_PATIENCE", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) patience: Duration,

    /// Seconds for which a pod that leaves the mesh still serves peers that have not heard of it.
    #[arg(long, env = "ZTUNNEL_LINGER", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) linger: Duration,

    /// Seconds of idleness after which keepalive probes are sent; 0 turns them off.
    #[arg(long, env = "ZTUNNEL_KEEPALIVE_TIME", value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    pub(crate) keepalive_time: Duration,

    /// Seconds between keepalive probes.
    #[arg(long, env = "ZTUNNEL_KEEPALIVE_INTERVAL", value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    pub(crate) keepalive_interval: Duration,

    /// Unanswered keepalive probes after which a connection is given up.
    #[arg(long, env = "ZTUNNEL_KEEPALIVE_RETRIES", value_name = "N", default_value_t = 9)]
    pub(crate) keepalive_retries: u32,

    /// Seconds for which sent data may stay unacknowledged (TCP_USER_TIMEOUT); 0 leaves it to the kernel.
    #[arg(long, env = "ZTUNNEL_USER_TIMEOUT", value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) user_timeout: Duration,

    /// HBONE: bytes that a peer may send on one stream before they are read.
    #[arg(long, env = "ZTUNNEL_STREAM_WINDOW", value_name = "BYTES", default_value_t = 262_144)]
    pub(crate) stream_window: u32,

    /// HBONE: largest frame.
    #[arg(long, env = "ZTUNNEL_FRAME_SIZE", value_name = "BYTES", default_value_t = 1_048_576)]
    pub(crate) frame_size: u32,

    /// HBONE: streams that share one tunnel before another is opened.
    #[arg(long, env = "ZTUNNEL_STREAMS_PER_TUNNEL", value_name = "N", default_value_t = 100)]
    pub(crate) streams_per_tunnel: u32,

    /// HBONE: seconds after which a tunnel without streams is closed.
    #[arg(long, env = "ZTUNNEL_TUNNEL_IDLE", value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub(crate) tunnel_idle: Duration,

    /// HBONE: tell peers, in the header `baggage` of the answer, which workload has answered.
    #[arg(long, env = "ZTUNNEL_RESPONSE_BAGGAGE")]
    pub(crate) response_baggage: bool,

    /// Seconds after which the metrics of pods and services that are gone are forgotten.
    #[arg(long, env = "ZTUNNEL_SERIES_IDLE", value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub(crate) series_idle: Duration,

    /// Seconds for which a workload's certificate is valid; it is renewed at half of it.
    #[arg(long, env = "ZTUNNEL_CERTIFICATE_TTL", value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub(crate) certificate_ttl: Duration,

    /// What to log: a level, or targets with levels such as `info,access=off`.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log_level: String,

    /// How to write log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub(crate) log_format: LogFormat,
}

/// How enrolled pods of one node reach one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum SameNodePath {
    /// Through this agent, which holds both ends; the bytes stay on the node.
    Direct,
    /// By HBONE, as between nodes.
    Tls,
}

/// Whether what has a waypoint can be reached without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum WaypointUse {
    /// No: what its waypoint cannot serve is refused, and so is who comes another way.
    Required,
    /// Yes, as with Istio: a waypoint that cannot serve is gone around, and who comes another way is let in.
    Preferred,
}

/// What the process is to do.
#[derive(Clone, Debug)]
pub(crate) enum Task<'a> {
    /// To run the mesh on a node.
    Run {
        /// Where the mesh's configuration comes from.
        origin: Box<Origin>,
        /// The node's name.
        node: &'a str,
    },
    /// To take the mesh out of the node.
    Uninstall,
    /// To ask the agent at this socket whether it is ready.
    Ask(&'a Path),
}

/// Why the mesh cannot run by these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unclear {
    /// Nobody says which node it is.
    #[error("--node is missing: give it as a flag, as ZTUNNEL_NODE or as `node` in the settings file")]
    Node,
    /// Nobody says where the configuration is, or somebody says it twice.
    #[error(transparent)]
    Origin(#[from] ambit_discovery::Error),
}

/// How a container runtime has called this program as its plugin; none if it has not.
pub(crate) fn called_as_plugin() -> Option<cni::Environment> {
    cni::invoked(std::env::args_os().next().as_ref()).then(|| cni::Environment::read(|name| std::env::var_os(name)))
}

impl Settings {
    /// What the process is to do.
    ///
    /// # Errors
    /// It is to run the mesh and is not told which or where.
    pub(crate) fn task(&self) -> Result<Task<'_>, Unclear> {
        if self.uninstall {
            return Ok(Task::Uninstall);
        }
        if let Some(socket) = self.readiness_socket.as_deref().filter(|_| self.is_ready) {
            return Ok(Task::Ask(socket));
        }
        let Source { config, kube, kubeconfig, kube_cache } = self.source.clone();
        let origin = Box::new(Origin::choose(config, kube.then(|| Cluster::new(kubeconfig, kube_cache)))?);
        let node = self.node.as_deref().ok_or(Unclear::Node)?;
        Ok(Task::Run { origin, node })
    }

    /// What holds for the whole mesh.
    #[must_use]
    pub(crate) fn mesh(&self) -> Mesh {
        Mesh {
            trust_domains: TrustDomains { own: self.trust_domain.clone(), aliases: self.trust_domain_aliases.clone() },
            cluster: self.cluster.as_str().into(),
            domain: self.domain.as_str().into(),
            same_node: match self.same_node {
                SameNodePath::Direct => SameNode::Direct,
                SameNodePath::Tls => SameNode::Tls,
            },
            root_namespace: self.root_namespace.as_str().into(),
            waypoints: match self.waypoints {
                WaypointUse::Required => Waypoints::Required,
                WaypointUse::Preferred => Waypoints::Preferred,
            },
        }
    }

    /// Where certificates come from.
    #[must_use]
    pub(crate) fn credentials(&self) -> credentials::Settings {
        credentials::Settings {
            ca: self.ca.clone(),
            ca_address: self.ca_address.clone(),
            ca_name: self.ca_name.clone(),
            ca_token: self.ca_token.clone(),
            roots: self.roots.clone(),
            crl: self.crl.clone(),
            keep: self.keep_certificates.clone(),
            certificate_ttl: self.certificate_ttl,
            trust_domain: self.trust_domain.clone(),
            cluster: self.cluster.clone(),
        }
    }

    /// The number of worker threads.
    #[must_use]
    pub(crate) fn worker_count(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        self.workers.map_or_else(|| (cpus() / 4).max(2), NonZeroUsize::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Settings {
        Settings::try_parse_from([&["ztunnel"], arguments].concat()).unwrap()
    }

    #[test]
    fn uninstalling_needs_neither_a_configuration_nor_a_node() {
        assert!(matches!(parse(&["--uninstall"]).task(), Ok(Task::Uninstall)));
        let run = parse(&["--config", "/etc/mesh", "--node", "a"]);
        let Ok(Task::Run { origin, node: "a" }) = run.task() else { panic!() };
        assert!(matches!(*origin, Origin::Directory(directory) if directory == Path::new("/etc/mesh")));
        let missing = parse(&["--config", "/etc/mesh"]).task().unwrap_err().to_string();
        assert_eq!(missing, "--node is missing: give it as a flag, as ZTUNNEL_NODE or as `node` in the settings file");
        assert!(parse(&[]).task().unwrap_err().to_string().contains("give --config DIR"));
    }

    #[test]
    fn the_configuration_is_a_directory_or_a_cluster_and_not_both() {
        let run = parse(&["--kube", "--kubeconfig", "/a:/b", "--kube-cache", "/c", "--node", "a"]);
        let Ok(Task::Run { origin, node: "a" }) = run.task() else { panic!() };
        let Origin::Cluster(cluster) = *origin else { panic!() };
        assert_eq!(cluster.kubeconfig, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(cluster.cache, Some(PathBuf::from("/c")));
        let both = parse(&["--kube", "--config", "/etc/mesh", "--node", "a"]).task().unwrap_err();
        assert!(both.to_string().contains("--config and --kube are both given"), "{both}");
    }

    #[test]
    fn waypoints_are_required_unless_they_are_only_preferred() {
        assert_eq!(parse(&[]).mesh().waypoints, Waypoints::Required);
        assert_eq!(parse(&["--waypoints", "preferred"]).mesh().waypoints, Waypoints::Preferred);
    }

    #[test]
    fn the_root_namespace_is_istios_unless_another_is_named() {
        assert_eq!(&*parse(&[]).mesh().root_namespace, "istio-system");
        assert_eq!(&*parse(&["--root-namespace", "mesh"]).mesh().root_namespace, "mesh");
    }
}
