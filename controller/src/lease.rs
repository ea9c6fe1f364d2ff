//! Which of several controllers writes: the one that holds the Lease (coordination.k8s.io/v1). Pure: what the Lease says,
//! since when it has said so, and what to do about it; `hold` does it.
//!
//! No clock of another machine is believed: a Lease is over when it has not changed for its duration, as seen from here.

mod hold;

use std::time::{Duration, Instant};

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::json::at;

pub(crate) use self::hold::{Lead, hold};

/// For how long a Lease is good once it was renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long after its renewal was begun the holder still writes: it has stopped before another can begin.
const WRITES: Duration = Duration::from_secs(10);
/// How long after a renewal the next one is due.
const RENEW: Duration = Duration::from_secs(5);
/// How often others look.
const LOOK: Duration = Duration::from_secs(2);

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// Nobody, if it was given back.
    holder: Option<String>,
    duration: Duration,
    transitions: u64,
    /// Changes with every renewal.
    version: String,
}

/// A Lease as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    record: Record,
    /// When it was first seen like this.
    since: Instant,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// There is none: make it.
    Create,
    /// Nobody holds it any more: take it.
    Take,
    /// It is ours: say so again.
    Renew,
    /// Look again after this.
    Wait(Duration),
}

/// What `me` does about the Lease at `now`.
fn decide(lease: Option<&Seen>, now: Instant, me: &str) -> Action {
    let Some(Seen { record, since }) = lease else { return Action::Create };
    let age = now.saturating_duration_since(*since);
    match &record.holder {
        None => Action::Take,
        Some(holder) if holder == me => match RENEW.checked_sub(age).filter(|left| !left.is_zero()) {
            Some(left) => Action::Wait(left),
            None => Action::Renew,
        },
        Some(_) => match record.duration.checked_sub(age).filter(|left| !left.is_zero()) {
            Some(left) => Action::Wait(left.min(LOOK)),
            None => Action::Take,
        },
    }
}

impl Seen {
    /// The Lease as it is `now`, after it was seen as `before`.
    fn update(before: Option<Self>, record: Record, now: Instant) -> Self {
        match before {
            Some(before) if before.record == record => before,
            _ => Self { record, since: now },
        }
    }
}

impl Record {
    fn read(lease: &DynamicObject) -> Self {
        let spec = at(&lease.data, &["spec"]);
        let seconds = spec["leaseDurationSeconds"].as_u64().map_or(DURATION, Duration::from_secs);
        Self {
            holder: spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned),
            duration: seconds,
            transitions: spec["leaseTransitions"].as_u64().unwrap_or_default(),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// The `spec` of a Lease that `me` holds from `now` (RFC 3339, microseconds) on, after `before`.
fn held(before: Option<&DynamicObject>, me: &str, now: &str) -> Value {
    let record = before.map(Record::read);
    let same = record.as_ref().is_some_and(|record| record.holder.as_deref() == Some(me));
    let acquired = before.filter(|_| same).and_then(|lease| at(&lease.data, &["spec", "acquireTime"]).as_str());
    let transitions = record.map_or(0, |record| record.transitions.saturating_add(u64::from(!same)));
    json!({
        "holderIdentity": me,
        "leaseDurationSeconds": DURATION.as_secs(),
        "acquireTime": acquired.unwrap_or(now),
        "renewTime": now,
        "leaseTransitions": transitions,
    })
}

#[cfg(test)]
mod tests {
    use ambit_discovery::resource;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(holder: Option<&str>, version: &str) -> DynamicObject {
        let kind = resource("coordination.k8s.io/v1", "Lease", "leases");
        let spec =
            json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "acquireTime": "then", "leaseTransitions": 3});
        let mut lease = DynamicObject::new("ambit-controller", &kind).data(json!({"spec": spec}));
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    fn seen(holder: Option<&str>, since: Instant) -> Seen {
        Seen { record: Record::read(&lease(holder, "1")), since }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_has_not_changed_for_its_duration() {
        let since = Instant::now();
        let after = |holder, seconds: u32| decide(Some(&seen(holder, since)), since + SECOND * seconds, "me");
        assert_eq!(decide(None, since, "me"), Action::Create);
        assert_eq!(after(None, 0), Action::Take);
        assert_eq!(after(Some(""), 0), Action::Take, "given back");
        assert_eq!(after(Some("other"), 0), Action::Wait(LOOK));
        assert_eq!(after(Some("other"), 14), Action::Wait(SECOND));
        assert_eq!(after(Some("other"), 15), Action::Take);
        assert_eq!(after(Some("me"), 0), Action::Wait(RENEW));
        assert_eq!(after(Some("me"), 5), Action::Renew);
        assert_eq!(after(Some("me"), 60), Action::Renew);
    }

    #[test]
    fn whose_lease_changes_keeps_it_however_his_clock_goes() {
        let begin = Instant::now();
        let mut before = None;
        for renewal in 0..10 {
            let now = begin + 14 * SECOND * renewal;
            let record = Record::read(&lease(Some("other"), &renewal.to_string()));
            let lease = Seen::update(before, record.clone(), now);
            assert_eq!(Seen::update(Some(lease.clone()), record, now + SECOND), lease, "seen again");
            assert!(matches!(decide(Some(&lease), now + 14 * SECOND, "me"), Action::Wait(_)));
            before = Some(lease);
        }
    }

    #[test]
    fn a_holder_stops_before_another_begins() {
        assert!(RENEW < WRITES && WRITES + LOOK < DURATION);
    }

    #[test]
    fn a_renewal_keeps_what_a_takeover_changes() {
        let mine = lease(Some("me"), "1");
        let renewed = held(Some(&mine), "me", "now");
        assert_eq!(
            (&renewed["acquireTime"], &renewed["leaseTransitions"], &renewed["renewTime"]),
            (&json!("then"), &json!(3), &json!("now"))
        );
        let taken = held(Some(&mine), "other", "now");
        assert_eq!((&taken["acquireTime"], &taken["leaseTransitions"]), (&json!("now"), &json!(4)));
        let made = held(None, "me", "now");
        assert_eq!((&made["holderIdentity"], &made["leaseTransitions"]), (&json!("me"), &json!(0)));
    }
}
