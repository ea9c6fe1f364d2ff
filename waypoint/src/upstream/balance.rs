//! Which of some endpoints that are equally near is next (Istio `LoadBalancerSettings`; Envoy, "Load balancers"). Takes
//! random numbers and the time; shares what it counts with all workers, without a lock.

mod hashed;
mod schedule;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ambit_model::destination::{Balance, HashAlgorithm, Simple, Warmup};

use super::cluster::Host;
use super::hash::mix;
use hashed::{Maglev, Ring};
use schedule::{Cumulative, Schedule};

/// How often it is drawn anew where endpoints are passed over or still warm up, before each is looked at.
const DRAWS: usize = 8;

/// Less than this no endpoint gets of its share, so that one that is all alone gets it.
const LEAST: f64 = 1e-6;

/// Endpoints that are equally near, and how load is spread over them.
#[derive(Debug)]
pub(super) struct Group {
    hosts: Vec<Arc<Host>>,
    method: Method,
}

#[derive(Debug)]
enum Method {
    LeastRequest(Cumulative),
    RoundRobin(Schedule),
    Random(Cumulative),
    Ring(Ring),
    Maglev(Maglev),
}

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) now: Instant,
    pub(super) hash: Option<u64>,
    pub(super) warmup: Option<&'a Warmup>,
    /// Those that were tried.
    pub(super) avoid: &'a [SocketAddr],
}

impl Terms<'_> {
    fn may(&self, host: &Host) -> bool {
        !host.is_ejected() && !self.avoid.contains(&host.endpoint.address)
    }

    /// How much of its share `host` gets: none, all of it, or something between while it warms up.
    fn factor(&self, host: &Host) -> f64 {
        if !self.may(host) {
            return 0.0;
        }
        self.warmup.map_or(1.0, |warmup| warmup.factor(self.now.saturating_duration_since(host.since())).max(LEAST))
    }

    fn falls_on(&self, host: &Host, draws: &mut Draws) -> bool {
        let factor = self.factor(host);
        factor >= 1.0 || (factor > 0.0 && draws.unit() < factor)
    }
}

/// Random numbers from one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(draw: u64) -> Self {
        Self(draw)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 to less than 1.
    pub(super) fn unit(&mut self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "53 bits are what it can hold")]
        let numerator = (self.next() >> 11) as f64;
        numerator / (1_u64 << 53) as f64
    }

    /// From 0 to less than `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }
}

impl Group {
    /// `hosts`, ascending by address, over which load is spread by `balance`.
    pub(super) fn new(hosts: Vec<Arc<Host>>, balance: &Balance) -> Self {
        let weights: Vec<u32> = hosts.iter().map(|host| host.endpoint.weight.get()).collect();
        let named = || hosts.iter().map(|host| host.endpoint.address.to_string()).zip(weights.iter().copied());
        let method = match balance {
            Balance::Simple(Simple::LeastRequest) => Method::LeastRequest(Cumulative::new(&weights)),
            Balance::Simple(Simple::RoundRobin) => Method::RoundRobin(Schedule::new(&weights)),
            Balance::Simple(Simple::Random | Simple::Passthrough) => Method::Random(Cumulative::new(&weights)),
            Balance::Hash(_, HashAlgorithm::Ring(size)) => Method::Ring(Ring::new(named(), *size)),
            Balance::Hash(_, HashAlgorithm::Maglev(size)) => Method::Maglev(Maglev::new(named(), *size)),
        };
        Self { hosts, method }
    }

    /// Its endpoints.
    pub(super) fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// The next; none if every one of them is passed over.
    pub(super) fn next(&self, terms: &Terms<'_>, draws: &mut Draws) -> Option<&Arc<Host>> {
        // What has no key goes anywhere.
        let key = terms.hash.unwrap_or_else(|| draws.next());
        let may = |place: &usize| self.hosts.get(*place).is_some_and(|host| terms.may(host));
        let next = match &self.method {
            Method::LeastRequest(weights) => self.less_busy(weights, terms, draws),
            Method::Random(weights) => self.drawn(weights, terms, draws),
            Method::RoundRobin(schedule) => {
                let falls = |place: usize, draws: &mut Draws| {
                    self.hosts.get(place).is_some_and(|host| terms.falls_on(host, draws))
                };
                let place = schedule.next(draws, falls);
                place.and_then(|place| self.hosts.get(place))
            }
            Method::Ring(ring) => ring.places(key).find(may).and_then(|place| self.hosts.get(place)),
            Method::Maglev(table) => table.places(key).find(may).and_then(|place| self.hosts.get(place)),
        };
        // A table may be too small for all, and turns may fall to nobody who is still new.
        next.or_else(|| self.any(terms, draws))
    }

    /// The less busy of two that are drawn, for its weight; the first if there is no difference.
    fn less_busy(&self, weights: &Cumulative, terms: &Terms<'_>, draws: &mut Draws) -> Option<&Arc<Host>> {
        let first = self.drawn(weights, terms, draws)?;
        let second = self.drawn(weights, terms, draws)?;
        let load = |host: &Host| {
            let share = f64::from(host.endpoint.weight.get()) * terms.factor(host).max(LEAST);
            f64::from(host.active()) / share
        };
        Some(if load(second) < load(first) { second } else { first })
    }

    fn drawn(&self, weights: &Cumulative, terms: &Terms<'_>, draws: &mut Draws) -> Option<&Arc<Host>> {
        for _ in 0..DRAWS {
            let host = self.hosts.get(weights.draw(draws))?;
            if terms.falls_on(host, draws) {
                return Some(host);
            }
        }
        self.any(terms, draws)
    }

    /// Any, by what each gets of its share, looking at all of them.
    fn any(&self, terms: &Terms<'_>, draws: &mut Draws) -> Option<&Arc<Host>> {
        let share = |host: &Arc<Host>| f64::from(host.endpoint.weight.get()) * terms.factor(host);
        let mut left = draws.unit() * self.hosts.iter().map(share).sum::<f64>();
        let mut last = None;
        for host in self.hosts.iter().filter(|host| terms.may(host)) {
            last = Some(host);
            left -= share(host);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}
