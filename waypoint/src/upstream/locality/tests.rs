//! Who gets how much, by where endpoints and clients are.

use ambit_model::Scope;
use ambit_model::destination::{
    Balance, Distribute, FailoverLabel, HashAlgorithm, HashKey, LoadBalancer, OutlierDetection, Simple,
};

use super::super::cluster::{Ask, Cluster, Endpoint, NoEndpoint};
use super::super::fixtures::{Counts, address, ask, assert_likely, counts, number, placed, workload};
use super::super::outlier::Outcome;
use super::*;

const MANY: u32 = 20_000;

/// One in each of two zones of `eu`, one in `us`, one in `asia`.
fn everywhere() -> Vec<Endpoint> {
    ["eu/a/1/n1", "eu/a/2/n2", "eu/b/1/n3", "us/a/1/n4", "asia/a/1/n5"]
        .into_iter()
        .zip(1..)
        .map(|(place, number)| placed(number, place, if number == 3 { "v2" } else { "v1" }))
        .collect()
}

fn one_error_ejects() -> OutlierDetection {
    OutlierDetection { consecutive_5xx: Some(1), max_ejection_percent: 100, ..OutlierDetection::default() }
}

fn settings(locality: Option<ByLocality>, outliers: Option<OutlierDetection>) -> Settings {
    let balancer = LoadBalancer { locality, balance: Balance::Simple(Simple::Random), warmup: None };
    Settings { balancer, outliers, ..Settings::default() }
}

fn cluster(settings: &Settings, endpoints: Vec<Endpoint>) -> Arc<Cluster> {
    Cluster::new(settings, endpoints, std::time::Instant::now())
}

fn from(cluster: &Arc<Cluster>, client: &Workload) -> Counts {
    let mut counts = Counts::new();
    for draw in 0..MANY {
        let ask = Ask { client: Some(client), ..ask(std::time::Instant::now(), draw.into()) };
        *counts.entry(number(&cluster.pick(&ask).unwrap())).or_default() += 1;
    }
    counts
}

fn eject(cluster: &Arc<Cluster>, wanted: u8) {
    let others: Vec<_> = (1..=9).filter(|other| *other != wanted).map(address).collect();
    let now = std::time::Instant::now();
    let picked = cluster.pick(&Ask { avoid: &others, ..ask(now, 0) }).unwrap();
    assert_eq!(number(&picked), wanted);
    assert!(picked.report(Outcome::Answered(500), now).is_some());
}

fn numbers(counts: &Counts) -> Vec<u8> {
    counts.keys().copied().collect()
}

#[test]
fn the_nearest_come_first_and_others_when_they_fail() {
    let client = workload("eu/a/1/n9", "v1");
    let failover = ByLocality { failover: [("eu".into(), "us".into())].into(), ..ByLocality::default() };
    let cluster = cluster(&settings(Some(failover), Some(one_error_ejects())), everywhere());
    for expected in 1..=5 {
        assert_eq!(numbers(&from(&cluster, &client)), [expected]);
        // Who is elsewhere has others that are near.
        if expected < 4 {
            assert_eq!(numbers(&from(&cluster, &workload("us/a/1/n9", "v1"))), [4]);
        }
        eject(&cluster, expected);
    }
    let ask = Ask { client: Some(&client), ..ask(std::time::Instant::now(), 0) };
    assert_eq!(cluster.pick(&ask).unwrap_err(), NoEndpoint::Ejected);
}

#[test]
fn without_outliers_or_where_it_is_disabled_nobody_comes_first() {
    let client = workload("eu/a/1/n1", "v1");
    for settings in [settings(Some(ByLocality::default()), None), settings(None, Some(one_error_ejects()))] {
        for (_, count) in from(&cluster(&settings, everywhere()), &client) {
            assert_likely(count, MANY, 0.2);
        }
    }
}

#[test]
fn a_place_that_is_half_healthy_gives_away_what_is_too_much_for_it() {
    let mut endpoints: Vec<_> = (1..=4).map(|number| placed(number, "eu/a/1", "v1")).collect();
    endpoints.extend((5..=8).map(|number| placed(number, "us/a/1", "v1")));
    let cluster = cluster(&settings(Some(ByLocality::default()), Some(one_error_ejects())), endpoints);
    let near = |counts: &Counts| counts.range(..5).map(|(_, count)| count).sum::<u32>();
    let client = workload("eu/a/1", "v1");
    eject(&cluster, 1);
    assert_eq!(near(&from(&cluster, &client)), MANY, "three of four are enough");
    eject(&cluster, 2);
    assert_likely(near(&from(&cluster, &client)), MANY, 0.7);
    eject(&cluster, 3);
    assert_likely(near(&from(&cluster, &client)), MANY, 0.35);
}

#[test]
fn labels_may_say_who_comes_first() {
    let label = |key: &str, value: Option<&str>| FailoverLabel { key: key.into(), value: value.map(Arc::from) };
    let by = |labels: &[(&str, Option<&str>)]| {
        let failover_priority = labels.iter().map(|(key, value)| label(key, *value)).collect();
        settings(Some(ByLocality { failover_priority, ..ByLocality::default() }), Some(one_error_ejects()))
    };
    let region = ("topology.kubernetes.io/region", None);
    for (labels, version, expected) in [
        (vec![region], "v1", vec![1, 2, 3]),
        (vec![region, ("version", None)], "v1", vec![1, 2]),
        (vec![region, ("version", None)], "v2", vec![3]),
        (vec![("version", Some("v2")), region], "v1", vec![3]),
        (vec![("kubernetes.io/hostname", None)], "v1", vec![1]),
    ] {
        let cluster = cluster(&by(&labels), everywhere());
        assert_eq!(numbers(&from(&cluster, &workload("eu/a/1/n1", version))), expected, "{labels:?} {version}");
    }
}

#[test]
fn shares_go_where_they_are_said_to_go_and_nothing_elsewhere() {
    let place = |region: &str, zone: Option<&str>| Place {
        region: Some(region.into()),
        zone: zone.map(Arc::from),
        subzone: None,
    };
    let to = vec![(place("eu", Some("a")), 70), (place("us", None), 30)];
    let distribute = vec![Distribute { from: place("eu", None), to }];
    let by = ByLocality { distribute, ..ByLocality::default() };
    // Without outliers, too.
    for (balance, outliers) in [
        (Balance::Simple(Simple::Random), None),
        (Balance::Simple(Simple::RoundRobin), Some(one_error_ejects())),
        (Balance::default(), None),
        (Balance::Hash(HashKey::SourceIp, HashAlgorithm::Ring(1024)), None),
    ] {
        let mut settings = settings(Some(by.clone()), outliers.clone());
        settings.balancer.balance = balance.clone();
        let cluster = cluster(&settings, everywhere());
        let counts = from(&cluster, &workload("eu/b", "v1"));
        assert_eq!(numbers(&counts), [1, 2, 4], "{balance:?}");
        assert_likely(counts[&4], MANY, 0.3);
        assert_likely(counts[&1] + counts[&2], MANY, 0.7);
        if matches!(balance, Balance::Hash(..)) {
            let client = workload("eu/b", "v1");
            let of = |hash, draw| {
                let ask = Ask { hash: Some(hash), client: Some(&client), ..ask(std::time::Instant::now(), draw) };
                number(&cluster.pick(&ask).unwrap())
            };
            assert!((0..100).all(|key| (0..20).all(|draw| of(key << 40, draw) == of(key << 40, 99))));
        }
        if outliers.is_some() {
            // Half of a share is healthy: it takes seven tenths of what it took.
            eject(&cluster, 1);
            let counts = from(&cluster, &workload("eu/b", "v1"));
            assert_likely(counts[&2], MANY, 0.49 / 0.79);
            // Nobody said anything for these, and nobody of theirs is ejected.
            assert_eq!(numbers(&from(&cluster, &workload("asia/a", "v1"))), [2, 3, 4, 5]);
        }
    }
}

#[test]
fn what_the_service_says_comes_before_what_a_rule_says() {
    let by = ByLocality { failover: [("eu".into(), "us".into())].into(), ..ByLocality::default() };
    for (distribution, place, expected) in [
        (Distribution::Prefer(Scope::Zone), "eu/a/1/n1", vec![1, 2]),
        (Distribution::Prefer(Scope::Node), "eu/a/1/n1", vec![1]),
        (Distribution::Prefer(Scope::Region), "eu/c/1/n7", vec![1, 2, 3]),
        (Distribution::Prefer(Scope::Node), "africa/a/1/n8", vec![1, 2, 3, 4, 5]),
        (Distribution::Only(Scope::Node), "eu/a/1/n2", vec![2]),
        (Distribution::Only(Scope::Region), "eu/a/1/n9", vec![1, 2, 3]),
    ] {
        let settings = Settings { distribution, ..settings(Some(by.clone()), None) };
        let counts = from(&cluster(&settings, everywhere()), &workload(place, "v1"));
        assert_eq!(numbers(&counts), expected, "{distribution:?} {place}");
    }
    let only = Settings { distribution: Distribution::Only(Scope::Node), ..settings(None, None) };
    let client = workload("eu/a/1/n9", "v1");
    let ask = Ask { client: Some(&client), ..ask(std::time::Instant::now(), 0) };
    assert_eq!(cluster(&only, everywhere()).pick(&ask).unwrap_err(), NoEndpoint::Ejected);
}

#[test]
fn many_kinds_of_clients_are_served_alike_whether_they_are_remembered_or_not() {
    let endpoints = (1..=100).map(|number| placed(number, &format!("r{number}"), "v1")).collect();
    let cluster = cluster(&settings(Some(ByLocality::default()), Some(one_error_ejects())), endpoints);
    for _ in 0..2 {
        for wanted in 1..=100_u8 {
            let client = workload(&format!("r{wanted}"), "v1");
            let ask = Ask { client: Some(&client), ..ask(std::time::Instant::now(), 3) };
            assert_eq!(number(&cluster.pick(&ask).unwrap()), wanted);
        }
    }
    // Who is nowhere that is known has no endpoint near.
    assert!(counts(&cluster, 1000, |ask| ask).len() > 90);
}
