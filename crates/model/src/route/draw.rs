//! Chance: what is drawn for one request, and what a percentage means. The number that all draws come from is handed in.

use serde::{Serialize, Serializer};

/// The draws of one request. The same number gives the same draws, each independent of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(pub u64);

/// What is drawn for. Mirrors are numbered from [`Chance::Mirror`]'s own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// Which of several destinations.
    Destination,
    /// Whether a delay is injected.
    Delay,
    /// Whether an abort is injected.
    Abort,
    /// How long to wait before this retry.
    Backoff(u32),
    /// Whether the mirror of this place gets a copy.
    Mirror(u32),
}

impl Draw {
    /// A number below `bound`, each as likely as the others; 0 if there is none.
    #[must_use]
    pub fn below(self, chance: Chance, bound: u64) -> u64 {
        let scaled = u128::from(self.of(chance)) * u128::from(bound);
        u64::try_from(scaled >> 64).unwrap_or_default()
    }

    /// True for as many draws of a hundred as `share` says.
    #[must_use]
    pub fn falls_in(self, chance: Chance, share: Percent) -> bool {
        self.below(chance, Percent::WHOLE.0.into()) < share.0.into()
    }

    /// Sixty-four bits for `chance` (SplitMix64, as by Steele and others, OOPSLA 2014).
    fn of(self, chance: Chance) -> u64 {
        let place: u64 = match chance {
            Chance::Destination => 1,
            Chance::Delay => 2,
            Chance::Abort => 3,
            Chance::Backoff(retry) => (1 << 32) | u64::from(retry),
            Chance::Mirror(mirror) => (2 << 32) | u64::from(mirror),
        };
        let z = self.0.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A share of requests, to one ten-thousandth of a percent (Istio `Percent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const WHOLE: Self = Self(1_000_000);

    /// `value` of a hundred; none if that is not 0, and not 0.0001 to 100 either.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        let fits = value == 0.0 || (0.0001..=100.0).contains(&value);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1,000,000")]
        fits.then(|| Self((value * 10_000.0).round() as u32))
    }

    /// How many of a hundred.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_nothing_or_at_least_a_millionth() {
        for (value, expected) in [
            (0.0, Some(0)),
            (0.0001, Some(1)),
            (0.3, Some(3_000)),
            (100.0, Some(1_000_000)),
            (0.000_01, None),
            (100.1, None),
            (-1.0, None),
            (f64::NAN, None),
        ] {
            assert_eq!(Percent::new(value).map(|percent| percent.0), expected, "{value}");
        }
    }

    #[test]
    fn draws_are_as_likely_as_they_say_and_independent_of_one_another() {
        // Five standard deviations around N p: 1000 draws of a half, and of a quarter for both.
        let half = Percent::new(50.0).unwrap();
        let [mut delays, mut aborts, mut both] = [0; 3];
        for number in 0..1000 {
            let falls = |chance| u32::from(Draw(number).falls_in(chance, half));
            let (delay, abort) = (falls(Chance::Delay), falls(Chance::Abort));
            delays += delay;
            aborts += abort;
            both += delay * abort;
        }
        assert!((421..579).contains(&delays) && (421..579).contains(&aborts), "{delays} {aborts}");
        assert!((182..318).contains(&both), "{both}");
        for number in [0, 1, u64::MAX] {
            assert!(Draw(number).falls_in(Chance::Abort, Percent::WHOLE));
            assert!(!Draw(number).falls_in(Chance::Abort, Percent::NONE));
            assert_eq!(Draw(number).below(Chance::Destination, 0), 0);
        }
    }
}
