//! Decides whether a client that is not of the mesh may be let in by a gateway: a chain to an authority that the gateway
//! names, and a name, a key or a certificate that it asks for.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{ExpectedName, Refusal, chain, unrevoked};
use crate::certificate::Certificate;
use crate::provider::foreign_provider;
use crate::trust::Trusted;

/// Verifies clients that are not of the mesh.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    /// What their certificates are checked against.
    trusted: Trusted,
    /// The names of who may sign them, for clients that have several certificates.
    hints: Vec<DistinguishedName>,
    /// Names of which a certificate must carry one; empty for any.
    names: Vec<ExpectedName>,
    /// Which keys and certificates will do.
    pins: Pins,
    /// A client must show one.
    required: bool,
}

/// SHA-256 of the keys (SubjectPublicKeyInfo) and of the whole certificates that will do: one of all of them is enough; any
/// will do if there are none.
#[derive(Debug)]
pub(crate) struct Pins {
    pub(crate) keys: Vec<[u8; 32]>,
    pub(crate) certificates: Vec<[u8; 32]>,
}

impl Pins {
    fn hold(&self, end_entity: &CertificateDer<'_>, leaf: &EndEntityCert<'_>) -> bool {
        let is_one_of = |pins: &[[u8; 32]], bytes: &[u8]| {
            let hash = digest(&SHA256, bytes);
            pins.iter().any(|pin| pin == hash.as_ref())
        };
        (self.keys.is_empty() && self.certificates.is_empty())
            || is_one_of(&self.keys, &leaf.subject_public_key_info())
            || is_one_of(&self.certificates, end_entity)
    }
}

impl ClientVerifier {
    /// One that takes whom `trusted` vouches for, of these `names` and `pins`, and who shows nothing only unless `required`.
    pub(crate) fn new(trusted: Trusted, names: Vec<ExpectedName>, pins: Pins, required: bool) -> Self {
        let anchors = trusted.roots.anchors().iter();
        let hints = anchors.map(|anchor| DistinguishedName::in_sequence(&anchor.subject)).collect();
        Self { trusted, hints, names, pins, required }
    }

    /// Whether who shows this may be let in at `now`.
    pub(crate) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        chain(&self.trusted, end_entity, intermediates, now, KeyUsage::client_auth())?;
        let shown = Certificate::parse(end_entity)
            .map_err(|detail| Refusal { error: CertificateError::BadEncoding, detail })?;
        unrevoked(&self.trusted, &shown, intermediates)?;
        let leaf = EndEntityCert::try_from(end_entity)
            .map_err(|error| Refusal { error: CertificateError::BadEncoding, detail: error.to_string() })?;
        let refused = |detail| Refusal { error: CertificateError::ApplicationVerificationFailure, detail };
        if !self.names.is_empty() && !self.names.iter().any(|name| name.is_of(&leaf)) {
            let expected: Vec<_> = self.names.iter().map(ToString::to_string).collect();
            let carried: Vec<_> = leaf.valid_dns_names().chain(leaf.valid_uri_names()).collect();
            let (expected, carried) = (expected.join(", "), carried.join(", "));
            return Err(refused(format!("expected [{expected}], the client's certificate is for [{carried}]")));
        }
        if !self.pins.hold(end_entity, &leaf) {
            let shown = shown.describe();
            return Err(refused(format!("neither its key nor the whole of it is one that is asked for: {shown}")));
        }
        Ok(())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verdict = self.check(end_entity, intermediates, now);
        verdict.map(|()| ClientCertVerified::assertion()).map_err(Refusal::noted)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &foreign_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &foreign_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        foreign_provider().signature_verification_algorithms.supported_schemes()
    }
}
