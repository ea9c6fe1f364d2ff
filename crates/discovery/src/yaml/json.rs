//! The JSON of an API server as a tree, borrowing its text. Has no lines, since nobody wrote any, and leaves out
//! `managedFields`, often half of an object, which say who wrote what.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::node::{Node, Value};

/// What nobody reads, and is long.
const LEFT_OUT: &str = "managedFields";

/// The tree of `text`.
///
/// # Errors
/// What is wrong with the text, where it is no JSON.
pub(crate) fn json(text: &str) -> Result<Node<'_>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Tree).map(|value| Node::new(0, value))
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value<'de>, E> {
        #[allow(clippy::cast_precision_loss, reason = "no field of Kubernetes holds so large a number")]
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(number))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'de>, A::Error> {
        let mut map: Vec<(Cow<'de, str>, Node<'de>)> = Vec::new();
        while let Some(Key(key)) = entries.next_key()? {
            if key == LEFT_OUT {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            map.push((key, entries.next_value()?));
        }
        Ok(Value::Map(map))
    }
}

/// A key, borrowed where it can be.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn json_is_the_tree_that_it_is_as_yaml() {
        let text = r#"{"a": [1, -2, 2.5, true, null, "x"], "b\n": {"c": "d\u00e9"}, "e": {}, "f": []}"#;
        let without_lines = |node: &Node<'_>| format!("{node:?}").replace("line: 1", "line: 0");
        assert_eq!(without_lines(&json(text).unwrap()), without_lines(&parse(text, 1).unwrap()));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{\"a\"}", "{1: 2}", "a: b", "\"\\ud800\"", &deep] {
            assert!(json(text).is_err(), "{}", text.chars().take(20).collect::<String>());
        }
    }

    #[test]
    fn who_wrote_what_is_left_out() {
        let node = json(r#"{"metadata": {"name": "a", "managedFields": [{"fieldsV1": {"f:a": {}}}]}}"#).unwrap();
        let metadata = node.get("metadata").unwrap();
        assert_eq!(metadata.text("name"), Some("a"));
        assert_eq!(metadata.get("managedFields"), None);
    }
}
