//! Says to whoever asks this mesh for sidecars that it has none: at namespaces with labels of the sidecar era, or with pods that
//! have such, and no `istio.io/dataplane-mode`, once each, by an Event and a line of the log. Which they are is decided without
//! I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ambit_api::labels::{DATAPLANE_MODE, INJECTION, REVISION, SIDECAR_INJECT};
use ambit_discovery::{Snapshots, resource};
use ambit_model::{Enrolment, Excluded, Snapshot};
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::cluster::{Cluster, Why};
use crate::events::{About, Events, Notice};
use crate::followed::Followed;
use crate::lease::Lead;

/// After a failure, what is still to be said is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often pods are looked at, while there are other ones than before.
const LOOK: Duration = Duration::from_secs(10);

/// Says it whenever this controller is the one that writes.
pub(crate) async fn explain(cluster: Cluster, lead: Lead, events: Arc<Events>, snapshots: Snapshots) {
    let (cluster, events) = (&cluster, &events);
    lead.whenever(|| say(cluster, events, snapshots.clone())).await;
}

async fn say(cluster: &Cluster, events: &Events, mut snapshots: Snapshots) {
    let wake = Arc::new(Notify::new());
    let kind = resource("v1", "Namespace", "namespaces");
    let all = watcher::Config::default();
    let namespaces = Followed::trimmed(cluster.all(&kind), &kind, all, &wake, |object| object.data = Value::Null);
    namespaces.known().await;
    // By the namespace's UID, the label that it was said of.
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let mut failed = false;
        let asking = asking(&namespaces.all(), &pods(&snapshots.load()));
        said.retain(|uid, label| asking.iter().any(|one| one.uid == *uid && one.label == *label));
        let unsaid: Vec<_> = asking.into_iter().filter(|one| !said.contains_key(&one.uid)).collect();
        for one in unsaid {
            let Asking { name, uid, label, .. } = &one;
            let about = About { kind: "Namespace", namespace: name, name, uid };
            let notice = one.notice();
            match events.tell(&about, &notice).await {
                Ok(()) => {
                    warn!(namespace = name, label, "{}", notice.message);
                    said.insert(one.uid, one.label);
                }
                Err(error) => {
                    failed = true;
                    debug!(namespace = name, "no Event can be written: {}", Why(&error));
                }
            }
        }
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
            () = others(&mut snapshots) => {}
        }
    }
}

/// Resolves when there may be other pods, and not at every one of them.
async fn others(snapshots: &mut Snapshots) {
    tokio::time::sleep(LOOK).await;
    if snapshots.changed().await.is_none() {
        std::future::pending().await
    }
}

/// A namespace that asks for sidecars.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asking {
    name: String,
    uid: String,
    /// By which label, `key=value`.
    label: String,
    /// One of its pods that has it, if it has not itself.
    pod: Option<String>,
}

impl Asking {
    fn notice(&self) -> Notice {
        let of = self.pod.as_ref().map(|pod| format!(" of pods such as {pod}")).unwrap_or_default();
        let message = format!(
            "the label {}{of} asks for sidecars, and this mesh is ambient: it has none, and the namespace is not in it. Label the \
             namespace {DATAPLANE_MODE}=ambient, or {DATAPLANE_MODE}=none to have it stay out",
            self.label
        );
        Notice { reason: "NoSidecarInjection", warns: true, message }
    }
}

/// The first pod of each namespace that asks for a sidecar, has none and is not asked into the mesh, with its label.
fn pods(snapshot: &Snapshot) -> BTreeMap<Arc<str>, (Arc<str>, String)> {
    let mut first: BTreeMap<Arc<str>, (Arc<str>, String)> = BTreeMap::new();
    let outside = Enrolment::Outside(Excluded::NotLabelled);
    for workload in snapshot.workloads().filter(|workload| workload.enrolment == outside) {
        let label = |key: &str| workload.labels.get(key).map(|value| (key.to_owned(), value));
        let injected = label(SIDECAR_INJECT).filter(|(_, value)| &***value == "true");
        let Some((key, value)) = injected.or_else(|| label(REVISION)) else { continue };
        let one = (workload.name.clone(), format!("{key}={value}"));
        let known = first.entry(workload.namespace.clone()).or_insert_with(|| one.clone());
        if one < *known {
            *known = one;
        }
    }
    first
}

/// The namespaces that ask for sidecars, or of which `pods` do, and say nothing of how else they would be in a mesh or not; those
/// that end aside.
fn asking(namespaces: &[Arc<DynamicObject>], pods: &BTreeMap<Arc<str>, (Arc<str>, String)>) -> Vec<Asking> {
    let asking = namespaces.iter().filter_map(|namespace| {
        let labels = namespace.labels();
        if labels.contains_key(DATAPLANE_MODE) || namespace.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let (name, uid) = (namespace.name_any(), namespace.uid().unwrap_or_default());
        let enabled = labels.get(INJECTION).map(|value| (INJECTION, value)).filter(|(_, value)| *value == "enabled");
        // Istio lets the older label decide where there are both.
        let revision = labels.get(REVISION).filter(|_| !labels.contains_key(INJECTION)).map(|value| (REVISION, value));
        if let Some((key, value)) = enabled.or(revision) {
            return Some(Asking { name, uid, label: format!("{key}={value}"), pod: None });
        }
        let (pod, label) = pods.get(name.as_str())?;
        Some(Asking { name, uid, label: label.clone(), pod: Some(pod.to_string()) })
    });
    asking.collect()
}

#[cfg(test)]
mod tests {
    use ambit_model::Mesh;
    use serde_json::json;

    use super::*;

    fn namespace(labels: &Value) -> Arc<DynamicObject> {
        let metadata = json!({"name": "shop", "uid": "u", "labels": labels});
        Arc::new(
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).unwrap(),
        )
    }

    #[test]
    fn who_asks_for_sidecars_and_says_nothing_else_is_told() {
        for (labels, asked) in [
            (json!({"istio-injection": "enabled"}), Some("istio-injection=enabled")),
            (json!({"istio.io/rev": "stable"}), Some("istio.io/rev=stable")),
            (json!({"istio.io/rev": "stable", "istio-injection": "enabled"}), Some("istio-injection=enabled")),
            (json!({"istio.io/rev": "stable", "istio-injection": "disabled"}), None),
            (json!({"istio-injection": "disabled"}), None),
            (json!({"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"}), None),
            (json!({"istio-injection": "enabled", "istio.io/dataplane-mode": "none"}), None),
            (json!({"team": "web"}), None),
            (Value::Null, None),
        ] {
            let found = asking(&[namespace(&labels)], &BTreeMap::new());
            assert_eq!(found.first().map(|one| one.label.as_str()), asked, "{labels}");
        }
        let mut ending = DynamicObject::clone(&namespace(&json!({"istio-injection": "enabled"})));
        ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(asking(&[Arc::new(ending)], &BTreeMap::new()), []);
    }

    #[test]
    fn what_is_said_names_the_label_and_the_one_to_write() {
        let one = asking(&[namespace(&json!({"istio-injection": "enabled"}))], &BTreeMap::new()).remove(0);
        let message = one.notice().message;
        assert!(
            message.contains("istio-injection=enabled") && message.contains("istio.io/dataplane-mode=ambient"),
            "{message}"
        );
    }

    #[test]
    fn pods_that_ask_for_sidecars_are_told_of_at_their_namespace_by_the_first_of_them() {
        let pod = |name: &str, labels: Value, containers: Value| {
            let metadata = json!({"name": name, "namespace": "shop", "labels": labels});
            let pod =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}});
            let read = ambit_discovery::read_object(ambit_api::Kind::Pod, &pod.to_string(), &Mesh::default()).unwrap();
            ambit_discovery::Event::Upsert(read.resource)
        };
        let plain = || json!([{"name": "app"}]);
        let mut index = ambit_discovery::Index::new(Mesh::default(), []);
        index.apply(vec![
            pod("b", json!({"istio.io/rev": "stable"}), plain()),
            pod("c", json!({"sidecar.istio.io/inject": "true"}), plain()),
            pod("a-in-the-mesh", json!({"istio.io/rev": "stable", DATAPLANE_MODE: "ambient"}), plain()),
            pod("a-that-has-one", json!({"sidecar.istio.io/inject": "true"}), json!([{"name": "istio-proxy"}])),
            pod("a-that-wants-none", json!({"sidecar.istio.io/inject": "false"}), plain()),
        ]);
        let pods = pods(&index.snapshot());
        let found = asking(&[namespace(&Value::Null)], &pods);
        let [Asking { label, pod: Some(pod), .. }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((label.as_str(), pod.as_str()), ("istio.io/rev=stable", "b"));
        let message = found[0].notice().message;
        assert!(message.starts_with("the label istio.io/rev=stable of pods such as b asks for sidecars"), "{message}");
        assert_eq!(asking(&[namespace(&json!({DATAPLANE_MODE: "none"}))], &pods), []);
        let own = asking(&[namespace(&json!({"istio-injection": "enabled"}))], &pods);
        assert_eq!(own[0].pod, None);
    }
}
