//! Sequences of answers, and who is passed over after them: seven errors one after the other, looked at every second, for
//! three (Istio's example of 7, 5 m and 15 m, scaled).

use std::sync::Arc;

use super::super::cluster::{Cluster, NoEndpoint, Settings};
use super::super::fixtures::{address, ask, counts, endpoints, nobody, number};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(7),
        interval: SECOND,
        base_ejection_time: SECOND * 3,
        ..OutlierDetection::default()
    }
}

fn cluster(rules: OutlierDetection, count: u8, now: Instant) -> Arc<Cluster> {
    Cluster::new(&Settings { outliers: Some(rules), ..Settings::default() }, endpoints(count), now)
}

/// Has the endpoint `wanted` answer `statuses`; what happened to it.
fn answers(cluster: &Arc<Cluster>, wanted: u8, outcomes: &[Outcome], now: Instant) -> Vec<Change> {
    let others: Vec<_> = (1..=8).filter(|other| *other != wanted).map(address).collect();
    let ask = super::super::cluster::Ask { avoid: &others, ..ask(now, 1) };
    let picked = cluster.pick(&ask).unwrap();
    assert_eq!(number(&picked), wanted);
    let events = outcomes.iter().filter_map(|outcome| picked.report(*outcome, now));
    let change = |event: Event| {
        assert_eq!(event.address, address(wanted));
        event.change
    };
    events.map(change).collect()
}

fn statuses(of: &[u16]) -> Vec<Outcome> {
    of.iter().map(|status| Outcome::Answered(*status)).collect()
}

#[test]
fn the_seventh_error_in_a_row_ejects_at_once_and_a_success_begins_anew() {
    let now = Instant::now();
    let ejected = |seconds| Change::Ejected(Cause::Consecutive5xx, SECOND * seconds);
    let (bad, good) = ([500_u16; 6], [200_u16]);
    for (sequence, expected) in [
        (bad.to_vec(), vec![]),
        ([&bad[..], &[503]].concat(), vec![ejected(3)]),
        ([&bad[..], &good, &bad].concat(), vec![]),
        ([&bad[..], &[404], &bad].concat(), vec![]),
        ([&bad[..], &good, &bad, &[599]].concat(), vec![ejected(3)]),
    ] {
        let cluster = cluster(rules(), 3, now);
        assert_eq!(answers(&cluster, 2, &statuses(&sequence), now), expected, "{sequence:?}");
        assert_eq!(cluster.ejected(), expected.len());
        let picked = counts(&cluster, 300, |ask| ask);
        assert_eq!(picked.contains_key(&2), expected.is_empty(), "{sequence:?}");
        assert!(picked.contains_key(&1) && picked.contains_key(&3));
    }
    // What is not reached counts as an error; statuses may be listed.
    let failed = [Outcome::Failed; 7];
    assert_eq!(answers(&cluster(rules(), 3, now), 1, &failed, now), [ejected(3)]);
    let listed = OutlierDetection { error_codes: [401].into(), ..rules() };
    assert_eq!(answers(&cluster(listed.clone(), 3, now), 1, &statuses(&[500; 9]), now), []);
    assert_eq!(answers(&cluster(listed, 3, now), 1, &statuses(&[401; 7]), now), [ejected(3)]);
}

#[test]
fn who_was_ejected_returns_at_the_first_sweep_after_its_time_and_the_second_time_is_twice_as_long() {
    let began = Instant::now();
    let at = |tenths: u32| began + SECOND / 10 * tenths;
    let cluster = cluster(rules(), 3, began);
    let returned = vec![Event { address: address(2), change: Change::Returned }];
    let seven = statuses(&[500; 7]);
    let ejected = |seconds| [Change::Ejected(Cause::Consecutive5xx, SECOND * seconds)];
    assert_eq!(cluster.next_sweep(), Some(at(10)));
    assert_eq!(answers(&cluster, 2, &seven, at(5)), ejected(3));
    // The sweep at the third second was too early, even if it comes late.
    for tenths in [10, 20, 39] {
        assert_eq!(cluster.sweep(at(tenths)), [], "{tenths}");
    }
    assert_eq!(cluster.next_sweep(), Some(at(40)));
    assert_eq!(cluster.sweep(at(40)), returned);
    assert_eq!(cluster.ejected(), 0);
    assert!(counts(&cluster, 300, |ask| ask).contains_key(&2));
    // At once again, one error less than it takes, and one more.
    assert_eq!(answers(&cluster, 2, &seven[1..], at(41)), []);
    assert_eq!(answers(&cluster, 2, &seven[..1], at(41)), ejected(6));
    assert_eq!(cluster.sweep(at(100)), []);
    assert_eq!(cluster.sweep(at(110)), returned);
    // Two sweeps that find it in use, and its first ejections are forgotten.
    assert_eq!(cluster.sweep(at(130)), []);
    assert_eq!(answers(&cluster, 2, &seven, at(131)), ejected(3));
    // Nobody looked for long: it returns then.
    assert_eq!(cluster.sweep(at(900)), returned);
}

#[test]
fn as_many_are_ejected_as_may_be_and_one_always() {
    let now = Instant::now();
    let seven = statuses(&[500; 7]);
    let out = [Change::Ejected(Cause::Consecutive5xx, SECOND * 3)];
    let spared = [Change::Spared(Cause::Consecutive5xx)];
    let of = |percent| cluster(OutlierDetection { max_ejection_percent: percent, ..rules() }, 3, now);
    let ten = of(10);
    assert_eq!(answers(&ten, 1, &seven, now), out);
    assert_eq!(answers(&ten, 2, &seven, now), spared);
    assert_eq!(answers(&ten, 2, &seven[1..], now), [], "the same errors count once");
    assert_eq!(answers(&ten, 3, &seven, now), spared);
    assert_eq!(ten.ejected(), 1);
    let left = counts(&ten, 300, |ask| ask);
    assert!(!left.contains_key(&1) && left.contains_key(&2) && left.contains_key(&3), "{left:?}");
    let all = of(100);
    assert_eq!(answers(&all, 1, &seven, now), out);
    assert_eq!(answers(&all, 2, &seven, now), out);
    assert_eq!(counts(&all, 100, |ask| ask).into_keys().collect::<Vec<_>>(), [3]);
    assert_eq!(answers(&all, 3, &seven, now), out);
    assert_eq!((all.ejected(), nobody(&all)), (3, NoEndpoint::Ejected));
    let alone = cluster(rules(), 1, now);
    assert_eq!(answers(&alone, 1, &seven, now), out);
    assert_eq!(nobody(&alone), NoEndpoint::Ejected);
}

#[test]
fn gateway_errors_and_failures_on_the_way_have_thresholds_of_their_own() {
    let now = Instant::now();
    let gateway = OutlierDetection { consecutive_5xx: None, consecutive_gateway: Some(2), ..rules() };
    let split = OutlierDetection { consecutive_local: Some(2), split_local: true, ..rules() };
    let either = OutlierDetection { consecutive_gateway: Some(2), consecutive_5xx: Some(3), ..rules() };
    let answered = Outcome::Answered;
    for (rules, outcomes, expected) in [
        (&gateway, vec![answered(502), answered(504)], Some(Cause::ConsecutiveGateway)),
        (&gateway, vec![answered(503), Outcome::Failed], Some(Cause::ConsecutiveGateway)),
        (&gateway, vec![answered(502), answered(500), answered(503)], None),
        (&gateway, vec![answered(500); 9], None),
        (&split, vec![Outcome::Failed; 2], Some(Cause::ConsecutiveLocal)),
        (&split, vec![Outcome::Failed, Outcome::Connected, Outcome::Failed], None),
        (&split, vec![Outcome::Failed, answered(500), Outcome::Failed], None),
        // Where failures on the way are errors, a connection that is made is a success.
        (&gateway, vec![Outcome::Failed, Outcome::Connected, Outcome::Failed], None),
        (&split, [&[answered(500); 6][..], &[Outcome::Connected, answered(500)]].concat(), Some(Cause::Consecutive5xx)),
        (&split, vec![answered(500); 7], Some(Cause::Consecutive5xx)),
        (&either, vec![answered(500), answered(502), answered(503)], Some(Cause::ConsecutiveGateway)),
        (&either, vec![answered(500), answered(502), answered(500)], Some(Cause::Consecutive5xx)),
    ] {
        let changes = answers(&cluster(rules.clone(), 3, now), 1, &outcomes, now);
        let expected: Vec<_> = expected.map(|cause| Change::Ejected(cause, SECOND * 3)).into_iter().collect();
        assert_eq!(changes, expected, "{outcomes:?}");
    }
}

#[test]
fn what_is_known_of_an_endpoint_lasts_as_long_as_its_address() {
    let now = Instant::now();
    let cluster = cluster(rules(), 3, now);
    let with = |outliers| Settings { outliers, ..Settings::default() };
    answers(&cluster, 1, &statuses(&[500; 7]), now);
    answers(&cluster, 2, &statuses(&[500; 6]), now);
    assert_eq!(cluster.update(&with(Some(rules())), endpoints(5), now), []);
    assert_eq!(cluster.ejected(), 1);
    assert_eq!(answers(&cluster, 2, &statuses(&[500]), now), [Change::Spared(Cause::Consecutive5xx)]);
    // Gone and here again, it is new.
    cluster.update(&with(Some(rules())), endpoints(5).split_off(1), now);
    assert_eq!(cluster.ejected(), 0);
    cluster.update(&with(Some(rules())), endpoints(5), now);
    assert!(counts(&cluster, 300, |ask| ask).contains_key(&1));
    // Without rules nobody is passed over.
    answers(&cluster, 1, &statuses(&[500; 7]), now);
    let events = cluster.update(&with(None), endpoints(5), now);
    assert_eq!(events, [Event { address: address(1), change: Change::Returned }]);
    assert_eq!((cluster.ejected(), cluster.next_sweep()), (0, None));
    assert_eq!(events[0].to_string(), "10.0.0.1:80 returned");
}

#[test]
fn reports_of_many_threads_eject_each_once() {
    let now = Instant::now();
    let cluster = cluster(OutlierDetection { max_ejection_percent: 50, ..rules() }, 4, now);
    let events = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (cluster, events) = (&cluster, &events);
            scope.spawn(move || {
                for draw in 0..2_000 {
                    let picked = cluster.pick(&ask(now, thread << 32 | draw)).unwrap();
                    events.lock().unwrap().extend(picked.report(Outcome::Answered(500), now));
                }
            });
        }
    });
    let events = events.into_inner().unwrap();
    let ejected = events.iter().filter(|event| matches!(event.change, Change::Ejected(..)));
    assert_eq!((ejected.count(), cluster.ejected()), (2, 2));
}
