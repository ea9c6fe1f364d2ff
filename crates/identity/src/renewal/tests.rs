//! Promises of the schedule, for all lives, failures, draws and clocks.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn life(seconds: u64) -> Lifetime {
    Lifetime { start: at(0), end: at(seconds) }
}

proptest! {
    #[test]
    fn a_certificate_is_due_at_half_its_life_with_jitter_and_not_before(seconds in 60..864_000_u64, draw: u64) {
        let (early, late) = (seconds * 45 / 100, seconds * 55 / 100 + 1);
        prop_assert_ne!(next(at(early - 1), Some(life(seconds)), None, draw), Action::Renew);
        prop_assert_eq!(next(at(late), Some(life(seconds)), None, draw), Action::Renew);
        // Whoever sleeps for as long as it is told to finds it due, to the nanosecond.
        let Action::Wait(wait) = next(at(0), Some(life(seconds)), None, draw) else { panic!("due at once") };
        prop_assert_eq!(next(at(0) + wait, Some(life(seconds)), None, draw), Action::Renew);
        prop_assert_ne!(next(at(0) + wait - Duration::from_nanos(1), Some(life(seconds)), None, draw), Action::Renew);
    }

    #[test]
    fn draws_spread_the_requests_of_a_node(seconds in 600..864_000_u64) {
        let wait = |draw| match next(at(0), Some(life(seconds)), None, draw) {
            Action::Wait(wait) => wait,
            Action::Renew => Duration::ZERO,
        };
        let spread = wait(u64::MAX) - wait(0);
        prop_assert!(spread > Duration::from_secs(seconds).mul_f64(0.099));
        prop_assert!(wait(u64::MAX / 2) > wait(u64::MAX / 4));
    }

    #[test]
    fn a_failure_is_never_followed_by_a_pause_longer_than_the_backoff_once_due(
        seconds in 60..864_000_u64, count in 1..u32::MAX, ago in 0..400_u64, draw: u64,
    ) {
        let now = at(seconds);
        let failures = Some(Failures { count, last: now - Duration::from_secs(ago) });
        match next(now, Some(life(seconds)), failures, draw) {
            Action::Renew => prop_assert!(ago > 0),
            Action::Wait(wait) => prop_assert!(!wait.is_zero() && wait + Duration::from_secs(ago) <= LONGEST_BACKOFF),
        }
        if ago >= LONGEST_BACKOFF.as_secs() {
            prop_assert_eq!(next(now, Some(life(seconds)), failures, draw), Action::Renew);
        }
    }

    #[test]
    fn a_ca_that_is_back_before_the_end_is_asked_before_the_end(seconds in 8..864_000_u64, draws: [u64; 32], back in 0.5..0.9) {
        let (end, back) = (at(seconds), at(0) + Duration::from_secs(seconds).mul_f64(back));
        let (mut now, mut failures) = (at(0), None);
        for round in 0_u32.. {
            let draw = draws[(round % 32) as usize];
            match next(now, Some(life(seconds)), failures, draw) {
                Action::Wait(wait) => now += wait,
                Action::Renew if now >= back => break,
                Action::Renew => failures = Some(Failures { count: failures.map_or(0, |f| f.count) + 1, last: now }),
            }
            prop_assert!(round < 100_000);
        }
        let late = Duration::from_secs(1).max(end.duration_since(back).unwrap() / 3).min(LONGEST_BACKOFF);
        prop_assert!(now < end && now <= back + late.max(Duration::from_secs(seconds).mul_f64(0.05)), "{now:?} {back:?} {end:?}");
    }

    #[test]
    fn pauses_grow_with_the_failures_up_to_the_longest(count in 1..40_u32, draw: u64) {
        let pause = |count| match next(at(0), None, Some(Failures { count, last: at(0) }), draw) {
            Action::Wait(wait) => wait,
            Action::Renew => Duration::ZERO,
        };
        prop_assert!(pause(count) <= pause(count + 1));
        prop_assert!(pause(count) >= FIRST_BACKOFF / 2);
        prop_assert!(pause(40) >= LONGEST_BACKOFF / 2 && pause(40) <= LONGEST_BACKOFF);
    }

    #[test]
    fn a_clock_that_was_set_back_puts_nothing_off_beyond_the_end(
        seconds in 60..864_000_u64, back in 0..10_000_000_u64, draw: u64,
    ) {
        let now = at(0) - Duration::from_secs(back);
        match next(now, Some(life(seconds)), None, draw) {
            Action::Renew => prop_assert!(false, "not due"),
            Action::Wait(wait) => prop_assert!(now + wait <= at(seconds)),
        }
        let failed_in_the_future = Failures { count: 40, last: at(0) + Duration::from_secs(back) };
        match next(at(0), None, Some(failed_in_the_future), draw) {
            Action::Renew => prop_assert!(false, "no pause"),
            Action::Wait(wait) => prop_assert!(wait <= LONGEST_BACKOFF),
        }
    }

    #[test]
    fn a_ca_that_signs_for_no_time_is_not_asked_without_pause(millis in 0..1000_u64, draw: u64) {
        let certificate = Lifetime { start: at(0), end: at(0) + Duration::from_millis(millis) };
        prop_assert!(matches!(next(at(0), Some(certificate), None, draw), Action::Wait(_)));
    }

    #[test]
    fn nothing_panics(now in 0..u64::MAX >> 2, end: i32, count: u32, last: i32, draw: u64) {
        let (now, shifted) = (UNIX_EPOCH + Duration::from_secs(now >> 3), |by: i32| at(u64::from(by.unsigned_abs())));
        let certificate = Lifetime { start: now, end: shifted(end) };
        let _ = next(now, Some(certificate), Some(Failures { count, last: shifted(last) }), draw);
        let _ = (is_late(now, certificate), remaining(now, certificate));
    }
}

#[test]
fn what_was_never_asked_for_is_asked_for_at_once() {
    assert_eq!(next(at(0), None, None, 0), Action::Renew);
    assert_eq!(next(at(0), None, None, u64::MAX), Action::Renew);
}

#[test]
fn with_the_middle_draw_a_day_long_certificate_is_renewed_after_twelve_hours() {
    let middle = u64::MAX / 2;
    let Action::Wait(wait) = next(at(0), Some(life(86_400)), None, middle) else { panic!("due at once") };
    assert_eq!(wait.as_secs().abs_diff(43_200), 0);
}

#[test]
fn it_is_late_when_less_than_a_quarter_of_life_is_left() {
    assert!(!is_late(at(75), life(100)));
    assert!(is_late(at(76), life(100)));
    assert_eq!(remaining(at(76), life(100)), Duration::from_secs(24));
    assert_eq!(remaining(at(101), life(100)), Duration::ZERO);
}

/// Of certificates of a day whose ages are spread evenly, how many are due when the clock shows `moved` seconds more or
/// less than it did.
fn due(moved: i64) -> usize {
    const DAY: u64 = 86_400;
    let shows = |at: SystemTime| match u64::try_from(moved) {
        Ok(ahead) => at + Duration::from_secs(ahead),
        Err(_) => at - Duration::from_secs(moved.unsigned_abs()),
    };
    // A node that has run for long: each is somewhere in the first half of its life, which the schedule drew.
    let certificates = (0..1000_u64).map(|number| (number * 43_000 / 1000, number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    certificates.filter(|(age, draw)| next(shows(at(*age)), Some(life(DAY)), None, *draw) == Action::Renew).count()
}

#[test]
fn a_clock_that_is_moved_by_an_hour_makes_no_storm() {
    // An hour is a twelfth of the time between two renewals: so many more may be due at once, with the draws' spread.
    let (still, ahead, behind) = (due(0), due(3600), due(-3600));
    assert!(still <= 60 && ahead <= still + 110 && behind <= still, "{behind} {still} {ahead}");
    // And whoever fails then is not asked again at once, whatever the clock does next.
    for back in [0, 3600, 7200] {
        let now = at(50_000);
        let failures = Some(Failures { count: 3, last: now });
        let later = at(50_000 - back);
        let Action::Wait(wait) = next(later, Some(life(86_400)), failures, u64::MAX) else { panic!("at once") };
        assert!(wait >= Duration::from_secs(2), "{wait:?}");
    }
}
