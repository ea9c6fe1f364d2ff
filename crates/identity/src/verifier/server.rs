//! Decides whether a server that is not of the mesh may be talked to: a chain to an authority that its DestinationRule
//! names, and a name that it was asked by.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{Refusal, chain, unrevoked};
use crate::certificate::Certificate;
use crate::error::Error;
use crate::provider::foreign_provider;
use crate::trust::Trusted;

/// Verifies servers that are not of the mesh.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    /// What their certificates are checked against; none if anything will do.
    pub(crate) trusted: Option<Trusted>,
    /// Names of which a certificate must carry one; none for the name that is dialled.
    pub(crate) names: Vec<ExpectedName>,
}

/// A name that a certificate can carry.
#[derive(Debug)]
pub(crate) enum ExpectedName {
    /// A DNS name or an address.
    Server(ServerName<'static>),
    /// A URI, such as a SPIFFE ID, letter by letter.
    Uri(String),
}

impl ExpectedName {
    /// # Errors
    /// [`Error::BadServerName`]
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text.contains("://") {
            return Ok(Self::Uri(text.to_owned()));
        }
        let name = ServerName::try_from(text.to_owned());
        name.map(Self::Server).map_err(|_| Error::BadServerName(text.to_owned()))
    }

    /// Whether the certificate carries it.
    pub(super) fn is_of(&self, leaf: &EndEntityCert<'_>) -> bool {
        match self {
            Self::Server(name) => leaf.verify_is_valid_for_subject_name(name).is_ok(),
            Self::Uri(uri) => leaf.valid_uri_names().any(|known| known == uri),
        }
    }
}

impl ServerVerifier {
    fn named(&self, end_entity: &CertificateDer<'_>, dialled: &ServerName<'_>) -> Result<(), Refusal> {
        let leaf = EndEntityCert::try_from(end_entity)
            .map_err(|error| Refusal { error: CertificateError::BadEncoding, detail: error.to_string() })?;
        let fits = match &self.names[..] {
            [] => leaf.verify_is_valid_for_subject_name(dialled).is_ok(),
            names => names.iter().any(|name| name.is_of(&leaf)),
        };
        if fits {
            return Ok(());
        }
        let expected = match &self.names[..] {
            [] => dialled.to_str().into_owned(),
            names => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let carried: Vec<_> = leaf.valid_dns_names().chain(leaf.valid_uri_names()).collect();
        let detail = format!("expected [{expected}], the server's certificate is for [{}]", carried.join(", "));
        Err(Refusal { error: CertificateError::ApplicationVerificationFailure, detail })
    }
}

impl std::fmt::Display for ExpectedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(name) => f.write_str(&name.to_str()),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let verdict = chain(trusted, end_entity, intermediates, now, KeyUsage::server_auth()).and_then(|()| {
            let leaf = Certificate::parse(end_entity)
                .map_err(|detail| Refusal { error: CertificateError::BadEncoding, detail })?;
            unrevoked(trusted, &leaf, intermediates)?;
            self.named(end_entity, server_name)
        });
        verdict.map(|()| ServerCertVerified::assertion()).map_err(Refusal::noted)
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
