//! Which endpoints are passed over for a while, by what became of requests to them (Istio `OutlierDetection`; Envoy,
//! "Outlier detection"). Counting takes no lock; who has counted enough, and sweeps, share one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ambit_model::destination::OutlierDetection;

/// So many sweeps that nobody made are made up for.
const MISSED_SWEEPS: u32 = 1000;

/// What became of a request, or of a connection that carries none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered with this status; a gRPC status as the HTTP status that stands for it.
    Answered(u16),
    /// The connection that carries no requests was made.
    Connected,
    /// The endpoint was not reached, or the connection ended, or time ran out, before there was an answer.
    Failed,
}

/// Why an endpoint is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// `consecutive5xxErrors`
    Consecutive5xx,
    /// `consecutiveGatewayErrors`
    ConsecutiveGateway,
    /// `consecutiveLocalOriginFailures`
    ConsecutiveLocal,
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Which.
    pub(crate) address: SocketAddr,
    /// What.
    pub(crate) change: Change,
}

/// What happens to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is passed over, at least for so long, since the first sweep after that brings it back.
    Ejected(Cause, Duration),
    /// It would be, but as many are as may be.
    Spared(Cause),
    /// It is passed over no longer.
    Returned,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |cause| match cause {
            Cause::Consecutive5xx => "consecutive5xxErrors",
            Cause::ConsecutiveGateway => "consecutiveGatewayErrors",
            Cause::ConsecutiveLocal => "consecutiveLocalOriginFailures",
        };
        let address = self.address;
        match self.change {
            Change::Ejected(cause, time) => write!(f, "{address} ejected for {time:?}: {}", field(cause)),
            Change::Spared(cause) => write!(f, "{address} not ejected, since enough are: {}", field(cause)),
            Change::Returned => write!(f, "{address} returned"),
        }
    }
}

/// What became of requests to one endpoint of late.
#[derive(Debug, Default)]
pub(super) struct History {
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    ejected: AtomicBool,
}

impl History {
    /// True while it is passed over.
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Counts `outcome`. A cause if it is to be passed over.
    pub(super) fn count(&self, rules: &OutlierDetection, outcome: Outcome) -> Option<Cause> {
        let status = match outcome {
            Outcome::Connected if rules.split_local => {
                self.local_failures.store(0, Ordering::Relaxed);
                return None;
            }
            Outcome::Connected => {
                self.forget();
                return None;
            }
            Outcome::Failed if rules.split_local => {
                let reached = counted(&self.local_failures, true, rules.consecutive_local);
                return reached.then_some(Cause::ConsecutiveLocal);
            }
            Outcome::Failed => None,
            Outcome::Answered(status) => Some(status),
        };
        if status.is_some() {
            self.local_failures.store(0, Ordering::Relaxed);
        }
        // What fails on the way is to Envoy as if a gateway had said so.
        let gateway_error = status.is_none_or(|status| (502..=504).contains(&status));
        let error = status.is_none_or(|status| rules.is_error(status));
        let gateway = counted(&self.gateway_errors, gateway_error, rules.consecutive_gateway);
        let any = counted(&self.errors, error, rules.consecutive_5xx);
        match (gateway, any) {
            (true, _) => Some(Cause::ConsecutiveGateway),
            (_, true) => Some(Cause::Consecutive5xx),
            _ => None,
        }
    }

    fn forget(&self) {
        for counter in [&self.errors, &self.gateway_errors, &self.local_failures] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    fn counter(&self, cause: Cause) -> &AtomicU32 {
        match cause {
            Cause::Consecutive5xx => &self.errors,
            Cause::ConsecutiveGateway => &self.gateway_errors,
            Cause::ConsecutiveLocal => &self.local_failures,
        }
    }
}

/// Counts one more, or begins anew; true if there are `enough` one after the other.
fn counted(counter: &AtomicU32, error: bool, enough: Option<u32>) -> bool {
    if !error {
        counter.store(0, Ordering::Relaxed);
        return false;
    }
    let count = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    enough.is_some_and(|enough| count >= enough)
}

/// Which endpoints were passed over how often, and when it is looked at again.
#[derive(Debug)]
pub(super) struct Ejections {
    rules: Option<OutlierDetection>,
    records: BTreeMap<SocketAddr, Record>,
    next_sweep: Instant,
}

/// Those of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// How often, less one for each sweep that found it in use.
    times: u32,
    since: Option<Instant>,
}

impl Ejections {
    /// None so far; the first sweep is an interval after `now`.
    pub(super) fn new(rules: Option<&OutlierDetection>, now: Instant) -> Self {
        let mut ejections = Self { rules: None, records: BTreeMap::new(), next_sweep: now };
        ejections.follow(rules, now);
        ejections
    }

    /// How many are passed over.
    pub(super) fn active(&self) -> usize {
        self.records.values().filter(|record| record.since.is_some()).count()
    }

    /// When to sweep next; none where nobody is ever passed over.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.rules.as_ref().map(|_| self.next_sweep)
    }

    /// Has the endpoint at `address`, one of `endpoints`, passed over for `cause`, if one more may be. None if it is.
    pub(super) fn eject(
        &mut self,
        (address, history): (SocketAddr, &History),
        cause: Cause,
        endpoints: usize,
        now: Instant,
    ) -> Option<Event> {
        let active = self.active();
        let rules = self.rules.as_ref().filter(|_| !history.is_ejected())?;
        // Whatever comes of it: the same errors count once.
        history.counter(cause).store(0, Ordering::Relaxed);
        if !rules.may_eject(endpoints, active) {
            return Some(Event { address, change: Change::Spared(cause) });
        }
        let record = self.records.entry(address).or_default();
        record.times = record.times.saturating_add(1);
        record.since = Some(now);
        history.ejected.store(true, Ordering::Relaxed);
        Some(Event { address, change: Change::Ejected(cause, rules.ejection(record.times)) })
    }

    /// Makes the sweeps that are due at `now`: brings back whose time is over, and forgets one ejection of who was in use.
    pub(super) fn sweep<'a>(
        &mut self,
        history: impl Fn(SocketAddr) -> Option<&'a History>,
        now: Instant,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(rules) = &self.rules else { return events };
        let interval = rules.interval.max(Duration::from_millis(1));
        for _ in 0..MISSED_SWEEPS {
            if self.next_sweep > now {
                return events;
            }
            let at = self.next_sweep;
            self.next_sweep = at + interval;
            for (address, record) in &mut self.records {
                match record.since {
                    None => record.times = record.times.saturating_sub(1),
                    Some(since) if at.saturating_duration_since(since) >= rules.ejection(record.times) => {
                        record.since = None;
                        history(*address).into_iter().for_each(History::restore);
                        events.push(Event { address: *address, change: Change::Returned });
                    }
                    Some(_) => {}
                }
            }
            self.records.retain(|_, record| record.times > 0 || record.since.is_some());
        }
        self.next_sweep = now + interval;
        events
    }

    /// Takes up other rules, and endpoints of which `history` knows all that are left: forgets the others; without rules,
    /// brings back all.
    pub(super) fn update<'a>(
        &mut self,
        rules: Option<&OutlierDetection>,
        history: impl Fn(SocketAddr) -> Option<&'a History>,
        now: Instant,
    ) -> Vec<Event> {
        self.records.retain(|address, _| history(*address).is_some());
        self.follow(rules, now);
        if rules.is_some() {
            return Vec::new();
        }
        let ejected = std::mem::take(&mut self.records).into_iter().filter(|(_, record)| record.since.is_some());
        let returned = ejected.map(|(address, _)| {
            history(address).into_iter().for_each(History::restore);
            Event { address, change: Change::Returned }
        });
        returned.collect()
    }

    fn follow(&mut self, rules: Option<&OutlierDetection>, now: Instant) {
        let interval = |rules: Option<&OutlierDetection>| rules.map(|rules| rules.interval);
        if interval(rules) != interval(self.rules.as_ref()) {
            self.next_sweep = now + interval(rules).unwrap_or_default();
        }
        self.rules = rules.cloned();
    }
}

impl History {
    fn restore(&self) {
        // A counter that was close to its bound would have it passed over again at once.
        self.forget();
        self.ejected.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
