//! discovery.k8s.io EndpointSlice. Its versions differ in how an endpoint says where it is, and in what may be absent:
//! `v1alpha1` writes addresses of both families under `IP` or no type at all.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::ObjectMeta;

/// discovery.k8s.io EndpointSlice, `v1`, `v1beta1` or `v1alpha1`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6`, `FQDN`; `IP` or empty in `v1alpha1`.
    pub address_type: String,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Where each of them listens.
    pub ports: Vec<EndpointPort>,
}

/// discovery.k8s.io Endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses, which are worth the same.
    pub addresses: Vec<String>,
    /// Whether it takes connections.
    pub conditions: Conditions,
    /// What is behind it.
    pub target_ref: Option<TargetRef>,
    /// Its node; empty where unknown.
    pub node_name: String,
    /// Its zone; empty where unknown.
    pub zone: String,
    /// Before `v1`: node and zone, by the keys of a node's labels.
    pub topology: BTreeMap<String, String>,
}

/// discovery.k8s.io EndpointConditions.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// It takes new connections; absent means true.
    pub ready: Option<bool>,
    /// It is ready but for its termination; absent means as `ready` (it is not in `v1alpha1`).
    pub serving: Option<bool>,
    /// It is terminating; absent means false.
    pub terminating: Option<bool>,
}

/// core/v1 ObjectReference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// Such as `Pod`.
    pub kind: String,
    /// Empty means the slice's.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// discovery.k8s.io EndpointPort.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointPort {
    /// The name of the service's port that it is for.
    pub name: String,
    /// Where the endpoints listen.
    pub port: Option<i64>,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
}
