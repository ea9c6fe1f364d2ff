//! What the DNS server of one pod answers by itself, and to whom it passes on what it does not know. It knows no socket
//! that a query comes by.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_model::WorkloadUid;
use ambit_net::netns::NetNs;
use rand::seq::SliceRandom as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::message::{self, Query};

/// For a server to answer, before the client is told that it did not.
const PATIENCE: Duration = Duration::from_secs(5);

/// The DNS server of one pod, on one worker.
pub(crate) struct Resolver {
    /// The mesh as it is now.
    pub(crate) snapshots: Snapshots,
    /// Whose queries these are.
    pub(crate) pod: WorkloadUid,
    /// From where queries are passed on.
    pub(crate) netns: NetNs,
    /// Where they go, if not to the server that was asked.
    pub(crate) upstream: Option<SocketAddr>,
    /// What bounds the queries of the pod that are being passed on.
    pub(crate) permits: Rc<Semaphore>,
}

impl Resolver {
    /// The answer to `query` that the mesh itself has, of at most `limit` bytes. `None` if somebody else has to answer.
    pub(super) fn answer(&self, query: &Query<'_>, limit: usize) -> Option<Vec<u8>> {
        query.family()?;
        let snapshot = self.snapshots.load();
        let mut addresses = snapshot.resolve(&snapshot.workload(&self.pod)?.namespace, &query.name)?;
        // Clients take the first.
        addresses.shuffle(&mut rand::rng());
        Some(query.answer(&addresses, limit))
    }

    /// The answer to `message` that `ask` gets from a server, or that nobody answers; `None` if it is no query.
    pub(super) async fn pass_on(
        &self,
        message: &[u8],
        ask: impl Future<Output = io::Result<Vec<u8>>>,
    ) -> Option<Vec<u8>> {
        let refusal = message::failure(message)?;
        let Ok(_permit) = self.permits.try_acquire() else {
            debug!(pod = %self.pod, "too many DNS queries at once: one is not passed on");
            return Some(refusal);
        };
        match timeout(PATIENCE, ask).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                debug!(pod = %self.pod, "a DNS query cannot be passed on: {error}");
                Some(refusal)
            }
            Err(_) => {
                debug!(pod = %self.pod, "a DNS query that was passed on is not answered");
                Some(refusal)
            }
        }
    }
}
