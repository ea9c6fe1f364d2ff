//! A workload: a pod as the mesh sees it. Knows nothing of the node's kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::distribution::Locality;
use crate::identity::Identity;
use crate::waypoint::UseWaypoint;

/// A workload's unique ID across clusters, written as Istio does: `<cluster>/<group>/<kind>/<namespace>/<name>`,
/// for a pod `Kubernetes//Pod/shop/web-0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct WorkloadUid(Arc<str>);

impl WorkloadUid {
    /// The ID of the pod `name` in `namespace` of `cluster`.
    #[must_use]
    pub fn pod(cluster: &str, namespace: &str, name: &str) -> Self {
        Self(Arc::from(format!("{cluster}//Pod/{namespace}/{name}")))
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkloadUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the pod has a network namespace of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum NetworkMode {
    /// A namespace of its own; its addresses are its own.
    #[default]
    Standard,
    /// The node's namespace (`spec.hostNetwork`); its addresses are the node's and name no single workload.
    HostNetwork,
}

/// Whether the pod is in the mesh; where it is not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Enrolment {
    /// In the mesh: captured on its node and reached by HBONE.
    Enrolled,
    /// Outside the mesh.
    Outside(Excluded),
}

/// Why a pod is outside the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Excluded {
    /// Neither the pod nor its namespace carries `istio.io/dataplane-mode=ambient`.
    NotLabelled,
    /// The pod, or failing a label on the pod its namespace, carries `istio.io/dataplane-mode=none`.
    OptedOut,
    /// The pod runs in the node's network namespace.
    HostNetwork,
    /// The pod carries a sidecar (`sidecar.istio.io/status`).
    Sidecar,
    /// The namespace is one that the settings leave out.
    NamespaceExcluded,
    /// The pod is a waypoint's (label `gateway.networking.k8s.io/gateway-name`), which serves port 15008 itself.
    Waypoint,
    /// The pod serves HBONE on port 15008 itself (label `networking.istio.io/tunnel: http`).
    SpeaksHbone,
}

/// What created the pod, as metrics name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// `deployment`, `pod`, `job`, `cronjob`, `statefulset`, `daemonset`, ...: the kind in lower case.
    pub kind: Arc<str>,
    /// Its name: the Deployment's, not the ReplicaSet's.
    pub name: Arc<str>,
}

/// A pod as the mesh sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// Unique across clusters.
    pub uid: WorkloadUid,
    /// The pod's name.
    pub name: Arc<str>,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// Whom its certificate names.
    pub identity: Identity,
    /// `status.podIPs`, in their order; empty before the pod has one.
    pub addresses: Vec<IpAddr>,
    /// `spec.nodeName`; empty before the pod is scheduled.
    pub node: Arc<str>,
    /// Own network namespace, or the node's.
    pub network_mode: NetworkMode,
    /// In the mesh, or why not.
    pub enrolment: Enrolment,
    /// The pod's `Ready` condition.
    pub ready: bool,
    /// Annotation `ambient.istio.io/dns-capture`: whether its DNS queries are answered by the mesh, once it is in it.
    pub dns_capture: bool,
    /// The pod's labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// What created it; the pod itself where nothing did.
    pub owner: Owner,
    /// Label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`, else the owner's name.
    pub canonical_name: Arc<str>,
    /// Label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else `version`, else `latest`.
    pub canonical_revision: Arc<str>,
    /// The cluster it runs in, such as `Kubernetes`.
    pub cluster: Arc<str>,
    /// Its node's `topology.kubernetes.io/region`; empty where unknown.
    pub region: Arc<str>,
    /// Its node's `topology.kubernetes.io/zone`; empty where unknown.
    pub zone: Arc<str>,
    /// Its node's `topology.istio.io/subzone`; empty where unknown.
    pub subzone: Arc<str>,
    /// The waypoint that its labels, or failing those its namespace's, ask for; none for a waypoint's own pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<UseWaypoint>,
    /// Annotation `ambit.dev/netns`: the path of its network namespace, where nothing else can tell (standalone).
    pub netns: Option<PathBuf>,
}

impl Workload {
    /// True if the workload is captured and reached by HBONE: never a pod in the node's namespace.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.network_mode == NetworkMode::Standard && self.enrolment == Enrolment::Enrolled
    }

    /// True if the workload is not captured and still reached by HBONE, which it speaks itself.
    #[must_use]
    pub fn speaks_hbone(&self) -> bool {
        self.network_mode == NetworkMode::Standard && self.enrolment == Enrolment::Outside(Excluded::SpeaksHbone)
    }

    /// Where the workload runs.
    #[must_use]
    pub fn locality(&self) -> Locality<'_> {
        Locality { region: &self.region, zone: &self.zone, subzone: &self.subzone, node: &self.node }
    }

    /// True if `address` is one of the workload's own: never for a pod in the node's namespace.
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.network_mode == NetworkMode::Standard && self.addresses.iter().any(|own| own.to_canonical() == address)
    }
}
