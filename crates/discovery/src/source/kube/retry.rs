//! How long to wait before the API is asked again: twice as long after each failure, and random within bounds. Pure but
//! for the random number.

use std::time::Duration;

use rand::Rng;

use crate::origin::Pace;

/// The waits after failures.
#[derive(Debug)]
pub(super) struct Retry {
    pace: Pace,
    failures: u32,
}

impl Retry {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, failures: 0 }
    }

    /// The wait after a further failure.
    pub(super) fn failed(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        spread(self.pace.first_retry.saturating_mul(factor).min(self.pace.longest_retry))
    }

    /// Forgets the failures so far.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Between half of `wait` and all of it.
pub(super) fn spread(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_after_a_success() {
        let pace =
            Pace { first_retry: Duration::from_secs(1), longest_retry: Duration::from_secs(5), ..Pace::default() };
        for _ in 0..100 {
            let mut retry = Retry::new(pace);
            for longest in [1, 2, 4, 5, 5] {
                let wait = retry.failed().as_secs_f64();
                let longest = f64::from(longest);
                assert!((longest / 2.0..=longest).contains(&wait), "{wait} of {longest}");
            }
            retry.failures = u32::MAX;
            assert!(retry.failed() <= pace.longest_retry);
            retry.succeeded();
            assert!(retry.failed() <= pace.first_retry);
        }
    }

    #[test]
    fn agents_that_failed_together_do_not_come_back_together() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| spread(Duration::from_secs(3))).collect();
        assert!(waits.len() > 90, "{}", waits.len());
    }
}
