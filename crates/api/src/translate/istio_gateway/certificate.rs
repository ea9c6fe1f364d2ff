//! What clients are shown: certificates of Secrets, of files, or the gateway's own of the mesh.

use std::sync::Arc;

use ambit_model::gateway::Certificate;

use super::super::written::refuse_unknown;
use super::tls::Mode;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::istio_gateway::{ServerTls, TlsCertificate};

/// How many certificates a server has at the most: one for each kind of key.
const MOST: usize = 2;

/// An error if `tls` at `path` says more than once where certificates are.
pub(super) fn refuse_contradictions(tls: &ServerTls, path: &str, findings: &mut Findings) {
    let places = [
        !tls.server_certificate.is_empty() && !tls.private_key.is_empty(),
        !tls.credential_name.is_empty(),
        !tls.credential_names.is_empty(),
        !tls.tls_certificates.is_empty(),
    ];
    if places.iter().filter(|written| **written).count() > 1 {
        let message = "says more than once where its certificates are: write one of credentialName, credentialNames, \
                       tlsCertificates, or serverCertificate and privateKey";
        findings.error(path, message);
    }
}

/// The certificates that `tls` at `path` names.
pub(super) fn certificates(tls: &ServerTls, mode: Mode, path: &str, findings: &mut Findings) -> Vec<Certificate> {
    if mode == Mode::IstioMutual {
        refuse_other_certificates(tls, path, findings);
        return vec![Certificate::Mesh];
    }
    if tls.names_secrets() {
        return secrets(tls, path, findings);
    }
    if tls.tls_certificates.is_empty() {
        let (certificate, key) = (&tls.server_certificate, &tls.private_key);
        return vec![files([certificate, key], path, findings)];
    }
    if tls.tls_certificates.len() > MOST {
        let message = format!("has {}, and Istio takes {MOST}", tls.tls_certificates.len());
        findings.remark(Severity::Warning, format_args!("{path}.tlsCertificates"), message);
    }
    let pairs = tls.tls_certificates.iter().enumerate();
    pairs.map(|(place, pair)| of_list(pair, &format!("{path}.tlsCertificates[{place}]"), findings)).collect()
}

/// What Istio may have before the name of a Secret; the first is how it is told on.
const SECRET: [&str; 2] = ["kubernetes://", "kubernetes-gateway://"];

/// The Secret that is `written`: its name, or where it says of which namespace it is, `kubernetes://<namespace>/<name>`. Whether
/// that is the gateway's own is for whoever reads it.
pub(super) fn secret(written: &str) -> Result<Arc<str>, String> {
    let [kept, ..] = SECRET;
    let bare = SECRET.iter().find_map(|prefix| written.strip_prefix(prefix)).unwrap_or(written);
    if bare.contains("://") {
        let shown = name::shortened(written);
        return Err(format!("{shown:?} is no Secret of the gateway's namespace, and no other is read: write its name"));
    }
    let Some((namespace, name)) = bare.split_once('/') else {
        return name::subdomain(bare).map(|()| Arc::from(bare));
    };
    name::label(namespace).and_then(|()| name::subdomain(name)).map(|()| Arc::from(format!("{kept}{bare}")))
}

fn secrets(tls: &ServerTls, path: &str, findings: &mut Findings) -> Vec<Certificate> {
    for (field, file) in [("serverCertificate", &tls.server_certificate), ("privateKey", &tls.private_key)] {
        // Together they contradict it.
        if !file.is_empty() && (tls.server_certificate.is_empty() || tls.private_key.is_empty()) {
            let message = "has no effect beside a Secret, which has it: remove it";
            findings.remark(Severity::Warning, format_args!("{path}.{field}"), message);
        }
    }
    if tls.credential_names.len() > MOST {
        let message = format!("has {}, and may have {MOST}: one for each kind of key", tls.credential_names.len());
        findings.error(format_args!("{path}.credentialNames"), message);
    }
    let one = (!tls.credential_name.is_empty()).then(|| (format!("{path}.credentialName"), &tls.credential_name));
    let several = tls.credential_names.iter().enumerate();
    let several = several.map(|(place, name)| (format!("{path}.credentialNames[{place}]"), name));
    let named = one.into_iter().chain(several);
    named.filter_map(|(path, name)| findings.take(path, secret(name))).map(Certificate::Secret).collect()
}

fn of_list(pair: &TlsCertificate, path: &str, findings: &mut Findings) -> Certificate {
    refuse_unknown(&pair.unknown, path, findings);
    if !pair.ca_certificates.is_empty() {
        let message = "has no effect, as with Istio: write it beside tlsCertificates";
        findings.remark(Severity::Warning, format_args!("{path}.caCertificates"), message);
    }
    files([&pair.server_certificate, &pair.private_key], path, findings)
}

fn files([certificate, key]: [&String; 2], path: &str, findings: &mut Findings) -> Certificate {
    for (field, file) in [("serverCertificate", certificate), ("privateKey", key)] {
        if file.is_empty() {
            let message = "is missing: write the file, or a credentialName in the place of both";
            findings.error(format_args!("{path}.{field}"), message);
        }
    }
    Certificate::Files { certificate: Arc::from(certificate.as_str()), key: Arc::from(key.as_str()) }
}

fn refuse_other_certificates(tls: &ServerTls, path: &str, findings: &mut Findings) {
    for (field, written) in [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ] {
        if written {
            let message =
                "is for other modes: ISTIO_MUTUAL brings the gateway's own certificate of the mesh; remove it";
            findings.error(format_args!("{path}.{field}"), message);
        }
    }
}
