//! One worker of the proxy: its tunnels, its connections to endpoints and its counters. Everything here lives on the
//! worker's thread; what all workers see is in [`Shared`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_hbone as hbone;
use ambit_identity::store::Certificates;
use ambit_model::route::Normalization;
use ambit_model::waypoint::WaypointKey;
use ambit_model::{Identity, Reason, Workload};
use ambit_process::drain::{Drain, Guard, Phase};
use ambit_telemetry::{AccessLog, Meter};
use ambit_transport::Failure;
use ambit_transport::credentials::Signer;

use crate::gateway::Gateway;
use crate::http::ForwardedFor;
use crate::record::Mirrors;
use crate::tokens::{KeyRing, Verified};
use crate::upstream::{Clusters, Endpoints, Originators, Registry};

/// What all workers see.
pub(crate) struct Shared {
    /// The mesh as it is now.
    pub(crate) snapshots: Snapshots,
    /// The waypoint's key and certificate.
    pub(crate) certificates: Certificates<Signer>,
    /// Whom it names.
    pub(crate) identity: Identity,
    /// Which waypoint or gateway this is.
    pub(crate) key: WaypointKey,
    /// What it has as a gateway; none of a waypoint.
    pub(crate) gateway: Option<Gateway>,
    /// What limits, balances and counts for all workers together.
    pub(crate) registry: Registry,
    /// The keys of those who issue tokens to end users.
    pub(crate) keys: KeyRing,
    /// TLS towards applications.
    pub(crate) originators: Arc<Originators>,
    /// Copies that were sent to mirrors.
    pub(crate) mirrors: Mirrors,
    /// Patience and sizes.
    pub(crate) limits: Limits,
    /// The value of `server` in responses; none leaves what there is.
    pub(crate) server: Option<http::HeaderValue>,
}

/// Patience and sizes.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    /// How long the head of a request may take, once it has begun.
    pub(crate) header: Duration,
    /// How long a client is held of whom the mesh may not know everything yet.
    pub(crate) patience: Duration,
    /// How long connections on which no request is open are kept for one once the process stops.
    pub(crate) termination_drain: Duration,
    /// What is done to paths before anybody looks at them.
    pub(crate) normalization: Normalization,
    /// What becomes of `x-forwarded-for`.
    pub(crate) forwarded_for: ForwardedFor,
    /// How many proxies in front of a gateway are believed to say where a request comes from.
    pub(crate) trusted_proxies: u32,
    /// What a tunnel may use.
    pub(crate) tunnel: hbone::Config,
    /// How long a tunnel to a pod is kept without a stream.
    pub(crate) tunnel_idle: Duration,
}

impl Shared {
    /// The pod that this gateway is, if the mesh has told of it.
    pub(crate) fn own_pod(&self) -> Option<Arc<Workload>> {
        self.gateway.as_ref()?.listening.load().pod.clone()
    }

    /// The waypoint's own certificate, made if it is not there yet.
    ///
    /// # Errors
    /// None could be had.
    pub(crate) async fn certificate(&self) -> Result<(), Failure> {
        let ensured = self.certificates.ensure_within(&self.identity, self.limits.handshake).await;
        ensured.map_err(|error| Failure::new(Reason::IdentityUnavailable, error.to_string()))
    }
}

/// One worker.
pub(crate) struct Proxy {
    /// What all workers see.
    pub(crate) shared: Arc<Shared>,
    /// What this worker counts.
    pub(crate) meter: Meter,
    /// The destinations that it knows.
    pub(crate) clusters: Clusters,
    /// Its connections to endpoints.
    pub(crate) endpoints: Endpoints,
    /// Tokens of end users that it has verified.
    pub(crate) verified: RefCell<Verified>,
    drain: Drain,
}

impl Proxy {
    /// A worker without connections, on the thread that it is called on (within a `LocalRuntime`).
    pub(crate) fn new(shared: Arc<Shared>, access: AccessLog, drain: &Drain) -> Rc<Self> {
        let endpoints = Endpoints::new(shared.clone());
        let drain = drain.scoped();
        let (clusters, verified) = (Clusters::default(), RefCell::default());
        Rc::new(Self { shared, meter: Meter::new(access), clusters, endpoints, verified, drain })
    }

    /// Resolves when the process begins to stop.
    pub(crate) async fn leaving(&self) {
        self.drain.graceful().await;
    }

    /// Resolves when connections are closed on which no request is open: some time after the process has begun to stop, for
    /// a request may be on its way, and to close the connection then would be to lose it.
    pub(crate) async fn resting_over(&self) {
        self.leaving().await;
        tokio::select! {
            () = tokio::time::sleep(self.shared.limits.termination_drain) => {}
            () = self.cut() => {}
        }
    }

    /// Whether the process stops.
    pub(crate) fn is_leaving(&self) -> bool {
        self.drain.phase() >= Phase::Graceful
    }

    /// Resolves when what is open has to end.
    pub(crate) async fn cut(&self) {
        self.drain.forced().await;
    }

    /// Something that the drain waits for until the guard is dropped.
    pub(crate) fn guard(&self) -> Guard {
        self.drain.guard()
    }
}
