//! core/v1 Pod.

use serde::Deserialize;

use super::meta::ObjectMeta;

/// core/v1 Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What the pod should be.
    pub spec: PodSpec,
    /// What the pod is known to be.
    pub status: PodStatus,
}

/// core/v1 PodSpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// The node it runs on; empty before it is scheduled.
    pub node_name: String,
    /// Whose token it has; empty means the next field's.
    pub service_account_name: String,
    /// What [`Self::service_account_name`] was called first; empty means `default`.
    pub service_account: String,
    /// True if it runs in the node's network namespace.
    pub host_network: bool,
    /// Its containers.
    pub containers: Vec<Container>,
    /// What runs before its containers, and the sidecars that then stay.
    pub init_containers: Vec<Container>,
}

/// core/v1 Container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub ports: Vec<ContainerPort>,
    /// `Always` makes an init container a sidecar.
    pub restart_policy: String,
}

/// core/v1 ContainerPort.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// How services can refer to it; may be empty.
    pub name: String,
    /// Where the container listens.
    pub container_port: i64,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
}

/// core/v1 PodStatus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// The first of its addresses.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// All its addresses, at most one a family.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    /// What holds of it; nothing is known while it is absent.
    pub conditions: Option<Vec<PodCondition>>,
}

/// core/v1 PodIP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// core/v1 PodCondition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// Such as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}
