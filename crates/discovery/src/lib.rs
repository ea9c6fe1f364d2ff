//! Where the mesh's configuration comes from: a source tells events, a pure index joins them, and each batch becomes
//! one published snapshot, with the reports on what is wrong with the configuration beside it.
#![forbid(unsafe_code)]

mod error;
mod event;
mod index;
mod origin;
mod publish;
mod report;
mod run;
pub mod secrets;
mod source;
mod standing;
mod yaml;

pub use error::Error;
pub use event::Event;
pub use index::Index;
pub use origin::{Cluster, Origin, Pace};
pub use publish::{Published, Publisher, publish};
pub use report::Report;
pub use run::{Settings, run};
pub use source::kube::{client, find_resource, resource, resource_of};
pub use source::read_object;
pub use standing::{Standing, Sync};
pub use yaml::read_yaml;

/// The snapshots as whoever decides reads them.
pub type Snapshots = Published<ambit_model::Snapshot>;
/// The current reports as whoever shows them reads them.
pub type Reports = Published<Vec<Report>>;
