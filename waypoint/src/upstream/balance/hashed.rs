//! Which endpoint a hash leads to: the next on a ring, or its place in a table (Envoy, "Ring hash" and "Maglev"; Eisenbud
//! et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 3.4). The same endpoints give the same answer in
//! every process. One that is passed over leaves its keys to others, and nobody else's keys move.

use super::super::hash::{hash, mix};

/// The most places of a ring, as with Envoy.
const LARGEST_RING: f64 = (8 << 20) as f64;

/// Which other places of a table are tried, before those that follow.
const PROBES: u64 = 32;

/// A ring with many places of each endpoint.
#[derive(Debug)]
pub(super) struct Ring(Vec<(u64, u32)>);

impl Ring {
    /// Of endpoints by name and weight: the one with the least weight has a whole number of places, and there are
    /// `least_size` or more.
    pub(super) fn new(endpoints: impl Iterator<Item = (String, u32)> + Clone, least_size: u32) -> Self {
        let weights = || endpoints.clone().map(|(_, weight)| f64::from(weight));
        let least = weights().fold(f64::INFINITY, f64::min) / weights().sum::<f64>();
        let scale = ((least * f64::from(least_size)).ceil() / least).min(LARGEST_RING);
        let total = weights().sum::<f64>();
        let (mut places, mut wanted, mut made) = (Vec::new(), 0.0, 0.0);
        for (place, (name, weight)) in (0..).zip(endpoints) {
            wanted += scale * f64::from(weight) / total;
            let mut number = 0_u32;
            while made < wanted {
                places.push((hash(format!("{name}_{number}").as_bytes()), place));
                made += 1.0;
                number = number.saturating_add(1);
            }
        }
        places.sort_unstable();
        Self(places)
    }

    /// The endpoints that `key` leads to, the first first, then those that follow.
    pub(super) fn places(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.0.partition_point(|(place, _)| *place < key);
        let (before, after) = self.0.split_at(start);
        after.iter().chain(before).filter_map(|(_, place)| usize::try_from(*place).ok())
    }
}

/// A table in which each endpoint has its part of the places.
#[derive(Debug)]
pub(super) struct Maglev(Vec<u32>);

/// Where an endpoint would like to be in the table, by and by.
struct Preference {
    weight: f64,
    next: u64,
    skip: u64,
    /// Of how many rounds it has had its places.
    due: f64,
}

impl Maglev {
    /// Of endpoints by name and weight, with `size` places: a prime.
    pub(super) fn new(endpoints: impl Iterator<Item = (String, u32)>, size: u32) -> Self {
        let places = u64::from(size);
        let mut preferences: Vec<Preference> = endpoints
            .map(|(name, weight)| {
                let hash = hash(name.as_bytes());
                let skip = mix(hash) % places.saturating_sub(1).max(1) + 1;
                Preference { weight: f64::from(weight), next: hash % places.max(1), skip, due: 0.0 }
            })
            .collect();
        let heaviest = preferences.iter().map(|one| one.weight).fold(0.0, f64::max);
        let mut table: Vec<Option<u32>> = vec![None; usize::try_from(size).unwrap_or_default()];
        let mut left = if preferences.is_empty() { 0 } else { places };
        let mut round = 0.0;
        while left > 0 {
            round += 1.0;
            for (place, preference) in (0..).zip(&mut preferences) {
                // The heaviest has a place in each round, the others in as many as their weight says.
                if left == 0 || round * preference.weight < preference.due {
                    continue;
                }
                preference.due += heaviest;
                left -= preference.occupy(&mut table, place);
            }
        }
        Self(table.into_iter().flatten().collect())
    }

    /// The endpoints that `key` leads to, the first first: others that it would lead to if it were another, and at last
    /// all.
    pub(super) fn places(&self, key: u64) -> impl Iterator<Item = usize> {
        let places = u64::try_from(self.0.len()).unwrap_or(u64::MAX).max(1);
        let at = move |number: u64| usize::try_from(mix(key.wrapping_add(number)) % places).unwrap_or_default();
        let (before, after) = self.0.split_at(at(0).min(self.0.len()));
        let probed = (0..PROBES).filter_map(move |number| self.0.get(at(number)));
        probed.chain(after).chain(before).filter_map(|place| usize::try_from(*place).ok())
    }
}

impl Preference {
    /// Takes the first free of its places; how many it took.
    fn occupy(&mut self, table: &mut [Option<u32>], place: u32) -> u64 {
        let size = u64::try_from(table.len()).unwrap_or(u64::MAX).max(1);
        for _ in 0..size {
            let at = usize::try_from(self.next).unwrap_or_default();
            self.next = (self.next + self.skip) % size;
            if let Some(free @ None) = table.get_mut(at) {
                *free = Some(place);
                return 1;
            }
        }
        0
    }
}
