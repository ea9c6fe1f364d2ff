//! JSON values as YAML in block style, for manifests that a person may want to read, and YAML as JSON values. Every
//! string is written in quotes, so that none is taken for a number or a boolean, and a key where it is more than letters and
//! digits; every scalar is read as a string.

use anyhow::Context;
use granit_parser::{Event, Parser};
use serde_json::{Map, Value};

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

/// The documents of `text`; empty ones are passed over.
///
/// # Errors
/// When it is no YAML, or uses what manifests do not need (aliases, keys that are no text).
pub fn load(text: &str) -> anyhow::Result<Vec<Value>> {
    let (mut documents, mut open) = (Vec::new(), Vec::new());
    for event in Parser::new_from_str(text) {
        let complete = match event?.0 {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().context("an end without a beginning")? {
                Open::List(items) => Value::Array(items),
                Open::Map(fields, _) => Value::Object(fields),
            },
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::Alias(_) => anyhow::bail!("aliases are not read"),
            _ => continue,
        };
        match (open.last_mut(), complete) {
            (None, Value::String(text)) if text.is_empty() => {}
            (None, complete) => documents.push(complete),
            (Some(Open::List(items)), complete) => items.push(complete),
            (Some(Open::Map(fields, key)), complete) => match (key.take(), complete) {
                (Some(key), value) => drop(fields.insert(key, value)),
                (None, Value::String(text)) => *key = Some(text),
                (None, other) => anyhow::bail!("{other} is no key"),
            },
        }
    }
    Ok(documents)
}

/// A list or map that is not complete yet; a map with the key that waits for its value.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                indent(depth, text);
                key(name, text);
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

/// `name`, in quotes where it could be taken for something else than text.
fn key(name: &str, text: &mut String) {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|one| one.is_ascii_alphanumeric() || one == '-')
        && !WORDS.contains(&name.to_ascii_lowercase().as_str());
    if plain {
        text.push_str(name);
    } else {
        text.push_str(&Value::from(name).to_string());
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
        let document = json!({"a": {"b": ["no", {"c": 1, "no": {}}]}, "x/e": "x: y"});
        let expected = "---\na:\n  b:\n    - \"no\"\n    -\n      c: 1\n      \"no\": {}\n\"x/e\": \"x: y\"\n";
        assert_eq!(documents([&document]), expected);
    }

    #[test]
    fn what_is_written_reads_back_with_scalars_as_strings() {
        let document = json!({"a": {"b": ["no", {"c": "1", "d": {}}], "e": []}, "f": "x: \"y\"\n"});
        assert_eq!(load(&documents([&document, &document])).unwrap(), [document.clone(), document]);
        assert_eq!(load("# nothing\n---\na: [1, \"2\"] # two\n").unwrap(), [json!({"a": ["1", "2"]})]);
        assert!(load("a: [").is_err());
    }
}
