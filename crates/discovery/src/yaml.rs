//! YAML as Kubernetes reads it (JSON included), each value with its line, within bounds that hostile text cannot pass.
//! Knows nothing of Kubernetes' objects.

mod build;
mod decode;
mod node;
mod scalar;
mod split;

pub(crate) use build::parse;
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
