//! Takes the mesh out of the cluster's nodes, when its release is uninstalled: ends the agents, has a pod on every node take out of
//! it what they have left there, and removes these. Knows nothing of what that is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use ambit_discovery::resource;
use anyhow::{Context, bail};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::cluster::Cluster;
use crate::json::at;

/// How long agents may take to end, and then pods to do their work.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long an agent has for what is open.
const GRACE: u32 = 5;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the work is done.
struct Place {
    daemon_sets: Api<DynamicObject>,
    pods: Api<DynamicObject>,
    nodes: Api<DynamicObject>,
}

/// Deletes the DaemonSet `agents` of the controller's namespace, runs the one that the file `manifest` holds as JSON, whose pods have
/// done their work when their first init container has ended well, and deletes that as well.
///
/// # Errors
/// A node that is ready was not done in time; the message names it, and what its pod says. What the API refuses.
pub(crate) async fn run(cluster: &Cluster, agents: &str, manifest: &Path) -> anyhow::Result<()> {
    let read = || format!("the DaemonSet in {} cannot be read", manifest.display());
    let text = std::fs::read(manifest).with_context(read)?;
    let manifest: DynamicObject = serde_json::from_slice(&text).with_context(read)?;
    let name = manifest.name_any();
    let place = Place {
        daemon_sets: cluster.within(&cluster.namespace, &resource("apps/v1", "DaemonSet", "daemonsets")),
        pods: cluster.within(&cluster.namespace, &resource("v1", "Pod", "pods")),
        nodes: cluster.all(&resource("v1", "Node", "nodes")),
    };
    place.end(agents).await.with_context(|| format!("the agents (DaemonSet {agents}) do not end"))?;
    info!("the agents have ended");
    // One that an earlier attempt has left.
    place.end(&name).await?;
    place
        .daemon_sets
        .create(&PostParams::default(), &manifest)
        .await
        .context("no pod can be made that cleans a node")?;
    let cleaned = place.clean(&name).await;
    let ended = place.end(&name).await;
    cleaned?;
    ended
}

impl Place {
    /// Deletes the DaemonSet `name`, if it is there, and returns when its pods on nodes that are ready are gone.
    async fn end(&self, name: &str) -> anyhow::Result<()> {
        let found = self.daemon_sets.get_opt(name).await?;
        let selected = found.as_ref().map(|found| at(&found.data, &["spec", "selector", "matchLabels", "app"]));
        let label = selected.and_then(Value::as_str).unwrap_or(name).to_owned();
        let theirs = ListParams::default().labels(&format!("app={label}"));
        if found.is_some() {
            self.daemon_sets.delete(name, &DeleteParams::background()).await?;
        }
        let last = Instant::now() + PATIENCE;
        loop {
            let away = away(&self.nodes.list(&ListParams::default()).await?.items);
            let mut left = self.pods.list(&theirs).await?.items;
            // Where no kubelet is, nobody says that a pod has ended.
            left.retain(|pod| !away.contains(node_of(pod)));
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > last {
                let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
                bail!("after {PATIENCE:?} there are still {}", names.join(", "));
            }
            // Those that may take hours for what is open have none now.
            for pod in left {
                let deleted = self.pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(GRACE)).await;
                if let Err(error) = deleted.map(drop) {
                    debug!("a pod is gone already, or cannot be deleted: {error}");
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until the pods of the DaemonSet `name` have done their work on every node that is ready.
    async fn clean(&self, name: &str) -> anyhow::Result<()> {
        let last = Instant::now() + PATIENCE;
        let theirs = ListParams::default().labels(&format!("app={name}"));
        loop {
            let found = self.daemon_sets.get(name).await?;
            let nodes = self.nodes.list(&ListParams::default()).await?.items;
            let progress = Progress::of(&nodes, &self.pods.list(&theirs).await?.items);
            let wanted = at(&found.data, &["status", "desiredNumberScheduled"]).as_u64();
            let made = at(&found.data, &["status", "currentNumberScheduled"]).as_u64();
            if wanted.is_some_and(|wanted| wanted > 0) && made == wanted && progress.missing.is_empty() {
                for node in progress.away {
                    warn!(%node, "the node is not ready: what the mesh has left there stays, until it is cleaned by hand");
                }
                info!(nodes = progress.done.len(), "the mesh is out of the nodes");
                return Ok(());
            }
            if Instant::now() > last {
                let missing: Vec<_> = progress.missing.iter().map(|(node, why)| format!("{node}: {why}")).collect();
                bail!(
                    "after {PATIENCE:?} the mesh is not out of every node ({}): see `kubectl logs -c uninstall` of their pods \
                     {name}, or uninstall with --no-hooks and clean these nodes by `ztunnel --uninstall`",
                    missing.join("; ")
                );
            }
            sleep(PAUSE).await;
        }
    }
}

/// The names of those of `nodes` that are not ready.
fn away(nodes: &[DynamicObject]) -> BTreeSet<String> {
    let ready = |node: &DynamicObject| {
        let conditions = at(&node.data, &["status", "conditions"]).as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    nodes.iter().filter(|node| !ready(node)).map(ResourceExt::name_any).collect()
}

fn node_of(pod: &DynamicObject) -> &str {
    at(&pod.data, &["spec", "nodeName"]).as_str().unwrap_or_default()
}

/// How far the nodes are.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    done: BTreeSet<String>,
    /// Those whose pod has not done its work, with what it says.
    missing: BTreeMap<String, String>,
    /// Those that are not ready.
    away: BTreeSet<String>,
}

impl Progress {
    fn of(nodes: &[DynamicObject], pods: &[DynamicObject]) -> Self {
        let mut progress = Self { done: BTreeSet::new(), missing: BTreeMap::new(), away: away(nodes) };
        for pod in pods {
            let node = node_of(pod).to_owned();
            let status = &at(&pod.data, &["status", "initContainerStatuses"])[0];
            match trouble(status) {
                None => drop(progress.done.insert(node)),
                Some(_) if progress.away.contains(&node) => {}
                Some(why) => drop(progress.missing.insert(node, why)),
            }
        }
        progress.away.retain(|node| !progress.done.contains(node));
        progress
    }
}

/// What a container says that has not ended well.
fn trouble(status: &Value) -> Option<String> {
    let (now, before) = (&status["state"], &status["lastState"]);
    if at(now, &["terminated", "exitCode"]) == &json!(0) {
        return None;
    }
    let said = [now, before].into_iter().flat_map(|state| ["terminated", "waiting"].map(|kind| &state[kind]));
    let mut said = said.filter_map(|kind| kind["message"].as_str().or_else(|| kind["reason"].as_str()));
    Some(said.next_back().unwrap_or("its pod has not started").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn node(name: &str, ready: &str) -> DynamicObject {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        object(json!({"metadata": {"name": name}, "status": {"conditions": conditions}}))
    }

    fn pod(node: &str, state: Value, before: Value) -> DynamicObject {
        let statuses = json!([{"state": state, "lastState": before}]);
        object(json!({
            "metadata": {"name": format!("on-{node}")},
            "spec": {"nodeName": node},
            "status": {"initContainerStatuses": statuses},
        }))
    }

    #[test]
    fn a_node_is_done_when_its_pod_has_ended_well_and_not_waited_for_while_it_is_away() {
        let nodes = [node("a", "True"), node("b", "True"), node("c", "Unknown"), node("d", "True")];
        let failed = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "no bpffs\n"}});
        let pods = [
            pod("a", json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), Value::Null),
            pod("b", json!({"waiting": {"reason": "CrashLoopBackOff"}}), failed),
            pod("c", json!({"waiting": {"reason": "PodInitializing"}}), Value::Null),
            pod("d", Value::Null, Value::Null),
        ];
        let progress = Progress::of(&nodes, &pods);
        assert_eq!(progress.done, BTreeSet::from(["a".to_owned()]));
        assert_eq!(progress.away, BTreeSet::from(["c".to_owned()]));
        let missing = [("b", "no bpffs"), ("d", "its pod has not started")];
        assert_eq!(progress.missing, missing.map(|(node, why)| (node.to_owned(), why.to_owned())).into());
    }
}
