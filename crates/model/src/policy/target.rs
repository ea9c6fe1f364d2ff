//! What a policy is attached to instead of pods (Istio `targetRefs`), and which of it one waypoint's traffic to one
//! service meets.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::PolicyKey;
use crate::service::ServiceKey;
use crate::snapshot::Mesh;
use crate::workload::Workload;

/// The GatewayClasses of waypoints: a policy of the root namespace that targets one is for every waypoint.
pub const WAYPOINT_CLASSES: [&str; 2] = ["ambit-waypoint", "istio-waypoint"];

/// The kinds that a policy can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum TargetKind {
    /// All gateways and waypoints of a class.
    GatewayClass,
    /// A gateway or waypoint.
    Gateway,
    /// The hosts of a ServiceEntry.
    ServiceEntry,
    /// A Service.
    Service,
}

/// What a policy is attached to (type.istio.io `PolicyTargetReference`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetRef {
    /// Its kind.
    pub kind: TargetKind,
    /// The namespace, which is the policy's own; of a GatewayClass, which has none, the policy's as well.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl TargetKind {
    /// The API group of the kind.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::GatewayClass | Self::Gateway => "gateway.networking.k8s.io",
            Self::ServiceEntry => "networking.istio.io",
            Self::Service => "",
        }
    }

    /// The kind as objects write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::ServiceEntry => "ServiceEntry",
            Self::Service => "Service",
        }
    }
}

impl TargetRef {
    /// The `kind` named `name` as a policy of `namespace` means it.
    #[must_use]
    pub fn new(kind: TargetKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

impl From<&ServiceKey> for TargetRef {
    fn from(key: &ServiceKey) -> Self {
        let kind = if key.host.is_some() { TargetKind::ServiceEntry } else { TargetKind::Service };
        Self { kind, namespace: key.namespace.clone(), name: key.name.clone() }
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

impl Serialize for TargetRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where requests are judged, to be made once for a waypoint and a service: everything that a policy can be attached to
/// and be for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressed {
    targets: Vec<TargetRef>,
    pod: Option<Arc<Workload>>,
}

impl Addressed {
    /// Requests for `service`, or for none that is known, at the waypoint or gateway `gateway`, whose GatewayClass is one
    /// of `classes` or counts as them.
    #[must_use]
    pub fn new(mesh: &Mesh, gateway: &PolicyKey, classes: &[&str], service: Option<&ServiceKey>) -> Self {
        let classes = classes.iter().map(|class| TargetRef::new(TargetKind::GatewayClass, &mesh.root_namespace, class));
        let (namespace, name) = (gateway.namespace.clone(), gateway.name.clone());
        let own = TargetRef { kind: TargetKind::Gateway, namespace, name };
        Self { targets: classes.chain([own]).chain(service.map(TargetRef::from)).collect(), pod: None }
    }

    /// What policies may be attached to, the widest first.
    #[must_use]
    pub fn targets(&self) -> &[TargetRef] {
        &self.targets
    }

    /// Requests at the gateway whose pod is `pod`, which only policies for that pod are for: nobody else asks them.
    #[must_use]
    pub const fn of_gateway(pod: Arc<Workload>) -> Self {
        Self { targets: Vec::new(), pod: Some(pod) }
    }

    /// The pod whose policies are asked as well.
    pub(super) fn pod(&self) -> Option<&Workload> {
        self.pod.as_deref()
    }
}
