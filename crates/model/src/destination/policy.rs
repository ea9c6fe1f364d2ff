//! What a DestinationRule says of a host, a subset or a port, and which of it counts (Istio `TrafficPolicy`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{ClientTls, ConnectionPool, LoadBalancer, OutlierDetection};
use crate::route::Percent;

/// What is said at one level. What is not said is for a wider level to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrafficPolicy {
    /// For every port that has none of its own.
    pub settings: Settings,
    /// `portLevelSettings`, by port: nothing of `settings` holds for these.
    pub ports: BTreeMap<u16, Settings>,
    /// `retryBudget`
    pub retry_budget: Option<RetryBudget>,
    /// `proxyProtocol`
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What can be said for a single port, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// `loadBalancer`
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`
    pub connection_pool: Option<ConnectionPool>,
    /// `outlierDetection`
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`
    pub tls: Option<ClientTls>,
}

/// The version of the PROXY protocol that connections begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ProxyProtocol {
    /// In words.
    #[default]
    V1,
    /// In bytes.
    V2,
}

/// How many retries there may be next to requests (Istio `RetryBudget`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetryBudget {
    /// `percent` of the requests under way.
    pub percent: Percent,
    /// `minRetryConcurrency`: as many always.
    pub min_retry_concurrency: u32,
    /// `budgetInterval`: requests count for so long after they came; with 0 while they are under way.
    pub interval: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: Percent::new(20.0).unwrap_or(Percent::NONE),
            min_retry_concurrency: 3,
            interval: Duration::ZERO,
        }
    }
}

impl RetryBudget {
    /// True if one more retry may be made next to `requests`, `retries` being under way.
    #[must_use]
    pub fn allows(&self, requests: u32, retries: u32) -> bool {
        let share = f64::from(requests) * self.percent.value() / 100.0;
        retries < self.min_retry_concurrency || f64::from(retries) + 1.0 <= share
    }
}

impl TrafficPolicy {
    /// What holds for `port`, by `levels` from the widest to the narrowest: the mesh, the rule, the subset. A narrower
    /// level takes the place of what it says, and of everything where it has settings for this port.
    #[must_use]
    pub fn effective<'a>(levels: impl IntoIterator<Item = &'a Self>, port: u16) -> Self {
        let mut effective = Self::default();
        for level in levels {
            effective.retry_budget = level.retry_budget.or(effective.retry_budget);
            effective.proxy_protocol = level.proxy_protocol.or(effective.proxy_protocol);
            match level.ports.get(&port) {
                Some(own) => effective.settings = own.clone(),
                None => effective.settings.overlay(&level.settings),
            }
        }
        effective
    }
}

impl Settings {
    fn overlay(&mut self, narrower: &Self) {
        let Self { load_balancer, connection_pool, outlier_detection, tls } = narrower.clone();
        self.load_balancer = load_balancer.or(self.load_balancer.take());
        self.connection_pool = connection_pool.or(self.connection_pool.take());
        self.outlier_detection = outlier_detection.or(self.outlier_detection.take());
        self.tls = tls.or(self.tls.take());
    }
}
