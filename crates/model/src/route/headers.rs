//! What routes do to header fields (Istio `Headers`). Which fields a message has is for whoever holds it.

use std::sync::Arc;

use serde::Serialize;

/// What is done to a request's fields and to its response's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Headers {
    /// Before the request is forwarded.
    pub request: HeaderOperations,
    /// Before the response is given to the client.
    pub response: HeaderOperations,
    /// What the request's `:authority` becomes: `host` or `:authority` among the fields to set or add.
    pub authority: Option<Arc<str>>,
}

/// What is done to the fields of a message. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderOperations {
    /// These are no more.
    pub remove: Vec<Arc<str>>,
    /// These have this value and no other.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// These have this value as well.
    pub add: Vec<(Arc<str>, Arc<str>)>,
}

/// One step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The field is no more.
    Remove(&'a str),
    /// The field has this value and no other.
    Set(&'a str, &'a str),
    /// The field has this value after those that it has.
    Append(&'a str, &'a str),
}

impl HeaderOperations {
    /// What is done, in order: what is removed and set is not removed again.
    pub fn steps(&self) -> impl Iterator<Item = Operation<'_>> {
        let remove = self.remove.iter().map(|name| Operation::Remove(name));
        let set = self.set.iter().map(|(name, value)| Operation::Set(name, value));
        let add = self.add.iter().map(|(name, value)| Operation::Append(name, value));
        remove.chain(set).chain(add)
    }
}
