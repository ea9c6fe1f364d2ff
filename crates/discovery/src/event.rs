//! What a source tells the index: one alphabet for a directory and for a watch on a cluster.

use ambit_api::{ObjectRef, Resource};

/// A change of what is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The object is now this, whether it was there or not.
    Upsert(Resource),
    /// The object is gone, if it was there.
    Delete(ObjectRef),
}
