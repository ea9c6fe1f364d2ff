//! Reads from a certificate what others need to know of it. Believes nothing: who signed it, the verifier checks.

use std::time::SystemTime;

use ambit_model::Identity;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock;
use crate::revocation::CertificateId;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// In lower-case hexadecimal, as Istio prints it.
    pub(crate) serial: String,
    pub(crate) issuer: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// The URI SANs, in their order.
    pub(crate) uris: Vec<String>,
    pub(crate) id: CertificateId,
    /// Signed with its own key, as roots are.
    pub(crate) self_signed: bool,
}

impl Certificate {
    /// Reads one certificate; an error says what is wrong with it.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate".to_owned());
        }
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        let uri = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        };
        Ok(Self {
            serial: hexadecimal(certificate.raw_serial()),
            issuer: certificate.issuer().to_string(),
            not_before: clock::from_unix(certificate.validity().not_before.timestamp()),
            not_after: clock::from_unix(certificate.validity().not_after.timestamp()),
            id: CertificateId::new(certificate.issuer().as_raw(), certificate.raw_serial()),
            self_signed: certificate.issuer() == certificate.subject() && certificate.verify_signature(None).is_ok(),
            uris: names.iter().flat_map(|names| &names.value.general_names).filter_map(uri).collect(),
        })
    }

    /// The SPIFFE identity, if the certificate carries one URI and that is it (X509-SVID section 2).
    pub(crate) fn identity(&self) -> Result<Identity, String> {
        match self.uris.as_slice() {
            [uri] => uri.parse().map_err(|error: ambit_model::identity::IdentityError| error.to_string()),
            [] => Err("it carries no URI SAN".to_owned()),
            several => Err(format!("it carries {} URI SANs: {}", several.len(), several.join(", "))),
        }
    }

    /// True while the certificate is valid.
    pub(crate) fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Its URIs, issuer and validity in one line for a log.
    pub(crate) fn describe(&self) -> String {
        let name = if self.uris.is_empty() { "no URI".to_owned() } else { self.uris.join(", ") };
        let (from, to) = (clock::rfc3339(self.not_before), clock::rfc3339(self.not_after));
        format!("{name}, issued by {:?}, valid from {from} to {to}", self.issuer)
    }
}

/// Bytes of a positive integer in hexadecimal, without the zero byte that DER puts before a set top bit.
fn hexadecimal(bytes: &[u8]) -> String {
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
