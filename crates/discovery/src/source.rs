//! A directory of Kubernetes YAML as a source of events: what is read of it, what of that is in force, and when to look
//! again.

pub(crate) mod catalog;
pub(crate) mod contents;
mod directory;
mod watch;

pub(crate) use directory::{Change, Directory};
pub(crate) use watch::{BURST, Watch};
