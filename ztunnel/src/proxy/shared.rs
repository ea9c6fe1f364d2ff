//! What all workers see: read without locks, replaced as a whole.

use std::net::SocketAddr;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_ebpf_loader::{HostPods, OriginalDestinations};
use ambit_hbone as hbone;
use ambit_identity::store::Certificates;
use ambit_model::{Identity, Reason};
use ambit_net::socket::Keepalive;
use ambit_transport::credentials::Signer;
use tokio::time::timeout;

use super::failure::Failure;

/// What all workers see.
pub(crate) struct Shared {
    /// The mesh as it is now.
    pub(crate) snapshots: Snapshots,
    /// Keys and certificates of this node's workloads.
    pub(crate) certificates: Certificates<Signer>,
    /// What captured connections dialled.
    pub(crate) originals: OriginalDestinations,
    /// What pods with the node's own network have opened.
    pub(crate) host_pods: HostPods,
    /// Limits and periods.
    pub(crate) limits: Limits,
    /// Where DNS queries are forwarded to, if not to where they were sent.
    pub(crate) dns_upstream: Option<SocketAddr>,
}

/// Limits and periods of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// For a TLS and HTTP/2 handshake, and for port 15008 to answer.
    pub(crate) connect_timeout: Duration,
    /// For what is on its way: a pod, a certificate.
    pub(crate) patience: Duration,
    /// For which a withdrawn pod goes on being served.
    pub(crate) linger: Duration,
    /// Keepalive of every connection.
    pub(crate) keepalive: Option<Keepalive>,
    /// After which a tunnel without streams is closed.
    pub(crate) tunnel_idle: Duration,
    /// What one tunnel may use.
    pub(crate) tunnel: hbone::Config,
    /// Whether a peer is told which workload has answered it.
    pub(crate) response_baggage: bool,
}

impl Shared {
    /// Waits until there is a certificate for `identity`, as long as patience lasts.
    pub(crate) async fn certificate(&self, identity: &Identity) -> Result<(), Failure> {
        let unavailable = |detail: String| Failure::new(Reason::IdentityUnavailable, detail);
        match timeout(self.limits.patience, self.certificates.ensure(identity)).await {
            Ok(outcome) => outcome.map_err(|error| unavailable(error.to_string())),
            Err(_) => Err(unavailable(format!("no certificate for {identity} in time"))),
        }
    }
}
