//! Tunnels to peers: from within which pod, to whom, and who has to answer there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ambit_hbone::Connector;
use ambit_identity::tls;
use ambit_model::{Identity, Reason, WorkloadUid};
use ambit_net::socket::{ConnectOptions, OUR_MARK};
use ambit_transport::secured::revoked;
use ambit_transport::{Secured, dial};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::failure::Failure;
use super::guest::Guests;
use super::shared::Shared;
use super::standing::Standing;

/// Connections with the same key share tunnels: same pod here, same pod and identity there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerKey {
    /// The pod that dials.
    pub(crate) source: WorkloadUid,
    /// Its network namespace: a pod started anew under the old name is another.
    pub(crate) cookie: u64,
    /// The pod that is dialled.
    pub(crate) destination: WorkloadUid,
    /// Where it takes HBONE.
    pub(crate) address: SocketAddr,
    /// Whom its certificate must name.
    pub(crate) expected: Identity,
}

/// Opens tunnels' transports: TCP from within the pod, then mutual TLS.
pub(crate) struct PeerConnector {
    pub(crate) shared: Arc<Shared>,
    pub(crate) guests: Guests,
    pub(crate) standing: Standing,
}

impl Connector<PeerKey> for PeerConnector {
    type Transport = Secured<TlsStream<TcpStream>>;
    type Error = Failure;

    async fn connect(&self, key: &PeerKey) -> Result<Self::Transport, Failure> {
        let guest = self.guests.find(&key.source).filter(|guest| guest.pod.netns.cookie() == key.cookie);
        let guest = guest.ok_or_else(|| Failure::from(Reason::UnknownWorkload))?;
        let pod = &guest.pod;
        self.shared.certificate(&pod.identity).await?;
        let limits = &self.shared.limits;
        let (timeout, keepalive) = (limits.connect_timeout, limits.keepalive.clone());
        let options = ConnectOptions { source: None, apart: false, mark: OUR_MARK, timeout, keepalive };
        let stream = dial::peer(&pod.netns, key.address, &options).await?;
        let trust = &self.shared.snapshots.load().mesh.trust_domains;
        let expected = std::slice::from_ref(&key.expected);
        let config = self.shared.certificates.tls_client(&pod.identity, expected, trust);
        let config = config.map_err(|error| Failure::new(Reason::IdentityUnavailable, error.to_string()))?;
        let (stream, peer) = tls::connect(config, stream, key.address.ip(), timeout).await?;
        let peer = Rc::new(peer);
        let mut leave = self.standing.tunnel(peer.clone());
        // Revoked since the handshake looked: nobody was there yet to be told.
        if self.shared.certificates.trust_store().revokes(&peer) {
            return Err(revoked(&peer));
        }
        Ok(Secured::new(stream, async move { leave.revoked().await }))
    }
}
