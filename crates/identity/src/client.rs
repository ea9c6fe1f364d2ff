//! The seam behind which requests are signed: the local CA now, any CA that is asked over a network alike.

use std::future::Future;
use std::time::Duration;

use ambit_model::Identity;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::authority::Authority;
use crate::certificate::Certificate;
use crate::clock::Clock;
use crate::csr::{Csr, to_pem};
use crate::error::Error;

/// A certificate and the intermediates that lead from it towards a root, the root itself left out; all in DER.
pub type Chain = Vec<CertificateDer<'static>>;

/// The chain that `texts` hold, PEM of one certificate or several each, the leaf first, as CAs answer: roots at its end
/// are left out.
///
/// # Errors
/// What is wrong with it.
pub fn chain_from_pem<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Chain, String> {
    let mut chain = Chain::new();
    for text in texts {
        let certificates: Result<Chain, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        chain.extend(certificates.map_err(|error| error.to_string())?);
    }
    while let Some(last) = chain.last().filter(|_| chain.len() > 1) {
        if !Certificate::parse(last)?.self_signed {
            break;
        }
        chain.pop();
    }
    Ok(chain)
}

/// Each certificate of `chain` in PEM, in the same order.
#[must_use]
pub fn chain_to_pem(chain: &Chain) -> Vec<String> {
    chain.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
}

/// Signs certificate signing requests.
pub trait Issuer: Send + Sync {
    /// Certifies that the key of `csr` is `identity`'s.
    ///
    /// # Errors
    /// [`Error::Refused`] or any other that says why there is no certificate; the caller tries again later.
    fn sign(&self, csr: &Csr, identity: &Identity) -> impl Future<Output = Result<Chain, Error>> + Send;
}

/// The local CA as an issuer.
#[derive(Debug)]
pub struct LocalIssuer {
    authority: Authority,
    ttl: Duration,
    clock: Clock,
}

impl LocalIssuer {
    /// An issuer of certificates that `authority` signs and that last for `ttl`.
    #[must_use]
    pub fn new(authority: Authority, ttl: Duration, clock: Clock) -> Self {
        Self { authority, ttl, clock }
    }
}

impl Issuer for LocalIssuer {
    async fn sign(&self, csr: &Csr, identity: &Identity) -> Result<Chain, Error> {
        self.authority.sign(csr, identity, self.ttl, self.clock.now())
    }
}
