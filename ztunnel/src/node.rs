//! The node's side of the mesh: which pods are captured here, and the loop that keeps it so.

mod agent;
mod departed;
mod finder;
mod gate;
mod mended;
mod plan;
mod premesh;
mod processes;
mod reign;
pub(crate) mod report;
mod status;
pub(crate) mod succession;
mod uninstall;

pub(crate) use agent::{Agent, Here};
pub(crate) use finder::Finder;
pub(crate) use gate::Gate;
pub(crate) use reign::Reign;
pub(crate) use status::{Board, Status};
pub(crate) use uninstall::uninstall;
