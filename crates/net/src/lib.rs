//! Sockets: where they are opened, what they carry, and how their bytes are relayed. Knows nothing of who may talk to
//! whom.

pub mod accept;
pub mod buffers;
pub mod diag;
pub mod netns;
pub mod ports;
pub mod proxy_protocol;
pub mod relay;
pub mod routes;
pub mod socket;
pub mod stream;
mod sys;
pub mod tcp;
pub mod udp;

pub use netns::NetNs;
pub use relay::{Closed, relay};
pub use stream::{ByteSink, ByteSource};
