//! SOCKS5 (RFC 1928) as pods may speak it: CONNECT, without authentication. It knows neither who asks nor where
//! connections go.

mod handshake;
mod message;

use std::io;

pub(crate) use handshake::{dismiss, negotiate};
pub(crate) use message::Reply;

/// Why a client is not understood. It is told as far as SOCKS can, and its connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It speaks another version, or another protocol: the operator has a client of the mesh's port 15080 that is not
    /// meant to be one.
    #[error("version {0}, not 5")]
    Version(u8),
    /// It wants to authenticate itself: configure it without a user.
    #[error("no method is offered that goes without authentication")]
    Methods,
    /// It wants BIND or UDP ASSOCIATE: only CONNECT is served.
    #[error("command {0}, not CONNECT")]
    Command(u8),
    /// It names its destination in a way that RFC 1928 does not know.
    #[error("address type {0}")]
    AddressType(u8),
    /// What it names is neither an address nor a host name with a port: repair its destination.
    #[error("the destination is no address or host name with a port")]
    Destination,
    /// It takes too long to say what it wants.
    #[error("no request in time")]
    Silent,
    /// Its connection ended or broke before it had said what it wants.
    #[error("the connection ended: {0}")]
    Ended(#[from] io::Error),
}
