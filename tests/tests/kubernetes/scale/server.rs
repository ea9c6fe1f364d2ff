//! An API server by its kubeconfig, for whoever writes ten thousand objects: connections that stay open, and nothing read but
//! what is asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where an API server is, and as whom it is asked.
#[derive(Clone)]
pub(super) struct Server {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Server {
    /// That of a kubeconfig which has everything in it.
    pub(super) fn of(kubeconfig: &Path) -> Self {
        let config: Value = serde_json::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
        let decoded = |place: &str| STANDARD.decode(config.pointer(place).unwrap().as_str().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        let authority = decoded("/clusters/0/cluster/certificate-authority-data");
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(&decoded("/users/0/user/client-certificate-data")).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(&decoded("/users/0/user/client-key-data")).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let server = config.pointer("/clusters/0/cluster/server").unwrap().as_str().unwrap();
        let address = server.strip_prefix("https://").unwrap().parse().unwrap();
        Self { address, tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// A connection to it.
    pub(super) async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// A change of an object.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// It is made, in the collection at this path.
    Create(String, Value),
    /// Fields of what is at this path are set.
    Patch(String, Value),
    /// What is at this path is removed.
    Delete(String),
}

impl Change {
    /// The name of the object.
    pub(super) fn object(&self) -> &str {
        match self {
            Self::Create(_, object) => object["metadata"]["name"].as_str().unwrap(),
            Self::Patch(path, _) | Self::Delete(path) => {
                let object = path.strip_suffix("/status").unwrap_or(path);
                object.rsplit('/').next().unwrap()
            }
        }
    }
}

/// Who writes, on a connection of his own.
pub(super) struct Writer {
    server: Server,
    sender: SendRequest<Full<Bytes>>,
}

impl Writer {
    pub(super) async fn to(server: &Server) -> Self {
        Self { server: server.clone(), sender: server.connect().await }
    }

    /// Makes `change` and waits until it is made.
    pub(super) async fn write(&mut self, change: Change) {
        let (method, path, kind, body) = match change {
            Change::Create(path, object) => (Method::POST, path, "application/json", object.to_string()),
            Change::Patch(path, fields) => (Method::PATCH, path, "application/merge-patch+json", fields.to_string()),
            Change::Delete(path) => {
                (Method::DELETE, format!("{path}?gracePeriodSeconds=0"), "application/json", String::new())
            }
        };
        let request = Request::builder().method(method.clone()).uri(&path).header("host", "api");
        let request = request.header("content-type", kind).body(Full::from(body)).unwrap();
        if self.sender.ready().await.is_err() {
            self.sender = self.server.connect().await;
        }
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        // What is changed may have been removed by a change before.
        assert!(status.is_success() || status == StatusCode::NOT_FOUND, "{method} {path}: {status} {text:?}");
    }
}
