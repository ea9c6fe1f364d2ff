//! The roots that peers' certificates are checked against: several at once, so that a root can be replaced by way of
//! a time in which both are trusted.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::Certificate;
use crate::error::Error;

/// One or more trusted root certificates.
#[derive(Clone, Debug)]
pub struct Bundle {
    roots: Arc<[Root]>,
    anchors: Arc<[TrustAnchor<'static>]>,
}

#[derive(Clone, Debug)]
struct Root {
    der: CertificateDer<'static>,
    certificate: Certificate,
    anchor: TrustAnchor<'static>,
}

impl Bundle {
    /// Reads every certificate of a PEM text.
    ///
    /// # Errors
    /// [`Error::BadBundle`] if there is none or one cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        Self::from_der(roots.map_err(|error| Error::BadBundle(error.to_string()))?)
    }

    /// The bundle of `roots`, each in DER.
    ///
    /// # Errors
    /// [`Error::BadBundle`] if there is none or one cannot be read.
    pub fn from_der(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, Error> {
        let roots: Vec<Root> = roots.into_iter().map(Root::parse).collect::<Result<_, _>>()?;
        if roots.is_empty() {
            return Err(Error::BadBundle("it holds no certificate".to_owned()));
        }
        Ok(Self::of(roots))
    }

    /// The authorities that this system trusts, those of them that can be read.
    ///
    /// # Errors
    /// [`Error::BadBundle`] if there are none.
    pub fn system() -> Result<Self, Error> {
        let found = rustls_native_certs::load_native_certs();
        let roots: Vec<_> = found.certs.into_iter().filter_map(|root| Root::parse(root).ok()).collect();
        match (roots.is_empty(), found.errors.first()) {
            (false, _) => Ok(Self::of(roots)),
            (true, Some(error)) => Err(Error::BadBundle(format!("this system's authorities: {error}"))),
            (true, None) => Err(Error::BadBundle("this system has no authorities".to_owned())),
        }
    }

    /// This bundle's roots and those of `other` that it lacks.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let lacking = other.roots.iter().filter(|root| !self.roots.iter().any(|own| own.der == root.der));
        Self::of(self.roots.iter().chain(lacking).cloned().collect())
    }

    /// The roots in DER.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().map(|root| &root.der)
    }

    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.roots.iter().map(|root| &root.certificate)
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    fn of(roots: Vec<Root>) -> Self {
        let anchors = roots.iter().map(|root| root.anchor.clone()).collect();
        Self { roots: roots.into(), anchors }
    }
}

impl Root {
    fn parse(der: CertificateDer<'static>) -> Result<Self, Error> {
        let certificate = Certificate::parse(&der).map_err(Error::BadBundle)?;
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| Error::BadBundle(error.to_string()))?;
        Ok(Self { anchor: anchor.to_owned(), certificate, der })
    }
}
