//! A YAML document as a tree of values that know their lines.

use std::borrow::Cow;
use std::cell::Cell;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node<'a> {
    /// The line of its key, or of itself where it has none.
    pub(crate) line: u32,
    /// It has been read by a type that has a field for it.
    pub(super) read: Cell<bool>,
    /// What it is.
    pub(crate) value: Value<'a>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// Keys are unique.
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// What stands in `line`.
    pub(crate) fn new(line: u32, value: Value<'a>) -> Self {
        Self { line, read: Cell::new(false), value }
    }

    /// The value of `key`, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'a>> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(known, _)| known == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text of `key`, if this is a map that has text there.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of the field at `path`, such as `spec.ports[0].targetPort`; where it is absent, of what it belongs to.
    pub(crate) fn line_of(&self, path: &str) -> u32 {
        let mut at = self;
        let mut rest = path;
        while !rest.is_empty() {
            let (step, after) = next_step(rest);
            let next = match &at.value {
                Value::List(items) => step.parse::<usize>().ok().and_then(|place| items.get(place)),
                // A key that holds dots may stand in the path without brackets: then it is what remains.
                _ => at.get(step).or_else(|| at.get(rest)),
            };
            let Some(next) = next else { break };
            (at, rest) = (next, after);
        }
        at.line
    }

    /// How much of the budget for copies a copy takes: nodes, and text by the kilobyte.
    pub(crate) fn weight(&self) -> usize {
        1 + match &self.value {
            Value::Text(text) => text.len() / 1024,
            Value::List(items) => items.iter().map(Node::weight).sum(),
            Value::Map(entries) => entries.iter().map(|(key, node)| key.len() / 1024 + node.weight()).sum(),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        }
    }

    /// How many lists and maps nest here, itself included.
    pub(crate) fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => 0,
        }
    }
}

/// Splits `a.b`, `a[0]`, `[key.with/dots].b` after the first step.
fn next_step(path: &str) -> (&str, &str) {
    if let Some((step, rest)) = path.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (step, rest.strip_prefix('.').unwrap_or(rest));
    }
    let (step, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
    (step, rest.strip_prefix('.').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use crate::yaml::parse;

    #[test]
    fn the_line_of_a_field_is_its_keys() {
        let text =
            "metadata:\n  labels:\n    app: web\n    a.b/c: d\nspec:\n  ports:\n  - port: 1\n  -\n    port:\n      2\n";
        let node = parse(text, 1).unwrap();
        for (path, line) in [
            ("metadata.labels[app]", 3),
            ("metadata.labels.app", 3),
            ("metadata.labels[a.b/c]", 4),
            ("metadata.labels.a.b/c", 4),
            ("spec.ports", 6),
            ("spec.ports[0].port", 7),
            ("spec.ports[1].port", 9),
            ("spec.ports[7].port", 6),
            ("spec.selector", 5),
            ("status.podIP", 1),
            ("", 1),
        ] {
            assert_eq!(node.line_of(path), line, "{path}");
        }
    }
}
