//! Certificates for tests, good and bad, from CAs that sign anything; and a clock that stands still.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ambit_model::{Identity, TrustDomains};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::bundle::Bundle;
use crate::clock::{self, Clock};
use crate::provider::provider;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A moment in January 2027.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(crate) fn stopped_clock() -> Clock {
    Clock::new(now)
}

pub(crate) fn identity(text: &str) -> Identity {
    text.parse().unwrap()
}

pub(crate) fn trust(own: &str, aliases: &[&str]) -> TrustDomains {
    TrustDomains { own: own.parse().unwrap(), aliases: aliases.iter().map(|alias| alias.parse().unwrap()).collect() }
}

/// A CA that signs anything.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn bundle(&self) -> Bundle {
        Bundle::from_der([self.0.der().clone()]).unwrap()
    }

    /// The list of `params`, in PEM.
    pub(crate) fn list(&self, params: CertificateRevocationListParams) -> String {
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// The key and the certificate of `params`.
    pub(crate) fn certify(&self, params: &CertificateParams) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        certified(vec![certificate.der().clone()], &key)
    }

    /// The certificate of `params` and its key, in PEM.
    pub(crate) fn certify_pem(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (self.certify_key(params, &key), key.serialize_pem())
    }

    /// The certificate of `params` for `key`, in PEM.
    pub(crate) fn certify_key(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &self.0).unwrap().pem()
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The key and the certificate of `params`, by way of an intermediate CA.
    pub(crate) fn certify_indirectly(&self, params: &CertificateParams) -> Arc<CertifiedKey> {
        let mut between = leaf(&[]);
        between.distinguished_name.push(DnType::OrganizationName, "intermediate");
        between.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        between.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        between.extended_key_usages.clear();
        let between = CertifiedIssuer::signed_by(between, KeyPair::generate().unwrap(), &self.0).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &between).unwrap();
        certified(vec![certificate.der().clone(), between.der().clone()], &key)
    }
}

/// The revocation list of `ca` that names `serials`, in PEM.
pub(crate) fn list_of(ca: &Ca, serials: &[&[u8]]) -> String {
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: clock::to_date(now()),
        reason_code: None,
        invalidity_date: None,
    };
    ca.list(CertificateRevocationListParams {
        this_update: clock::to_date(now()),
        next_update: clock::to_date(now() + HOUR),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    })
}

/// The key and the certificate of `params`, signed with that key itself.
pub(crate) fn self_signed(params: &CertificateParams) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    certified(vec![params.self_signed(&key).unwrap().der().clone()], &key)
}

/// A workload's certificate with these URI SANs, valid for an hour before and after [`now`].
pub(crate) fn leaf(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xbc]));
    params.not_before = clock::to_date(now() - HOUR);
    params.not_after = clock::to_date(now() + HOUR);
    params
}

fn certified(chain: Vec<rustls_pki_types::CertificateDer<'static>>, key: &KeyPair) -> Arc<CertifiedKey> {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Arc::new(CertifiedKey::from_der(chain, key, provider()).unwrap())
}
