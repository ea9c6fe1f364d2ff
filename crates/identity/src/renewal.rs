//! When to ask for the next certificate. Pure: times and random draws are values, asking is somebody else's task.

use std::time::{Duration, SystemTime};

/// The longest pause between two requests that fail.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(150);

/// The pause after the first request that failed, which doubles with each further one; and the shortest life that is
/// believed of a certificate, so that a CA that signs for no time is not asked without pause.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The shortest pause near the end of a certificate's life.
const LAST_BACKOFF: Duration = Duration::from_millis(250);

/// When a certificate came into use and when it runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was obtained: not its notBefore, which the CA may have backdated.
    pub start: SystemTime,
    /// Its notAfter.
    pub end: SystemTime,
}

/// The requests that failed since the last one that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many; 0 counts as 1.
    pub count: u32,
    /// When the last of them failed.
    pub last: SystemTime,
}

/// What to do about a certificate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for a new one.
    Renew,
    /// Nothing for so long; never zero.
    Wait(Duration),
}

/// What to do `now` about the certificate in use, if there is one, after `failures`, if there were any. `draw` is a
/// uniformly random number, the same for every question about one certificate and failure: it spreads the requests of
/// a node (45 to 55 % of the lifetime) and their repetitions (half to all of the backoff). No pause is longer than a
/// quarter of the life that is left (or 250 ms), so that a CA that comes back before the end is not missed.
///
/// A certificate is due at half its life, so that half its life is left for a CA to come back.
#[must_use]
pub fn next(now: SystemTime, certificate: Option<Lifetime>, failures: Option<Failures>, draw: u64) -> Action {
    let half_life = certificate.map(|lifetime| until_due(now, lifetime, draw)).unwrap_or_default();
    let backoff = failures.map(|failures| until_retry(now, certificate, failures, draw)).unwrap_or_default();
    match half_life.max(backoff) {
        Duration::ZERO => Action::Renew,
        wait => Action::Wait(wait),
    }
}

/// True when less than a quarter of the certificate's life is left: its renewal has been failing for a quarter.
#[must_use]
pub fn is_late(now: SystemTime, certificate: Lifetime) -> bool {
    remaining(now, certificate) < length(certificate) / 4
}

/// How long the certificate is still valid; zero once it has run out.
#[must_use]
pub fn remaining(now: SystemTime, certificate: Lifetime) -> Duration {
    certificate.end.duration_since(now).unwrap_or_default()
}

fn length(certificate: Lifetime) -> Duration {
    certificate.end.duration_since(certificate.start).unwrap_or_default()
}

fn until_due(now: SystemTime, certificate: Lifetime, draw: u64) -> Duration {
    let life = length(certificate);
    let left_when_due = life - life.mul_f64(0.45 + 0.1 * fraction(draw));
    let age = now.duration_since(certificate.start).unwrap_or_default();
    remaining(now, certificate).saturating_sub(left_when_due).max(FIRST_BACKOFF.saturating_sub(age))
}

fn until_retry(now: SystemTime, certificate: Option<Lifetime>, failures: Failures, draw: u64) -> Duration {
    let doublings = failures.count.saturating_sub(1).min(16);
    let left = certificate.map(|lifetime| remaining(failures.last, lifetime)).filter(|left| !left.is_zero());
    let longest = left.map_or(LONGEST_BACKOFF, |left| (left / 4).clamp(LAST_BACKOFF, LONGEST_BACKOFF));
    let full = FIRST_BACKOFF.saturating_mul(1 << doublings).min(longest);
    let pause = full.mul_f64(0.5 + 0.5 * fraction(draw));
    // A clock that was set back since the failure shows no time passed, rather than a pause of any length.
    pause.saturating_sub(now.duration_since(failures.last).unwrap_or_default())
}

/// `draw` as a number from 0 to 1.
fn fraction(draw: u64) -> f64 {
    draw as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests;
