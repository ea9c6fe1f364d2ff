//! Short, stable names for what can happen to a connection.

use std::io::{Error, ErrorKind};

/// The name of an I/O error, such as `refused`.
pub(crate) fn name(error: &Error) -> String {
    let name = match error.kind() {
        ErrorKind::ConnectionRefused => "refused",
        ErrorKind::ConnectionReset => "reset",
        ErrorKind::ConnectionAborted => "aborted",
        ErrorKind::BrokenPipe => "broken-pipe",
        ErrorKind::TimedOut => "timed-out",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "unreachable",
        ErrorKind::UnexpectedEof => "eof",
        ErrorKind::AddrNotAvailable => "no-local-port",
        _ => return error.to_string(),
    };
    name.to_owned()
}

/// The name of an error that may be an I/O error at its root.
pub(crate) fn name_any(error: &anyhow::Error) -> String {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
    io.map_or_else(|| format!("{error:#}"), name)
}
