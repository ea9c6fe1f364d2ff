//! Certificates that their issuers have taken back (RFC 5280 section 5). Pure: who reads the file, and what becomes of
//! the connections of whom it names, others decide.
//!
//! A list is believed as the root bundle is, without a look at its signature: who can write the one can write the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer, ParsedExtension};

use crate::error::Error;

/// What a certificate is called by those who revoke it: its issuer's name in DER, and its serial number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CertificateId {
    issuer: Arc<[u8]>,
    serial: Arc<[u8]>,
}

impl CertificateId {
    pub(crate) fn new(issuer: &[u8], serial: &[u8]) -> Self {
        Self { issuer: issuer.into(), serial: serial.into() }
    }
}

/// Every certificate that some list names. Without lists, none is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(BTreeSet<CertificateId>);

impl Revocations {
    /// Reads every certificate revocation list of a PEM text; a list may be empty, the text may not. A list that is past its
    /// nextUpdate still holds: what was revoked stays so.
    ///
    /// # Errors
    /// [`Error::BadRevocationList`] if one cannot be read, or carries what must not be passed over (a delta, a list on
    /// behalf of other issuers).
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let (mut revoked, mut lists) = (BTreeSet::new(), 0_usize);
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            lists = lists.saturating_add(1);
            let list = list.map_err(|error| error.to_string()).and_then(|der| read(&der, &mut revoked));
            list.map_err(|cause| Error::BadRevocationList { index: lists, cause })?;
        }
        if lists == 0 {
            let cause = "there is no X509 CRL in PEM".to_owned();
            return Err(Error::BadRevocationList { index: 1, cause });
        }
        Ok(Self(revoked))
    }

    #[cfg(test)]
    pub(crate) fn of(certificates: impl IntoIterator<Item = CertificateId>) -> Self {
        Self(certificates.into_iter().collect())
    }

    /// How many certificates are revoked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of `certificates` is revoked.
    pub(crate) fn revokes<'a>(&self, certificates: impl IntoIterator<Item = &'a CertificateId>) -> bool {
        !self.0.is_empty() && certificates.into_iter().any(|certificate| self.0.contains(certificate))
    }
}

/// Adds what one list names; an error says what is wrong with the list.
fn read(der: &[u8], revoked: &mut BTreeSet<CertificateId>) -> Result<(), String> {
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("bytes follow the list".to_owned());
    }
    let entries = list.iter_revoked_certificates().flat_map(|entry| entry.extensions());
    for extension in list.extensions().iter().chain(entries).filter(|extension| extension.critical) {
        if !matches!(extension.parsed_extension(), ParsedExtension::ReasonCode(_)) {
            return Err(format!("its critical extension {} is not supported", extension.oid));
        }
    }
    let issuer: Arc<[u8]> = list.tbs_cert_list.issuer.as_raw().into();
    let ids = list
        .iter_revoked_certificates()
        .map(|entry| CertificateId { issuer: issuer.clone(), serial: entry.raw_serial().into() });
    revoked.extend(ids);
    Ok(())
}

#[cfg(test)]
mod tests;
