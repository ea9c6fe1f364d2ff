//! What the targets of `ambit-identity` feed: the CA, the readers of certificates, and that of SPIFFE IDs.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ambit_identity::{Authority, Bundle, Csr};
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
