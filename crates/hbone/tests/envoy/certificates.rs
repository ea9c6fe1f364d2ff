//! A CA and two SPIFFE certificates, and TLS as HBONE wants it for our end.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Writes `ca.crt`, and `client` and `server` as `.crt` and `.key`.
pub(crate) fn write_certificates(dir: &Path) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "cluster.local");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.crt"), ca.pem()).unwrap();
    for name in ["client", "server"] {
        let spiffe = format!("spiffe://cluster.local/ns/shop/sa/{name}");
        // The DNS name is for our own client, whose stock verifier wants one.
        let mut params = CertificateParams::new(vec![format!("{name}.test")]).unwrap();
        params.subject_alt_names.push(SanType::URI(spiffe.try_into().unwrap()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // None: a subject equal to the issuer's would make it look self-signed.
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(dir: &Path, name: &str) -> (Arc<RootCertStore>, Own) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.crt")).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_file(dir.join(format!("{name}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
    (Arc::new(roots), (vec![certificate], key))
}

/// TLS of a client that has the certificate `client`.
pub(crate) fn client_tls(dir: &Path) -> Arc<ClientConfig> {
    let (roots, (certificate, key)) = read(dir, "client");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).unwrap().with_root_certificates(roots);
    let mut config = builder.with_client_auth_cert(certificate, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// TLS of a server that has the certificate `server` and wants one.
pub(crate) fn server_tls(dir: &Path) -> Arc<ServerConfig> {
    let (roots, (certificate, key)) = read(dir, "server");
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(certificate, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
