//! What an agent has in force, as tables: a pure function of what it says for each. `dump` reads it.

pub(crate) mod certificate;
pub(crate) mod connection;
pub(crate) mod dump;
pub(crate) mod policy;
pub(crate) mod service;
pub(crate) mod workload;

#[cfg(test)]
mod tests;
