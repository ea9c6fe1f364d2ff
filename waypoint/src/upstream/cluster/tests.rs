//! Who is picked how often, by every balancer.

use std::collections::BTreeMap;
use std::time::Duration;

use ambit_model::destination::{HashAlgorithm, HashKey, Warmup};
use ambit_model::route::Percent;
use proptest::prelude::*;

use super::super::fixtures::{
    Counts, address, ask, assert_likely, counts, endpoints, nobody, number, settings, weighted,
};
use super::*;

const MANY: u32 = 30_000;

fn simple(simple: Simple) -> Settings {
    settings(Balance::Simple(simple))
}

fn hashed(algorithm: HashAlgorithm) -> Settings {
    settings(Balance::Hash(HashKey::SourceIp, algorithm))
}

fn cluster(settings: &Settings, endpoints: Vec<Endpoint>) -> Arc<Cluster> {
    Cluster::new(settings, endpoints, Instant::now())
}

/// The endpoint of each of many keys.
fn of_keys(cluster: &Arc<Cluster>, avoid: &[SocketAddr]) -> Vec<u8> {
    let key = |key: u32| super::super::hash::hash(&key.to_be_bytes());
    let ask = |hash| Ask { hash: Some(hash), avoid, ..ask(Instant::now(), hash) };
    (0..MANY).map(|number| super::super::fixtures::number(&cluster.pick(&ask(key(number))).unwrap())).collect()
}

#[test]
fn each_gets_what_its_weight_says() {
    for balancer in [Simple::LeastRequest, Simple::Random, Simple::Passthrough] {
        for weights in [[1, 1, 1, 1], [1, 2, 3, 4], [1, 1, 1, 97]] {
            let endpoints = (1..).zip(weights).map(|(number, weight)| weighted(number, weight)).collect();
            let counts = counts(&cluster(&simple(balancer), endpoints), MANY, |ask| ask);
            let total: u32 = weights.iter().sum();
            for ((_, count), weight) in counts.iter().zip(weights) {
                assert_likely(*count, MANY, f64::from(weight) / f64::from(total));
            }
        }
    }
}

#[test]
fn round_robin_is_exact_whoever_asks() {
    for weights in [vec![1, 1, 1], vec![2, 1, 1], vec![50, 30, 20]] {
        let endpoints = (1..).zip(&weights).map(|(number, weight)| weighted(number, *weight)).collect();
        let cluster = cluster(&simple(Simple::RoundRobin), endpoints);
        let total: u32 = weights.iter().sum();
        let all = std::sync::Mutex::new(Counts::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (number, count) in counts(&cluster, 25 * total, |ask| ask) {
                        *all.lock().unwrap().entry(number).or_default() += count;
                    }
                });
            }
        });
        let expected: Counts = (1..).zip(weights.iter().map(|weight| weight * 100)).collect();
        assert_eq!(all.into_inner().unwrap(), expected);
    }
}

#[test]
fn replicas_that_begin_together_go_round_from_different_places() {
    let first = |draw| {
        let cluster = cluster(&simple(Simple::RoundRobin), endpoints(4));
        number(&cluster.pick(&ask(Instant::now(), draw)).unwrap())
    };
    assert_eq!((0..50).map(first).collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[test]
fn round_robin_is_even_among_those_that_are_not_passed_over() {
    let outliers = OutlierDetection { consecutive_5xx: Some(1), ..OutlierDetection::default() };
    let cluster = cluster(&Settings { outliers: Some(outliers), ..simple(Simple::RoundRobin) }, endpoints(4));
    let now = Instant::now();
    let picked = cluster.pick(&ask(now, 0)).unwrap();
    assert!(picked.report(Outcome::Answered(500), now).is_some());
    let counts = counts(&cluster, 3000, |ask| ask);
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1000; 3]);
    assert!(!counts.contains_key(&number(&picked)));
}

#[test]
fn the_less_busy_of_two_is_next() {
    let cluster = cluster(&simple(Simple::LeastRequest), endpoints(4));
    // As many as that, all under way at once, are spread almost evenly.
    let held: Vec<_> = (0..4000).map(|draw| cluster.pick(&ask(Instant::now(), draw)).unwrap()).collect();
    let mut counts = Counts::new();
    held.iter().for_each(|picked| *counts.entry(number(picked)).or_default() += 1);
    assert!(counts.values().all(|count| (990..=1010).contains(count)), "{counts:?}");
    // Whom nothing is left with but one that is busy: it is taken only where both draws fall on it.
    drop(held.into_iter().filter(|picked| number(picked) != 1).collect::<Vec<_>>());
    let busy = cluster.pick(&Ask { avoid: &[address(2), address(3), address(4)], ..ask(Instant::now(), 1) }).unwrap();
    let after = super::super::fixtures::counts(&cluster, MANY, |ask| ask);
    assert_eq!(number(&busy), 1);
    assert_likely(after[&1], MANY, 1.0 / 16.0);
}

#[test]
fn how_busy_one_may_be_depends_on_its_weight_and_on_how_new_it_is() {
    let warmup = Warmup {
        duration: Duration::from_secs(100),
        minimum: Percent::new(10.0).unwrap(),
        aggression: NonZeroU32::new(1000).unwrap(),
    };
    let began = Instant::now();
    let mut settings = simple(Simple::LeastRequest);
    settings.balancer.warmup = Some(warmup);
    let cluster = Cluster::new(&settings, vec![weighted(1, 2), weighted(2, 4)], began);
    let now = began + Duration::from_secs(200);
    cluster.update(&settings, vec![weighted(1, 2), weighted(2, 4), weighted(3, 4)], now - Duration::from_secs(50));
    let held: Vec<_> = (0..4000).map(|draw| cluster.pick(&ask(now, draw)).unwrap()).collect();
    let mut counts = Counts::new();
    held.iter().for_each(|picked| *counts.entry(number(picked)).or_default() += 1);
    for (number, expected) in [(1, 1000), (2, 2000), (3, 1000)] {
        assert!(counts[&number].abs_diff(expected) <= 20, "{counts:?}");
    }
}

#[test]
fn passthrough_is_where_the_client_went() {
    let cluster = cluster(&simple(Simple::Passthrough), endpoints(4));
    assert_eq!(counts(&cluster, 100, |ask| Ask { dialled: address(3), ..ask }), Counts::from([(3, 100)]));
    // The service's own address is none of theirs.
    assert_eq!(counts(&cluster, 1000, |ask| Ask { dialled: address(200), ..ask }).len(), 4);
}

#[test]
fn a_key_leads_to_one_endpoint_and_a_quarter_move_when_one_of_four_goes() {
    for algorithm in [HashAlgorithm::Ring(1024), HashAlgorithm::Maglev(65_537), HashAlgorithm::Maglev(251)] {
        let settings = hashed(algorithm);
        let four = cluster(&settings, endpoints(4));
        let before = of_keys(&four, &[]);
        let mut reversed = endpoints(4);
        reversed.reverse();
        assert_eq!(of_keys(&cluster(&settings, reversed), &[]), before, "another replica answers as this one does");
        for number in 1..=4 {
            let share = before.iter().filter(|of| **of == number).count() * 100 / before.len();
            assert!((18..=32).contains(&share), "{algorithm:?}: {share} % on {number}");
        }
        four.update(&settings, endpoints(3), Instant::now());
        let after = of_keys(&four, &[]);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count() * 100 / before.len();
        assert!((20..=32).contains(&moved), "{algorithm:?}: {moved} %");
    }
}

#[test]
fn the_keys_of_one_that_is_passed_over_are_spread_and_no_others_move() {
    for algorithm in [HashAlgorithm::Ring(1024), HashAlgorithm::Maglev(65_537)] {
        let cluster = cluster(&hashed(algorithm), endpoints(4));
        let (before, after) = (of_keys(&cluster, &[]), of_keys(&cluster, &[address(2)]));
        let mut heirs = BTreeMap::<u8, usize>::new();
        for (before, after) in before.iter().zip(&after) {
            match before {
                2 => *heirs.entry(*after).or_default() += 1,
                _ => assert_eq!(before, after),
            }
        }
        let total: usize = heirs.values().sum();
        assert!(heirs.keys().eq(&[1, 3, 4]) && heirs.values().all(|count| count * 100 / total > 20), "{heirs:?}");
    }
}

#[test]
fn keys_are_spread_by_weight() {
    for algorithm in [HashAlgorithm::Ring(4096), HashAlgorithm::Maglev(65_537)] {
        let cluster = cluster(&hashed(algorithm), vec![weighted(1, 1), weighted(2, 3)]);
        let on_second = of_keys(&cluster, &[]).iter().filter(|number| **number == 2).count() * 100;
        let share = on_second / usize::try_from(MANY).unwrap();
        assert!((72..=78).contains(&share), "{algorithm:?}: {share} %");
        // What has no key goes anywhere.
        assert_eq!(counts(&cluster, 1000, |ask| ask).len(), 2);
    }
}

#[test]
fn a_new_endpoint_comes_to_its_share_by_and_by() {
    let warmup = Warmup {
        duration: Duration::from_secs(100),
        minimum: Percent::new(10.0).unwrap(),
        aggression: NonZeroU32::new(1000).unwrap(),
    };
    let (began, hour) = (Instant::now(), Duration::from_secs(3600));
    for balancer in [Simple::LeastRequest, Simple::RoundRobin] {
        let mut settings = simple(balancer);
        settings.balancer.warmup = Some(warmup);
        let cluster = Cluster::new(&settings, endpoints(3), began);
        // All are new: each gets as much as the others.
        for (_, count) in counts(&cluster, MANY, |ask| Ask { now: began, ..ask }) {
            assert_likely(count, MANY, 1.0 / 3.0);
        }
        cluster.update(&settings, endpoints(4), began + hour);
        for (age, factor) in [(0, 0.1), (5, 0.1), (50, 0.5), (80, 0.8), (100, 1.0), (500, 1.0)] {
            let now = began + hour + Duration::from_secs(age);
            let counts = counts(&cluster, MANY, |ask| Ask { now, ..ask });
            assert_likely(counts[&4], MANY, factor / (3.0 + factor));
        }
    }
}

#[test]
fn who_was_tried_is_tried_again_only_if_there_is_nobody_else() {
    let [first, second] = [address(1), address(2)];
    for settings in [
        simple(Simple::LeastRequest),
        simple(Simple::RoundRobin),
        simple(Simple::Random),
        hashed(HashAlgorithm::Ring(64)),
        hashed(HashAlgorithm::Maglev(251)),
    ] {
        let cluster = cluster(&settings, endpoints(3));
        let pick =
            |avoid: &[SocketAddr], draw| number(&cluster.pick(&Ask { avoid, ..ask(Instant::now(), draw) }).unwrap());
        for draw in 0..100 {
            assert_ne!(pick(&[first], draw), 1);
            assert_eq!(pick(&[first, second], draw), 3);
            assert!((1..=3).contains(&pick(&[first, second, address(3)], draw)));
        }
    }
}

#[test]
fn what_is_no_other_changes_nothing() {
    let settings = simple(Simple::RoundRobin);
    let cluster = cluster(&settings, endpoints(3));
    let before = cluster.roster.load_full();
    let mut reversed = endpoints(3);
    reversed.reverse();
    for (endpoints, is_other) in [(endpoints(3), false), (reversed, false), (vec![weighted(1, 2)], true)] {
        cluster.update(&settings, endpoints, Instant::now());
        assert_eq!(!Arc::ptr_eq(&before, &cluster.roster.load_full()), is_other);
    }
}

#[test]
fn a_hash_is_nothing_to_a_balancer_without_one() {
    for balancer in [Simple::LeastRequest, Simple::Random] {
        let counts = counts(&cluster(&simple(balancer), endpoints(4)), MANY, |ask| Ask { hash: Some(7), ..ask });
        counts.values().for_each(|count| assert_likely(*count, MANY, 0.25));
    }
}

#[test]
fn there_is_nobody_where_there_are_no_endpoints() {
    for settings in [simple(Simple::RoundRobin), hashed(HashAlgorithm::Ring(8)), hashed(HashAlgorithm::Maglev(7))] {
        let cluster = cluster(&settings, Vec::new());
        assert_eq!(nobody(&cluster), NoEndpoint::Absent);
        cluster.update(&settings, endpoints(1), Instant::now());
        assert_eq!(counts(&cluster, 10, |ask| ask), Counts::from([(1, 10)]));
    }
}

#[test]
fn what_is_under_way_is_counted_across_updates_and_threads() {
    let settings = simple(Simple::LeastRequest);
    let cluster = cluster(&settings, endpoints(2));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (cluster, settings) = (&cluster, &settings);
            scope.spawn(move || {
                for draw in 0..2_000 {
                    let picked = cluster.pick(&ask(Instant::now(), draw)).unwrap();
                    if draw % 500 == thread {
                        cluster.update(settings, endpoints(2 + u8::try_from(thread).unwrap()), Instant::now());
                    }
                    drop(picked);
                }
            });
        }
    });
    cluster.update(&settings, endpoints(2), Instant::now());
    let roster = cluster.roster.load();
    assert!(roster.hosts.iter().all(|host| host.active() == 0));
    let held = cluster.pick(&Ask { avoid: &[address(2)], ..ask(Instant::now(), 0) });
    cluster.update(&settings, vec![weighted(1, 7)], Instant::now());
    assert_eq!(cluster.roster.load().hosts[0].active(), 1);
    drop(held);
    assert_eq!(cluster.roster.load().hosts[0].active(), 0);
}

fn balances() -> impl Strategy<Value = Balance> {
    prop_oneof![
        Just(Balance::Simple(Simple::LeastRequest)),
        Just(Balance::Simple(Simple::RoundRobin)),
        Just(Balance::Simple(Simple::Random)),
        Just(Balance::Simple(Simple::Passthrough)),
        (1_u32..300).prop_map(|size| Balance::Hash(HashKey::SourceIp, HashAlgorithm::Ring(size))),
        prop::sample::select(vec![2, 3, 7, 251])
            .prop_map(|size| Balance::Hash(HashKey::SourceIp, HashAlgorithm::Maglev(size))),
    ]
}

proptest! {
    /// Whatever the settings and weights: one that is there is picked, one that was tried only if all were.
    #[test]
    fn one_that_may_be_is_picked(
        balance in balances(),
        weights in prop::collection::vec(1_u32..1000, 1..6),
        tried in prop::collection::vec(any::<bool>(), 6),
        draws in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let all: Vec<_> = (1..).zip(&weights).map(|(number, weight)| weighted(number, *weight)).collect();
        let avoid: Vec<_> = all.iter().zip(tried).filter(|(_, tried)| *tried).map(|(one, _)| one.address).collect();
        let cluster = cluster(&settings(balance), all.clone());
        for draw in draws {
            let picked = cluster.pick(&Ask { avoid: &avoid, ..ask(Instant::now(), draw) });
            let picked = picked.unwrap().endpoint().clone();
            prop_assert!(all.contains(&picked));
            prop_assert!(avoid.len() == all.len() || !avoid.contains(&picked.address));
        }
    }
}
