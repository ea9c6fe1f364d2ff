//! Every setting of the controller: by flag, by environment (`CONTROLLER_<FLAG>`) or by the file that `--settings` names.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ambit_discovery::{Cluster, Origin};
use ambit_model::{Mesh, TrustDomain, TrustDomains};
use ambit_process::settings::{LogFormat, seconds};
use ambit_process::source::Source;
use anyhow::bail;
use clap::Parser;

use crate::admission::configuration::{self, FailurePolicy};
use crate::review::{Account, Terms};
use crate::waypoints;

/// The Services that agents know the controller by: its own, and the one that Istio's agents ask.
const SERVICES: [&str; 2] = ["ambit-controller", "istiod"];
/// The service account of the nodes' agents, where nothing else is said.
const AGENTS: &str = "ztunnel";

/// The control plane of the Ambit service mesh: signs the certificates of the mesh's workloads, for the agents of the nodes
/// that they run on (Istio's CreateCertificate). On a Kubernetes API it also publishes the mesh's roots and runs waypoints.
///
/// Each setting can be given as a flag, as an environment variable or in the file named by --settings (a map of the
/// flags' names); a flag wins over the environment, the environment over the file.
#[derive(Clone, Debug, Parser)]
#[command(name = "controller", version)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Directory of the CA, as Istio's secret cacerts: ca-cert.pem, ca-key.pem, root-cert.pem and, where needed,
    /// cert-chain.pem; made on first start if it is empty, and watched for changes. Default: /var/lib/ambit/ca; with --kube
    /// the Secret cacerts of the controller's namespace or, where there is none, the Secret ambit-ca, which is made.
    #[arg(long, env = "CONTROLLER_CA_DIR", value_name = "DIR")]
    pub(crate) ca_dir: Option<PathBuf>,

    /// File of bearer tokens: a line TOKEN,system:node:NAME for each node's agent, or
    /// TOKEN,system:serviceaccount:NAMESPACE:NAME for a workload that asks for itself; watched for changes. Required
    /// without --kube; with it, service account tokens are reviewed by the Kubernetes API where no file is given.
    #[arg(long, env = "CONTROLLER_TOKENS", value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,

    /// The audience that service account tokens have to be for.
    #[arg(long, env = "CONTROLLER_AUDIENCE", value_name = "NAME", default_value = "istio-ca")]
    pub(crate) audience: String,

    /// The service accounts of the nodes' agents, which may ask for the identities of the pods on their own node. Default:
    /// ztunnel in the controller's namespace.
    #[arg(long, env = "CA_TRUSTED_NODE_ACCOUNTS", value_name = "NAMESPACE/NAME", value_delimiter = ',')]
    pub(crate) trusted_node_accounts: Vec<Account>,

    /// Take the mesh out of every node, and end: the DaemonSet of the agents is deleted, and the one that this file holds as JSON is run
    /// until the first init container of each of its pods has ended well. The chart does so before it is uninstalled.
    #[arg(long, env = "CONTROLLER_UNINSTALL_NODES", value_name = "FILE")]
    pub(crate) uninstall_nodes: Option<PathBuf>,

    /// Name of the DaemonSet of the agents, in the controller's own namespace.
    #[arg(long, env = "CONTROLLER_AGENTS", value_name = "NAME", default_value = AGENTS)]
    pub(crate) agents: String,

    /// By what name this controller is told from others beside it, such as its pod's. Default: one that is random.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub(crate) replica: Option<String>,

    /// The controller's own namespace.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = "istio-system")]
    pub(crate) namespace: String,

    /// Address at which certificates are asked for.
    #[arg(long, env = "CONTROLLER_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15012")]
    pub(crate) address: SocketAddr,

    /// Names and addresses that agents know the controller by: its certificate has them. Default: ambit-controller.NS.svc
    /// and istiod.NS.svc, where NS is its own namespace.
    #[arg(long, env = "CONTROLLER_SERVER_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub(crate) server_names: Vec<String>,

    /// The image of the waypoints that are run for Gateways.
    #[arg(
        long,
        env = "CONTROLLER_WAYPOINT_IMAGE",
        value_name = "IMAGE",
        default_value = concat!("ambit/waypoint:", env!("CARGO_PKG_VERSION"))
    )]
    pub(crate) waypoint_image: String,

    /// Where those waypoints ask for certificates (https://HOST:PORT). Default: the first of the server's names, port 15012.
    #[arg(long, env = "CONTROLLER_WAYPOINT_CA_ADDRESS", value_name = "URL")]
    pub(crate) waypoint_ca_address: Option<String>,

    /// Seconds for which a certificate is valid at the most, and by default.
    #[arg(long, env = "CONTROLLER_CERTIFICATE_TTL", value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub(crate) certificate_ttl: Duration,

    /// SPIFFE trust domain of the mesh's identities.
    #[arg(long, env = "CONTROLLER_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) trust_domain: TrustDomain,

    /// DNS suffix of services.
    #[arg(long, env = "CONTROLLER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) domain: String,

    /// The namespace whose policies are for the whole mesh, as waypoints are told.
    #[arg(long, env = "CONTROLLER_ROOT_NAMESPACE", value_name = "NAME", default_value = "istio-system")]
    pub(crate) root_namespace: String,

    /// Name of the cluster.
    #[arg(long, env = "CONTROLLER_CLUSTER", value_name = "NAME", default_value = "Kubernetes")]
    pub(crate) cluster: String,

    /// Address of the Prometheus metrics (/metrics and /stats/prometheus).
    #[arg(long, env = "CONTROLLER_METRICS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15014")]
    pub(crate) metrics_address: SocketAddr,

    /// Address of the readiness probe (/healthz/ready).
    #[arg(long, env = "CONTROLLER_READINESS_ADDRESS", value_name = "ADDRESS", default_value = "[::]:8080")]
    pub(crate) readiness_address: SocketAddr,

    /// Address of the validating webhook (/validate); with --kube alone.
    #[arg(long, env = "CONTROLLER_WEBHOOK_ADDRESS", value_name = "ADDRESS", default_value = "[::]:15017")]
    pub(crate) webhook_address: SocketAddr,

    /// The ValidatingWebhookConfiguration that is kept right, so that the Kubernetes API asks that webhook. Default: none is.
    #[arg(long, env = "CONTROLLER_VALIDATION_WEBHOOK", value_name = "NAME")]
    pub(crate) validation_webhook: Option<String>,

    /// What becomes of objects that nobody reviews, once it is proved that reviews arrive; before, they pass.
    #[arg(
        long,
        env = "CONTROLLER_VALIDATION_FAILURE_POLICY",
        value_name = "POLICY",
        value_enum,
        default_value_t = FailurePolicy::Fail
    )]
    pub(crate) validation_failure_policy: FailurePolicy,

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

    /// The file that says whose tokens are; none where the Kubernetes API is asked.
    ///
    /// # Errors
    /// Neither is given.
    pub(crate) fn token_file(&self) -> anyhow::Result<Option<&Path>> {
        if self.tokens.is_none() && !self.source.kube {
            bail!("nobody says whose tokens are: give --tokens FILE, or --kube");
        }
        Ok(self.tokens.as_deref())
    }

    /// The name of this controller among those beside it.
    #[must_use]
    pub(crate) fn replica(&self) -> String {
        self.replica.clone().unwrap_or_else(|| format!("controller-{:016x}", rand::random::<u64>()))
    }

    /// The names that the controller's certificate has.
    #[must_use]
    pub(crate) fn names(&self) -> Vec<String> {
        if self.server_names.is_empty() {
            return SERVICES.map(|service| format!("{service}.{}.svc", self.namespace)).to_vec();
        }
        self.server_names.clone()
    }

    /// Whose service account tokens are taken.
    #[must_use]
    pub(crate) fn terms(&self) -> Terms {
        let agents = || Account { namespace: self.namespace.clone(), name: AGENTS.to_owned() };
        let mut trusted: BTreeSet<Account> = self.trusted_node_accounts.iter().cloned().collect();
        if trusted.is_empty() {
            trusted.insert(agents());
        }
        Terms { audience: self.audience.clone(), trusted, trust_domain: self.trust_domain.clone() }
    }

    /// Which configuration of the webhook is kept, if one is.
    #[must_use]
    pub(crate) fn webhook(&self) -> Option<configuration::Terms> {
        let name = self.validation_webhook.clone()?;
        Some(configuration::Terms { name, policy: self.validation_failure_policy })
    }

    /// What holds for all waypoints.
    #[must_use]
    pub(crate) fn waypoints(&self) -> waypoints::Terms {
        let names = self.names();
        let own = || format!("https://{}:15012", names.first().map_or("localhost", String::as_str));
        let alike = vec![
            ("--trust-domain", self.trust_domain.to_string()),
            ("--cluster", self.cluster.clone()),
            ("--domain", self.domain.clone()),
            ("--root-namespace", self.root_namespace.clone()),
        ];
        let shape = waypoints::Shape {
            image: self.waypoint_image.clone(),
            ca_address: self.waypoint_ca_address.clone().unwrap_or_else(own),
            audience: self.audience.clone(),
            alike,
        };
        waypoints::Terms { shape, domain: self.domain.clone() }
    }

    /// What holds for the whole mesh.
    #[must_use]
    pub(crate) fn mesh(&self) -> Mesh {
        Mesh {
            trust_domains: TrustDomains { own: self.trust_domain.clone(), aliases: Vec::new() },
            cluster: self.cluster.as_str().into(),
            domain: self.domain.as_str().into(),
            root_namespace: self.root_namespace.as_str().into(),
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

    #[test]
    fn without_a_kubernetes_api_a_file_says_whose_tokens_are() {
        let file = |arguments: &[&str]| {
            let settings = Settings::try_parse_from([&["controller"], arguments].concat()).unwrap();
            settings.token_file().map(|file| file.map(Path::to_owned)).map_err(|error| error.to_string())
        };
        assert!(file(&["--config", "/etc/mesh"]).unwrap_err().contains("give --tokens FILE"));
        assert_eq!(file(&["--config", "/etc/mesh", "--tokens", "/t"]), Ok(Some(PathBuf::from("/t"))));
        assert_eq!(file(&["--kube"]), Ok(None));
        assert_eq!(file(&["--kube", "--tokens", "/t"]), Ok(Some(PathBuf::from("/t"))));
    }

    #[test]
    fn what_is_named_by_a_namespace_is_named_by_the_controllers_own() {
        let parse = |further: &[&str]| {
            Settings::try_parse_from([&["controller", "--kube", "--namespace", "mesh"], further].concat()).unwrap()
        };
        assert_eq!(parse(&[]).names(), ["ambit-controller.mesh.svc", "istiod.mesh.svc"]);
        assert_eq!(parse(&["--server-names", "a,10.0.0.1"]).names(), ["a", "10.0.0.1"]);
        let trusted =
            |further: &[&str]| parse(further).terms().trusted.iter().map(Account::to_string).collect::<Vec<_>>();
        assert_eq!(trusted(&[]), ["mesh/ztunnel"]);
        assert_eq!(trusted(&["--trusted-node-accounts", "b/agent,a/agent"]), ["a/agent", "b/agent"]);
    }
}
