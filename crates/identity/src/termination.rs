//! TLS that a gateway ends for clients from outside the mesh, as its Gateway asks for it (Istio `ServerTLSSettings`): TLS 1.3
//! or 1.2, certificates of the gateway's own, and clients that prove who they are or need not. Knows nothing of names that are
//! asked for, and reads no file.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_model::gateway::{CipherSuite, TlsVersion};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{HandshakeKind, InconsistentKeys, ServerConfig, ServerConnection, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::clock::{self, Clock};
use crate::error::Error;
use crate::provider::foreign_provider;
use crate::revocation::Revocations;
use crate::tls::{Failure, complete};
use crate::trust::Trusted;
use crate::verifier::{ClientVerifier, ExpectedName, Pins};

/// What clients are shown, what they are held to, and what is spoken with them; certificates, keys and lists as the PEM text
/// of them.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// What clients are shown, at least one: of several the first that a client can check.
    pub shown: &'a [Shown<'a>],
    /// Who clients have to be.
    pub clients: Clients<'a>,
    /// The oldest version that is spoken.
    pub min: TlsVersion,
    /// The newest.
    pub max: TlsVersion,
    /// The suites of TLS 1.2 that are spoken; empty for all. Those of TLS 1.3 are not chosen among.
    pub cipher_suites: &'a [CipherSuite],
}

/// A certificate and its key.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Where they are, as errors are to call it.
    pub name: &'a str,
    /// The certificate, with what leads to its root.
    pub certificate: &'a [u8],
    /// Its key.
    pub key: &'a [u8],
    /// What its issuer says of its standing (an OCSP response, RFC 6960, in DER), for clients that ask for that.
    pub staple: Option<&'a [u8]>,
}

/// Who clients have to be.
#[derive(Clone, Copy)]
pub enum Clients<'a> {
    /// Anybody.
    Anybody,
    /// Anybody, but who shows a certificate shows one of these.
    Perhaps(Proof<'a>),
    /// Who shows one of these.
    Proven(Proof<'a>),
}

/// What a client's certificate has to be.
#[derive(Clone, Copy, Default)]
pub struct Proof<'a> {
    /// Who may have signed it.
    pub authorities: &'a [u8],
    /// Revocation lists.
    pub revoked: Option<&'a [u8]>,
    /// DNS names, addresses or URIs of which it must carry one; empty for any.
    pub names: &'a [Arc<str>],
    /// SHA-256 of its public key (SubjectPublicKeyInfo), of which it must have one, or else one of `hashes`.
    pub spki: &'a [[u8; 32]],
    /// SHA-256 of the whole of it, of which it must have one, or else one of `spki`; any will do if both are empty.
    pub hashes: &'a [[u8; 32]],
}

/// What a client has shown of itself, and proved to have the key of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// SHA-256 of its certificate, in lower-case hexadecimal.
    pub hash: String,
    /// Whom it says that it is for (the subject), such as `CN=client.example`; may be empty.
    pub subject: String,
    /// The URIs that it carries, in their order, such as a SPIFFE ID.
    pub uris: Vec<String>,
}

/// The end that accepts. Clients that were here before make short handshakes (RFC 8446 section 2.2), with this very end.
#[derive(Clone, Debug)]
pub struct Terminator {
    config: ServerConfig,
    /// What checks clients of which rustls only remembers that they were checked.
    verifier: Option<Arc<ClientVerifier>>,
    valid_until: Option<SystemTime>,
}

impl Terminator {
    /// An end that keeps to `terms`.
    ///
    /// # Errors
    /// [`Error::BadServerCertificate`], [`Error::BadPrivateKey`], [`Error::KeyMismatch`] or [`Error::OutsideValidity`] of what
    /// is to be shown; [`Error::BadBundle`], [`Error::BadRevocationList`] or [`Error::BadServerName`] of what clients are held to.
    pub fn new(terms: &Terms<'_>, clock: &Clock) -> Result<Self, Error> {
        let (mut certificates, mut ends) = (Vec::new(), Vec::new());
        for shown in terms.shown {
            let (certified, end) = certified(shown, clock.now())?;
            certificates.push(Arc::new(certified));
            ends.push(end);
        }
        let config = ServerConfig::builder_with_details(spoken(terms.cipher_suites), Arc::new(clock.clone()))
            .with_protocol_versions(&versions(terms.min, terms.max))?;
        let verifier = verifier(&terms.clients)?.map(Arc::new);
        let config = match &verifier {
            Some(verifier) => config.with_client_cert_verifier(verifier.clone()),
            None => config.with_no_client_auth(),
        };
        let config = config.with_cert_resolver(Arc::new(Choice(certificates)));
        Ok(Self { config, verifier, valid_until: ends.into_iter().min() })
    }

    /// An end that does as the mesh's own do, with whatever protocol is agreed on.
    pub(crate) fn of_mesh(config: &ServerConfig) -> Self {
        Self { config: config.clone(), verifier: None, valid_until: None }
    }

    /// Until when what it shows is valid; none for a certificate of the mesh, which is renewed in time.
    #[must_use]
    pub const fn valid_until(&self) -> Option<SystemTime> {
        self.valid_until
    }

    /// Accepts a handshake within `limit` to speak one of `protocols` (their names for ALPN, the preferred one first), or
    /// whatever is wanted if there are none; and says who the client has shown itself to be, if it has.
    ///
    /// # Errors
    /// A [`Failure`] that says what was wrong with it.
    pub async fn accept<T>(
        &self,
        transport: T,
        protocols: &[&str],
        limit: Duration,
    ) -> Result<(server::TlsStream<T>, Option<Client>), Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let handshake = TlsAcceptor::from(Arc::new(config)).accept(transport).into_fallible();
        let (stream, _) = complete(handshake, limit).await?;
        let connection = stream.get_ref().1;
        self.check_again(connection)?;
        let client = connection.peer_certificates().and_then(<[_]>::first).map(Client::of);
        Ok((stream, client))
    }

    /// Checks the certificate of a client that was here before: it may have run out since.
    fn check_again(&self, connection: &ServerConnection) -> Result<(), Failure> {
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let (Some(verifier), true) = (&self.verifier, is_resumed) else { return Ok(()) };
        let Some((end_entity, between)) = connection.peer_certificates().and_then(<[_]>::split_first) else {
            return Ok(());
        };
        let now = self.config.time_provider.current_time().unwrap_or_else(UnixTime::now);
        let checked = verifier.check(end_entity, between, now);
        checked.map_err(|refusal| Failure::of_certificate(refusal.error, refusal.detail))
    }
}

impl Client {
    /// What is to be known of a certificate that has been verified.
    fn of(shown: &CertificateDer<'_>) -> Self {
        let mut hash = String::with_capacity(64);
        for byte in digest(&SHA256, shown).as_ref() {
            // Writing to a string does not fail.
            let _ = write!(hash, "{byte:02x}");
        }
        let subject = X509Certificate::from_der(shown).map(|(_, shown)| shown.subject().to_string());
        let uris = Certificate::parse(shown).map(|shown| shown.uris);
        Self { hash, subject: subject.unwrap_or_default(), uris: uris.unwrap_or_default() }
    }
}

/// Certificates of which each client is shown one.
#[derive(Debug)]
struct Choice(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Choice {
    /// The first whose signatures the client can check; the first of all for who can check none, and will be told so.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fitting = self.0.iter().find(|certified| certified.key.choose_scheme(schemes).is_some());
        fitting.or(self.0.first()).cloned()
    }
}

/// What is shown, and until when it is valid; it has to be `now`.
fn certified(shown: &Shown<'_>, now: SystemTime) -> Result<(CertifiedKey, SystemTime), Error> {
    let name = || shown.name.to_owned();
    let unusable = |cause: String| Error::BadServerCertificate { name: name(), cause };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(shown.certificate).collect();
    let chain = chain.map_err(|error| unusable(fault_of(&error).to_owned()))?;
    let leaf = chain.first().ok_or_else(|| unusable("there is no certificate in it".to_owned()))?;
    let leaf = Certificate::parse(leaf).map_err(unusable)?;
    let key = private_key(shown)?;
    let mut certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(Error::KeyMismatch { name: name(), certificate: leaf.describe() });
        }
        Err(error) => return Err(unusable(error.to_string())),
    }
    if !leaf.is_valid(now) {
        let (not_before, not_after) = (clock::rfc3339(leaf.not_before), clock::rfc3339(leaf.not_after));
        return Err(Error::OutsideValidity { name: name(), not_before, not_after });
    }
    certified.ocsp = shown.staple.map(<[u8]>::to_vec);
    Ok((certified, leaf.not_after))
}

fn private_key(shown: &Shown<'_>) -> Result<Arc<dyn SigningKey>, Error> {
    let unusable = |cause: &str| Error::BadPrivateKey { name: shown.name.to_owned(), cause: cause.to_owned() };
    let key = PrivateKeyDer::from_pem_slice(shown.key).map_err(|error| match &error {
        pem::Error::NoItemsFound if is_encrypted(shown.key) => unusable("it is encrypted"),
        pem::Error::NoItemsFound => unusable("there is no private key in it"),
        error => unusable(fault_of(error)),
    })?;
    foreign_provider().key_provider.load_private_key(key).map_err(|error| unusable(&error.to_string()))
}

/// Whether the PEM text of a key says that only a passphrase opens it (PKCS #8, or OpenSSL's own way).
fn is_encrypted(key: &[u8]) -> bool {
    const MARK: &[u8] = b"ENCRYPTED";
    key.windows(MARK.len()).any(|part| part == MARK)
}

/// What is wrong with a PEM text. Nothing is quoted: it may be a key whose lines have been joined.
const fn fault_of(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } | pem::Error::IllegalSectionStart { .. } => {
            "-----BEGIN ...----- or -----END ...----- is missing, or is not a line of its own"
        }
        pem::Error::Base64Decode(_) => "between BEGIN and END is something else than base64",
        _ => "it is no PEM text",
    }
}

/// What checks clients, if they are asked for anything.
fn verifier(clients: &Clients<'_>) -> Result<Option<ClientVerifier>, Error> {
    let (proof, is_required) = match clients {
        Clients::Anybody => return Ok(None),
        Clients::Perhaps(proof) => (proof, false),
        Clients::Proven(proof) => (proof, true),
    };
    let trusted = Trusted {
        roots: Bundle::from_pem(proof.authorities)?,
        revocations: proof.revoked.map_or_else(|| Ok(Revocations::default()), Revocations::from_pem)?,
    };
    let names = proof.names.iter().map(|name| ExpectedName::parse(name)).collect::<Result<_, _>>()?;
    let pins = Pins { keys: proof.spki.to_vec(), certificates: proof.hashes.to_vec() };
    Ok(Some(ClientVerifier::new(trusted, names, pins, is_required)))
}

fn versions(min: TlsVersion, max: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    all.into_iter().filter(|(version, _)| (min..=max).contains(version)).map(|(_, version)| version).collect()
}

/// What handshakes are made of with these `suites` of TLS 1.2, or all of them if there are none.
fn spoken(suites: &[CipherSuite]) -> Arc<CryptoProvider> {
    if suites.is_empty() {
        return foreign_provider().clone();
    }
    let mut provider = CryptoProvider::clone(foreign_provider());
    provider
        .cipher_suites
        .retain(|known| known.tls13().is_some() || suites.iter().any(|suite| of_rustls(*suite) == known.suite()));
    Arc::new(provider)
}

const fn of_rustls(suite: CipherSuite) -> rustls::CipherSuite {
    use rustls::CipherSuite as S;
    match suite {
        CipherSuite::EcdheEcdsaAes128Gcm => S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheRsaAes128Gcm => S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheEcdsaAes256Gcm => S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheRsaAes256Gcm => S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheEcdsaChaCha20 => S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdheRsaChaCha20 => S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

#[cfg(test)]
mod tests;
