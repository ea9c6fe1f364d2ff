//! How many requests came of late: what a budget of retries over an interval is reckoned from (Istio
//! `RetryBudget.budgetInterval`). Counts; what may be done with so many is for the model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Into how many parts an interval is cut: a request counts for the interval, and up to one part less.
const PARTS: u64 = 16;

/// How many came within the last interval. Shared by threads, without a lock.
#[derive(Debug)]
pub(super) struct Recent {
    began: Instant,
    interval: Duration,
    /// Of each part which it is, modulo 2^32, above how many came in it.
    parts: [AtomicU64; PARTS as usize],
}

impl Recent {
    /// None came before `now`.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { began: now, interval, parts: [const { AtomicU64::new(0) }; PARTS as usize] }
    }

    /// One came at `now`.
    pub(super) fn add(&self, now: Instant) {
        let number = self.number(now);
        let Some(part) = self.part(number) else { return };
        let _ = part.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            let (of, count) = (old >> 32, old & u64::from(u32::MAX));
            let count = if of == stamp(number) { (count + 1).min(u32::MAX.into()) } else { 1 };
            Some(stamp(number) << 32 | count)
        });
    }

    /// How many came within the interval before `now`.
    pub(super) fn count(&self, now: Instant) -> u32 {
        let last = self.number(now);
        let counts = (last.saturating_sub(PARTS - 1)..=last).filter_map(|number| {
            let part = self.part(number)?.load(Ordering::Relaxed);
            (part >> 32 == stamp(number)).then_some(part & u64::from(u32::MAX))
        });
        u32::try_from(counts.sum::<u64>()).unwrap_or(u32::MAX)
    }

    /// The number of the part that `now` is in, from 1 on: 0 is a part that never was.
    fn number(&self, now: Instant) -> u64 {
        let part = (self.interval.as_nanos() / u128::from(PARTS)).max(1);
        let passed = now.saturating_duration_since(self.began).as_nanos() / part;
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn part(&self, number: u64) -> Option<&AtomicU64> {
        self.parts.get(usize::try_from(number % PARTS).ok()?)
    }
}

fn stamp(number: u64) -> u64 {
    number & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_counts_for_the_interval_and_no_longer() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let recent = Recent::new(Duration::from_millis(1600), began);
        for (add, now, expected) in
            [(true, 0, 1), (true, 50, 2), (true, 800, 3), (false, 1400, 3), (false, 1600, 1), (false, 2400, 0)]
        {
            if add {
                recent.add(at(now));
            }
            assert_eq!(recent.count(at(now)), expected, "{now}");
        }
        recent.add(at(1_000_000));
        assert_eq!(recent.count(at(1_000_001)), 1);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let now = Instant::now();
        let recent = Recent::new(Duration::from_secs(10), now);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| recent.add(now)));
            }
        });
        assert_eq!(recent.count(now), 4000);
    }
}
