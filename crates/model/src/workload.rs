//! A workload: a pod as the mesh sees it. Knows nothing of the node's kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::distribution::Locality;
use crate::identity::Identity;
use crate::sidecar::Sidecar;
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

/// The ID that Kubernetes gives a pod for its life, and gives no other (metadata.uid, RFC 9562). Written as five groups of
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid([u8; 16]);

/// What was to be a pod's ID is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 hexadecimal digits, with or without - or _ between them")]
pub struct NoPodUid;

impl FromStr for PodUid {
    type Err = NoPodUid;

    /// Reads the ID with `-` between its groups as Kubernetes writes it, with `_` as systemd's cgroups have it, or with
    /// nothing between.
    fn from_str(text: &str) -> Result<Self, NoPodUid> {
        let digits: String = text.chars().filter(|letter| !matches!(letter, '-' | '_')).collect();
        if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoPodUid);
        }
        u128::from_str_radix(&digits, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| NoPodUid)
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let between = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{between}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PodUid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
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
    /// Another mesh carries the pod's connections.
    Sidecar {
        /// By this.
        sidecar: Sidecar,
        /// Labels ask for this mesh all the same.
        asked: bool,
    },
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
    /// `metadata.uid`, by which its processes are found; none outside a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<PodUid>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_id_is_read_as_kubernetes_and_as_cgroups_have_it() {
        let text = "6e3f9f52-8ab1-4c0e-9d7a-0123456789ab";
        let uid: PodUid = text.parse().unwrap();
        assert_eq!(uid.to_string(), text);
        assert_eq!(text.replace('-', "_").parse(), Ok(uid));
        assert_eq!(text.replace('-', "").to_uppercase().parse(), Ok(uid));
        assert_ne!("6e3f9f52-8ab1-4c0e-9d7a-0123456789ac".parse(), Ok(uid));
        for wrong in [
            "",
            "1",
            "6e3f9f52-8ab1-4c0e-9d7a-0123456789a",
            "6e3f9f52-8ab1-4c0e-9d7a-0123456789abc",
            "+e3f9f528ab14c0e9d7a0123456789abc",
        ] {
            assert_eq!(wrong.parse::<PodUid>(), Err(NoPodUid), "{wrong}");
        }
    }
}
