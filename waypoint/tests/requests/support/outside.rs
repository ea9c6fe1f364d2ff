//! A client outside the mesh, of a gateway: in clear, or by TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{GATEWAY, Http, Issuer, Shown, at};

/// The client's address.
const CLIENT: &str = "10.9.2.9:0";

/// A client outside the mesh.
pub(crate) struct Outside;

/// How a client speaks TLS.
pub(crate) struct Roots<'a> {
    pub(crate) issuer: &'a Issuer,
    pub(crate) shown: Option<&'a Shown>,
    pub(crate) protocols: &'a [&'a str],
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
}

impl<'a> Roots<'a> {
    /// Whoever is certified by `issuer` is believed.
    pub(crate) fn of(issuer: &'a Issuer) -> Self {
        Self { issuer, shown: None, protocols: &["http/1.1"], versions: rustls::ALL_VERSIONS }
    }
}

impl Outside {
    /// A connection to a port of the gateway.
    pub(crate) async fn dial(port: u16) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(at(CLIENT)).unwrap();
        let stream = socket.connect(SocketAddr::new(GATEWAY.parse().unwrap(), port)).await?;
        stream.set_nodelay(true).unwrap();
        Ok(stream)
    }

    /// HTTP/1.1 in clear.
    pub(crate) async fn http1(port: u16) -> Http {
        Http::one(Self::dial(port).await.unwrap()).await
    }

    /// HTTP/2 in clear.
    pub(crate) async fn http2(port: u16) -> Http {
        Http::two(Self::dial(port).await.unwrap()).await
    }

    /// TLS with the server `name`.
    pub(crate) async fn tls(port: u16, name: &str, how: &Roots<'_>) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(how.issuer.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(how.versions).unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match how.shown {
            Some(Shown { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = how.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, Self::dial(port).await?).await
    }
}
