//! Where requests and connections are carried to: endpoints, which of them is next, how many at once, and the
//! connections to them.

mod balance;
mod cluster;
mod clusters;
mod connect;
mod endpoints;
#[cfg(test)]
mod fixtures;
mod hash;
mod limits;
mod locality;
mod multiplexed;
mod origination;
mod outlier;
mod pool;
mod retry_budget;

pub(crate) use cluster::{Ask, Picked};
pub(crate) use clusters::{Clusters, Held, NoCluster, Place, Registry};
pub(crate) use connect::{Sink, Source};
pub(crate) use endpoints::{Bare, Endpoints, Exchange, Sent, Unsent, Upgraded};
pub(crate) use hash::{given_cookie, key_hash};
pub(crate) use limits::ConnectionSlot;
pub(crate) use origination::Originators;
