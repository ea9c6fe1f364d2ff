//! TLS between a CA and those who ask it for certificates: the server proves its name by a certificate of the mesh's
//! roots, the client proves nothing (its token is in the requests). Knows nothing of what is said over it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_model::Reason;
use arc_swap::ArcSwapOption;
use rustls::client::Resumption;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::authority::Authority;
use crate::clock::Clock;
use crate::error::Error;
use crate::provider::{VERSIONS, provider};
use crate::tls::{ALPN, Failure};
use crate::trust::TrustStore;

/// The CA's end. Clones are the same.
#[derive(Clone)]
pub struct Server {
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
}

/// What a client is talked to over.
pub type Accepted<T> = server::TlsStream<T>;

/// The certificate that new handshakes are answered with.
#[derive(Debug, Default)]
struct Certificate(ArcSwapOption<CertifiedKey>);

impl Server {
    /// A server without a certificate yet: handshakes fail.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the library fails.
    pub fn new(clock: &Clock) -> Result<Self, Error> {
        let certificate = Arc::new(Certificate::default());
        let mut config = ServerConfig::builder_with_details(provider().clone(), Arc::new(clock.clone()))
            .with_protocol_versions(VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { certificate, config: Arc::new(config) })
    }

    /// The same server, by the same certificate as it is at each handshake, for clients that speak one of `protocols` (ALPN)
    /// in the place of HTTP/2.
    #[must_use]
    pub fn speaking(&self, protocols: &[&str]) -> Self {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { certificate: self.certificate.clone(), config: Arc::new(config) }
    }

    /// Goes by any of `names` from now on, as `authority` certifies for `ttl`.
    ///
    /// # Errors
    /// [`Error::Crypto`] if a name cannot be one or the library fails; the certificate in use stays.
    pub fn certify(
        &self,
        authority: &Authority,
        names: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<(), Error> {
        let (key, chain) = authority.serve(names, ttl, now)?;
        let certified = CertifiedKey::from_der(chain, key, provider())?;
        self.certificate.0.store(Some(Arc::new(certified)));
        Ok(())
    }

    /// Accepts a handshake within `limit`.
    ///
    /// # Errors
    /// A [`Failure`] that says what was wrong with it.
    pub async fn accept<T>(&self, transport: T, limit: Duration) -> Result<Accepted<T>, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = timeout(limit, TlsAcceptor::from(self.config.clone()).accept(transport)).await;
        accepted.map_err(|_| Failure::timed_out(limit))?.map_err(|error| Failure::of_handshake(&error, None))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("certified", &self.certificate.0.load().is_some()).finish()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The end that asks.
#[derive(Clone, Debug)]
pub struct Client {
    store: TrustStore,
    clock: Clock,
}

impl Client {
    /// A client that believes servers whose certificates lead to a root of `store`, as it is at each handshake.
    #[must_use]
    pub fn new(store: TrustStore, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Makes a handshake within `limit` with the server that goes by `name`.
    ///
    /// # Errors
    /// A [`Failure`] that says what was wrong with it.
    pub async fn connect<T>(
        &self,
        transport: T,
        name: ServerName<'static>,
        limit: Duration,
    ) -> Result<client::TlsStream<T>, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().map_err(|error| Failure::new(Reason::TlsFailure, error.to_string()))?;
        let connected = timeout(limit, TlsConnector::from(config).connect(name, transport)).await;
        connected.map_err(|_| Failure::timed_out(limit))?.map_err(|error| Failure::of_handshake(&error, None))
    }

    /// Made anew for each handshake, which are rare: rustls' verifier has its roots once and for all.
    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut roots = RootCertStore::empty();
        for root in self.store.roots().roots() {
            roots.add(root.clone())?;
        }
        let mut config = ClientConfig::builder_with_details(provider().clone(), Arc::new(self.clock.clone()))
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::fixtures::{HOUR, now, stopped_clock};

    const LIMIT: Duration = Duration::from_secs(5);

    fn authority() -> Authority {
        Authority::generate(&"cluster.local".parse().unwrap(), now()).unwrap()
    }

    async fn dial(server: &Server, client: &Client, name: &str) -> Result<client::TlsStream<DuplexStream>, Failure> {
        let (near, far) = duplex(64 * 1024);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (served, connected) = tokio::join!(server.accept(far, LIMIT), client.connect(near, name, LIMIT));
        if let Ok(mut served) = served {
            // Whoever has refused the certificate is gone by now.
            let _ = served.write_all(b"!").await;
        }
        let mut connected = connected?;
        assert_eq!(connected.read_u8().await.unwrap(), b'!');
        Ok(connected)
    }

    #[tokio::test]
    async fn a_server_is_believed_under_its_names_and_by_the_roots_of_the_moment() {
        let (old, new) = (authority(), authority());
        let names = ["istiod.istio-system.svc".to_owned(), "10.0.0.7".to_owned()];
        let server = Server::new(&stopped_clock()).unwrap();
        let store = TrustStore::new(old.roots());
        let client = Client::new(store.clone(), stopped_clock());
        dial(&server, &client, &names[0]).await.expect_err("there is no certificate yet");

        server.certify(&old, &names, HOUR, now()).unwrap();
        for name in &names {
            dial(&server, &client, name).await.unwrap();
        }
        let failure = dial(&server, &client, "other.istio-system.svc").await.unwrap_err();
        assert!(failure.detail.contains("not valid for name"), "{failure}");

        server.certify(&new, &names, HOUR, now()).unwrap();
        let failure = dial(&server, &client, &names[0]).await.unwrap_err();
        assert!(failure.detail.contains("BadSignature"), "another root of the same name: {failure}");
        store.replace_roots(old.roots().union(&new.roots()));
        dial(&server, &client, &names[0]).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_speaks_otherwise_is_the_same_server_to_others() {
        let authority = authority();
        let server = Server::new(&stopped_clock()).unwrap();
        let other = server.speaking(&["http/1.1"]);
        // By a certificate that it came to later.
        server.certify(&authority, &["spoofed.example".to_owned()], HOUR, now()).unwrap();
        let client = Client::new(TrustStore::new(authority.roots()), stopped_clock());
        dial(&server, &client, "spoofed.example").await.unwrap();
        dial(&other, &client, "spoofed.example").await.expect_err("it is no server of HTTP/2");
        let mut config = ClientConfig::clone(&*client.config().unwrap());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (near, far) = duplex(64 * 1024);
        let name = ServerName::try_from("spoofed.example").unwrap();
        let dialled = TlsConnector::from(Arc::new(config)).connect(name, near);
        let (served, dialled) = tokio::join!(other.accept(far, LIMIT), dialled);
        assert!(served.is_ok() && dialled.is_ok());
    }

    #[tokio::test]
    async fn a_servers_certificate_that_has_run_out_is_refused() {
        let authority = authority();
        let server = Server::new(&stopped_clock()).unwrap();
        server.certify(&authority, &["spoofed.example".to_owned()], HOUR, now() - 2 * HOUR).unwrap();
        let client = Client::new(TrustStore::new(authority.roots()), stopped_clock());
        let failure = dial(&server, &client, "spoofed.example").await.unwrap_err();
        assert_eq!(failure.reason, Reason::CertificateExpired, "{failure}");
    }
}
