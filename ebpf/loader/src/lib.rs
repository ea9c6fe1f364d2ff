//! Puts the kernel programs in force and tells them which pods are enrolled. It decides nothing about a connection:
//! the programs capture what [`Capture::enrol`] names, and userspace asks [`OriginalDestinations`] where it wanted to go.
//!
//! Everything in force is pinned below one directory of a bpffs and outlives the agent: a pod stays enrolled until it
//! is withdrawn, and with no agent listening its connections are refused.

mod capture;
pub mod cgroup;
mod counters;
mod destinations;
mod error;
mod host_pods;
mod link;
mod migration;
mod object;
mod pins;
pub mod probe;
pub mod project;
mod state;
mod sys;
mod table;

pub use capture::{Capture, Pod, Settings};
pub use counters::Counters;
pub use destinations::OriginalDestinations;
pub use error::Error;
pub use host_pods::HostPods;
pub use migration::Migration;
pub use project::{Enrolled, Operation, Own, Steering};
