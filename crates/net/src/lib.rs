//! Sockets: where they are opened, what they carry, and how their bytes are relayed. Knows nothing of who may talk to
//! whom.

pub mod stream;

pub use stream::{ByteSink, ByteSource};
