//! JSON values as YAML in block style, for manifests that a person may want to read. Every string is quoted, so that
//! none is taken for a number or a boolean.

use serde_json::Value;

/// `documents`, separated by `---`.
#[must_use]
pub fn documents<'a>(documents: impl IntoIterator<Item = &'a Value>) -> String {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        block(document, 0, &mut text);
    }
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                indent(depth, text);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                nested(value, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, text);
                text.push('-');
                nested(item, depth, text);
            }
        }
        scalar => {
            indent(depth, text);
            text.push_str(&scalar.to_string());
            text.push('\n');
        }
    }
}

fn nested(value: &Value, depth: usize, text: &mut String) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        block(value, depth + 1, text);
    } else {
        text.push(' ');
        text.push_str(&value.to_string());
        text.push('\n');
    }
}

fn indent(depth: usize, text: &mut String) {
    (0..depth).for_each(|_| text.push_str("  "));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nests_and_quotes() {
        let document = json!({"a": {"b": ["no", {"c": 1, "d": {}}]}, "e": "x: y"});
        let expected = "---\n\"a\":\n  \"b\":\n    - \"no\"\n    -\n      \"c\": 1\n      \"d\": {}\n\"e\": \"x: y\"\n";
        assert_eq!(documents([&document]), expected);
    }
}
