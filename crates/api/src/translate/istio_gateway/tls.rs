//! What a server's `tls` says: whether TLS is ended there, and how (Istio's `validateTLSOptions`).

use std::sync::Arc;

use ambit_model::gateway::Tls;

use super::super::written::refuse_unknown;
use super::{certificate, client, version};
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::istio_gateway::ServerTls;

/// Where TLS is ended.
pub(super) enum Ended {
    /// By the gateway.
    Here(Arc<Tls>),
    /// By whoever its SNI is routed to.
    Beyond,
}

/// `mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Passthrough,
    AutoPassthrough,
    Simple,
    Mutual,
    OptionalMutual,
    IstioMutual,
}

impl Mode {
    /// The one of this name; the first where none is written.
    fn from_name(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" | "PASSTHROUGH" => Self::Passthrough,
            "AUTO_PASSTHROUGH" => Self::AutoPassthrough,
            "SIMPLE" => Self::Simple,
            "MUTUAL" => Self::Mutual,
            "OPTIONAL_MUTUAL" => Self::OptionalMutual,
            "ISTIO_MUTUAL" => Self::IstioMutual,
            other => {
                let all = "PASSTHROUGH, SIMPLE, MUTUAL, OPTIONAL_MUTUAL, ISTIO_MUTUAL, AUTO_PASSTHROUGH";
                return Err(format!("{:?} is none of {all}", name::shortened(other)));
            }
        })
    }
}

/// True if the HTTP in clear that `tls` at `path` stands beside is sent to `https`.
pub(super) fn redirects(tls: &ServerTls, path: &str, findings: &mut Findings) -> bool {
    refuse_unknown(&tls.unknown, path, findings);
    let passes = matches!(tls.mode.as_str(), "" | "PASSTHROUGH" | "AUTO_PASSTHROUGH");
    let files = [&tls.server_certificate, &tls.private_key, &tls.ca_certificates];
    if !passes || files.iter().any(|file| !file.is_empty()) {
        let message = "is for the protocols HTTPS and TLS, and of HTTP says httpsRedirect alone: remove the rest, or write \
                       protocol: HTTPS";
        findings.error(path, message);
    } else if tls.says_more_than_redirect() {
        let message = "has no effect on HTTP but for httpsRedirect: remove the rest, or write protocol: HTTPS";
        findings.remark(Severity::Warning, path, message);
    }
    tls.https_redirect
}

/// What `tls` at `path` says of a server for HTTPS or TLS; none if that is an error, or the server left out.
pub(super) fn read(tls: &ServerTls, path: &str, findings: &mut Findings) -> Option<Ended> {
    refuse_unknown(&tls.unknown, path, findings);
    if tls.https_redirect {
        let message = "is for HTTP, and has no effect here: write it beside a port of HTTP";
        findings.remark(Severity::Warning, format_args!("{path}.httpsRedirect"), message);
    }
    let mode = findings.take(format_args!("{path}.mode"), Mode::from_name(&tls.mode))?;
    if mode != Mode::IstioMutual {
        certificate::refuse_contradictions(tls, path, findings);
    }
    match mode {
        Mode::Passthrough => {
            if tls.names_certificates() {
                let message = "is PASSTHROUGH, by which TLS is not ended here and no certificate used: write SIMPLE or MUTUAL \
                               to end it, or remove the certificates";
                findings.remark(Severity::Warning, format_args!("{path}.mode"), message);
            }
            return Some(Ended::Beyond);
        }
        Mode::AutoPassthrough => {
            let message = "AUTO_PASSTHROUGH is not in effect in this version, and the server is left out: write PASSTHROUGH, \
                           and routes for TLS";
            findings.remark(Severity::Warning, format_args!("{path}.mode"), message);
            return None;
        }
        Mode::Simple | Mode::Mutual | Mode::OptionalMutual | Mode::IstioMutual => {}
    }
    let (min, max) = version::versions(tls, path, findings);
    let cipher_suites = version::cipher_suites(tls, min, path, findings);
    let certificates = certificate::certificates(tls, mode, path, findings);
    let clients = client::clients(tls, mode, &certificates, path, findings);
    Some(Ended::Here(Arc::new(Tls { certificates, clients, min, max, cipher_suites })))
}
