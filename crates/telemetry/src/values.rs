//! Counters as a scrape gets them: those of one worker, or of all workers merged. Pure; decides which series are dead.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::policy::PolicyKey;
use ambit_model::reason::Flag;
use ambit_model::{Reason, ServiceKey, Snapshot};

use crate::ends::{Derived, Ends, Party, Reporter};
use crate::queries::Queries;
use crate::requests::Requests;
use crate::trials::Trials;

/// What was counted, at one worker or, merged, at several.
#[derive(Clone, Debug, Default)]
pub struct Values {
    series: HashMap<Arc<Ends>, Counts>,
    reasons: BTreeMap<(Reporter, Reason), u64>,
    pub(crate) queries: Queries,
    pub(crate) trials: Trials,
}

/// The counts of one time series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections opened.
    pub opened: u64,
    /// Connections open now.
    pub live: u64,
    /// Connections closed, by the label `response_flags`.
    pub closed: BTreeMap<Flag, u64>,
    /// Bytes from clients to servers: Istio's `istio_tcp_received_bytes_total`, whoever reports.
    pub to_server: u64,
    /// Bytes from servers to clients: Istio's `istio_tcp_sent_bytes_total`, whoever reports.
    pub to_client: u64,
    /// Requests that have ended.
    pub(crate) requests: Requests,
    /// When a connection was last opened or closed, or a request last ended.
    pub used: Instant,
}

impl Counts {
    pub(crate) fn traffic(to_server: u64, to_client: u64, used: Instant) -> Self {
        let (closed, requests) = (BTreeMap::new(), Requests::default());
        Self { opened: 0, live: 0, closed, to_server, to_client, requests, used }
    }

    fn add(&mut self, other: &Self) {
        self.opened = self.opened.saturating_add(other.opened);
        self.live = self.live.saturating_add(other.live);
        self.to_server = self.to_server.saturating_add(other.to_server);
        self.to_client = self.to_client.saturating_add(other.to_client);
        self.requests.merge(&other.requests);
        self.used = self.used.max(other.used);
        for (flag, count) in &other.closed {
            let sum = self.closed.entry(*flag).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

impl Values {
    /// The sum of what several workers counted.
    #[must_use]
    pub fn merge(workers: impl IntoIterator<Item = Self>) -> Self {
        let mut workers = workers.into_iter();
        let mut sum = workers.next().unwrap_or_default();
        for worker in workers {
            for (ends, counts) in worker.series {
                sum.add(ends, &counts);
            }
            for ((reporter, reason), count) in worker.reasons {
                sum.add_reason(reporter, reason, count);
            }
            sum.add_queries(worker.queries);
            sum.trials.merge(worker.trials);
        }
        sum
    }

    /// The time series, in no order.
    pub fn series(&self) -> impl Iterator<Item = (&Arc<Ends>, &Counts)> {
        self.series.iter()
    }

    /// Connections refused or closed for a reason.
    pub fn reasons(&self) -> impl Iterator<Item = ((Reporter, Reason), u64)> {
        self.reasons.iter().map(|(key, count)| (*key, *count))
    }

    /// Connections open now, as `reporter` counts them.
    #[must_use]
    pub fn live(&self, reporter: Reporter) -> u64 {
        self.series.iter().filter(|(ends, _)| ends.reporter == reporter).map(|(_, counts)| counts.live).sum()
    }

    /// True if `reporter` has counted anything.
    pub(crate) fn has(&self, reporter: Reporter) -> bool {
        self.series.keys().any(|ends| ends.reporter == reporter)
    }

    pub(crate) fn add(&mut self, ends: Arc<Ends>, counts: &Counts) {
        self.series.entry(ends).or_insert_with(|| Counts::traffic(0, 0, counts.used)).add(counts);
    }

    pub(crate) fn add_queries(&mut self, queries: Queries) {
        self.queries.merge(queries);
    }

    pub(crate) fn add_reason(&mut self, reporter: Reporter, reason: Reason, count: u64) {
        let sum = self.reasons.entry((reporter, reason)).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// What a snapshot holds that time series name: the workloads (such as Deployments) of its pods, its services and its
/// authorization policies.
#[derive(Clone, Debug, Default)]
pub struct Living {
    workloads: HashSet<(Arc<str>, Arc<str>)>,
    services: HashSet<ServiceKey>,
    policies: HashSet<PolicyKey>,
}

impl Living {
    /// What lives in `snapshot`.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let workloads = snapshot.workloads().map(|w| (w.namespace.clone(), w.owner.name.clone())).collect();
        let services = snapshot.services().map(|service| service.key.clone()).collect();
        let policies = snapshot.policies.authorizations().map(|policy| policy.key.clone()).collect();
        Self { workloads, services, policies }
    }

    /// True while there is the AuthorizationPolicy `policy`.
    pub(crate) fn has(&self, policy: &PolicyKey) -> bool {
        self.policies.contains(policy)
    }

    /// True if everything that `ends` names still lives. What was only derived counts as dead once it is idle.
    fn names_all_of(&self, ends: &Ends) -> bool {
        let lives = |party: &Party| match party {
            Party::Workload(workload) => {
                self.workloads.contains(&(workload.namespace.clone(), workload.owner.name.clone()))
            }
            Party::Derived(derived) => **derived == Derived::default(),
        };
        let service = ends.service.as_ref().is_none_or(|service| self.services.contains(&service.key));
        service && lives(&ends.source) && lives(&ends.destination)
    }
}

/// The series of `merged` that may be forgotten: without an open connection, not used for `idle`, and naming something
/// that lives no more. `merged` must be the sum over all workers.
#[must_use]
pub fn expired(merged: &Values, living: &Living, now: Instant, idle: Duration) -> Vec<Arc<Ends>> {
    let idle = |counts: &Counts| now.saturating_duration_since(counts.used) >= idle;
    let dead = |(ends, counts): &(&Arc<Ends>, &Counts)| counts.live == 0 && idle(counts) && !living.names_all_of(ends);
    merged.series().filter(dead).map(|(ends, _)| ends.clone()).collect()
}

#[cfg(test)]
mod tests;
