//! Why a connection could not be had or did not end well: the reason's code and what was seen.

use std::error::Error as _;
use std::fmt;
use std::io;

use ambit_hbone as hbone;
use ambit_identity::tls;
use ambit_model::Reason;
use ambit_net::socket::ConnectError;

/// Why a connection could not be had or did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The stable code.
    pub(crate) reason: Reason,
    /// What was seen: addresses, identities, the kernel's words. May be empty.
    pub(crate) detail: String,
}

impl Failure {
    /// A failure with what was seen of it.
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// A relayed connection that an end aborted with `error`: by a reset of the application there, unless the error
    /// says that it was the way to it that failed.
    pub(crate) fn of_abort(usual: Reason, error: &io::Error) -> Self {
        if let Some(error) = hbone::Error::inside(error) {
            return Self::of_stream(usual, error);
        }
        let reason = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Reason::PeerGone
            }
            _ => usual,
        };
        Self::new(reason, error.to_string())
    }

    /// A stream of a tunnel that failed with `error`.
    pub(crate) fn of_stream(usual: Reason, error: &hbone::Error) -> Self {
        use hbone::Error as E;
        let reason = match error {
            E::Refused { reason: Some(code), .. } => Reason::from_code(code).unwrap_or(Reason::RefusedByPeer),
            E::Refused { .. } => Reason::RefusedByPeer,
            E::Reset { .. } | E::Aborted => usual,
            E::PeerGone { .. } | E::TransportClosed => Reason::PeerGone,
            E::HandshakeTimeout { .. } => Reason::ConnectTimeout,
            E::Drained => Reason::Draining,
            E::BadRequest(_) => Reason::BadRequest,
            E::InvalidRequest(_) => Reason::Internal,
            E::Transport(error) => match tls::reason_of_io_error(error) {
                Some(reason) => reason,
                None if is_gone(error) => Reason::PeerGone,
                None => Reason::H2Failure,
            },
            E::Connect(error) => {
                return error
                    .downcast_ref::<Self>()
                    .cloned()
                    .unwrap_or_else(|| Self::new(Reason::ConnectFailed, error.to_string()));
            }
            E::NotProcessed { .. } | E::GoAway { .. } | E::Protocol { .. } | E::TunnelFull | E::TunnelClosed => {
                Reason::H2Failure
            }
        };
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Self::new(reason, format!("{error}{cause}"))
    }
}

/// A transport that ended this way was cut off: its peer was killed, restarted or lost its network.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::TimedOut | K::ConnectionReset | K::BrokenPipe | K::UnexpectedEof | K::HostUnreachable)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for Failure {}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::new(reason, String::new())
    }
}

impl From<hbone::Error> for Failure {
    fn from(error: hbone::Error) -> Self {
        Self::of_stream(Reason::ResetByServer, &error)
    }
}

impl From<tls::Failure> for Failure {
    fn from(tls::Failure { reason, detail }: tls::Failure) -> Self {
        Self { reason, detail }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let reason = match &error {
            ConnectError::Refused(_) => Reason::ConnectionRefused,
            ConnectError::TimedOut(_) => Reason::ConnectTimeout,
            ConnectError::NoRoute(_) => Reason::NoRoute,
            ConnectError::Source { .. } | ConnectError::Other { .. } => Reason::ConnectFailed,
        };
        Self::new(reason, error.to_string())
    }
}
