//! Fields of JSON by their path, where nobody vouches for its shape: reading what is not there, or writing below what is no
//! map, is no mistake.

use serde_json::{Map, Value};

/// What is at `path`; null if nothing is.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(value, |value, name| value.get(name)).unwrap_or(&Value::Null)
}

/// Puts `what` at `path`; whatever is on the way and no map becomes one.
pub(crate) fn set(value: &mut Value, path: &[&str], what: Value) {
    let Some((name, rest)) = path.split_first() else {
        *value = what;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Some(map) = value.as_object_mut() {
        set(map.entry(*name).or_insert(Value::Null), rest, what);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_null_and_what_is_in_the_way_is_replaced() {
        let mut value = json!({"a": {"b": 1}, "list": [1]});
        assert_eq!((at(&value, &["a", "b"]), at(&value, &["a", "c", "d"])), (&json!(1), &Value::Null));
        set(&mut value, &["a", "c", "d"], json!(2));
        set(&mut value, &["list", "x"], json!(3));
        assert_eq!(value, json!({"a": {"b": 1, "c": {"d": 2}}, "list": {"x": 3}}));
    }
}
