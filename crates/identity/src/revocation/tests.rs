//! Which lists are read, and whom they name.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};

use super::*;
use crate::certificate::Certificate;
use crate::fixtures::{Ca, leaf, list_of, now};

const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

fn id(certified: &rustls::sign::CertifiedKey) -> CertificateId {
    Certificate::parse(&certified.cert[0]).unwrap().id
}

#[test]
fn a_list_names_certificates_by_issuer_and_serial() {
    let ca = Ca::new();
    let (revoked, other) = (ca.certify(&leaf(&[REVIEWS])), ca.certify_indirectly(&leaf(&[REVIEWS])));
    let list = Revocations::from_pem(list_of(&ca, &[&[0x0a, 0xbc]]).as_bytes()).unwrap();
    assert_eq!(list.len(), 1);
    assert!(list.revokes([&id(&revoked)]));
    assert!(!list.revokes([&id(&other)]), "the same serial number by another issuer");
}

#[test]
fn lists_add_up_and_an_empty_one_revokes_nothing() {
    let ca = Ca::new();
    let two = list_of(&ca, &[&[1]]) + &list_of(&ca, &[&[2], &[3]]);
    assert_eq!(Revocations::from_pem(two.as_bytes()).unwrap().len(), 3);
    assert!(Revocations::from_pem(list_of(&ca, &[]).as_bytes()).unwrap().is_empty());
}

#[test]
fn what_cannot_be_read_is_refused_and_says_which_list() {
    let ca = Ca::new();
    let good = list_of(&ca, &[&[1]]);
    let broken = good.clone() + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let error = Revocations::from_pem(broken.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("certificate revocation list 2 cannot be used: "), "{error}");
    // A file that is being written may be empty for a moment: nobody is readmitted by that.
    for text in ["revoked: all", "", " \n"] {
        let error = Revocations::from_pem(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no X509 CRL in PEM"), "{error}");
    }
}

#[test]
fn a_list_for_some_certificates_only_is_refused() {
    let ca = Ca::new();
    let point = rcgen::CrlIssuingDistributionPoint {
        distribution_point: rcgen::CrlDistributionPoint { uris: vec!["http://crl.example/".to_owned()] },
        scope: Some(rcgen::CrlScope::CaCertsOnly),
    };
    let params = CertificateRevocationListParams {
        this_update: crate::clock::to_date(now()),
        next_update: crate::clock::to_date(now() + crate::fixtures::HOUR),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: Some(point),
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(7_u64),
            revocation_time: crate::clock::to_date(now()),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let error = Revocations::from_pem(ca.list(params).as_bytes()).unwrap_err().to_string();
    assert!(error.contains("critical extension 2.5.29.28 is not supported"), "{error}");
}
