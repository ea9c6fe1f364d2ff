//! Every setting of the controller: by flag, by environment (`CONTROLLER_<FLAG>`) or by the file that `--settings` names.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ambit_discovery::{Cluster, Origin};
use ambit_model::{Mesh, TrustDomain, TrustDomains};
use ambit_process::settings::{LogFormat, seconds};
use ambit_process::source::Source;
use clap::Parser;

/// The control plane of the Ambit service mesh: signs the certificates of the mesh's workloads, for the agents of the nodes
/// that they run on (Istio's CreateCertificate).
///
/// Each setting can be given as a flag, as an environment variable or in the file named by --settings (a map of the
/// flags' names); a flag wins over the environment, the environment over the file.
#[derive(Clone, Debug, Parser)]
#[command(name = "controller", version)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Directory of the CA, as Istio's secret cacerts: ca-cert.pem, ca-key.pem, root-cert.pem and, where needed,
    /// cert-chain.pem; made on first start if it is empty, and watched for changes.
    #[arg(long, env = "CONTROLLER_CA_DIR", value_name = "DIR", default_value = "/var/lib/ambit/ca")]
    pub(crate) ca_dir: PathBuf,

    /// File of bearer tokens: a line TOKEN,system:node:NAME for each node's agent, or
    /// TOKEN,system:serviceaccount:NAMESPACE:NAME for a workload that asks for itself; watched for changes.
    #[arg(long, env = "CONTROLLER_TOKENS", value_name = "FILE")]
    pub(crate) tokens: PathBuf,

    /// Address at which certificates are asked for.
    #[arg(long, env = "CONTROLLER_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15012")]
    pub(crate) address: SocketAddr,

    /// Names and addresses that agents know the controller by: its certificate has them.
    #[arg(
        long,
        env = "CONTROLLER_SERVER_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "ambit-controller.istio-system.svc,istiod.istio-system.svc"
    )]
    pub(crate) server_names: Vec<String>,

    /// Seconds for which a certificate is valid at the most, and by default.
    #[arg(long, env = "CONTROLLER_CERTIFICATE_TTL", value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub(crate) certificate_ttl: Duration,

    /// SPIFFE trust domain of the mesh's identities.
    #[arg(long, env = "CONTROLLER_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) trust_domain: TrustDomain,

    /// Name of the cluster.
    #[arg(long, env = "CONTROLLER_CLUSTER", value_name = "NAME", default_value = "Kubernetes")]
    pub(crate) cluster: String,

    /// Address of the Prometheus metrics (/metrics and /stats/prometheus).
    #[arg(long, env = "CONTROLLER_METRICS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15014")]
    pub(crate) metrics_address: SocketAddr,

    /// Address of the readiness probe (/healthz/ready).
    #[arg(long, env = "CONTROLLER_READINESS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:8080")]
    pub(crate) readiness_address: SocketAddr,

    /// Seconds that requests have to be answered when the controller stops.
    #[arg(long, env = "CONTROLLER_DRAIN_DEADLINE", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) drain_deadline: Duration,

    /// What to log: a level, or targets with levels.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log_level: String,

    /// How to write log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Plain)]
    pub(crate) log_format: LogFormat,
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
            trust_domains: TrustDomains { own: self.trust_domain.clone(), aliases: Vec::new() },
            cluster: self.cluster.as_str().into(),
            ..Mesh::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(arguments: &[&str]) -> Result<Origin, String> {
        let settings = Settings::try_parse_from([&["controller", "--tokens", "/t"], arguments].concat()).unwrap();
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
