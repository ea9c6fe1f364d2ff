//! What the DNS server of one pod answers by itself, and to whom it passes on what it does not know. It knows no socket
//! that a query comes by.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_model::{Resolved, WorkloadUid};
use ambit_net::netns::NetNs;
use ambit_telemetry::{Meter, QuerySeries};
use rand::seq::SliceRandom as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::message::{self, Content, Query};

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

/// What becomes of a query.
#[derive(Debug)]
pub(super) enum Plan {
    /// The mesh itself has the answer.
    Answer(Vec<u8>),
    /// A server has to be asked.
    Ask(Errand),
}

/// A message for a server, and what becomes of its answer.
#[derive(Debug)]
pub(super) struct Errand {
    /// What the server is asked.
    message: Vec<u8>,
    /// What the client is told if nobody answers.
    refusal: Vec<u8>,
    kind: &'static str,
    alias: Option<Alias>,
}

/// A query that is not what a server is asked: that is the last of the names that it is an alias of.
#[derive(Debug)]
struct Alias {
    query: Query,
    names: Vec<Arc<str>>,
}

/// What the mesh itself makes of a query.
enum Own {
    Answer(Vec<u8>),
    Question(Vec<u8>, Alias),
}

impl Resolver {
    /// What becomes of `message`, read as `query`; `None` if it is no query.
    pub(super) fn plan(&self, message: &[u8], query: Option<Query>, via: Via) -> Option<Plan> {
        let kind = query.as_ref().map_or("unknown", Query::kind);
        let (question, alias) = match query.and_then(|query| self.own(query, via)) {
            Some(Own::Answer(answer)) => return Some(Plan::Answer(answer)),
            Some(Own::Question(question, alias)) => (question, Some(alias)),
            None => (message.to_vec(), None),
        };
        Some(Plan::Ask(Errand { message: question, refusal: message::failure(message)?, kind, alias }))
    }

    /// `None` if the query has to be passed on as it is.
    fn own(&self, query: Query, via: Via) -> Option<Own> {
        query.family()?;
        let snapshot = self.snapshots.load();
        let client = snapshot.workload(&self.pod)?;
        let Resolved { aliases: names, addresses } = snapshot.resolve(&client.namespace, &query.name)?;
        let Some(mut addresses) = addresses else {
            return Some(Own::Question(query.about(names.last()?)?, Alias { query, names }));
        };
        // Clients take the first.
        addresses.shuffle(&mut rand::rng());
        let answer = query.answer(&Content::known(names, addresses), via.limit(&query))?;
        self.meter.query_answered(QuerySeries::new(query.kind(), via.as_str(), Some(client)));
        Some(Own::Answer(answer))
    }

    /// The answer to the client after `errand`, whose message `ask` gets answered by a server, or nobody.
    pub(super) async fn pass_on(
        &self,
        errand: Errand,
        via: Via,
        ask: impl AsyncFnOnce(&[u8]) -> io::Result<Vec<u8>>,
    ) -> Vec<u8> {
        let Ok(_permit) = self.permits.try_acquire() else {
            debug!(pod = %self.pod, "too many DNS queries at once: one is not passed on");
            return errand.refusal;
        };
        let start = Instant::now();
        let Errand { message, refusal, kind, alias } = errand;
        let outcome = timeout(PATIENCE, ask(&message)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let outcome = outcome.and_then(|answer| match alias {
            None => Ok(answer),
            Some(alias) => alias.answer(&answer, via).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        });
        let snapshot = self.snapshots.load();
        let client = snapshot.workload(&self.pod).map(|client| &**client);
        self.meter.query_passed_on(QuerySeries::new(kind, via.as_str(), client), start.elapsed(), outcome.is_err());
        outcome.unwrap_or_else(|error| {
            debug!(pod = %self.pod, "a DNS query that was passed on is not answered: {error}");
            refusal
        })
    }
}

impl Alias {
    /// The answer to the query when a server has answered `answer` of the last name.
    fn answer(self, answer: &[u8], via: Via) -> Option<Vec<u8>> {
        let content = Content::learned(self.names, answer)?;
        self.query.answer(&content, via.limit(&self.query))
    }
}

impl Via {
    /// What fits into the answer to `query`.
    fn limit(self, query: &Query) -> u16 {
        match self {
            Self::Udp => query.datagram_limit(),
            Self::Tcp => u16::MAX,
        }
    }

    /// As metrics have it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}
