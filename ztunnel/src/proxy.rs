//! The proxy's side: connections out of and into captured pods, from accept to record.

mod begun;
#[cfg(test)]
pub(crate) mod fixtures;
mod guest;
mod inbound;
mod introduction;
mod listeners;
mod outbound;
mod pod;
mod probe;
mod queries;
mod record;
mod session;
mod shared;
mod socks5;
mod standing;
mod trial;
mod tunnels;
mod verdict;
mod worker;

use ambit_transport::failure;

pub(crate) use listeners::Listeners;
pub(crate) use pod::Pod;
pub(crate) use shared::{Limits, Shared, Succession, Taps};
pub(crate) use worker::Worker;
