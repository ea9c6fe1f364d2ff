//! networking.istio.io ServiceEntry, `v1`, `v1beta1` or `v1alpha3`, which read alike.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::ObjectMeta;
use super::workload_entry::WorkloadEntrySpec;

/// Fields that the kind does not have, by name.
pub type Unknown = BTreeMap<String, IgnoredAny>;

/// networking.istio.io ServiceEntry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceEntry {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it declares.
    pub spec: ServiceEntrySpec,
    /// What a control plane has made of it.
    pub status: ServiceEntryStatus,
}

/// networking.istio.io ServiceEntrySpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// DNS names, which may begin with `*.`.
    pub hosts: Vec<String>,
    /// Addresses and ranges that stand for all the hosts.
    pub addresses: Vec<String>,
    /// Where the hosts are reached.
    pub ports: Vec<EntryPort>,
    /// `MESH_EXTERNAL` or `MESH_INTERNAL`; empty means external.
    pub location: String,
    /// `NONE`, `STATIC`, `DNS`, `DNS_ROUND_ROBIN` or `DYNAMIC_DNS`; empty means `NONE`.
    pub resolution: String,
    /// Its endpoints, written in place.
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// Its endpoints, by their labels.
    pub workload_selector: Option<WorkloadSelector>,
    /// The namespaces that may see it.
    pub export_to: Vec<String>,
    /// The names that servers' certificates must carry.
    pub subject_alt_names: Vec<String>,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ServicePort.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EntryPort {
    /// The port that clients dial.
    pub number: i64,
    /// `TCP`, `TLS`, `HTTP`, ...; empty means TCP.
    pub protocol: String,
    /// Its name.
    pub name: String,
    /// The endpoints' port; absent or 0 means the same number.
    pub target_port: i64,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io WorkloadSelector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkloadSelector {
    /// The labels of the pods and WorkloadEntries that are meant.
    pub labels: BTreeMap<String, String>,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ServiceEntryStatus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceEntryStatus {
    /// The addresses that its hosts were given.
    pub addresses: Vec<GivenAddress>,
}

/// networking.istio.io ServiceEntryAddress.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GivenAddress {
    /// The address.
    pub value: String,
    /// The host that it stands for.
    pub host: String,
}
