//! Builds rustls configurations: what is fixed for all (versions, ALPN, no server name, no resumption) is fixed here.

use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{ClientConfig, ServerConfig};

use super::ALPN;
use crate::clock::Clock;
use crate::error::Error;
use crate::provider::{VERSIONS, provider};
use crate::verifier::Verifier;

/// A server that shows `certificate` and asks every client for one.
pub(crate) fn server_config(
    certificate: Arc<dyn ResolvesServerCert>,
    verifier: Verifier,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_details(provider().clone(), Arc::new(clock.clone()))
        .with_protocol_versions(VERSIONS)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client that shows `certificate`.
pub(crate) fn client_config(
    certificate: Arc<dyn ResolvesClientCert>,
    verifier: Verifier,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_details(provider().clone(), Arc::new(clock.clone()))
        .with_protocol_versions(VERSIONS)?
        // rustls' own verifier knows DNS names only; ours checks the chain by the same library.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
