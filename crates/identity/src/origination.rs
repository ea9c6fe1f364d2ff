//! TLS that a proxy begins towards an application, as a DestinationRule asks for it (Istio `ClientTLSSettings`, modes
//! `SIMPLE` and `MUTUAL`): TLS 1.3 or 1.2, authorities of the application's own, names in place of identities. Knows nothing
//! of the mesh's certificates, and reads no file.

use std::sync::Arc;
use std::time::Duration;

use ambit_model::Reason;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client};

use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::error::Error;
use crate::provider::foreign_provider;
use crate::revocation::Revocations;
use crate::tls::{Failure, complete};
use crate::trust::Trusted;
use crate::verifier::{ExpectedName, ServerVerifier};

/// What a server is held to and what it is shown; files as the PEM text in them.
#[derive(Clone, Copy, Default)]
pub struct Terms<'a> {
    /// Who may have signed the server's certificate; none for the authorities of this system.
    pub authorities: Option<&'a [u8]>,
    /// Revocation lists.
    pub revoked: Option<&'a [u8]>,
    /// The certificate, with what leads to its root, and the key that the server is shown.
    pub client: Option<(&'a [u8], &'a [u8])>,
    /// DNS names, addresses or URIs of which the server's certificate must carry one; none for the name that is dialled.
    pub names: &'a [Arc<str>],
    /// The server may be anybody.
    pub skip_verify: bool,
}

/// The end that dials. Handshakes with a server met before are short (RFC 8446 section 2.2).
#[derive(Clone, Debug)]
pub struct Originator {
    config: ClientConfig,
}

impl Originator {
    /// An end that keeps to `terms`.
    ///
    /// # Errors
    /// [`Error::BadBundle`], [`Error::BadRevocationList`], [`Error::BadServerName`] or [`Error::BadClientCertificate`]
    /// where they cannot be kept to.
    pub fn new(terms: &Terms<'_>, clock: &Clock) -> Result<Self, Error> {
        let verifier = ServerVerifier {
            trusted: (!terms.skip_verify).then(|| trusted(terms)).transpose()?,
            names: terms.names.iter().map(|name| ExpectedName::parse(name)).collect::<Result<_, _>>()?,
        };
        let config = ClientConfig::builder_with_details(foreign_provider().clone(), Arc::new(clock.clone()))
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match terms.client {
            Some((certificate, key)) => {
                let (chain, key) = client_certificate(certificate, key)?;
                let config = config.with_client_auth_cert(chain, key);
                config.map_err(|error| Error::BadClientCertificate(error.to_string()))?
            }
            None => config.with_no_client_auth(),
        };
        Ok(Self { config })
    }

    /// Makes a handshake within `limit` with the server that goes by `name` (a DNS name, which it is told by SNI, or an
    /// address), to speak `protocol` (its name for ALPN).
    ///
    /// # Errors
    /// A [`Failure`] that says what was wrong with it.
    pub async fn connect<T>(
        &self,
        transport: T,
        name: &str,
        protocol: Option<&'static str>,
        limit: Duration,
    ) -> Result<client::TlsStream<T>, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::new(Reason::TlsFailure, format!("{name:?} is no name of a server")))?;
        let mut config = self.config.clone();
        config.alpn_protocols = protocol.into_iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let handshake = TlsConnector::from(Arc::new(config)).connect(server, transport).into_fallible();
        complete(handshake, limit).await.map(|(stream, _)| stream)
    }
}

fn trusted(terms: &Terms<'_>) -> Result<Trusted, Error> {
    Ok(Trusted {
        roots: terms.authorities.map_or_else(Bundle::system, Bundle::from_pem)?,
        revocations: terms.revoked.map_or_else(|| Ok(Revocations::default()), Revocations::from_pem)?,
    })
}

fn client_certificate(
    certificate: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| Error::BadClientCertificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(Error::BadClientCertificate("there is no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key);
    Ok((chain, key.map_err(|error| Error::BadClientCertificate(format!("its private key: {error}")))?))
}

#[cfg(test)]
mod tests;
