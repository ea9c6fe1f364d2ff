//! Decides whether the peer of a handshake may be talked to: a chain to a trusted root, one SPIFFE identity of an
//! accepted trust domain and, where we dialled, an identity that was expected. Knows nothing of sockets.
//!
//! A refusal is told to the peer by the alert of RFC 8446 section 6.2 that fits it best, and the two sides derive
//! their [`Reason`](ambit_model::Reason) from that same alert, so that they agree.

mod client;
mod server;

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use ambit_model::{Identity, TrustDomains};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::certificate::Certificate;
use crate::provider::provider;
use crate::trust::{Peer, TrustStore, Trusted};
pub(crate) use client::{ClientVerifier, Pins};
pub(crate) use server::{ExpectedName, ServerVerifier};

tokio::task_local! {
    // rustls tells the caller of a handshake neither what the verifier saw nor, after a failure, what the peer sent.
    static VERDICT: RefCell<Option<Verdict>>;
}

/// What a verifier found in one handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The peer proved to be this one, once the handshake completes.
    Accepted(Peer),
    /// The peer was refused; why, for the log.
    Refused(String),
}

/// Runs a handshake and returns what it returned together with what the verifier found in it.
pub(crate) async fn observe<F: Future>(handshake: F) -> (F::Output, Option<Verdict>) {
    let observed = async { (handshake.await, VERDICT.with(RefCell::take)) };
    VERDICT.scope(RefCell::new(None), observed).await
}

/// Verifies peers, as a server or as a client.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// Read at every handshake, so that what is new holds for new handshakes and leaves open connections alone.
    pub(crate) store: TrustStore,
    pub(crate) trust: TrustDomains,
    pub(crate) expected: Expected,
}

/// Which identities a peer may have.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Any of the accepted trust domains: policy decides later.
    Anyone,
    /// One of these; nobody, if there are none.
    OneOf(Vec<Identity>),
}

/// Why a peer is refused: what rustls derives the alert from, and what the log says.
pub(crate) struct Refusal {
    pub(crate) error: CertificateError,
    pub(crate) detail: String,
}

impl Refusal {
    /// What rustls is told, once the observer has been.
    fn noted(self) -> rustls::Error {
        note(Verdict::Refused(self.detail));
        rustls::Error::InvalidCertificate(self.error)
    }
}

/// Without an observer there is nobody to tell; the verifier's result alone decides.
fn note(verdict: Verdict) {
    let _ = VERDICT.try_with(|cell| cell.replace(Some(verdict)));
}

impl Verifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        let trusted = self.store.load();
        let verdict = chain(&trusted, end_entity, intermediates, now, usage)
            .and_then(|()| self.identity(end_entity))
            .and_then(|(leaf, identity)| standing(&trusted, &leaf, identity, intermediates));
        match verdict {
            Ok(peer) => {
                note(Verdict::Accepted(peer));
                Ok(())
            }
            Err(refusal) => Err(refusal.noted()),
        }
    }

    fn identity(&self, end_entity: &CertificateDer<'_>) -> Result<(Certificate, Identity), Refusal> {
        let leaf = Certificate::parse(end_entity)
            .map_err(|detail| Refusal { error: CertificateError::BadEncoding, detail })?;
        let identity = leaf.identity().map_err(|cause| {
            let detail = format!("not a workload's certificate, {cause}: {}", leaf.describe());
            Refusal { error: CertificateError::InvalidPurpose, detail }
        })?;
        if !self.trust.accepts(&identity.trust_domain) {
            let detail = format!("foreign trust domain {}: {}", identity.trust_domain, leaf.describe());
            let error = CertificateError::Other(OtherError(Arc::new(ForeignDomain(detail.clone()))));
            return Err(Refusal { error, detail });
        }
        match &self.expected {
            Expected::OneOf(expected) if !expected.iter().any(|one| self.trust.same(one, &identity)) => {
                let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
                let detail = format!("expected [{}], presented {}", expected.join(", "), leaf.describe());
                Err(Refusal { error: CertificateError::ApplicationVerificationFailure, detail })
            }
            _ => Ok((leaf, identity)),
        }
    }
}

fn chain(
    trusted: &Trusted,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<(), Refusal> {
    let algorithms = provider().signature_verification_algorithms.all;
    EndEntityCert::try_from(end_entity)
        .and_then(|leaf| {
            leaf.verify_for_usage(algorithms, trusted.roots.anchors(), intermediates, now, usage, None, None).map(drop)
        })
        .map_err(|error| {
            let presented = Certificate::parse(end_entity).map(|leaf| leaf.describe());
            let presented = presented.unwrap_or_else(|cause| format!("an unreadable certificate: {cause}"));
            let cause = chain_cause(&error, now, trusted.roots.roots().count());
            Refusal { error: chain_error(error), detail: format!("{cause}: {presented}") }
        })
}

/// Whether one's own `chain`, the leaf first, leads to a root that is trusted `now`; an error says why not.
pub(crate) fn leads_to_a_root(store: &TrustStore, own: &[CertificateDer<'_>], now: SystemTime) -> Result<(), String> {
    let (leaf, between) = own.split_first().ok_or("it is empty")?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(since);
    chain(&store.load(), leaf, between, now, KeyUsage::client_auth()).map_err(|refusal| refusal.detail)
}

/// The peer, unless one of the certificates that it shows is revoked.
fn standing(
    trusted: &Trusted,
    leaf: &Certificate,
    identity: Identity,
    intermediates: &[CertificateDer<'_>],
) -> Result<Peer, Refusal> {
    let between = unrevoked(trusted, leaf, intermediates)?;
    Ok(Peer::new(identity, std::iter::once(leaf).chain(&between)))
}

/// The certificates between `leaf` and its root, none of them being revoked.
fn unrevoked(
    trusted: &Trusted,
    leaf: &Certificate,
    intermediates: &[CertificateDer<'_>],
) -> Result<Vec<Certificate>, Refusal> {
    let between: Result<Vec<_>, _> = intermediates.iter().map(|der| Certificate::parse(der)).collect();
    let between = between.map_err(|detail| Refusal { error: CertificateError::BadEncoding, detail })?;
    let mut shown = std::iter::once(leaf).chain(&between);
    match shown.find(|certificate| trusted.revocations.revokes([&certificate.id])) {
        None => Ok(between),
        Some(revoked) => {
            let detail = format!("serial {} is revoked: {}", revoked.serial, leaf.describe());
            Err(Refusal { error: CertificateError::Revoked, detail })
        }
    }
}

/// Carried by the one refusal for which rustls has no variant of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ForeignDomain(String);

/// The error whose alert tells the peer the truth. A chain that leads nowhere, or only to a root that shares nothing
/// but the name of ours, is `unknown_ca`, as is one through certificates that may not sign.
fn chain_error(error: webpki::Error) -> CertificateError {
    use webpki::Error as E;
    match error {
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer
        | E::InvalidSignatureForPublicKey
        | E::CaUsedAsEndEntity
        | E::EndEntityUsedAsCa
        | E::PathLenConstraintViolated
        | E::NameConstraintViolation
        | E::CertDistrusted
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => CertificateError::UnknownIssuer,
        _ => CertificateError::BadEncoding,
    }
}

fn chain_cause(error: &webpki::Error, now: UnixTime, roots: usize) -> String {
    use webpki::Error as E;
    let hours = |seconds: u64| format!("{:.1} h", seconds as f64 / 3600.0);
    match error {
        E::CertExpired { not_after, .. } => {
            format!("expired {} ago", hours(now.as_secs().saturating_sub(not_after.as_secs())))
        }
        E::CertNotValidYet { not_before, .. } => {
            format!("valid only in {}", hours(not_before.as_secs().saturating_sub(now.as_secs())))
        }
        E::UnknownIssuer => format!("signed by none of the {roots} trusted roots"),
        E::InvalidSignatureForPublicKey => "signed by another CA of the same name as a trusted root".to_owned(),
        E::CaUsedAsEndEntity => "a CA's certificate, not a workload's".to_owned(),
        other => format!("refused by chain validation, {other}"),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::server_auth()).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// None: a client has one certificate to offer, whatever the roots.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::client_auth()).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is in no configuration of ours.
fn tls12() -> rustls::Error {
    rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into()
}

#[cfg(test)]
mod tests;
