//! A certificate authority: certifies the key of a request for an identity. Takes the time as a value; whether the
//! one who asks may have that identity, the caller has decided.

mod file;

use std::fmt;
use std::time::{Duration, SystemTime};

use ambit_model::{Identity, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::client::Chain;
use crate::clock;
use crate::csr::Csr;
use crate::error::Error;

/// How far certificates reach back before they were signed, so that a peer whose clock is a little behind accepts
/// them (as Istio's CA, `ClockSkewGracePeriod`).
pub const CLOCK_SKEW: Duration = Duration::from_secs(2 * 60);

/// How long a new CA lives: ten years, as Istio's self-signed one.
pub const CA_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A certificate authority with one self-signed root.
pub struct Authority {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    root: Bundle,
    not_after: SystemTime,
}

impl Authority {
    /// A new CA for `trust_domain`, in memory only.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn generate(trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Error> {
        let (key, certificate) = new_root(trust_domain, now)?;
        Self::from_parts(trust_domain, key, certificate.der().clone()).map_err(Error::Crypto)
    }

    /// The CA of a key and its root certificate; an error says why they are none.
    fn from_parts(trust_domain: &TrustDomain, key: KeyPair, root: CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&root).map_err(|error| error.to_string())?;
        if !parsed.is_ca() {
            return Err("its certificate is not a CA's".to_owned());
        }
        if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err("its key and its certificate do not belong together".to_owned());
        }
        let not_after = Certificate::parse(&root)?.not_after;
        let issuer = Issuer::from_ca_cert_der(&root, key).map_err(|error| error.to_string())?;
        let root = Bundle::from_der([root]).map_err(|error| error.to_string())?;
        Ok(Self { trust_domain: trust_domain.clone(), issuer, root, not_after })
    }

    /// The root that certificates of this CA lead to.
    #[must_use]
    pub fn roots(&self) -> Bundle {
        self.root.clone()
    }

    /// Certifies that the key of `csr` is `identity`'s, until `ttl` after `now` or the end of the CA itself. Takes
    /// from the request nothing but its key; the certificate is shaped as Istio's CA shapes a workload's: no subject,
    /// one critical URI SAN, digital signature and key encipherment, for servers and clients.
    ///
    /// # Errors
    /// [`Error::ForeignIdentity`] for another trust domain's identity, [`Error::BadRequest`] if the request is none
    /// or not signed with its own key.
    pub fn sign(&self, csr: &Csr, identity: &Identity, ttl: Duration, now: SystemTime) -> Result<Chain, Error> {
        if identity.trust_domain != self.trust_domain {
            let (identity, trust_domain) = (identity.clone(), self.trust_domain.clone());
            return Err(Error::ForeignIdentity { identity, trust_domain });
        }
        let request = CertificateSigningRequestParams::from_der(csr.der());
        let request = request.map_err(|error| Error::BadRequest(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(random_serial());
        params.not_before = clock::to_date(now.checked_sub(CLOCK_SKEW).unwrap_or(now));
        params.not_after = clock::to_date(now.checked_add(ttl).unwrap_or(self.not_after).min(self.not_after));
        Ok(vec![params.signed_by(&request.public_key, &self.issuer)?.der().clone()])
    }
}

/// Names the trust domain and the root, never the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serials: Vec<_> = self.root.certificates().map(|root| root.serial.as_str()).collect();
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).field("root", &serials).finish()
    }
}

/// A key and a self-signed root for it, named as Istio's CA is: `O=<trust domain>`.
fn new_root(trust_domain: &TrustDomain, now: SystemTime) -> Result<(KeyPair, rcgen::Certificate), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain.as_str());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(random_serial());
    params.not_before = clock::to_date(now.checked_sub(CLOCK_SKEW).unwrap_or(now));
    params.not_after = clock::to_date(now.checked_add(CA_TTL).unwrap_or(now));
    let certificate = params.self_signed(&key)?;
    Ok((key, certificate))
}

/// 16 random bytes, positive and never all zero (RFC 5280 section 4.1.2.2).
fn random_serial() -> SerialNumber {
    let [first, rest @ ..]: [u8; 16] = rand::random();
    let mut bytes = vec![(first & 0x7f) | 0x40];
    bytes.extend_from_slice(&rest);
    SerialNumber::from_slice(&bytes)
}

#[cfg(test)]
mod tests;
