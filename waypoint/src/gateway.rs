//! A gateway: what comes from outside the mesh and is let in as Gateways say (Istio `networking.istio.io` Gateway). Where it
//! listens follows the snapshot; what becomes of a request behind its door is as at a waypoint.

mod credentials;
mod door;
mod listening;

use ambit_discovery::Published;
use ambit_model::WorkloadUid;
use tokio::sync::Semaphore;

pub(crate) use credentials::Credentials;
pub(crate) use door::listen;
pub(crate) use listening::{Listening, follow};

/// What a gateway has and a waypoint has not.
pub(crate) struct Gateway {
    /// Its own pod, whose labels Gateways select.
    pub(crate) pod: WorkloadUid,
    /// Where it listens.
    pub(crate) listening: Published<Listening>,
    /// Has a permit for each worker that listens there for the first time.
    pub(crate) opened: Semaphore,
    /// What it shows TLS clients.
    pub(crate) credentials: Credentials,
}
