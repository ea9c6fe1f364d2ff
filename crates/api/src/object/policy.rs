//! security.istio.io PeerAuthentication and AuthorizationPolicy. Here fields that are not known are kept, by name: a
//! policy that says more than is read must not be taken for one that says less.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::ObjectMeta;

/// The fields that are not read.
pub type Unknown = BTreeMap<String, IgnoredAny>;

/// security.istio.io PeerAuthentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PeerAuthentication {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: PeerAuthenticationSpec,
}

/// security.istio.io PeerAuthentication `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    /// Which pods it is for; absent or empty for all of the namespace.
    pub selector: Option<Selector>,
    /// What holds for all ports.
    pub mtls: Option<Mtls>,
    /// What holds for single ports of the pods, by number.
    pub port_level_mtls: Option<BTreeMap<String, Mtls>>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// PeerAuthentication.MutualTLS
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Mtls {
    /// `UNSET`, `DISABLE`, `PERMISSIVE` or `STRICT`.
    pub mode: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// type.istio.io WorkloadSelector
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Selector {
    /// The labels that a pod must have.
    pub match_labels: BTreeMap<String, String>,
    /// Anything else, such as `matchExpressions`.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// security.istio.io AuthorizationPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthorizationPolicy {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: AuthorizationPolicySpec,
}

/// security.istio.io AuthorizationPolicy `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// Which pods it is for; absent or empty for all of the namespace.
    pub selector: Option<Selector>,
    /// The one thing that it is for instead of pods.
    pub target_ref: Option<TargetRef>,
    /// The things that it is for instead of pods.
    pub target_refs: Vec<TargetRef>,
    /// `ALLOW`, `DENY`, `AUDIT` or `CUSTOM`; empty means `ALLOW`.
    pub action: String,
    /// It matches what any of them does.
    pub rules: Vec<Rule>,
    /// Who decides for `CUSTOM`.
    pub provider: Option<Provider>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// AuthorizationPolicy `ExtensionProvider`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// Its name in the mesh's configuration.
    pub name: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// type.istio.io PolicyTargetReference
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// The API group of its kind.
    pub group: String,
    /// The target's kind.
    pub kind: String,
    /// The target's name.
    pub name: String,
    /// The target's namespace; empty means the policy's own.
    pub namespace: String,
    /// Anything else, such as `sectionName`.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// AuthorizationPolicy `Rule`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Who; absent for anybody.
    pub from: Option<Vec<From>>,
    /// What; absent for anything.
    pub to: Option<Vec<To>>,
    /// Under which conditions.
    pub when: Vec<Condition>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// AuthorizationPolicy `Rule.From`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct From {
    /// Lists of values by key, such as `principals` or `notNamespaces`.
    pub source: BTreeMap<String, Vec<String>>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// AuthorizationPolicy `Rule.To`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct To {
    /// Lists of values by key, such as `ports` or `notMethods`.
    pub operation: BTreeMap<String, Vec<String>>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// AuthorizationPolicy `Condition`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// The attribute, such as `source.ip`.
    pub key: String,
    /// It must be one of these.
    pub values: Vec<String>,
    /// It must be none of these.
    pub not_values: Vec<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}
