//! The node's side of the mesh: which pods are captured here, and the loop that keeps it so.

mod agent;
mod plan;
mod premesh;
mod status;

pub(crate) use agent::Agent;
pub(crate) use status::{Board, Status};
