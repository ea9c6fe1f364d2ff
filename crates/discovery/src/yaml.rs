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

/// A document is no YAML, or none that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line within the file, from 1.
    pub(crate) line: u32,
    /// What is wrong.
    pub(crate) message: String,
}
