//! The plugin's place in a network configuration (CNI 1.0, section 1): the last of a chain. Pure: text in, text out.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::NAME;

/// The field of the plugin's entry that tells a configuration of the agent's own.
pub(super) const OWN: &str = "own";

/// The field that tells the plugin that there is no other: the network's configuration is gone.
pub(super) const ALONE: &str = "alone";

/// Why a configuration cannot be chained to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    NotJson(String),
    /// It has neither plugins nor a type.
    #[error("it has neither `plugins` nor a `type`: this is no network configuration")]
    NoPlugin,
}

/// The configuration that container runtimes take, of those in a directory: the first by name.
pub(super) fn first(names: impl IntoIterator<Item = String>) -> Option<String> {
    let extension =
        |name: &String| Path::new(name).extension().and_then(|extension| extension.to_str()).map(str::to_owned);
    let configurations = names.into_iter().filter(|name| {
        extension(name).is_some_and(|extension| matches!(extension.as_str(), "conf" | "conflist" | "json"))
    });
    configurations.min()
}

/// `text` with `entry` for the last of its plugins; none if that is so already. A configuration of one plugin becomes a list.
pub(super) fn with(text: &str, entry: &Value) -> Result<Option<String>, Unusable> {
    let mut configuration = read(text)?;
    let plugins = plugins(&mut configuration)?;
    if plugins.last() == Some(entry) && plugins.iter().filter(|plugin| is_ours(plugin)).count() == 1 {
        return Ok(None);
    }
    plugins.retain(|plugin| !is_ours(plugin));
    plugins.push(entry.clone());
    Ok(Some(written(&configuration)))
}

/// `text` without the plugin; none if it is not in it. Where that is what `original` says, it is that, to the letter.
pub(super) fn without(text: &str, original: Option<&str>) -> Result<Option<String>, Unusable> {
    let mut configuration = read(text)?;
    let plugins = plugins(&mut configuration)?;
    if !plugins.iter().any(is_ours) {
        return Ok(None);
    }
    plugins.retain(|plugin| !is_ours(plugin));
    let same = original.filter(|original| read(original).is_ok_and(|original| original == configuration));
    Ok(Some(same.map_or_else(|| written(&configuration), str::to_owned)))
}

/// `text` with `entry` alone.
pub(super) fn alone(text: &str, entry: &Value) -> Result<String, Unusable> {
    let mut configuration = read(text)?;
    *plugins(&mut configuration)? = vec![entry.clone()];
    Ok(written(&configuration))
}

/// True if `text` is a configuration of the agent's own, which its plugin is marked by.
pub(super) fn is_own(text: &str) -> bool {
    let Ok(mut configuration) = read(text) else { return false };
    let marked = |plugin: &Value| is_ours(plugin) && plugin.get(OWN) == Some(&Value::Bool(true));
    plugins(&mut configuration).is_ok_and(|plugins| plugins.iter().any(marked))
}

/// True if `text` has several plugins, as a `.conflist` does.
pub(super) fn is_list(text: &str) -> bool {
    read(text).is_ok_and(|configuration| configuration.contains_key("plugins"))
}

fn read(text: &str) -> Result<Map<String, Value>, Unusable> {
    serde_json::from_str(text).map_err(|error| Unusable::NotJson(error.to_string()))
}

fn plugins(configuration: &mut Map<String, Value>) -> Result<&mut Vec<Value>, Unusable> {
    if !configuration.contains_key("plugins") {
        if !configuration.contains_key("type") {
            return Err(Unusable::NoPlugin);
        }
        let single = std::mem::take(configuration);
        for key in ["cniVersion", "name"] {
            if let Some(value) = single.get(key) {
                configuration.insert(key.to_owned(), value.clone());
            }
        }
        configuration.insert("plugins".to_owned(), json!([single]));
    }
    configuration.get_mut("plugins").and_then(Value::as_array_mut).ok_or(Unusable::NoPlugin)
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(NAME)
}

fn written(configuration: &Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(configuration.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"name": "pods", "cniVersion": "1.0.0",
        "plugins": [{"type": "bridge", "b": 1, "a": 2}, {"type": "portmap"}]}"#;

    fn entry(socket: &str) -> Value {
        json!({"type": NAME, "socket": socket})
    }

    fn types(text: &str) -> Vec<String> {
        let plugins = serde_json::from_str::<Value>(text).unwrap()["plugins"].clone();
        plugins.as_array().unwrap().iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_first_configuration_by_name_is_the_one_that_counts() {
        let names = ["20-a.conflist", "10-b.conf", "05-notes.txt", ".10-b.conf.new", "README"];
        assert_eq!(first(names.map(str::to_owned)).as_deref(), Some("10-b.conf"));
        assert_eq!(first(["kubeconfig".to_owned()]), None);
    }

    #[test]
    fn it_is_the_last_of_the_chain_and_stays_so() {
        let chained = with(LIST, &entry("/a")).unwrap().unwrap();
        assert_eq!(types(&chained), ["bridge", "portmap", NAME]);
        assert_eq!(with(&chained, &entry("/a")), Ok(None), "nothing is to be done twice");
        // Told otherwise, or with somebody behind it.
        assert_eq!(types(&with(&chained, &entry("/b")).unwrap().unwrap()), ["bridge", "portmap", NAME]);
        let behind = chained.replace(r#""type": "portmap""#, r#""type": "ambit-cni""#);
        assert_eq!(types(&with(&behind, &entry("/a")).unwrap().unwrap()), ["bridge", NAME]);
    }

    #[test]
    fn what_it_was_is_restored_to_the_letter_unless_somebody_has_changed_it() {
        let chained = with(LIST, &entry("/a")).unwrap().unwrap();
        assert_eq!(without(&chained, Some(LIST)).unwrap().as_deref(), Some(LIST));
        let changed = chained.replace("\"b\": 1", "\"b\": 3");
        let restored = without(&changed, Some(LIST)).unwrap().unwrap();
        assert_eq!(types(&restored), ["bridge", "portmap"]);
        assert!(restored.contains("\"b\": 3"), "{restored}");
        assert_eq!(without(LIST, None), Ok(None));
    }

    #[test]
    fn one_plugin_alone_becomes_a_list() {
        let chained = with(r#"{"cniVersion": "0.4.0", "name": "n", "type": "flannel", "x": {}}"#, &entry("/a"));
        let chained: Value = serde_json::from_str(&chained.unwrap().unwrap()).unwrap();
        assert_eq!((&chained["cniVersion"], &chained["name"]), (&json!("0.4.0"), &json!("n")));
        assert_eq!(chained["plugins"][0]["type"], "flannel");
        assert_eq!(chained["plugins"][1], entry("/a"));
    }

    #[test]
    fn what_is_no_configuration_is_left_alone() {
        assert!(matches!(with("{", &entry("/a")), Err(Unusable::NotJson(_))));
        assert_eq!(with("{}", &entry("/a")), Err(Unusable::NoPlugin));
        assert_eq!(with(r#"{"plugins": 1}"#, &entry("/a")), Err(Unusable::NoPlugin));
    }
}
