//! What all workers see: read without locks, replaced as a whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_ebpf_loader::{Capture, HostPods, Migration, OriginalDestinations};
use ambit_hbone as hbone;
use ambit_identity::store::Certificates;
use ambit_model::{Identity, Reason};
use ambit_net::accept::Left;
use ambit_net::socket::Keepalive;
use ambit_transport::credentials::Signer;
use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::failure::Failure;

/// What all workers see.
pub(crate) struct Shared {
    /// The mesh as it is now.
    pub(crate) snapshots: Snapshots,
    /// Keys and certificates of this node's workloads.
    pub(crate) certificates: Arc<Certificates<Signer>>,
    /// What the kernel's programs have noted.
    pub(crate) taps: ArcSwap<Taps>,
    /// What has connections that wait move over to others' listeners; none if the kernel cannot do so.
    pub(crate) migration: Option<Migration>,
    /// Where this agent is in the succession of its node's.
    pub(crate) succession: watch::Sender<Succession>,
    /// Limits and periods.
    pub(crate) limits: Limits,
    /// Where DNS queries are forwarded to, if not to where they were sent.
    pub(crate) dns_upstream: Option<SocketAddr>,
}

/// What the kernel's programs have noted of connections.
pub(crate) struct Taps {
    /// What captured ones dialled.
    pub(crate) originals: OriginalDestinations,
    /// What pods with the node's own network have opened.
    pub(crate) host_pods: HostPods,
}

impl Taps {
    /// Those of `capture`.
    pub(crate) fn of(capture: &Capture) -> Self {
        Self { originals: capture.original_destinations(), host_pods: capture.host_pods() }
    }
}

/// Where an agent is in the succession of its node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// No other is in charge.
    InCharge,
    /// Another is, and may not serve every pod yet.
    SteppedBack,
    /// Another is, and serves every pod.
    Succeeded,
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
    /// How listeners are left whose place others in the same network namespace have taken.
    pub(crate) fn succeeded(&self) -> Left {
        if self.migration.is_some() { Left::Succeeded } else { Left::Alone }
    }

    /// How listeners are left when the process stops.
    pub(crate) fn left(&self) -> Left {
        if *self.succession.borrow() == Succession::Succeeded { self.succeeded() } else { Left::Alone }
    }

    /// Waits until there is a certificate for `identity`, as long as patience lasts.
    pub(crate) async fn certificate(&self, identity: &Identity) -> Result<(), Failure> {
        let ensured = self.certificates.ensure_within(identity, self.limits.patience).await;
        ensured.map_err(|error| Failure::new(Reason::IdentityUnavailable, error.to_string()))
    }
}
