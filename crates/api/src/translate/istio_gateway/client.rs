//! Who clients have to be, by the certificates that they show.

use std::sync::Arc;

use ambit_model::gateway::{Authorities, Certificate, Clients, Proof};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::certificate;
use super::tls::Mode;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::istio_gateway::ServerTls;

/// A SHA-256.
type Hash = [u8; 32];

/// Whom `tls` at `path` takes, where clients are shown `certificates`.
pub(super) fn clients(
    tls: &ServerTls,
    mode: Mode,
    certificates: &[Certificate],
    path: &str,
    findings: &mut Findings,
) -> Clients {
    if mode == Mode::Simple {
        remark_on_what_nobody_asks(tls, path, findings);
        return Clients::Anybody;
    }
    if tls.insecure_skip_verify.unwrap_or_default() {
        let message = "is not in effect in this version: who shows a certificate that does not hold is refused";
        findings.remark(Severity::Warning, format_args!("{path}.insecureSkipVerify"), message);
    }
    if mode == Mode::IstioMutual {
        refuse_what_the_mesh_does_not_ask(tls, path, findings);
    }
    let proof = Proof {
        authorities: authorities(tls, mode, certificates, path, findings),
        // A Secret has its own.
        revoked: (!tls.ca_crl.is_empty() && !tls.names_secrets()).then(|| Arc::from(tls.ca_crl.as_str())),
        subject_alt_names: tls.subject_alt_names.iter().map(|name| Arc::from(name.as_str())).collect(),
        spki: hashes(&tls.verify_certificate_spki, &format!("{path}.verifyCertificateSpki"), in_base64, findings),
        hashes: hashes(&tls.verify_certificate_hash, &format!("{path}.verifyCertificateHash"), in_hex, findings),
    };
    if mode == Mode::OptionalMutual { Clients::Perhaps(proof) } else { Clients::Proven(proof) }
}

/// What says of clients' certificates what those of the mesh are not asked.
fn refuse_what_the_mesh_does_not_ask(tls: &ServerTls, path: &str, findings: &mut Findings) {
    let old = matches!(tls.max_protocol_version.as_str(), "TLSV1_0" | "TLSV1_1" | "TLSV1_2");
    for (field, written) in [
        ("caCrl", !tls.ca_crl.is_empty()),
        ("verifyCertificateSpki", !tls.verify_certificate_spki.is_empty()),
        ("verifyCertificateHash", !tls.verify_certificate_hash.is_empty()),
        ("maxProtocolVersion", old),
    ] {
        if written {
            let message =
                "does not go with ISTIO_MUTUAL, which is the mesh's own TLS 1.3 with its own certificates: remove it";
            findings.error(format_args!("{path}.{field}"), message);
        }
    }
}

/// What says who clients have to be, and stands where nobody asks them.
fn remark_on_what_nobody_asks(tls: &ServerTls, path: &str, findings: &mut Findings) {
    let message = "is about clients' certificates, for which SIMPLE does not ask: write mode: MUTUAL, or remove it";
    if !tls.ca_crl.is_empty() && !tls.names_secrets() {
        findings.error(format_args!("{path}.caCrl"), message);
    }
    for (field, written) in [
        ("caCrl", !tls.ca_crl.is_empty() && tls.names_secrets()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("caCertCredentialName", !tls.ca_cert_credential_name.is_empty()),
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("verifyCertificateSpki", !tls.verify_certificate_spki.is_empty()),
        ("verifyCertificateHash", !tls.verify_certificate_hash.is_empty()),
    ] {
        if written {
            findings.remark(Severity::Warning, format_args!("{path}.{field}"), message);
        }
    }
}

fn authorities(
    tls: &ServerTls,
    mode: Mode,
    certificates: &[Certificate],
    path: &str,
    findings: &mut Findings,
) -> Authorities {
    let mut idle = |field: &str, written: &str, message: &str| {
        if !written.is_empty() {
            findings.remark(Severity::Warning, format_args!("{path}.{field}"), message);
        }
    };
    if mode == Mode::IstioMutual {
        let message = "has no effect: by ISTIO_MUTUAL clients have a certificate of the mesh; remove it";
        idle("caCertCredentialName", &tls.ca_cert_credential_name, message);
        return Authorities::Mesh;
    }
    if !tls.names_secrets() {
        let message = "has no effect without a credentialName: caCertificates is what counts";
        idle("caCertCredentialName", &tls.ca_cert_credential_name, message);
        if tls.ca_certificates.is_empty() {
            let message = "is missing: write the file with those who sign clients' certificates";
            findings.error(format_args!("{path}.caCertificates"), message);
        }
        return Authorities::File(Arc::from(tls.ca_certificates.as_str()));
    }
    let message = "has no effect beside a credentialName: the Secret has it, or write caCertCredentialName";
    idle("caCertificates", &tls.ca_certificates, message);
    idle("caCrl", &tls.ca_crl, "has no effect beside a credentialName: write it as ca.crl, or crl, into the Secret");
    if !tls.ca_cert_credential_name.is_empty() {
        let named = certificate::secret(&tls.ca_cert_credential_name);
        let named = findings.take(format_args!("{path}.caCertCredentialName"), named);
        return Authorities::Secret(named.unwrap_or_default());
    }
    let first = certificates.iter().find_map(|certificate| match certificate {
        Certificate::Secret(name) => Some(name.clone()),
        Certificate::Files { .. } | Certificate::Mesh => None,
    });
    Authorities::WithCertificate(first.unwrap_or_default())
}

/// The hashes that are `written` at `path`, as `read` reads them.
fn hashes(
    written: &[String],
    path: &str,
    read: fn(&str) -> Result<Hash, &'static str>,
    findings: &mut Findings,
) -> Vec<Hash> {
    let hash = |(place, text): (usize, &String)| {
        let hash = read(text).map_err(|expected| format!("{:?} is no {expected}", name::shortened(text)));
        findings.take(format_args!("{path}[{place}]"), hash)
    };
    written.iter().enumerate().filter_map(hash).collect()
}

fn in_base64(text: &str) -> Result<Hash, &'static str> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("SHA-256 in base64: write its 44 characters")
}

fn in_hex(text: &str) -> Result<Hash, &'static str> {
    let digit = |letter: char| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Option<Vec<u8>> = text.chars().filter(|letter| *letter != ':').map(digit).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * size_of::<Hash>()).unwrap_or_default();
    let bytes = digits.chunks(2).map(|pair| pair.iter().fold(0_u8, |byte, digit| (byte << 4) | digit));
    let bytes = bytes.collect::<Vec<_>>().try_into();
    bytes.map_err(|_| "SHA-256 in hexadecimal: write its 64 digits, with colons between the bytes or without")
}
