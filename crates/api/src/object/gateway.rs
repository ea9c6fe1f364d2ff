//! gateway.networking.k8s.io Gateway, as far as a waypoint needs it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::ObjectMeta;

/// gateway.networking.k8s.io Gateway, `v1` or `v1beta1`, which read alike.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it should be.
    pub spec: GatewaySpec,
    /// What it is known to be.
    pub status: GatewayStatus,
}

/// gateway.networking.k8s.io GatewaySpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Whose it is to implement.
    pub gateway_class_name: String,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where it should be reached.
    pub addresses: Vec<GatewayAddress>,
}

/// gateway.networking.k8s.io Listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Listener {
    /// Unique within the Gateway.
    pub name: String,
    /// The port.
    pub port: i64,
    /// `HBONE` for a waypoint's.
    pub protocol: String,
    /// Who may attach to it.
    pub allowed_routes: AllowedRoutes,
}

/// gateway.networking.k8s.io AllowedRoutes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// From which namespaces.
    pub namespaces: RouteNamespaces,
}

/// gateway.networking.k8s.io RouteNamespaces.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteNamespaces {
    /// `Same`, `All` or `Selector`; empty means `Same`.
    pub from: String,
    /// Of which namespaces, where `from` is `Selector`.
    pub selector: Option<LabelSelector>,
}

/// meta/v1 LabelSelector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// The labels that must be there.
    pub match_labels: BTreeMap<String, String>,
    /// What else must hold of labels.
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// meta/v1 LabelSelectorRequirement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// What the first two compare it with.
    pub values: Vec<String>,
}

/// gateway.networking.k8s.io GatewayStatus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GatewayStatus {
    /// Where it is reached.
    pub addresses: Vec<GatewayAddress>,
}

/// gateway.networking.k8s.io GatewayAddress.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GatewayAddress {
    /// `IPAddress` or `Hostname`; empty means `IPAddress`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address or name.
    pub value: String,
}
