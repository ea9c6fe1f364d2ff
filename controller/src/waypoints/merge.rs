//! Puts an overlay on an object as Kubernetes' strategic merge patch does: maps are merged; lists whose elements have names
//! are merged by them, all others replaced. `$patch: delete` and `$patch: replace` within a map do what they say. Pure.
//! (Kubernetes API conventions, "Strategic Merge Patch"; an entry that is null is nothing in YAML as it is read here.)

use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";

/// Puts `overlay` on `base`.
pub(super) fn merge(base: &mut Value, overlay: &Value) {
    match (base, overlay) {
        (Value::Object(base), Value::Object(overlay)) => merge_maps(base, overlay),
        (base, overlay) => *base = plain(overlay),
    }
}

fn merge_maps(base: &mut Map<String, Value>, overlay: &Map<String, Value>) {
    if overlay.get(DIRECTIVE).is_some_and(|directive| directive == "replace") {
        base.clear();
    }
    for (name, value) in overlay.iter().filter(|(name, _)| *name != DIRECTIVE) {
        if is_deletion(value) {
            base.remove(name);
            continue;
        }
        match (base.get_mut(name), value) {
            (Some(Value::Array(list)), Value::Array(changes)) => merge_lists(name, list, changes),
            (Some(known), value) => merge(known, value),
            (None, value) => drop(base.insert(name.clone(), plain(value))),
        }
    }
}

/// Puts `changes` on the list `name`.
fn merge_lists(name: &str, list: &mut Vec<Value>, changes: &[Value]) {
    let Some(key) = key(name, list, changes) else {
        *list = changes.iter().map(plain).collect();
        return;
    };
    for change in changes {
        let known = list.iter().position(|element| !element[key].is_null() && element[key] == change[key]);
        match (known, is_deletion(change)) {
            (Some(place), true) => drop(list.remove(place)),
            (Some(place), false) => list.get_mut(place).into_iter().for_each(|element| merge(element, change)),
            (None, true) => {}
            (None, false) => list.push(plain(change)),
        }
    }
}

/// By which field the elements of the list `name` are told apart, if by any (`patchMergeKey` of Kubernetes' types).
fn key(name: &str, list: &[Value], changes: &[Value]) -> Option<&'static str> {
    match name {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" | "secrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "hostAliases" => Some("ip"),
        "ports" => {
            let is_of_container = |port: &Value| !port["containerPort"].is_null();
            Some(if list.iter().chain(changes).any(is_of_container) { "containerPort" } else { "port" })
        }
        _ => None,
    }
}

fn is_deletion(value: &Value) -> bool {
    value.get(DIRECTIVE).is_some_and(|directive| directive == "delete")
}

/// `value` without what only says how it is merged.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, value)| *name != DIRECTIVE && !is_deletion(value));
            kept.map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        Value::Array(list) => list.iter().filter(|value| !is_deletion(value)).map(plain).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut base: Value, overlay: &Value) -> Value {
        merge(&mut base, overlay);
        base
    }

    #[test]
    fn maps_are_merged_and_what_has_no_name_is_replaced() {
        let base = json!({"spec": {"replicas": 1, "args": ["a", "b"], "kept": true}});
        let overlay = json!({"spec": {"replicas": 3, "args": ["c"], "new": {"x": 1}}});
        let expected = json!({"spec": {"replicas": 3, "args": ["c"], "kept": true, "new": {"x": 1}}});
        assert_eq!(merged(base, &overlay), expected);
    }

    #[test]
    fn what_has_a_name_is_merged_by_it() {
        let base = json!({
            "containers": [{"name": "proxy", "image": "a", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 1, "name": "x"}]}],
            "ports": [{"port": 80, "name": "http"}, {"port": 81}],
        });
        let overlay = json!({
            "containers": [
                {"name": "proxy", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}], "ports": [{"containerPort": 1, "name": "y"}]},
                {"name": "other", "image": "b"},
            ],
            "ports": [{"port": 80, "nodePort": 30080}, {"port": 81, "$patch": "delete"}, {"port": 82, "$patch": "delete"}],
        });
        let expected = json!({
            "containers": [
                {
                    "name": "proxy",
                    "image": "a",
                    "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}],
                    "ports": [{"containerPort": 1, "name": "y"}],
                },
                {"name": "other", "image": "b"},
            ],
            "ports": [{"port": 80, "name": "http", "nodePort": 30080}],
        });
        assert_eq!(merged(base, &overlay), expected);
    }

    #[test]
    fn a_directive_deletes_or_replaces_and_is_never_written() {
        let base = json!({"resources": {"requests": {"cpu": "1"}}, "affinity": {"x": 1}});
        let overlay = json!({
            "resources": {"$patch": "delete"},
            "affinity": {"$patch": "replace", "y": 2},
            "new": {"list": [{"$patch": "delete"}, {"a": 1}], "map": {"$patch": "delete"}},
        });
        assert_eq!(merged(base, &overlay), json!({"affinity": {"y": 2}, "new": {"list": [{"a": 1}]}}));
    }
}
