//! What the targets of `ambit-identity` feed: the CA, the readers of certificates, of chains and of
//! revocation lists, and that of SPIFFE IDs.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ambit_identity::client::{chain_from_pem, chain_to_pem};
use ambit_identity::{Authority, Bundle, Csr, Revocations};
use ambit_model::{Identity, TrustDomain};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const ID: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Asks a CA to sign `request`. What it signs is for whom it was told, whatever the request says. True if it signs.
pub fn request(request: &[u8]) -> bool {
    static AUTHORITY: OnceLock<Option<(Authority, Identity)>> = OnceLock::new();
    let made = AUTHORITY.get_or_init(|| {
        let identity: Identity = ID.parse().ok()?;
        Some((Authority::generate(&identity.trust_domain, now()).ok()?, identity))
    });
    let Some((authority, identity)) = made else { return false };
    let csr = Csr::from_der(request.to_vec());
    let Ok(chain) = authority.sign(&csr, identity, Duration::from_secs(3600), now()) else { return false };
    for der in chain {
        let named = X509Certificate::from_der(&der).ok().and_then(|(_, certificate)| {
            let names = certificate.subject_alternative_name().ok()??;
            Some(matches!(&names.value.general_names[..], [GeneralName::URI(uri)] if *uri == ID))
        });
        assert_eq!(named, Some(true), "the request has its say in the certificate");
    }
    true
}

/// Reads `bytes` as a root certificate, in DER and in PEM. True if it is one.
pub fn certificate(bytes: &[u8]) -> bool {
    let der = Bundle::from_der([bytes.to_vec().into()]);
    let pem = Bundle::from_pem(bytes);
    for bundle in [&der, &pem].into_iter().flatten() {
        let roots = || bundle.roots().cloned();
        let again = Bundle::from_der(roots()).map(|again| again.roots().eq(bundle.roots()));
        assert!(again.unwrap_or_default(), "a bundle is not what it is made of");
        assert_eq!(bundle.union(bundle).roots().count(), bundle.roots().count());
    }
    der.is_ok() || pem.is_ok()
}

/// Reads `bytes` as the chain that a CA answers, in DER and in PEM (several texts with a zero between them), and what was
/// read a second time after having been written. True if it is one.
pub fn chain(bytes: &[u8]) -> bool {
    // Only what stands behind another certificate is looked into.
    let der = in_pem("CERTIFICATE", bytes).repeat(2);
    let mut right = false;
    for text in [Some(der.as_str()), std::str::from_utf8(bytes).ok()].into_iter().flatten() {
        let Ok(chain) = chain_from_pem(text.split('\0')) else { continue };
        let written = chain_to_pem(&chain);
        assert_eq!(chain_from_pem(written.iter().map(String::as_str)).as_ref(), Ok(&chain));
        right |= !chain.is_empty();
    }
    right
}

/// Reads `bytes` as lists of revoked certificates, in DER and in PEM. True if they revoke one.
pub fn revocations(bytes: &[u8]) -> bool {
    let der = in_pem("X509 CRL", bytes);
    let mut right = false;
    for text in [der.as_bytes(), bytes] {
        let Ok(revocations) = Revocations::from_pem(text) else { continue };
        let twice = Revocations::from_pem(&[text, b"\n", text].concat());
        assert_eq!(twice.ok().as_ref(), Some(&revocations), "lists read twice are others");
        right |= !revocations.is_empty();
    }
    right
}

fn in_pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

/// Reads `bytes` as a SPIFFE ID and as a trust domain, and what was read a second time after having been written. True
/// if it is an identity.
pub fn spiffe(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Ok(domain) = text.parse::<TrustDomain>() {
        assert_eq!(domain.to_string().parse(), Ok(domain));
    }
    let Ok(identity) = text.parse::<Identity>() else { return false };
    assert_eq!(identity.to_string(), text, "two texts are one identity");
    assert_eq!(identity.to_string().parse(), Ok(identity));
    true
}
