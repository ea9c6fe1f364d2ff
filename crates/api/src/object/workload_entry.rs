//! networking.istio.io WorkloadEntry, `v1`, `v1beta1` or `v1alpha3`, which read alike; and the same as an endpoint of a
//! ServiceEntry.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::ObjectMeta;
use super::service_entry::Unknown;

/// networking.istio.io WorkloadEntry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkloadEntry {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it declares.
    pub spec: WorkloadEntrySpec,
}

/// networking.istio.io WorkloadEntrySpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadEntrySpec {
    /// An address, or a DNS name.
    pub address: String,
    /// Where it listens, by the names of the service's ports.
    pub ports: BTreeMap<String, i64>,
    /// What selectors match.
    pub labels: BTreeMap<String, String>,
    /// The network that its address is of.
    pub network: String,
    /// `region/zone/subzone`, or as much of that as is known.
    pub locality: String,
    /// How many of the connections it takes next to others; absent or 0 means 1.
    pub weight: i64,
    /// The service account that it runs as.
    pub service_account: String,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}
