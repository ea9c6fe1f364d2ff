//! Latencies in numbers that a person compares: percentiles of everything that was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Percentiles of durations, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Latency {
    pub(crate) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |percent: usize| {
            let place = durations.len().saturating_sub(1) * percent / 100;
            durations.get(place).map_or(0, |duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
        };
        Self { p50_us: at(50), p90_us: at(90), p99_us: at(99), max_us: at(100) }
    }
}

/// How many attempts succeeded, and how the others failed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn failure(&mut self, name: String) {
        self.failed += 1;
        *self.errors.entry(name).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        for (name, count) in other.errors {
            *self.errors.entry(name).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let latency = Latency::of((1..=100).rev().map(Duration::from_micros).collect());
        assert_eq!((latency.p50_us, latency.p90_us, latency.p99_us, latency.max_us), (50, 90, 99, 100));
        assert_eq!(Latency::of(Vec::new()).max_us, 0);
    }
}
