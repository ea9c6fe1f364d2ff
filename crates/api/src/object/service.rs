//! core/v1 Service.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::meta::ObjectMeta;

/// core/v1 Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What the service should be.
    pub spec: ServiceSpec,
}

/// core/v1 ServiceSpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`; empty means `ClusterIP`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first of its addresses, or `None` for a headless service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// All its addresses, at most one a family.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// `IPv4`, `IPv6`; empty means those of its addresses.
    pub ip_families: Vec<String>,
    /// The labels of its pods; empty where its endpoints are given.
    pub selector: BTreeMap<String, String>,
    /// Where it is reached.
    pub ports: Vec<ServicePort>,
    /// True if its pods are reached before they are ready, too.
    pub publish_not_ready_addresses: bool,
    /// `None` or `ClientIP`.
    pub session_affinity: String,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: String,
    /// Of an `ExternalName` service, the DNS name that it stands for.
    pub external_name: String,
    /// `PreferClose`, `PreferSameZone`, `PreferSameNode` or empty.
    pub traffic_distribution: String,
}

/// core/v1 ServicePort.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name; may be empty where it is the only one.
    pub name: String,
    /// The port that clients dial.
    pub port: i64,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
    /// The pods' port; the same number as `port` where it is absent.
    pub target_port: Option<IntOrString>,
    /// The application protocol, as a hint.
    pub app_protocol: Option<String>,
}

/// A number or a name (util/intstr IntOrString).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name.
    Text(String),
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port's number or name")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
