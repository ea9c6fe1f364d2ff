//! Asks the components of a cluster how they are: small blocking HTTPS requests, inside a network namespace. It knows one
//! authority and one user.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use super::certificates::{Authority, Credential};
use crate::{http, netns};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    netns: PathBuf,
    config: Arc<ClientConfig>,
}

impl Probe {
    /// Asks from within the network namespace at `netns`, as whom `credential` is for.
    pub(crate) fn new(netns: &Path, authority: &Authority, credential: &Credential) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(
            CertificateDer::from_pem_slice(authority.certificate().as_bytes()).map_err(|error| anyhow!("{error}"))?,
        )?;
        let chain = CertificateDer::from_pem_slice(credential.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes());
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![chain.map_err(|error| anyhow!("{error}"))?],
                key.map_err(|error| anyhow!("{error}"))?,
            )?;
        Ok(Self { netns: netns.to_owned(), config: Arc::new(config) })
    }

    /// GETs `path` from `server`.
    ///
    /// # Errors
    /// When nothing answers there within five seconds, or nothing that the authority has certified.
    pub(crate) fn get(&self, server: SocketAddr, path: &str) -> anyhow::Result<http::Response> {
        let answer = netns::run_in(&self.netns, || self.exchange(server, path))?;
        answer.with_context(|| format!("GET https://{server}{path}"))
    }

    /// True if `path` of `server` answers 200.
    pub(crate) fn is_well(&self, server: SocketAddr, path: &str) -> bool {
        self.get(server, path).is_ok_and(|answer| answer.status == 200)
    }

    fn exchange(&self, server: SocketAddr, path: &str) -> anyhow::Result<http::Response> {
        let mut socket = TcpStream::connect_timeout(&server, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::IpAddress(IpAddr::into(server.ip()));
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut stream = Stream::new(&mut connection, &mut socket);
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        // The answer says where it ends; how the connection does is of no interest.
        let ended = stream.read_to_end(&mut answer);
        http::parse(&answer).with_context(|| format!("the answer is not HTTP/1.1 ({ended:?})"))
    }
}
