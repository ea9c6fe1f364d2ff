//! How often the same is told of an object: at once while it is new, seldom when it goes on, and counted meanwhile. Pure.
//!
//! For each object and reason there are a few at once, then one every two minutes: a pod that goes in and out of the mesh every
//! second costs what one costs that does so every two minutes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many may be written at once.
const BURST: u32 = 4;
/// How long until one more may be.
const REFILL: Duration = Duration::from_secs(120);
/// For how long it is known that something was told: as long as a Kubernetes keeps Events.
const KEPT: Duration = Duration::from_secs(3600);
/// How many are known at most. What is told beyond that is told without counting.
const MOST: usize = 16384;

/// An object's UID, and a reason.
pub(super) type Key = (String, &'static str);

/// What has been told, by object and reason.
#[derive(Debug, Default)]
pub(super) struct Series(HashMap<Key, Told>);

#[derive(Debug)]
struct Told {
    event: Occasion,
    message: String,
    /// How many may still be written, as of then.
    allowance: (u32, Instant),
    last: Instant,
}

/// An Event that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Occasion {
    /// Its name.
    pub(super) name: String,
    /// When this was told first (RFC 3339).
    pub(super) first: String,
    /// How often it was told, this time included. More than once, the Event should be there.
    pub(super) count: u64,
}

impl Series {
    /// Takes in that `message` is to be told of `key` at `now`, which as text is `stamp`: the Event to write, if one is. A new one
    /// is called what `fresh` says.
    pub(super) fn note(
        &mut self,
        key: &Key,
        message: &str,
        (now, stamp): (Instant, &str),
        fresh: impl FnOnce() -> String,
    ) -> Option<Occasion> {
        let first = || Occasion { name: fresh(), first: stamp.to_owned(), count: 1 };
        if let Some(told) = self.0.get_mut(key).filter(|told| now.duration_since(told.last) < KEPT) {
            if told.message == message {
                told.event.count = told.event.count.saturating_add(1);
            } else {
                (told.event, told.message) = (first(), message.to_owned());
            }
            told.last = now;
            return told.may(now).then(|| told.event.clone());
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, told| now.duration_since(told.last) < KEPT);
        }
        let event = first();
        if self.0.len() < MOST {
            let told =
                Told { event: event.clone(), message: message.to_owned(), allowance: (BURST - 1, now), last: now };
            self.0.insert(key.clone(), told);
        }
        Some(event)
    }

    /// Forgets what was told of `key`.
    pub(super) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

impl Told {
    /// Takes one of those that may be written, if there is one.
    fn may(&mut self, now: Instant) -> bool {
        let (left, since) = self.allowance;
        let more = u32::try_from(now.duration_since(since).as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        let (left, since) = match left.saturating_add(more) {
            // The next one counts from when this one is taken.
            full if full >= BURST => (BURST, now),
            left => (left, since + REFILL * more),
        };
        let since = if left == BURST { now } else { since };
        self.allowance = (left.saturating_sub(1), since);
        left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(uid: &str) -> Key {
        (uid.to_owned(), "CaptureFailed")
    }

    /// What is written of telling `message` at `now`: the Event's name, and the count.
    fn told(series: &mut Series, message: &str, now: Instant) -> Option<(String, u64)> {
        let fresh = || format!("of {message}");
        series.note(&key("u"), message, (now, "then"), fresh).map(|event| (event.name, event.count))
    }

    #[test]
    fn the_same_is_counted_in_one_event_and_another_message_is_another_event() {
        let (mut series, now) = (Series::default(), Instant::now());
        assert_eq!(told(&mut series, "a", now), Some(("of a".to_owned(), 1)));
        assert_eq!(told(&mut series, "a", now), Some(("of a".to_owned(), 2)));
        assert_eq!(told(&mut series, "b", now), Some(("of b".to_owned(), 1)));
        assert_eq!(
            told(&mut series, "b", now + 61 * MINUTE),
            Some(("of b".to_owned(), 1)),
            "the old one is gone by then"
        );
    }

    #[test]
    fn what_flaps_is_written_seldom_and_nothing_of_it_is_lost() {
        let (mut series, begun) = (Series::default(), Instant::now());
        let seconds = 30 * 60;
        let written: Vec<_> = (0..seconds)
            .filter_map(|second| {
                told(&mut series, "a", begun + Duration::from_secs(second)).map(|(_, count)| (second, count))
            })
            .collect();
        assert_eq!(written.iter().take(5).map(|(second, _)| *second).collect::<Vec<_>>(), [0, 1, 2, 3, 120]);
        let bound = u64::from(BURST) + seconds / REFILL.as_secs();
        assert!(u64::try_from(written.len()).unwrap() <= bound, "{} in half an hour", written.len());
        assert!(written.iter().all(|(second, count)| *count == second + 1), "{written:?}");
    }

    #[test]
    fn other_objects_and_reasons_are_told_all_the_same() {
        let (mut series, now) = (Series::default(), Instant::now());
        while told(&mut series, "a", now).is_some() {}
        assert!(series.note(&key("other"), "a", (now, ""), String::new).is_some());
        assert!(series.note(&("u".to_owned(), "LeftMesh"), "a", (now, ""), String::new).is_some());
        assert!(told(&mut series, "a", now).is_none());
        series.forget(&key("u"));
        assert_eq!(told(&mut series, "a", now).map(|(_, count)| count), Some(1));
    }

    #[test]
    fn what_is_known_is_bounded_and_nobody_is_left_untold_for_it() {
        let (mut series, now) = (Series::default(), Instant::now());
        for number in 0..=MOST {
            assert!(series.note(&key(&number.to_string()), "a", (now, ""), String::new).is_some());
        }
        assert_eq!(series.0.len(), MOST);
        assert!(series.note(&key("late"), "a", (now + KEPT, ""), String::new).is_some());
        assert_eq!(series.0.len(), 1);
    }
}
