//! A certificate authority: certifies the key of a request for an identity. Takes the time as a value; whether the
//! one who asks may have that identity, the caller has decided.

mod directory;
mod file;
mod pem;

pub use directory::FILES;

use std::fmt;
use std::time::{Duration, SystemTime};

use ambit_model::{Identity, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

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

/// A certificate authority: a root of its own, or one that was certified by another.
pub struct Authority {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    /// What leads from a leaf to one of `roots`: nothing, if a root signs.
    intermediates: Chain,
    roots: Bundle,
    not_after: SystemTime,
}

/// What an [`Authority`] is made from.
struct Parts {
    key: KeyPair,
    /// The certificate of `key`.
    certificate: CertificateDer<'static>,
    /// From `certificate` to a root, neither of which has to be among them.
    between: Chain,
    roots: Bundle,
}

impl Authority {
    /// A new CA for `trust_domain`, in memory only.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn generate(trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, Error> {
        let (key, certificate) = new_root(trust_domain, now)?;
        Self::of_root(trust_domain, key, certificate.der().clone()).map_err(Error::Crypto)
    }

    /// The CA of a key and its root certificate; an error says why they are none.
    fn of_root(trust_domain: &TrustDomain, key: KeyPair, root: CertificateDer<'static>) -> Result<Self, String> {
        let roots = Bundle::from_der([root.clone()]).map_err(|error| error.to_string())?;
        Self::from_parts(trust_domain, Parts { key, certificate: root, between: Chain::new(), roots })
    }

    /// The CA of `parts`; an error says why they are none. Whether they lead to the roots is not looked at.
    fn from_parts(trust_domain: &TrustDomain, parts: Parts) -> Result<Self, String> {
        let Parts { key, certificate, between, roots } = parts;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|error| error.to_string())?;
        if !parsed.is_ca() {
            return Err("its certificate is not a CA's".to_owned());
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err("its key and its certificate do not belong together".to_owned());
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| error.to_string())?;
        let mut intermediates = Chain::new();
        for der in std::iter::once(&certificate).chain(&between) {
            if !intermediates.contains(der) && !roots.roots().any(|root| root == der) {
                intermediates.push(der.clone());
            }
        }
        let mut not_after = Certificate::parse(&certificate)?.not_after;
        for der in &intermediates {
            not_after = not_after.min(Certificate::parse(der)?.not_after);
        }
        Ok(Self { trust_domain: trust_domain.clone(), issuer, intermediates, roots, not_after })
    }

    /// The roots that peers of this CA's workloads are to be checked against: its own, and those that are to be trusted
    /// beside it.
    #[must_use]
    pub fn roots(&self) -> Bundle {
        self.roots.clone()
    }

    /// When the CA's own certificate, or one that leads from it to a root, runs out.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The trust domain whose identities this CA certifies.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
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
        let mut params = self.shape(ttl, now);
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        self.issue(&params, &request.public_key)
    }

    /// A new key, and its certificate for a server that goes by any of `names` (DNS names or addresses), until `ttl`
    /// after `now` or the end of the CA itself.
    ///
    /// # Errors
    /// [`Error::Crypto`] if a name cannot be one or the library fails.
    pub fn serve(
        &self,
        names: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<(PrivateKeyDer<'static>, Chain), Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.shape(ttl, now);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let chain = self.issue(&params, &key)?;
        Ok((PrivatePkcs8KeyDer::from(key.serialize_der()).into(), chain))
    }

    /// What all certificates of this CA have in common.
    fn shape(&self, ttl: Duration, now: SystemTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(random_serial());
        params.not_before = clock::to_date(now.checked_sub(CLOCK_SKEW).unwrap_or(now));
        params.not_after = clock::to_date(now.checked_add(ttl).unwrap_or(self.not_after).min(self.not_after));
        params
    }

    /// The certificate of `key`, and what leads from it to a root.
    fn issue(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Result<Chain, Error> {
        let leaf = params.signed_by(key, &self.issuer)?.der().clone();
        Ok(std::iter::once(leaf).chain(self.intermediates.iter().cloned()).collect())
    }
}

/// Names the trust domain and the root, never the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serials: Vec<_> = self.roots.certificates().map(|root| root.serial.as_str()).collect();
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).field("roots", &serials).finish()
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
