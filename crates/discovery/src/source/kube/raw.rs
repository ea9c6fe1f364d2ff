//! An object as the API server sends it: its text, and what kube's watcher has to know of it. What it says is decoded
//! elsewhere, one by one, so that an object that cannot be decoded spoils no list.

use std::borrow::Cow;

use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object that has not been decoded.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// Name, namespace and version, and nothing else.
    metadata: ObjectMeta,
    text: Box<RawValue>,
}

impl Raw {
    /// Its name and namespace, which is empty where it has none.
    pub(super) fn name(&self) -> (&str, &str) {
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
    }

    /// Its JSON.
    pub(super) fn text(&self) -> &str {
        self.text.get()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: Identity,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(from)?;
        let head: Head = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        let Identity { name, namespace, resource_version } = head.metadata;
        Ok(Self { metadata: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() }, text })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.kind)
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.group)
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.version)
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.plural)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};

    use super::*;

    const LIST: &str = r#"{"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "continue": "c"},
        "items": [{"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "5"}, "spec": {"nodeName": 1}}]}"#;

    #[test]
    fn an_object_of_a_list_keeps_its_text() {
        let list: ObjectList<Raw> = serde_json::from_str(LIST).unwrap();
        let [raw] = &list.items[..] else { panic!("{list:?}") };
        assert_eq!(raw.name(), ("shop", "a"));
        assert_eq!(raw.metadata.resource_version.as_deref(), Some("5"));
        assert!(raw.text().ends_with(r#""spec": {"nodeName": 1}}"#), "{}", raw.text());
    }

    #[test]
    fn an_object_of_a_watch_keeps_its_text() {
        let line = r#"{"type": "MODIFIED", "object": {"metadata": {"name": "a"}, "spec": null}}"#;
        let event: WatchEvent<Raw> = serde_json::from_str(line).unwrap();
        let WatchEvent::Modified(raw) = event else { panic!("{event:?}") };
        assert_eq!((raw.name(), raw.text()), (("", "a"), r#"{"metadata": {"name": "a"}, "spec": null}"#));
    }
}
