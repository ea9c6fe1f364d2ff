//! What happened to connections and requests, told to people and to Prometheus: counters, the access log, the process's
//! own log. Knows what a workload is; knows no socket, no certificate and no server that a scrape comes from.
//!
//! Every worker owns a [`Meter`] and counts in plain cells. A scrape asks each worker for its [`Values`] and
//! [`Exposition`] merges them, so that nothing is shared on the path of a connection, a request or a byte.
#![forbid(unsafe_code)]

mod access;
mod ends;
mod exposition;
mod family;
#[cfg(test)]
mod fixtures;
mod flags;
mod layer;
mod line;
mod logging;
mod meter;
mod queries;
mod queue;
mod request;
mod requests;
mod series;
mod trials;
mod values;

pub use access::AccessLog;
pub use ends::{Derived, Ends, Party, Reporter, Security};
pub use exposition::Exposition;
pub use family::{Family, certificates};
pub use flags::{ResponseFlag, ResponseFlags};
pub use line::Form;
pub use logging::{Error, Levels, Logging};
pub use meter::{ConnectionSummary, Live, Meter, Opened, Outcome, Refused};
pub use queries::QuerySeries;
pub use request::{Answer, Downstream, GrpcCall, GrpcStatus, KeptHead, Refusal, RequestHead, RequestRecord, Upstream};
pub use trials::Trial;
pub use values::{Counts, Living, Values, expired};
