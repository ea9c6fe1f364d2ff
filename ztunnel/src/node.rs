//! The node's side of the mesh: which pods are captured here, and the loop that keeps it so.

mod agent;
mod departed;
mod finder;
mod plan;
mod premesh;
mod processes;
mod sockets;
mod status;
mod uninstall;

pub(crate) use agent::Agent;
pub(crate) use finder::Finder;
pub(crate) use processes::Processes;
pub(crate) use status::{Board, Status};
pub(crate) use uninstall::uninstall;
