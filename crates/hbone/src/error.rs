//! What can go wrong with a tunnel or a stream of it. Knows nothing of the reasons that the mesh reports.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::headers::RefusedBy;

/// Why a tunnel or a stream could not be opened, or why it ended other than in good order.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The peer answered the CONNECT with something else than 200. The peer's log says why; `reason` is the code
    /// that an Ambit sends along, and names a page of docs/reasons.
    #[error("the peer refused the connection with status {status} ({})", reason.as_deref().unwrap_or("no reason given"))]
    Refused {
        /// The status of the response.
        status: u16,
        /// The header `x-ambit-reason`.
        reason: Option<String>,
        /// The header `x-ambit-policy`.
        policy: Option<RefusedBy>,
    },
    /// The peer reset this stream: its application reset the connection, or it could not be reached. Look there.
    #[error("the peer reset the stream: {code}")]
    Reset {
        /// The code of the RST_STREAM frame.
        code: Code,
    },
    /// This side reset the stream, or dropped half of it before its end. Nothing to do.
    #[error("the stream was reset here")]
    Aborted,
    /// The peer says that it has not looked at this stream (it is stopping, or full). Open it on another tunnel.
    #[error("the peer did not process the stream: {code}")]
    NotProcessed {
        /// The code of the GOAWAY or RST_STREAM frame.
        code: Code,
    },
    /// The peer ended the tunnel with an error. The peer's log says why; seen often, the two disagree on HTTP/2.
    #[error("the peer ended the tunnel: {code} {debug}")]
    GoAway {
        /// The code of the GOAWAY frame.
        code: Code,
        /// The text that came with it.
        debug: String,
    },
    /// The peer broke the rules of HTTP/2, or a limit of [`Config`](crate::Config) against abuse. Find out what
    /// speaks on this port; if it is an honest peer, raise the limit.
    #[error("the peer broke the rules of HTTP/2: {code}")]
    Protocol {
        /// The rule, as the code that was sent to the peer.
        code: Code,
    },
    /// The peer has sent nothing for `silence`, though it was pinged. Its node or the network between is down.
    #[error("the peer is gone: not a byte for {silence:?}, pings unanswered")]
    PeerGone {
        /// How long it was silent.
        silence: Duration,
    },
    /// The peer sent none of the first bytes of HTTP/2 in time. It is overloaded, or not an HBONE endpoint.
    #[error("the peer did not start to speak HTTP/2 within {after:?}")]
    HandshakeTimeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// The transport below the tunnel failed. The source says how; look at the network and at the peer.
    #[error("the transport failed")]
    Transport(#[source] Arc<io::Error>),
    /// The peer closed the transport while the stream was open: it was killed, or stopped without draining.
    #[error("the peer closed the tunnel with the stream open")]
    TransportClosed,
    /// The transport could not be made. The source is the connector's own error.
    #[error("no transport to the peer")]
    Connect(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The tunnel carries as many streams as it may. Open the stream on another.
    #[error("the tunnel carries as many streams as it may")]
    TunnelFull,
    /// The tunnel takes no new streams: it is closing or closed. Open the stream on another.
    #[error("the tunnel takes no new streams")]
    TunnelClosed,
    /// This side is stopping, and the stream came too late or outlived the time it was given.
    #[error("this side is draining")]
    Drained,
    /// The request cannot be put into HTTP/2. A defect of the caller: report it with the log.
    #[error("the request cannot be sent: {0}")]
    InvalidRequest(Arc<str>),
    /// The request was answered with 400 already. Only worth the log.
    #[error(transparent)]
    BadRequest(#[from] crate::BadRequest),
}

impl Error {
    /// The hbone error inside an [`io::Error`] that a source or a sink returned.
    #[must_use]
    pub fn inside(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether the stream was certainly not processed by the peer, so that it may be opened again elsewhere.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotProcessed { .. } | Self::TunnelFull | Self::TunnelClosed)
    }

    /// The kind under which this error travels as an [`io::Error`]. [`io::ErrorKind::TimedOut`] means that the peer
    /// is gone, [`io::ErrorKind::ConnectionReset`] that it reset the stream or vanished.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Refused { .. } | Self::NotProcessed { .. } => io::ErrorKind::ConnectionRefused,
            Self::Reset { .. } | Self::TransportClosed => io::ErrorKind::ConnectionReset,
            Self::PeerGone { .. } | Self::HandshakeTimeout { .. } => io::ErrorKind::TimedOut,
            Self::Transport(error) => error.kind(),
            Self::Protocol { .. } => io::ErrorKind::InvalidData,
            Self::InvalidRequest(_) | Self::BadRequest(_) => io::ErrorKind::InvalidInput,
            Self::Connect(_) | Self::TunnelFull | Self::TunnelClosed => io::ErrorKind::NotConnected,
            Self::Aborted | Self::GoAway { .. } | Self::Drained => io::ErrorKind::ConnectionAborted,
        }
    }

    /// What an error of the HTTP/2 layer means to a stream or to a whole tunnel.
    pub(crate) fn from_h2(error: h2::Error) -> Self {
        let code = Code(error.reason().unwrap_or(h2::Reason::INTERNAL_ERROR).into());
        if error.is_go_away() && error.is_remote() {
            return match code {
                // A graceful GOAWAY reaches only those streams that it leaves out.
                Code::NO_ERROR => Self::NotProcessed { code },
                _ => Self::GoAway { code, debug: error.to_string() },
            };
        }
        if error.is_reset() && error.is_remote() {
            return Self::from_reset(code);
        }
        if error.is_library() {
            return Self::Protocol { code };
        }
        if error.is_go_away() {
            return Self::TunnelClosed;
        }
        match error.into_io() {
            Some(error) => Self::Transport(Arc::new(error)),
            None => Self::Aborted,
        }
    }

    /// What a RST_STREAM of the peer means.
    pub(crate) fn from_reset(code: Code) -> Self {
        match code {
            Code::REFUSED_STREAM => Self::NotProcessed { code },
            _ => Self::Reset { code },
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

/// An error code of HTTP/2 (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// In good order.
    pub const NO_ERROR: Self = Self(0x0);
    /// The stream was not processed.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The connection behind a CONNECT was reset or abnormally closed.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer generates excessive load.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            unknown => return write!(f, "code {unknown:#x}"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_gives_back_what_it_was_made_of() {
        let error = io::Error::from(Error::PeerGone { silence: Duration::from_secs(30) });
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(matches!(Error::inside(&error), Some(Error::PeerGone { .. })));
        assert!(Error::inside(&io::Error::other("another's")).is_none());
    }

    #[test]
    fn only_what_the_peer_has_not_seen_is_retryable() {
        assert!(Error::from_reset(Code::REFUSED_STREAM).is_retryable());
        assert!(!Error::from_reset(Code::CONNECT_ERROR).is_retryable());
        assert!(!Error::TransportClosed.is_retryable());
    }
}
