//! The client of the API: by kubeconfig files, or as a pod of the cluster.

use std::path::Path;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::paced::Pacing;
use crate::error::Error;
use crate::origin::Cluster;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// The client for `cluster`. Nothing is asked yet.
pub(super) async fn client(cluster: &Cluster) -> Result<Client, Error> {
    let (mut config, path) = match cluster.kubeconfig.split_first() {
        Some((first, others)) => {
            let mut merged = read(first)?;
            for path in others {
                merged = merged.merge(read(path)?).map_err(|error| unusable(path, &error))?;
            }
            let proxied =
                merged.clusters.iter().filter_map(|named| named.cluster.as_ref()).any(|c| c.proxy_url.is_some());
            let config = Config::from_custom_kubeconfig(merged, &KubeConfigOptions::default()).await;
            let mut config = config.map_err(|error| unusable(first, &error))?;
            if !proxied {
                // The environment's proxy is for the world outside.
                config.proxy_url = None;
            }
            (config, first.as_path())
        }
        None => {
            let config = Config::incluster().map_err(|error| Error::NotInCluster(error.to_string()))?;
            (config, Path::new("the service account"))
        }
    };
    tracing::info!(api = %config.cluster_url, "the configuration comes from a Kubernetes API");
    // Whoever follows a kind waits himself, and says why.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(cluster.pace.silence);
    config.write_timeout = Some(cluster.pace.silence);
    let builder = ClientBuilder::try_from(config).map_err(|error| unusable(path, &error))?;
    Ok(builder.with_layer(&Pacing::new(cluster.pace.first_retry)).build())
}

fn read(path: &Path) -> Result<Kubeconfig, Error> {
    Kubeconfig::read_from(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Error {
    let mut cause = error.to_string();
    if let Some(source) = error.source().map(ToString::to_string).filter(|source| !cause.contains(source)) {
        cause = format!("{cause}: {source}");
    }
    Error::Kubeconfig { path: path.display().to_string(), cause }
}
