//! TLS towards an application, inside the mesh's own (Istio `ClientTLSSettings`).

use std::sync::Arc;

use serde::Serialize;

/// How endpoints are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ClientTls {
    /// `mode`
    pub mode: TlsMode,
    /// `sni`; none for the request's authority, or the service's host where there are no requests.
    pub sni: Option<Arc<str>>,
    /// `subjectAltNames` of which the server's certificate must carry one; empty for what `sni` is.
    pub subject_alt_names: Vec<Arc<str>>,
    /// Where the keys and certificates are.
    pub credentials: Credentials,
    /// `insecureSkipVerify`
    pub skip_verify: bool,
}

/// Whether TLS is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum TlsMode {
    /// `DISABLE`: what the client sent goes on within the mesh's own encryption.
    #[default]
    Disable,
    /// `ISTIO_MUTUAL`: as for `DISABLE`, since between workloads of the mesh there is no other way.
    IstioMutual,
    /// `SIMPLE`: the server proves who it is.
    Simple,
    /// `MUTUAL`: both do.
    Mutual,
}

/// Where keys and certificates are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum Credentials {
    /// The system's authorities, and nothing to prove oneself with.
    #[default]
    System,
    /// `credentialName`: a Secret.
    Secret(Arc<str>),
    /// Files of the proxy.
    Files {
        /// `clientCertificate` and `privateKey`
        client: Option<(Arc<str>, Arc<str>)>,
        /// `caCertificates`
        authorities: Option<Arc<str>>,
        /// `caCrl`
        revoked: Option<Arc<str>>,
    },
}
