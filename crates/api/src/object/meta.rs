//! The metadata that all objects have (meta/v1 ObjectMeta).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::labels;

/// meta/v1 ObjectMeta.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Unique among the kind's objects of the namespace.
    pub name: String,
    /// Empty means `default`.
    pub namespace: String,
    /// What tells it from others of its name, before it and after.
    pub uid: String,
    /// What selectors match.
    pub labels: BTreeMap<String, String>,
    /// What selectors do not match: of all that there are, those that the mesh reads ([`labels::ANNOTATIONS`]). Others can
    /// be of any size, and hold what is nobody's business.
    #[serde(deserialize_with = "known_annotations")]
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

fn known_annotations<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Known;
    impl<'de> Visitor<'de> for Known {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of annotations")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut known = BTreeMap::new();
            while let Some(key) = entries.next_key::<String>()? {
                if labels::ANNOTATIONS.contains(&key.as_str()) {
                    known.insert(key, entries.next_value()?);
                } else {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
            Ok(known)
        }
    }
    from.deserialize_map(Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_annotations_only_those_that_the_mesh_reads_are_kept() {
        let text = r#"{"name": "web", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"password\": \"1\"}",
            "istio.io/dry-run": "true", "other": {"not": "text"}}}"#;
        let metadata: ObjectMeta = serde_json::from_str(text).unwrap();
        let kept: Vec<_> = metadata.annotations.into_iter().collect();
        assert_eq!(kept, [("istio.io/dry-run".to_owned(), "true".to_owned())]);
        let wrong = r#"{"annotations": {"istio.io/dry-run": 1}}"#;
        assert!(serde_json::from_str::<ObjectMeta>(wrong).is_err());
    }

    #[test]
    fn every_annotation_that_is_read_is_listed() {
        let source = include_str!("../labels.rs");
        let told = source.split("/// ").filter(|part| part.starts_with("Annotation "));
        assert_eq!(told.count(), labels::ANNOTATIONS.len());
    }
}
