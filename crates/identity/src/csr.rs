//! A new key and the request to have it certified. Knows nothing of who signs it.

use ambit_model::Identity;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateSigningRequestDer, PrivatePkcs8KeyDer};

use crate::error::Error;

/// A certificate signing request (RFC 2986).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr(CertificateSigningRequestDer<'static>);

impl Csr {
    /// Wraps a request in DER; whether it is one, the CA finds out.
    #[must_use]
    pub fn from_der(der: Vec<u8>) -> Self {
        Self(der.into())
    }

    /// Reads the one request of a PEM text.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if there is none; whether it is one, the CA finds out.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes());
        der.map(Self).map_err(|error| Error::BadRequest(error.to_string()))
    }

    /// The request in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem("CERTIFICATE REQUEST", &self.0)
    }

    /// The request in DER.
    #[must_use]
    pub fn der(&self) -> &CertificateSigningRequestDer<'static> {
        &self.0
    }
}

/// `der` as PEM (RFC 7468).
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}

/// A new ECDSA P-256 key for `identity`, and the request to certify it: no subject, one critical URI SAN, as Istio's
/// agents write it.
///
/// # Errors
/// [`Error::Crypto`] if the identity cannot be written as an IA5 string or the library fails.
pub fn request(identity: &Identity) -> Result<(PrivatePkcs8KeyDer<'static>, Csr), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
    let csr = params.serialize_request(&key)?.der().clone();
    Ok((key.serialize_der().into(), Csr(csr)))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_for_a_p256_key_and_one_critical_spiffe_uri_and_nothing_else() {
        let identity = "spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap();
        let (_, csr) = request(&identity).unwrap();
        let (rest, parsed) = X509CertificationRequest::from_der(csr.der()).unwrap();
        assert!(rest.is_empty());
        parsed.verify_signature().unwrap();
        let asked = &parsed.certification_request_info;
        assert_eq!(asked.subject.iter().count(), 0);
        assert_eq!(asked.subject_pki.algorithm.algorithm.to_id_string(), "1.2.840.10045.2.1");
        let curve = asked.subject_pki.algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
        assert_eq!(curve.to_id_string(), "1.2.840.10045.3.1.7", "prime256v1");
        let [attribute] = asked.attributes() else { panic!("one attribute") };
        let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else { panic!("extensions") };
        let [extension] = &asked.extensions[..] else { panic!("one extension") };
        assert!(extension.critical);
        let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else { panic!("a SAN") };
        assert_eq!(san.general_names, [GeneralName::URI("spiffe://cluster.local/ns/shop/sa/reviews")]);
    }

    #[test]
    fn every_request_has_a_key_of_its_own_and_shows_it_to_nobody() {
        let identity = "spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap();
        let (first, csr) = request(&identity).unwrap();
        let (second, _) = request(&identity).unwrap();
        assert_ne!(first.secret_pkcs8_der(), second.secret_pkcs8_der());
        assert!(!format!("{csr:?} {first:?}").contains(&format!("{:?}", first.secret_pkcs8_der())));
    }
}
