//! How endpoints are spoken to.

use std::sync::Arc;

use ambit_model::destination::{ClientTls, Credentials, TlsMode};

use super::super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::destination_rule as written;

pub(super) fn client(tls: &written::ClientTls, path: &str, findings: &mut Findings) -> ClientTls {
    refuse_unknown(&tls.unknown, path, findings);
    let mode = match tls.mode.as_str() {
        "" | "DISABLE" => TlsMode::Disable,
        "SIMPLE" => TlsMode::Simple,
        "MUTUAL" => TlsMode::Mutual,
        "ISTIO_MUTUAL" => TlsMode::IstioMutual,
        other => {
            let message = format!("{:?} is none of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL", name::shortened(other));
            findings.error(format_args!("{path}.mode"), message);
            TlsMode::Disable
        }
    };
    if matches!(mode, TlsMode::Simple | TlsMode::Mutual) && !tls.credential_name.is_empty() {
        let message = "is not read by this version, and connections fail meanwhile: name the files in clientCertificate, \
                       privateKey and caCertificates";
        findings.remark(Severity::Warning, format_args!("{path}.credentialName"), message);
    }
    let skip_verify = tls.insecure_skip_verify.unwrap_or_default();
    if skip_verify && (!tls.ca_certificates.is_empty() || !tls.subject_alt_names.is_empty()) {
        let message = "contradicts caCertificates and subjectAltNames: write what is to be verified, or this";
        findings.error(format_args!("{path}.insecureSkipVerify"), message);
    } else if skip_verify && mode == TlsMode::Simple && !tls.credential_name.is_empty() {
        let message = "contradicts credentialName, which is there to verify by: write one of them";
        findings.error(format_args!("{path}.insecureSkipVerify"), message);
    }
    let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    ClientTls {
        mode,
        sni: text(&tls.sni),
        subject_alt_names: tls.subject_alt_names.iter().map(|name| Arc::from(name.as_str())).collect(),
        credentials: credentials(tls, mode, path, findings),
        skip_verify,
    }
}

fn credentials(tls: &written::ClientTls, mode: TlsMode, path: &str, findings: &mut Findings) -> Credentials {
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
        ("caCrl", &tls.ca_crl),
    ];
    let mut refuse = |message: &str| {
        for (field, _) in files.iter().filter(|(_, file)| !file.is_empty()) {
            findings.error(format_args!("{path}.{field}"), message);
        }
    };
    match mode {
        TlsMode::IstioMutual => {
            refuse("is for the mode MUTUAL: between workloads of the mesh it brings its own certificates");
            return Credentials::System;
        }
        TlsMode::Simple | TlsMode::Mutual if !tls.credential_name.is_empty() => {
            refuse("stands beside credentialName, which has it: remove one of them");
            return Credentials::Secret(Arc::from(tls.credential_name.as_str()));
        }
        _ => {}
    }
    let client = match (tls.client_certificate.as_str(), tls.private_key.as_str()) {
        ("", _) if mode == TlsMode::Mutual => {
            findings.error(format_args!("{path}.clientCertificate"), "is missing: MUTUAL takes it, or credentialName");
            None
        }
        (_, "") if mode == TlsMode::Mutual => {
            findings.error(format_args!("{path}.privateKey"), "is missing: MUTUAL takes it, or credentialName");
            None
        }
        ("", _) | (_, "") => None,
        (certificate, key) => Some((Arc::from(certificate), Arc::from(key))),
    };
    let file = |file: &str| (!file.is_empty()).then(|| Arc::from(file));
    match (client, file(&tls.ca_certificates), file(&tls.ca_crl)) {
        (None, None, None) => Credentials::System,
        (client, authorities, revoked) => Credentials::Files { client, authorities, revoked },
    }
}
