//! Why a connection could not be had or did not end well: the reason's code and what was seen.

use std::fmt;
use std::io;

use ambit_hbone as hbone;
use ambit_hbone::headers::RefusedBy;
use ambit_identity::tls;
use ambit_model::{Denial, Reason};
use ambit_net::relay::Closed;
use ambit_net::socket::ConnectError;

/// How an Ambit tells another why a stream is cut. Whoever else is told takes it for INTERNAL_ERROR, as any code that is
/// not known (RFC 9113 section 7).
const CODES: [(Reason, hbone::Code); 2] =
    [(Reason::PolicyChanged, hbone::Code(0x616d_6270)), (Reason::CertificateRevoked, hbone::Code(0x616d_6272))];

/// The reasons that a CONNECT is refused for by a policy.
const POLICIES: [Reason; 2] = [Reason::PolicyDenied, Reason::NoPolicyMatched];

/// The HTTP/2 code that a stream is reset with for `reason`.
pub fn code_of(reason: Reason) -> hbone::Code {
    CODES.iter().find(|(known, _)| *known == reason).map_or(hbone::Code::CONNECT_ERROR, |(_, code)| *code)
}

/// Why a connection could not be had or did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub reason: Reason,
    /// What was seen: addresses, identities, the kernel's words. May be empty.
    pub detail: String,
    /// The policy that refuses, for the peer that asked; what a peer says of its own is not handed on.
    pub policy: Option<RefusedBy>,
}

impl Failure {
    /// A failure with what was seen of it.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), policy: None }
    }

    /// The reason, and what the log says: the reason's text with what was seen.
    pub fn told(self) -> (Reason, String) {
        let text = self.to_string();
        (self.reason, text)
    }

    /// A relayed connection that an end aborted with `error`: by a reset of the application there, unless the error
    /// says that it was the way to it that failed.
    pub fn of_abort(usual: Reason, error: &io::Error) -> Self {
        use io::ErrorKind as K;
        if let Some(error) = hbone::Error::inside(error) {
            return Self::of_stream(usual, error);
        }
        match error.kind() {
            kind if is_silence(kind) => Self::new(Reason::PeerGone, error.to_string()),
            // Says what the reason says.
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => usual.into(),
            _ => Self::new(usual, error.to_string()),
        }
    }

    /// How a relayed connection ended.
    ///
    /// # Errors
    /// Who aborted it, and how.
    pub fn of_relay(closed: &Closed) -> Result<(), Self> {
        match closed {
            Closed::Finished => Ok(()),
            Closed::ResetByClient(error) => Err(Self::of_abort(Reason::ResetByClient, error)),
            Closed::ResetByServer(error) => Err(Self::of_abort(Reason::ResetByServer, error)),
        }
    }

    /// A stream of a tunnel that failed with `error`.
    pub fn of_stream(usual: Reason, error: &hbone::Error) -> Self {
        use hbone::Error as E;
        match error {
            E::Refused { status, reason, policy } => Self::of_refusal(*status, reason.as_deref(), policy.as_ref()),
            E::Reset { code } => match CODES.iter().find(|(_, known)| known == code) {
                Some((reason, _)) => (*reason).into(),
                None => Self::new(usual, code.to_string()),
            },
            E::Aborted => usual.into(),
            E::PeerGone { silence } => Self::new(Reason::PeerGone, format!("not a byte for {silence:?}")),
            E::TransportClosed => Self::new(Reason::PeerGone, error.to_string()),
            E::HandshakeTimeout { .. } => Self::new(Reason::ConnectTimeout, error.to_string()),
            E::Drained => Reason::Draining.into(),
            E::BadRequest(_) => Self::new(Reason::BadRequest, error.to_string()),
            E::InvalidRequest(_) => Self::new(Reason::Internal, error.to_string()),
            E::Transport(error) => Self::of_transport(error),
            E::Connect(error) => {
                let known = error.downcast_ref::<Self>().cloned();
                known.unwrap_or_else(|| Self::new(Reason::ConnectFailed, error.to_string()))
            }
            E::NotProcessed { .. } | E::GoAway { .. } | E::Protocol { .. } | E::TunnelFull | E::TunnelClosed => {
                Self::new(Reason::H2Failure, error.to_string())
            }
        }
    }

    /// The peer answered a CONNECT with `status`, and if it is an Ambit with the `code` of a reason and with the policy.
    fn of_refusal(status: u16, code: Option<&str>, policy: Option<&RefusedBy>) -> Self {
        let reason = code.and_then(Reason::from_code);
        let policy = policy.filter(|_| reason.is_some_and(|reason| POLICIES.contains(&reason)));
        match (reason, code) {
            (Some(reason), _) => {
                let by = policy.map_or_else(String::new, |policy| format!("{policy}: "));
                Self::new(reason, format!("{by}the peer answered with status {status}"))
            }
            (None, Some(code)) => Self::new(Reason::RefusedByPeer, format!("status {status}, {code}")),
            (None, None) => Self::new(Reason::RefusedByPeer, format!("status {status}")),
        }
    }

    /// The transport of a tunnel broke with `error`.
    fn of_transport(error: &io::Error) -> Self {
        use io::ErrorKind as K;
        if let Some(known) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return known.clone();
        }
        let reason = match tls::reason_of_io_error(error) {
            Some(reason) => reason,
            // Its peer was killed, restarted or lost its network.
            None if is_silence(error.kind()) => Reason::PeerGone,
            None if matches!(error.kind(), K::ConnectionReset | K::BrokenPipe | K::UnexpectedEof) => Reason::PeerGone,
            None => Reason::H2Failure,
        };
        Self::new(reason, error.to_string())
    }
}

/// What the kernel says of an established connection whose other end is not answering or not reachable any more.
fn is_silence(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(kind, K::TimedOut | K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown)
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

impl From<&Denial> for Failure {
    fn from(denial: &Denial) -> Self {
        Self { policy: RefusedBy::parse(&denial.by()), ..Self::new(denial.reason, denial.to_string()) }
    }
}

impl From<hbone::Error> for Failure {
    fn from(error: hbone::Error) -> Self {
        Self::of_stream(Reason::ResetByServer, &error)
    }
}

impl From<tls::Failure> for Failure {
    fn from(tls::Failure { reason, detail }: tls::Failure) -> Self {
        Self::new(reason, detail)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Refused(to) => Self::new(Reason::ConnectionRefused, to.to_string()),
            ConnectError::TimedOut(to) => Self::new(Reason::ConnectTimeout, to.to_string()),
            ConnectError::NoRoute(to) => Self::new(Reason::NoRoute, to.to_string()),
            ConnectError::Source { .. } | ConnectError::Other { .. } => {
                Self::new(Reason::ConnectFailed, error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests;
