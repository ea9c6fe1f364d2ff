//! What an HBONE peer shows of itself: its certificate, its TLS version, its ALPN, each right or wrong.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use x509_parser::extensions::GeneralName;

/// What a peer shows of itself.
#[derive(clap::Args)]
pub(crate) struct Face {
    /// The mesh's CA: its key and its certificate, PEM.
    #[arg(long)]
    ca: PathBuf,
    /// The SPIFFE ID to claim.
    #[arg(long)]
    identity: String,
    /// What certificate to show for it.
    #[arg(long, value_enum, default_value_t = Credential::Good)]
    certificate: Credential,
    /// The only TLS version to speak.
    #[arg(long, value_enum, default_value_t = Tls::V1_3)]
    tls: Tls,
    /// The only ALPN protocol to offer; empty for no ALPN at all.
    #[arg(long, default_value = "h2")]
    alpn: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Credential {
    /// Signed by the mesh's CA.
    Good,
    /// Signed by the mesh's CA, once upon a time.
    Expired,
    /// Signed by nobody but itself.
    SelfSigned,
    /// None.
    None,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Tls {
    #[value(name = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    V1_3,
}

type Signed = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Face {
    /// TLS as a client that believes servers whose chain leads to the mesh's CA.
    pub(crate) fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let roots = WebPkiServerVerifier::builder_with_provider(self.roots()?, provider()).build()?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[self.version()])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ChainOnly(roots)));
        let mut config = match self.sign()? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    /// TLS as a server that demands of clients a chain to the mesh's CA.
    pub(crate) fn server(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let (chain, key) = self.sign()?.context("a server needs a certificate")?;
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider()).build()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[self.version()])?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = self.alpn();
        Ok(Arc::new(config))
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        if self.alpn.is_empty() { Vec::new() } else { vec![self.alpn.clone().into_bytes()] }
    }

    fn version(&self) -> &'static rustls::SupportedProtocolVersion {
        match self.tls {
            Tls::V1_2 => &TLS12,
            Tls::V1_3 => &TLS13,
        }
    }

    fn roots(&self) -> anyhow::Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).map_err(|error| anyhow!("{error:?}"))?)?;
        Ok(Arc::new(roots))
    }

    fn sign(&self) -> anyhow::Result<Option<Signed>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(self.identity.clone().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if self.certificate == Credential::Expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 2);
        }
        let certificate = match self.certificate {
            Credential::None => return Ok(None),
            Credential::SelfSigned => params.self_signed(&key)?,
            Credential::Good | Credential::Expired => params.signed_by(&key, &self.issuer()?)?,
        };
        let secret = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| anyhow!(error))?;
        Ok(Some((vec![certificate.der().clone()], secret)))
    }

    fn issuer(&self) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let key = PrivateKeyDer::from_pem_file(&self.ca).map_err(|error| anyhow!("{error:?}"))?;
        let root = CertificateDer::from_pem_file(&self.ca).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Issuer::from_ca_cert_der(&root, KeyPair::try_from(&key)?)?)
    }
}

/// The SPIFFE ID in a peer's certificate.
pub(crate) fn identity(chain: Option<&[CertificateDer<'_>]>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(chain?.first()?).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Verifies a server as anybody would, except for its DNS name or address: an HBONE server has none in its certificate.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        // The name is what is looked at last.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
