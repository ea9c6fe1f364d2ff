//! networking.istio.io Gateway, `v1`, `v1beta1` or `v1alpha3`, which read alike. (Gateway API's is in [`super::gateway`].)

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::ObjectMeta;
use super::service_entry::Unknown;

/// networking.istio.io Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IstioGateway {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it lets in.
    pub spec: GatewaySpec,
}

/// networking.istio.io Gateway `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GatewaySpec {
    /// The labels of the pods that serve it; empty for all gateways.
    pub selector: BTreeMap<String, String>,
    /// What is served, and where.
    pub servers: Vec<Server>,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    /// The port that clients dial.
    pub port: Option<ServedPort>,
    /// An address, or `unix://` and a path; empty for all addresses.
    pub bind: String,
    /// The hosts that are let in: each a name, `*.` and a name, or `*`, a namespace and a slash before it or not.
    pub hosts: Vec<String>,
    /// How TLS is spoken.
    pub tls: Option<ServerTls>,
    /// What nobody has ever made use of.
    pub default_endpoint: String,
    /// Its name.
    pub name: String,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServedPort {
    /// Its number; 0 for a socket of the file system.
    pub number: i64,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, ..., in any case.
    pub protocol: String,
    /// Its name.
    pub name: String,
    /// The endpoints' port, which only ServiceEntries have.
    pub target_port: i64,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ServerTLSSettings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerTls {
    /// Clients that speak HTTP in clear are sent to `https`.
    pub https_redirect: bool,
    /// `PASSTHROUGH`, `SIMPLE`, `MUTUAL`, `AUTO_PASSTHROUGH`, `ISTIO_MUTUAL` or `OPTIONAL_MUTUAL`; empty means the first.
    pub mode: String,
    /// A file.
    pub server_certificate: String,
    /// A file.
    pub private_key: String,
    /// A file.
    pub ca_certificates: String,
    /// A file.
    pub ca_crl: String,
    /// A Secret.
    pub credential_name: String,
    /// Secrets.
    pub credential_names: Vec<String>,
    /// A Secret.
    pub ca_cert_credential_name: String,
    /// Files.
    pub tls_certificates: Vec<TlsCertificate>,
    /// Who clients may be.
    pub subject_alt_names: Vec<String>,
    /// SHA-256 of clients' keys, in base64.
    pub verify_certificate_spki: Vec<String>,
    /// SHA-256 of clients' certificates, in hexadecimal.
    pub verify_certificate_hash: Vec<String>,
    /// `TLS_AUTO` or `TLSV1_0` to `TLSV1_3`; empty means the first.
    pub min_protocol_version: String,
    /// The same.
    pub max_protocol_version: String,
    /// By OpenSSL's names.
    pub cipher_suites: Vec<String>,
    /// Whoever clients are.
    pub insecure_skip_verify: Option<bool>,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl ServerTls {
    /// True if it says in which Secrets its certificates are.
    #[must_use]
    pub fn names_secrets(&self) -> bool {
        !self.credential_name.is_empty() || !self.credential_names.is_empty()
    }

    /// True if it says anywhere where certificates are, or which of them are revoked.
    #[must_use]
    pub fn names_certificates(&self) -> bool {
        let files = [&self.server_certificate, &self.private_key, &self.ca_certificates, &self.ca_crl];
        self.names_secrets() || !self.tls_certificates.is_empty() || files.iter().any(|file| !file.is_empty())
    }

    /// True if it says anything but `httpsRedirect` and `mode`.
    #[must_use]
    pub fn says_more_than_redirect(&self) -> bool {
        let texts = [&self.ca_cert_credential_name, &self.min_protocol_version, &self.max_protocol_version];
        let lists = [
            &self.subject_alt_names,
            &self.verify_certificate_spki,
            &self.verify_certificate_hash,
            &self.cipher_suites,
        ];
        self.names_certificates()
            || texts.iter().any(|text| !text.is_empty())
            || lists.iter().any(|list| !list.is_empty())
            || self.insecure_skip_verify.is_some()
    }
}

/// networking.istio.io ServerTLSSettings.TLSCertificate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsCertificate {
    /// A file.
    pub server_certificate: String,
    /// A file.
    pub private_key: String,
    /// A file.
    pub ca_certificates: String,
    /// What is no field of it.
    #[serde(flatten)]
    pub unknown: Unknown,
}
