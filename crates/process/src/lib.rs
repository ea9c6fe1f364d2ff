//! What every long-running program of the mesh needs around its work: settings, signals, a drain in two phases,
//! readiness, workers and the HTTP ports for people and probes. Knows nothing of what the program does.
#![forbid(unsafe_code)]

pub mod admin;
pub mod drain;
mod error;
pub mod files;
pub mod http_server;
pub mod limits;
pub mod metrics;
pub mod pprof;
pub mod program;
pub mod ready;
pub mod routes;
pub mod series;
pub mod settings;
pub mod signal;
pub mod source;
pub mod unix;
pub mod workers;

pub use drain::{Drain, Drained, Guard, Phase, Trigger};
pub use error::Error;
pub use http_server::Server;
pub use ready::{Condition, Ready};
pub use routes::{Request, Response, Routes};
pub use signal::{Cause, Quit, Signals};
pub use workers::{WorkerContext, Workers};
