//! Which of the endpoints takes the next request or connection (Istio `LoadBalancerSettings`).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::ByLocality;
use crate::route::Percent;

/// How load is spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancer {
    /// By what.
    pub balance: Balance,
    /// `warmup`: how an endpoint that is new comes to its share.
    pub warmup: Option<Warmup>,
    /// `localityLbSetting`: how load keeps to places; none where it is disabled.
    pub locality: Option<ByLocality>,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self { balance: Balance::default(), warmup: None, locality: Some(ByLocality::default()) }
    }
}

/// By what load is spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Balance {
    /// `simple`
    Simple(Simple),
    /// `consistentHash`: what has the same key goes to the same endpoint.
    Hash(HashKey, HashAlgorithm),
}

impl Default for Balance {
    fn default() -> Self {
        Self::Simple(Simple::default())
    }
}

/// A balancer that needs no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Simple {
    /// `LEAST_REQUEST`, `LEAST_CONN`, or nothing written: the less busy of two that are drawn.
    #[default]
    LeastRequest,
    /// `ROUND_ROBIN`: one after the other.
    RoundRobin,
    /// `RANDOM`: any.
    Random,
    /// `PASSTHROUGH`: the address that the client dialled.
    Passthrough,
}

/// What is hashed. A request without it goes to any endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HashKey {
    /// `httpHeaderName`, in lower case.
    Header(Arc<str>),
    /// `httpCookie`
    Cookie(Cookie),
    /// `useSourceIp`
    SourceIp,
    /// `httpQueryParameterName`
    Parameter(Arc<str>),
}

/// A cookie that is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cookie {
    /// `name`
    pub name: Arc<str>,
    /// `path`
    pub path: Option<Arc<str>>,
    /// `ttl`: a client without the cookie is given one that lives as long; with 0, as long as its session. None gives no
    /// cookie.
    pub ttl: Option<Duration>,
    /// `attributes` of a cookie that is given, with a value or without.
    pub attributes: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// How a hash finds its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HashAlgorithm {
    /// `ringHash`, with at least so many places.
    Ring(u32),
    /// `maglev`, with a table of so many places: a prime.
    Maglev(u32),
}

impl Default for HashAlgorithm {
    fn default() -> Self {
        Self::Ring(1024)
    }
}

/// How an endpoint that is new comes to its share (Istio `WarmupConfiguration`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Warmup {
    /// `duration`: after this it has it.
    pub duration: Duration,
    /// `minimumPercent`: with how much of it it begins.
    pub minimum: Percent,
    /// `aggression`, in thousandths: 1000 for evenly; the more, the sooner it gets more.
    pub aggression: NonZeroU32,
}

impl Warmup {
    /// How much of its share an endpoint has at `age`: from `minimum_percent` to 1.
    #[must_use]
    pub fn factor(&self, age: Duration) -> f64 {
        if age >= self.duration || self.duration.is_zero() {
            return 1.0;
        }
        let passed = age.as_secs_f64() / self.duration.as_secs_f64();
        let curved = passed.powf(1000.0 / f64::from(self.aggression.get()));
        curved.max(self.minimum.value() / 100.0).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_warms_up_from_the_least_to_all_of_its_share() {
        let warmup = |aggression| Warmup {
            duration: Duration::from_secs(100),
            minimum: Percent::new(10.0).unwrap(),
            aggression: NonZeroU32::new(aggression).unwrap(),
        };
        for (aggression, age, expected) in
            [(1000, 0, 0.1), (1000, 5, 0.1), (1000, 50, 0.5), (1000, 100, 1.0), (1000, 900, 1.0), (2000, 25, 0.5)]
        {
            let factor = warmup(aggression).factor(Duration::from_secs(age));
            assert!((factor - expected).abs() < 1e-9, "{aggression} {age}: {factor}");
        }
    }
}
