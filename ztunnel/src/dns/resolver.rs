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
use ambit_telemetry::{Meter, QuerySeries};
use rand::seq::SliceRandom as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
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
    /// What they are counted by.
    pub(crate) meter: Meter,
    /// What bounds the queries of the pod that are being passed on.
    pub(crate) permits: Rc<Semaphore>,
}

/// By what a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// A datagram, whose answer must fit into another.
    Udp,
    /// A connection.
    Tcp,
}

impl Resolver {
    /// The answer to `query` that the mesh itself has. `None` if somebody else has to answer.
    pub(super) fn answer(&self, query: &Query<'_>, via: Via) -> Option<Vec<u8>> {
        query.family()?;
        let snapshot = self.snapshots.load();
        let client = snapshot.workload(&self.pod)?;
        let mut addresses = snapshot.resolve(&client.namespace, &query.name)?;
        // Clients take the first.
        addresses.shuffle(&mut rand::rng());
        self.meter.query_answered(QuerySeries::new(query.kind(), via.as_str(), Some(client)));
        let limit = match via {
            Via::Udp => query.datagram_limit(),
            Via::Tcp => usize::MAX,
        };
        Some(query.answer(&addresses, limit))
    }

    /// The answer to `message` that `ask` gets from a server, or that nobody answers; `None` if it is no query.
    pub(super) async fn pass_on(
        &self,
        message: &[u8],
        via: Via,
        ask: impl Future<Output = io::Result<Vec<u8>>>,
    ) -> Option<Vec<u8>> {
        let refusal = message::failure(message)?;
        let Ok(_permit) = self.permits.try_acquire() else {
            debug!(pod = %self.pod, "too many DNS queries at once: one is not passed on");
            return Some(refusal);
        };
        let start = Instant::now();
        let outcome = timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let kind = Query::read(message).map_or("unknown", |query| query.kind());
        let snapshot = self.snapshots.load();
        let client = snapshot.workload(&self.pod).map(|client| &**client);
        self.meter.query_passed_on(QuerySeries::new(kind, via.as_str(), client), start.elapsed(), outcome.is_err());
        Some(outcome.unwrap_or_else(|error| {
            debug!(pod = %self.pod, "a DNS query that was passed on is not answered: {error}");
            refusal
        }))
    }
}

impl Via {
    /// As metrics have it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}
