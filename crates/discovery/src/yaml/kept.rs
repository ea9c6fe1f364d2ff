//! What of a tree has been read, as JSON: decoding that again reads the same, and nothing else is in it.

use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use super::node::{Node, Value};

/// The JSON of what has been read of `node`.
///
/// # Errors
/// Where a number is none that JSON has.
pub(crate) fn kept(node: &Node<'_>) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Kept(node))
}

struct Kept<'a>(&'a Node<'a>);

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0.value {
            Value::Null => to.serialize_unit(),
            Value::Bool(value) => to.serialize_bool(*value),
            Value::Int(number) => to.serialize_i64(*number),
            Value::Float(number) if !number.is_finite() => Err(S::Error::custom("a number that JSON does not have")),
            Value::Float(number) => to.serialize_f64(*number),
            Value::Text(text) => to.serialize_str(text),
            Value::List(items) => to.collect_seq(items.iter().map(Kept)),
            Value::Map(entries) => {
                let mut map = to.serialize_map(None)?;
                for (key, node) in entries.iter().filter(|(_, node)| node.read.get()) {
                    map.serialize_entry(&**key, &Kept(node))?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::yaml::json;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        name: String,
        inner: Option<Inner>,
        labels: BTreeMap<String, String>,
        list: Vec<Inner>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        port: f64,
        set: Option<bool>,
    }

    #[test]
    fn what_a_type_has_no_field_for_is_not_kept_and_the_rest_reads_the_same() {
        let text = r#"{"name": "a", "secret": "s", "inner": {"port": 1.5, "env": [{"value": "s"}]},
            "labels": {"k": "v", "l": ""}, "list": [{"port": 2, "s": {}}, {"set": false}, {"set": null}]}"#;
        let node = json(text).unwrap();
        let whole = Outer::deserialize(&node).unwrap();
        let kept = kept(&node).unwrap();
        assert_eq!(
            kept,
            r#"{"name":"a","inner":{"port":1.5},"labels":{"k":"v","l":""},"list":[{"port":2},{"set":false},{}]}"#
        );
        assert_eq!(Outer::deserialize(&json(&kept).unwrap()).unwrap(), whole);
    }
}
