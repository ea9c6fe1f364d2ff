//! The metadata that all objects have (meta/v1 ObjectMeta).

use std::collections::BTreeMap;

use serde::Deserialize;

/// meta/v1 ObjectMeta.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Unique among the kind's objects of the namespace.
    pub name: String,
    /// Empty means `default`.
    pub namespace: String,
    /// What selectors match.
    pub labels: BTreeMap<String, String>,
    /// What selectors do not match.
    pub annotations: BTreeMap<String, String>,
    /// What the object belongs to.
    pub owner_references: Vec<OwnerReference>,
    /// When the object was made (RFC 3339).
    pub creation_timestamp: Option<String>,
    /// Set while the object is being deleted (RFC 3339).
    pub deletion_timestamp: Option<String>,
}

impl ObjectMeta {
    /// The value of the label `key`, if it has one that is not empty.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// meta/v1 OwnerReference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// The owner's kind, such as `ReplicaSet`.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// True for the one owner that manages the object.
    pub controller: bool,
}
