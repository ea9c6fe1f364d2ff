//! Every setting of a waypoint: by flag, by environment (`WAYPOINT_<FLAG>`) or by the file that `--settings` names.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ambit_discovery::{Cluster, Origin};
use ambit_model::route::Normalization;
use ambit_model::{Cidr, Identity, Mesh, TrustDomain, TrustDomains, WorkloadUid};
use ambit_process::settings::{LogFormat, seconds};
use ambit_process::source::Source;
use ambit_transport::credentials;
use clap::Parser;
use serde::Serialize;

use crate::http::ForwardedFor;

/// A waypoint of the Ambit service mesh: the proxy of a namespace's services that knows HTTP. Agents carry to it what is
/// addressed to services that a label binds to it (istio.io/use-waypoint), and it carries that on to their pods as
/// VirtualServices, DestinationRules and AuthorizationPolicies say. Or, with --mode gateway, what lets in from outside what
/// Gateways and the VirtualServices bound to them say.
///
/// Each setting can be given as a flag, as an environment variable or in the file named by --settings (a map of the
/// flags' names); a flag wins over the environment, the environment over the file.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "waypoint", version)]
pub(crate) struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) source: Source,

    /// What it is: a waypoint of a namespace, which agents carry connections to, or a gateway, which takes them from outside as
    /// Istio's Gateways say whose selector selects its pod.
    #[arg(long, env = "WAYPOINT_MODE", value_enum, default_value = "waypoint")]
    pub(crate) mode: Mode,

    /// The name of a gateway's own pod.
    #[arg(long, env = "WAYPOINT_POD", value_name = "NAME", required_if_eq("mode", "gateway"))]
    pub(crate) pod: Option<String>,

    /// How many proxies, one before the other, stand in front of a gateway and are believed to say in x-forwarded-for where a
    /// request comes from, as Istio's numTrustedProxies.
    #[arg(long, env = "WAYPOINT_TRUSTED_PROXIES", value_name = "N", default_value = "0")]
    pub(crate) trusted_proxies: u32,

    /// The namespace of the waypoint's Gateway, or of the gateway's pod, where its Secrets are.
    #[arg(long, env = "WAYPOINT_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: String,

    /// The name of the waypoint's Gateway, or of the gateway.
    #[arg(long, env = "WAYPOINT_NAME", value_name = "NAME", default_value = "waypoint")]
    pub(crate) name: String,

    /// The service account that it runs as. Default: its name.
    #[arg(long, env = "WAYPOINT_SERVICE_ACCOUNT", value_name = "NAME")]
    pub(crate) service_account: Option<String>,

    /// Address at which agents reach a waypoint by HBONE.
    #[arg(long, env = "WAYPOINT_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15008")]
    pub(crate) address: SocketAddr,

    /// Threads that carry requests. Default: a quarter of the CPUs, at least 2.
    #[arg(long, env = "WAYPOINT_WORKERS", value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,

    /// The value of the field `server` in responses; empty leaves what the endpoint says.
    #[arg(long, env = "WAYPOINT_SERVER_HEADER", value_name = "NAME", default_value = "istio-envoy")]
    pub(crate) server_header: String,

    /// The mesh's CA: key and certificate in one PEM file, made on first start. Not used where another CA is asked.
    #[arg(long, env = "WAYPOINT_CA", value_name = "FILE", default_value = "/var/lib/ambit/ca.pem")]
    pub(crate) ca: PathBuf,

    /// A CA that is asked over the network (https://HOST:PORT), in the place of the local one. Needs --roots.
    #[arg(long, env = "CA_ADDRESS", value_name = "URL", requires = "roots")]
    pub(crate) ca_address: Option<String>,

    /// The name in the certificate of the CA at --ca-address. Default: the host of its address.
    #[arg(long, env = "WAYPOINT_CA_NAME", value_name = "NAME")]
    pub(crate) ca_name: Option<String>,

    /// The file with the bearer token for the CA at --ca-address; read for every request.
    #[arg(long, env = "WAYPOINT_CA_TOKEN", value_name = "FILE", default_value = "/var/run/secrets/tokens/istio-token")]
    pub(crate) ca_token: PathBuf,

    /// A directory on a tmpfs (in Kubernetes an emptyDir of medium Memory) where keys and certificates are kept, so that this
    /// program has them when it is started again while the CA is away. Default: they are kept nowhere.
    #[arg(long, env = "WAYPOINT_KEEP_CERTIFICATES", value_name = "DIR")]
    pub(crate) keep_certificates: Option<PathBuf>,

    /// PEM file of the roots that peers and the CA at --ca-address are checked against; watched for changes. Default: the
    /// local CA's own.
    #[arg(long, env = "WAYPOINT_ROOTS", value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,

    /// PEM file of certificate revocation lists; watched for changes, and for its appearance.
    #[arg(long, env = "WAYPOINT_CRL", value_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,

    /// Seconds for which certificates are asked to be valid.
    #[arg(long, env = "WAYPOINT_CERTIFICATE_TTL", value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub(crate) certificate_ttl: Duration,

    /// SPIFFE trust domain of the mesh's identities.
    #[arg(long, env = "WAYPOINT_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) trust_domain: TrustDomain,

    /// Trust domains that count as the mesh's own.
    #[arg(long, env = "WAYPOINT_TRUST_DOMAIN_ALIASES", value_name = "DOMAIN", value_delimiter = ',')]
    pub(crate) trust_domain_aliases: Vec<TrustDomain>,

    /// Name of the cluster, as metrics and peers see it.
    #[arg(long, env = "WAYPOINT_CLUSTER", value_name = "NAME", default_value = "Kubernetes")]
    pub(crate) cluster: String,

    /// DNS suffix of services.
    #[arg(long, env = "WAYPOINT_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) domain: String,

    /// The namespace whose policies are for the whole mesh.
    #[arg(long, env = "WAYPOINT_ROOT_NAMESPACE", value_name = "NAME", default_value = "istio-system")]
    pub(crate) root_namespace: String,

    /// Address of the admin interface (unauthenticated: keep it on localhost).
    #[arg(long, env = "WAYPOINT_ADMIN_ADDRESS", value_name = "ADDRESS", default_value = "127.0.0.1:15000")]
    pub(crate) admin_address: SocketAddr,

    /// Address of the Prometheus metrics (/metrics and /stats/prometheus).
    #[arg(long, env = "WAYPOINT_METRICS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15020")]
    pub(crate) metrics_address: SocketAddr,

    /// Address of the readiness probe (/healthz/ready).
    #[arg(long, env = "WAYPOINT_READINESS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15021")]
    pub(crate) readiness_address: SocketAddr,

    /// Seconds that open requests and connections have to end by themselves when the waypoint stops.
    #[arg(long, env = "WAYPOINT_DRAIN_DEADLINE", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) drain_deadline: Duration,

    /// Seconds for which connections on which no request is open are kept for one more once the waypoint stops, as Istio's
    /// terminationDrainDuration: by HTTP/1.1 the response then says that it is the last.
    #[arg(
        long,
        env = "WAYPOINT_TERMINATION_DRAIN_DURATION",
        value_name = "SECONDS",
        default_value = "5",
        value_parser = seconds
    )]
    pub(crate) termination_drain_duration: Duration,

    /// What is done to the paths of requests before routes, policies and applications see them, as Istio's
    /// pathNormalization: NONE, BASE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES.
    #[arg(long, env = "WAYPOINT_PATH_NORMALIZATION", value_name = "NAME", default_value = "BASE")]
    #[serde(serialize_with = "named")]
    pub(crate) path_normalization: Normalization,

    /// What becomes of the field x-forwarded-for of requests: the client's address is appended to it, replaces it, or it is
    /// kept as it is.
    #[arg(long = "x-forwarded-for", env = "WAYPOINT_X_FORWARDED_FOR", value_enum, default_value = "append")]
    pub(crate) forwarded_for: ForwardedFor,

    /// Ranges of addresses from which no keys of issuers of tokens are fetched (RequestAuthentication, jwksUri), whoever writes
    /// their names. Default: loopback, link-local ones and those of clouds' metadata.
    #[arg(
        long,
        env = "WAYPOINT_JWKS_BLOCKED_CIDRS",
        value_name = "CIDR",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1/128,0.0.0.0/8,::/128,169.254.0.0/16,fe80::/10,100.100.100.200/32,\
                         168.63.129.16/32,192.0.0.192/32,fd00:ec2::254/128,fd20:ce::254/128"
    )]
    pub(crate) jwks_blocked_cidrs: Vec<Cidr>,

    /// Seconds after which keys of issuers of tokens are fetched again.
    #[arg(long, env = "WAYPOINT_JWKS_REFRESH", value_name = "SECONDS", default_value = "1200", value_parser = seconds)]
    pub(crate) jwks_refresh: Duration,

    /// PEM file of the authorities that servers with such keys are checked against. Default: those of this system.
    #[arg(long, env = "WAYPOINT_JWKS_ROOTS", value_name = "FILE")]
    pub(crate) jwks_roots: Option<PathBuf>,

    /// Seconds for which a client is held whose pod the waypoint may not know yet, where policies ask for its labels.
    #[arg(long, env = "WAYPOINT_PATIENCE", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) patience: Duration,

    /// Seconds that a client may take for the head of a request, once it has begun.
    #[arg(long, env = "WAYPOINT_HEADER_TIMEOUT", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) header_timeout: Duration,

    /// Seconds within which an agent's handshake has to be made.
    #[arg(long, env = "WAYPOINT_HANDSHAKE_TIMEOUT", value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) handshake_timeout: Duration,

    /// Seconds after which the metrics of pods that are gone are forgotten.
    #[arg(long, env = "WAYPOINT_SERIES_IDLE", value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub(crate) series_idle: Duration,

    /// What to log: a level, or targets with levels. `access=off` silences the access log.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log_level: String,

    /// How to write log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub(crate) log_format: LogFormat,
}

/// What the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// A waypoint.
    Waypoint,
    /// A gateway.
    Gateway,
}

impl Settings {
    /// Where the mesh's configuration comes from.
    ///
    /// # Errors
    /// Nobody says where, or somebody says it twice.
    pub(crate) fn origin(&self) -> Result<Origin, ambit_discovery::Error> {
        let Source { config, kube, kubeconfig, kube_cache } = self.source.clone();
        Origin::choose(config, kube.then(|| Cluster::new(kubeconfig, kube_cache)))
    }

    /// What holds for the whole mesh.
    #[must_use]
    pub(crate) fn mesh(&self) -> Mesh {
        Mesh {
            trust_domains: TrustDomains { own: self.trust_domain.clone(), aliases: self.trust_domain_aliases.clone() },
            cluster: self.cluster.as_str().into(),
            domain: self.domain.as_str().into(),
            root_namespace: self.root_namespace.as_str().into(),
            ..Mesh::default()
        }
    }

    /// The pod that a gateway is; none of a waypoint.
    #[must_use]
    pub(crate) fn gateway_pod(&self) -> Option<WorkloadUid> {
        let pod = self.pod.as_deref().filter(|_| self.mode == Mode::Gateway)?;
        Some(WorkloadUid::pod(&self.cluster, &self.namespace, pod))
    }

    /// Whom its own certificate names.
    #[must_use]
    pub(crate) fn identity(&self) -> Identity {
        let account = self.service_account.as_deref().unwrap_or(&self.name);
        Identity::new(self.trust_domain.clone(), &self.namespace, account)
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
    pub(crate) fn worker_count(&self) -> NonZeroUsize {
        let cpus = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        self.workers.or(NonZeroUsize::new((cpus / 4).max(2))).unwrap_or(NonZeroUsize::MIN)
    }
}

fn named<S: serde::Serializer>(how: &Normalization, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{how:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(arguments: &[&str]) -> Result<Origin, String> {
        let settings = Settings::try_parse_from([&["waypoint", "--namespace", "shop"], arguments].concat()).unwrap();
        settings.origin().map_err(|error| error.to_string())
    }

    #[test]
    fn the_configuration_is_a_directory_or_a_cluster_and_not_both() {
        assert!(matches!(origin(&["--config", "/etc/mesh"]), Ok(Origin::Directory(_))));
        assert!(matches!(origin(&["--kube", "--kube-cache", "/c"]), Ok(Origin::Cluster(_))));
        assert!(origin(&["--kubeconfig", "/k"]).unwrap_err().contains("give --config DIR"));
        assert!(origin(&["--kube", "--config", "/etc/mesh"]).unwrap_err().contains("both given"));
    }
}
