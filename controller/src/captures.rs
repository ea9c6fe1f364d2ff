//! What agents report of their pods' capture, as whoever looks at a pod finds it: Istio's annotation
//! `ambient.istio.io/redirection`, and Events. Nothing is kept: what an agent is told was taken has been written, and what was
//! not it says again, to whichever controller answers then. So every controller writes for the agents that ask it.
//!
//! Read `decide` for what is written.

mod decide;

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_api::labels::REDIRECTION;
use ambit_ca::{Denial, Denied, PodReport};
use ambit_discovery::{Snapshots, resource};
use ambit_model::{Enrolment, Excluded, PodUid, Sidecar, WorkloadUid};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tracing::debug;

use self::decide::{ENABLED, Known, Redirection, decide};
use crate::cluster::{Cluster, Why};
use crate::events::{About, Events};

/// The annotation has a manager of its own.
const MANAGER: &str = "ambit-controller-capture";
/// Of more pods than these it is asked by one list of their node's.
const FEW: usize = 8;

/// Writes at pods what has become of their capture.
pub(crate) struct Captures {
    cluster: Cluster,
    events: Arc<Events>,
    snapshots: Snapshots,
}

impl Captures {
    /// Writes to `cluster`, and Events by `events`, of pods that `snapshots` knows.
    pub(crate) fn new(cluster: Cluster, events: Arc<Events>, snapshots: Snapshots) -> Self {
        Self { cluster, events, snapshots }
    }

    /// Writes what is new of what the agent of `node` reports of pods that run there, as has been made sure. Those of which it
    /// could not be written are the result.
    pub(crate) async fn take(&self, node: &str, reports: Vec<PodReport>) -> Vec<Denied> {
        let denied = |report: &PodReport, error: &kube::Error| {
            let why = Denial::Unwritten { pod: report.pod(), cause: remedy(error) };
            Denied { uid: report.uid, why }
        };
        let annotations = match self.annotations(node, &reports).await {
            Ok(annotations) => annotations,
            Err(error) => return reports.iter().map(|report| denied(report, &error)).collect(),
        };
        let mut unwritten = Vec::new();
        for report in &reports {
            // Of one that is gone nothing need be said.
            let Some(annotation) = annotations.get(&report.uid) else { continue };
            if let Err(error) = self.write(node, report, annotation.as_deref()).await {
                unwritten.push(denied(report, &error));
            }
        }
        unwritten
    }

    /// What the annotation of each of the pods says, of those that are there.
    async fn annotations(&self, node: &str, reports: &[PodReport]) -> kube::Result<BTreeMap<PodUid, Option<String>>> {
        let pods = resource("v1", "Pod", "pods");
        let mut found = Vec::new();
        if reports.len() > FEW {
            let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
            found = self.cluster.all(&pods).list_metadata(&here).await?.items;
        } else {
            for report in reports {
                let pod = self.cluster.within(&report.namespace, &pods).get_metadata_opt(&report.name).await?;
                found.extend(pod);
            }
        }
        let said = found.iter().filter_map(|pod| {
            let uid = pod.metadata.uid.as_deref()?.parse().ok()?;
            Some((uid, pod.annotations().get(REDIRECTION).cloned()))
        });
        Ok(said.collect())
    }

    async fn write(&self, node: &str, report: &PodReport, annotation: Option<&str>) -> kube::Result<()> {
        let deed = decide(report, &Known { node, annotation, sidecar: self.sidecar(report) });
        let uid = report.uid.to_string();
        let about = About { kind: "Pod", namespace: &report.namespace, name: &report.name, uid: &uid };
        // Events first: what is annotated is not told again.
        for notice in &deed.notices {
            self.events.tell(&about, notice).await?;
        }
        match deed.redirection {
            Some(redirection) => self.annotate(report, redirection).await,
            None => Ok(()),
        }
    }

    /// What another mesh carries the pod's connections by.
    fn sidecar(&self, report: &PodReport) -> Option<Sidecar> {
        let snapshot = self.snapshots.load();
        let uid = WorkloadUid::pod(&snapshot.mesh.cluster, &report.namespace, &report.name);
        match snapshot.workload(&uid)?.enrolment {
            Enrolment::Outside(Excluded::Sidecar { sidecar, .. }) => Some(sidecar),
            _ => None,
        }
    }

    async fn annotate(&self, report: &PodReport, redirection: Redirection) -> kube::Result<()> {
        let value = match redirection {
            Redirection::Said => json!(ENABLED),
            Redirection::Removed => Value::Null,
        };
        // Of another pod of this name the API says that it is one.
        let patch = json!({"metadata": {"uid": report.uid.to_string(), "annotations": {REDIRECTION: value}}});
        let how = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.cluster.within(&report.namespace, &resource("v1", "Pod", "pods"));
        match api.patch_metadata(&report.name, &how, &Patch::Merge(&patch)).await {
            Ok(_) => {
                debug!(pod = report.pod(), ?redirection, "the annotation of a pod is written");
                Ok(())
            }
            // It is gone, or another: an ID cannot be changed.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What the API says, and what to do about it where that is known.
fn remedy(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("grant it to the controller (patch pods; create and patch events): {}", status.message)
        }
        error => Why(error).to_string(),
    }
}
