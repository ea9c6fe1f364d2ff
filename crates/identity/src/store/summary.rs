//! What an operator sees of the certificates held: the columns of `istioctl ztunnel-config certificates`.

use std::time::SystemTime;

use ambit_model::Identity;
use serde::{Serialize, Serializer};

use super::entry::Entry;
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::clock;

/// One certificate, for display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSummary {
    /// The identity that it is, or leads to, the certificate of.
    pub identity: Identity,
    /// Its place in the chain.
    pub kind: CertificateKind,
    /// Whether the identity has a certificate.
    pub status: CertificateStatus,
    /// What the certificate says; absent where there is none.
    pub certificate: Option<CertificateFacts>,
}

/// What one certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// True if it is valid now.
    pub valid: bool,
    /// Its serial number in lower-case hexadecimal.
    pub serial: String,
    /// Start of its validity.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_before: SystemTime,
    /// End of its validity.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_after: SystemTime,
}

/// A certificate's place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CertificateKind {
    /// The workload's own.
    Leaf,
    /// Between the leaf and a root.
    Intermediate,
    /// Trusted by itself.
    Root,
}

/// Whether an identity has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CertificateStatus {
    /// It has.
    Available,
    /// Not yet: it was asked for.
    Initializing,
    /// No: the last request failed.
    Unavailable,
}

fn as_rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&clock::rfc3339(*time))
}

/// The rows of one identity: leaf, intermediates, roots; a leaf without facts where there is no certificate.
pub(super) fn of(identity: &Identity, entry: &Entry, roots: &Bundle, now: SystemTime) -> Vec<CertificateSummary> {
    let status = match entry.slot.held() {
        Some(_) => CertificateStatus::Available,
        None if entry.slot.is_failing() => CertificateStatus::Unavailable,
        None => CertificateStatus::Initializing,
    };
    let row = |kind, certificate: Option<&Certificate>| CertificateSummary {
        identity: identity.clone(),
        kind,
        status,
        certificate: certificate.map(|certificate| CertificateFacts {
            valid: certificate.is_valid(now),
            serial: certificate.serial.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }),
    };
    let Some(leaf) = entry.slot.held() else {
        return vec![row(CertificateKind::Leaf, None)];
    };
    let kinds = std::iter::once(CertificateKind::Leaf).chain(std::iter::repeat(CertificateKind::Intermediate));
    let chain = kinds.zip(&leaf.certificates).map(|(kind, certificate)| row(kind, Some(certificate)));
    chain.chain(roots.certificates().map(|root| row(CertificateKind::Root, Some(root)))).collect()
}
