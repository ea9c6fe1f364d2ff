//! Why a handshake failed, as a reason that both sides share and a detail that only this side knows.

use std::io;
use std::time::Duration;

use ambit_model::Reason;
use rustls::{AlertDescription, CertificateError, PeerIncompatible, PeerMisbehaved};

use crate::verifier::Verdict;

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Failure {
    /// The stable code, for metrics and the access log.
    pub reason: Reason,
    /// What exactly happened, for the log: the identity, issuer and validity presented, where they are known.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(reason: Reason, detail: String) -> Self {
        Self { reason, detail }
    }

    pub(crate) fn timed_out(timeout: Duration) -> Self {
        let detail = format!("the TLS handshake did not complete within {} ms", timeout.as_millis());
        Self { reason: Reason::ConnectTimeout, detail }
    }

    /// The failure that a certificate stands for that is refused with `error`.
    pub(crate) fn of_certificate(error: CertificateError, detail: String) -> Self {
        Self { reason: reason_of_alert(AlertDescription::from(error)), detail }
    }

    /// The failure that `error` of a handshake stands for; `verdict` is what the verifier found before it.
    pub(crate) fn of_handshake(error: &io::Error, verdict: Option<Verdict>) -> Self {
        let Some(tls) = tls_error(error) else {
            return Self { reason: reason_of_transport(error), detail: error.to_string() };
        };
        let detail = match (tls, verdict) {
            (rustls::Error::InvalidCertificate(_), Some(Verdict::Refused(detail))) => detail,
            (rustls::Error::AlertReceived(alert), _) => format!("the peer refused us with the TLS alert {alert:?}"),
            (rustls::Error::InvalidMessage(cause), _) => format!("what the peer sent is not TLS ({cause:?})"),
            _ => tls.to_string(),
        };
        Self { reason: reason_of_tls(tls), detail }
    }
}

/// The reason within an error of a TLS stream, if it is one of TLS. This is how a client learns that the server
/// refused its certificate: by the first read after the handshake.
#[must_use]
pub fn reason_of_io_error(error: &io::Error) -> Option<Reason> {
    tls_error(error).map(reason_of_tls)
}

/// The TLS error that `error` is or was caused by.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref() {
            return Some(found);
        }
        cause = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as _),
            None => current.source(),
        };
    }
    None
}

fn reason_of_transport(error: &io::Error) -> Reason {
    use io::ErrorKind as K;
    match error.kind() {
        K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::NotConnected => {
            Reason::HandshakeClosed
        }
        K::TimedOut => Reason::ConnectTimeout,
        K::HostUnreachable | K::NetworkUnreachable => Reason::NoRoute,
        _ => Reason::TlsFailure,
    }
}

fn reason_of_tls(error: &rustls::Error) -> Reason {
    use rustls::Error as E;
    match error {
        // By way of the alert that rustls sends for it, so that this side and the peer come to the same reason.
        E::InvalidCertificate(cause) => reason_of_alert(AlertDescription::from(cause.clone())),
        E::AlertReceived(alert) => reason_of_alert(*alert),
        E::NoCertificatesPresented => Reason::NoPeerCertificate,
        E::NoApplicationProtocol | E::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
            Reason::AlpnMismatch
        }
        E::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => Reason::TlsVersion,
        _ => Reason::TlsFailure,
    }
}

/// What an alert means, whichever side sent it (RFC 8446 section 6.2). Istio's ztunnel, too, sends
/// `certificate_unknown` for a foreign trust domain.
fn reason_of_alert(alert: AlertDescription) -> Reason {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired | A::NoCertificate => Reason::NoPeerCertificate,
        A::CertificateExpired => Reason::CertificateExpired,
        A::CertificateRevoked => Reason::CertificateRevoked,
        A::UnknownCA => Reason::UntrustedIssuer,
        A::UnsupportedCertificate => Reason::NoSpiffeIdentity,
        A::CertificateUnknown => Reason::UntrustedDomain,
        A::AccessDenied => Reason::PeerIdentityMismatch,
        A::NoApplicationProtocol => Reason::AlpnMismatch,
        A::ProtocolVersion => Reason::TlsVersion,
        A::CloseNotify | A::UserCanceled => Reason::HandshakeClosed,
        _ => Reason::TlsFailure,
    }
}
