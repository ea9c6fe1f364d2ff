//! Asks a CA for certificates. Believes nothing of what it answers: the store checks that it is what was asked for.

use std::path::PathBuf;
use std::time::Duration;

use ambit_identity::client::chain_from_pem;
use ambit_identity::{Chain, Csr, Issuer, channel};
use ambit_model::Identity;

use crate::error::Error;
use crate::line::Line;
use crate::wire::{CertificateRequest, CertificateResponse, METHOD};

/// Where a CA is and how it is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://HOST:PORT`.
    pub address: String,
    /// The name that its certificate has to have; the host, if none is given.
    pub name: Option<String>,
    /// The file with the bearer token: read for every request, since it is replaced before it expires.
    pub token: PathBuf,
    /// The cluster's name, as Istio's CA wants to know it (`ClusterID`).
    pub cluster: String,
    /// The validity wished for.
    pub ttl: Duration,
}

/// A CA that is asked over the network.
#[derive(Debug)]
pub struct RemoteIssuer {
    line: Line,
    ttl: Duration,
}

impl RemoteIssuer {
    /// A CA that is not connected to yet: the first request does, and each that finds the connection gone. Has to be made
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn new(settings: &Settings, tls: channel::Client) -> Result<Self, Error> {
        Ok(Self { line: Line::new(settings, tls)?, ttl: settings.ttl })
    }

    async fn ask(&self, csr: &Csr, identity: &Identity) -> Result<Chain, String> {
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let request = CertificateRequest::for_identity(csr.to_pem(), ttl, identity);
        let answer =
            self.line.ask::<_, CertificateResponse>(METHOD, request).await.map_err(|error| error.to_string())?;
        chain_from_pem(answer.cert_chain.iter().map(String::as_str))
    }
}

impl Issuer for RemoteIssuer {
    async fn sign(&self, csr: &Csr, identity: &Identity) -> Result<Chain, ambit_identity::Error> {
        let answered = self.ask(csr, identity).await;
        answered.map_err(|cause| ambit_identity::Error::Refused { identity: identity.clone(), cause })
    }
}
