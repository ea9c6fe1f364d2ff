//! Endpoints in proportion to their weights: drawn, or one after the other.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Draws;

/// The most places of a schedule. Weights that would need more are rounded.
const PLACES: u64 = 16_384;

/// Weights, to draw by.
#[derive(Debug)]
pub(super) struct Cumulative {
    /// Each with all before it; empty if all are the same.
    sums: Vec<u64>,
    count: usize,
}

impl Cumulative {
    pub(super) fn new(weights: &[u32]) -> Self {
        let mut sum = 0_u64;
        let sums = weights.iter().map(|weight| {
            sum = sum.saturating_add((*weight).into());
            sum
        });
        let sums = if are_alike(weights) { Vec::new() } else { sums.collect() };
        Self { sums, count: weights.len() }
    }

    /// Its place in the list.
    pub(super) fn draw(&self, draws: &mut Draws) -> usize {
        match self.sums.last() {
            None => usize::try_from(draws.below(to_u64(self.count))).unwrap_or_default(),
            Some(total) => {
                let point = draws.below(*total);
                self.sums.partition_point(|sum| *sum <= point)
            }
        }
    }
}

/// A round of all endpoints, each as often as its weight says and as evenly as that goes, again and again.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Whose turn it is; empty if each has one turn.
    turns: Vec<u32>,
    count: usize,
    /// The number of turns that were taken; 0 before the first, which is a random one.
    taken: AtomicU64,
}

impl Schedule {
    pub(super) fn new(weights: &[u32]) -> Self {
        let turns = if are_alike(weights) { Vec::new() } else { turns(weights) };
        Self { turns, count: weights.len(), taken: AtomicU64::new(0) }
    }

    /// The place in the list of the next whose turn `falls` to it; the turn of another passes. None if in a few rounds
    /// it fell to nobody.
    pub(super) fn next(&self, draws: &mut Draws, falls: impl Fn(usize, &mut Draws) -> bool) -> Option<usize> {
        if self.taken.load(Ordering::Relaxed) == 0 {
            // Replicas that begin together shall not go round together.
            let first = (draws.next() >> 32) + 1;
            let _ = self.taken.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        }
        let round = if self.turns.is_empty() { self.count } else { self.turns.len() };
        (0..round.saturating_mul(4)).find_map(|_| {
            let turn = self.taken.fetch_add(1, Ordering::Relaxed).checked_rem(to_u64(round))?;
            let turn = usize::try_from(turn).ok()?;
            let place = match self.turns.get(turn) {
                Some(place) => usize::try_from(*place).ok()?,
                None => turn,
            };
            falls(place, draws).then_some(place)
        })
    }
}

/// Whose turn it is: turn `k` of one with weight `w` is due at `(k + 1/2) / w` of the round.
fn turns(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |divisor, weight| greatest_common_divisor(divisor, *weight)).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
    let scaled = |weight: u32| {
        let weight = u64::from(weight / divisor);
        if total <= PLACES { weight } else { (weight * PLACES / total).max(1) }
    };
    let mut due: Vec<(f64, u32)> = Vec::new();
    for (place, weight) in (0..).zip(weights) {
        let weight = u32::try_from(scaled(*weight)).unwrap_or(u32::MAX);
        due.extend((0..weight).map(|turn| ((f64::from(turn) + 0.5) / f64::from(weight), place)));
    }
    due.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    due.into_iter().map(|(_, place)| place).collect()
}

fn are_alike(weights: &[u32]) -> bool {
    weights.windows(2).all(|pair| pair.first() == pair.last())
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_many_as_weights_say_and_spread_evenly() {
        for (weights, expected) in
            [(&[1, 2][..], &[1, 0, 1][..]), (&[2, 1, 1], &[0, 1, 2, 0]), (&[50, 25, 25], &[0, 1, 2, 0])]
        {
            assert_eq!(turns(weights), expected, "{weights:?}");
        }
        let rounded = turns(&[1_000_000, 1, 3_000_000]);
        let of = |place| rounded.iter().filter(|turn| **turn == place).count();
        assert_eq!([of(0), of(1), of(2)], [4095, 1, 12287]);
    }
}
