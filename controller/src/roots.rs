//! The mesh's roots in every namespace, where agents and waypoints mount them: the ConfigMap `istio-ca-root-cert`, as Istio
//! has it. Made, mended and replaced; not in namespaces that are being deleted. Which ones to write is decided without I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::resource;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use crate::cluster::{Claim, Cluster, Why, apply};
use crate::followed::Followed;
use crate::json::at;
use crate::lease::Lead;

/// The ConfigMap, and its one entry.
pub(crate) const NAME: &str = "istio-ca-root-cert";
const ENTRY: &str = "root-cert.pem";

/// After a failure, all that is still to be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Publishes what `roots` says, whenever this controller is the one that writes.
pub(crate) async fn publish(cluster: Cluster, lead: Lead, roots: watch::Receiver<Arc<str>>) {
    let (cluster, roots) = (&cluster, &roots);
    lead.whenever(|| write(cluster, roots.clone())).await;
}

async fn write(cluster: &Cluster, mut roots: watch::Receiver<Arc<str>>) {
    let wake = Arc::new(Notify::new());
    let kinds = (resource("v1", "Namespace", "namespaces"), resource("v1", "ConfigMap", "configmaps"));
    let namespaces = Followed::new(cluster.all(&kinds.0), &kinds.0, watcher::Config::default(), &wake);
    let named = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let maps = Followed::new(cluster.all(&kinds.1), &kinds.1, named, &wake);
    namespaces.known().await;
    maps.known().await;
    loop {
        let pem = roots.borrow_and_update().clone();
        let mut failed = false;
        for namespace in outdated(&namespaces.all(), &maps.all(), &pem) {
            let api = cluster.within(&namespace, &kinds.1);
            match apply(&api, &config_map(&namespace, &pem), Claim::Ours).await {
                Ok(_) => debug!(namespace, "roots published"),
                // It was deleted meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    failed = true;
                    warn!(namespace, "the mesh's roots cannot be published: {}", Why(&error));
                }
            }
        }
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
            Ok(()) = roots.changed() => info!("the mesh's roots are published anew"),
        }
    }
}

/// The namespaces that have no ConfigMap with `pem` and should.
fn outdated(namespaces: &[Arc<DynamicObject>], maps: &[Arc<DynamicObject>], pem: &str) -> Vec<String> {
    let published: BTreeMap<_, _> = maps.iter().map(|map| (map.namespace(), at(&map.data, &["data"]))).collect();
    let is_current = |name: &str| published.get(&Some(name.to_owned())).is_some_and(|data| data[ENTRY] == pem);
    let living = namespaces.iter().filter(|namespace| {
        namespace.metadata.deletion_timestamp.is_none() && at(&namespace.data, &["status", "phase"]) != "Terminating"
    });
    living.map(|namespace| namespace.name_any()).filter(|name| !is_current(name)).collect()
}

fn config_map(namespace: &str, pem: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        // By this label Istio leaves it out of its configuration.
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"istio.io/config": "true"}},
        "data": {ENTRY: pem},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Arc<DynamicObject> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn namespace(name: &str, phase: &str) -> Arc<DynamicObject> {
        object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": phase}}))
    }

    #[test]
    fn what_is_missing_or_not_current_is_written_and_nothing_into_what_ends() {
        let namespaces = ["current", "spoilt", "other", "new"].map(|name| namespace(name, "Active"));
        let namespaces = [&namespaces[..], &[namespace("ending", "Terminating")]].concat();
        let mut spoilt = config_map("spoilt", "PEM");
        spoilt["data"] = json!({"root.pem": "PEM"});
        let maps = [config_map("current", "PEM"), spoilt, config_map("other", "OLD")].map(object);
        assert_eq!(outdated(&namespaces, &maps, "PEM"), ["spoilt", "other", "new"]);
        assert_eq!(outdated(&namespaces, &maps, "NEW"), ["current", "spoilt", "other", "new"]);
        assert_eq!(outdated(&[], &maps, "NEW"), [] as [String; 0]);
    }
}
