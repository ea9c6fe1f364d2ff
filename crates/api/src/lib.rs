//! How users say what the mesh is: Kubernetes objects trimmed to what is read of them, their labels, and the one
//! translation into [`ambit_model`] that validates them. Knows no file, no cluster and no other object than the one
//! at hand: what takes two of them is joined elsewhere.
#![forbid(unsafe_code)]

pub mod field;
pub mod kind;
pub mod labels;
mod name;
pub mod object;
pub mod resource;
pub mod schema;
pub mod translate;

pub use field::{FieldError, Remark, Severity};
pub use kind::{Kind, ObjectRef, Recognised, recognise};
pub use object::Object;
pub use resource::Resource;
pub use translate::{Translated, translate};
