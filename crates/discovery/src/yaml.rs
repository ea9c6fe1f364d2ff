//! YAML as Kubernetes reads it (JSON included), each value with its line, within bounds that hostile text cannot pass; the
//! JSON of an API server, by a faster way to the same tree; and what of a tree has been read, as JSON again. Knows nothing
//! of Kubernetes' objects.

mod build;
mod decode;
mod json;
mod kept;
mod node;
mod scalar;
mod split;

pub(crate) use build::parse;
pub(crate) use json::json;
pub(crate) use kept::kept;
pub(crate) use node::{Node, Value};
pub(crate) use split::documents;

/// The document `text` as JSON, within the bounds that all of them have. An entry that is null is not there.
///
/// # Errors
/// Why it is no YAML, with the line.
pub fn read_yaml(text: &str) -> Result<serde_json::Value, String> {
    let tree = parse(text, 1).map_err(|fault| format!("line {}: {}", fault.line, fault.message))?;
    serde::Deserialize::deserialize(&tree).map_err(|error: decode::DecodeError| error.to_string())
}

/// A document is no YAML, or none that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line within the file, from 1.
    pub(crate) line: u32,
    /// What is wrong.
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read_yaml;

    #[test]
    fn a_document_of_no_kind_is_json_or_says_at_which_line_it_is_none() {
        let read = read_yaml("spec:\n  replicas: 3\n  empty: null\n  list: [a, true, 1.5]\n").unwrap();
        assert_eq!(read, json!({"spec": {"replicas": 3, "list": ["a", true, 1.5]}}));
        assert_eq!(read_yaml("").unwrap(), json!(null));
        assert!(read_yaml("a: 1\nb: [\n").unwrap_err().starts_with("line "));
    }
}
