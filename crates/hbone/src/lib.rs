//! HBONE: byte streams as HTTP/2 CONNECT streams of one tunnel (features.md E-02 to E-08), over a transport handed in.
//! Knows nothing of certificates, of the mesh, or of where a stream goes.
//!
//! - [`client`] opens streams, [`server`] takes them; both hand out a [`StreamSource`] and a [`StreamSink`].
//! - [`pool`] decides which tunnel carries a stream (pure); [`Tunnels`] does it for one worker.
//! - [`headers`] reads and writes what travels with a CONNECT.
//!
//! Everything here belongs to one worker: a tunnel, its driver and its streams live and die on one thread and are
//! not `Send`. A sink takes bytes without writing them; the driver writes for all streams when it is polled next.
//!
//! **No stream can stall another.** A stream whose reader sleeps holds at most its own window; the tunnel's window
//! always exceeds the sum of those ([`Config::connection_window`]); and what small frames cost is copied together by
//! the driver, whether the reader sleeps or not.

#![forbid(unsafe_code)]

pub mod client;
mod config;
mod error;
pub mod headers;
mod inbox;
mod keepalive;
pub mod pool;
mod request;
pub mod server;
mod stream;
mod stream_error;
mod transport;
mod tunnel;
mod tunnels;

pub use config::Config;
pub use error::{Code, Error};
pub use request::{BadRequest, ConnectRequest, ConnectResponse, SourceProxy};
pub use stream::{StreamSink, StreamSource};
pub use stream_error::{is_refused_stream, is_reset_stream};
pub use tunnels::{Connector, Tunnels};
