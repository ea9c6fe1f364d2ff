//! Where requests and connections are carried to: endpoints, which of them is next, how many at once, and the
//! connections to them.
#![allow(dead_code, unused_imports, reason = "the request path takes these up piece by piece")]

mod balance;
mod cluster;
#[cfg(test)]
mod fixtures;
mod hash;
mod limits;
mod locality;
mod outlier;
mod retry_budget;

pub(crate) use cluster::{Ask, Cluster, Endpoint, NoEndpoint, Picked, Settings};
pub(crate) use hash::{GivenCookie, given_cookie, key_hash};
pub(crate) use limits::{ConnectionSlot, Limits, Overflow, Overflows, Pending, RequestSlot, RetrySlot};
pub(crate) use outlier::{Cause, Change, Event, Outcome};
