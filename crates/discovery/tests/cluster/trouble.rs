//! Whatever goes wrong between an agent and the API: nothing is lost, and nothing comes twice.

use std::collections::BTreeSet;
use std::time::Duration;

use ambit_discovery::Pace;
use ambit_model::Snapshot;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::timeout;

use crate::agent::{Agent, PACE, dump};
use crate::api::{Api, Fault, State};
use crate::objects::{
    NAMESPACES, NODES, PODS, POLICIES, ROUTES, SERVICES, SLICES, denial, namespace, node, pod, route, service, slice,
};

fn names(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.workloads().map(|pod| pod.name.to_string()).collect()
}

/// The lists of pods that were asked for, pages beyond the first left out.
fn lists(api: &Api) -> usize {
    let requests = api.requests();
    let lists = requests.iter().filter(|target| target.starts_with("/api/v1/pods"));
    lists.filter(|target| !target.contains("watch=") && !target.contains("continue=")).count()
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_from_where_it_was() {
    let api = Api::start().await;
    api.put(PODS, pod("shop", "p-0", "10.0.0.1"));
    let mut agent = Agent::start(&api).await;
    for round in 1..=5_u8 {
        api.cut_watches();
        api.put(PODS, pod("shop", &format!("p-{round}"), &format!("10.0.1.{round}")));
        agent.until("the next pod", |snapshot| snapshot.workloads().count() == usize::from(round) + 1).await;
    }
    assert_eq!(lists(&api), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_watch_without_events_is_kept_current_by_bookmarks() {
    let api = Api::start().await;
    api.put(PODS, pod("shop", "p-0", "10.0.0.1"));
    let mut agent = Agent::start(&api).await;
    api.with(|state| state.bookmarks = Duration::from_millis(10));
    // Much happens, none of it to pods; then what happened is forgotten, but for the last of it.
    api.with(|state| (0..100).for_each(|_| state.put(NODES, node("node-a", "z1"))));
    let noted = api.with(|state| state.version);
    // A watch that begins again tells up to where it was told.
    let current = || {
        let versions =
            api.requests().into_iter().filter(|target| target.starts_with("/api/v1/pods") && target.contains("watch="));
        let version = |target: String| target.split("resourceVersion=").nth(1)?.split('&').next()?.parse::<u64>().ok();
        versions.filter_map(version).max().unwrap_or(0)
    };
    let mut round = 0;
    crate::agent::soon("no bookmark is noted", async {
        while current() < noted {
            round += 1;
            api.cut_watches();
            api.put(NODES, node("node-b", &format!("z{round}")));
            let zone = format!("z{round}");
            agent.until("the node", |snapshot| snapshot.node("node-b").is_some_and(|node| *node.zone == *zone)).await;
        }
    })
    .await;
    assert_eq!(lists(&api), 1);
    agent.stop().await;
}

#[tokio::test]
async fn what_is_no_longer_known_is_listed_anew_and_its_difference_told() {
    let api = Api::start().await;
    for number in 0..5 {
        api.put(PODS, pod("shop", &format!("p-{number}"), &format!("10.0.0.{}", number + 1)));
    }
    let mut agent = Agent::start(&api).await;
    // As an answer and as an event, in turn.
    for round in 0..4_u8 {
        api.with(|state| {
            state.delete(PODS, "shop", &format!("p-{round}"));
            state.put(PODS, pod("shop", &format!("q-{round}"), &format!("10.0.1.{}", round + 1)));
            state.refuses = round % 2 == 0;
            state.compact();
            state.cuts += 1;
        });
        let (gone, new) = (format!("p-{round}"), format!("q-{round}"));
        agent
            .until("the difference", |snapshot| {
                let names = names(snapshot);
                names.len() == 5 && names.contains(&new) && !names.contains(&gone)
            })
            .await;
    }
    assert!(lists(&api) > 1);
    agent.stop().await;
}

#[tokio::test]
async fn an_api_that_ends_every_watch_at_once_is_not_asked_without_a_pause() {
    let api = Api::start().await;
    api.put(PODS, pod("shop", "p-0", "10.0.0.1"));
    api.fail(|target| target.contains("watch=").then_some(Fault::End(0)));
    let pace = Pace { first_retry: Duration::from_millis(50), ..PACE };
    let begun = std::time::Instant::now();
    let mut agent = Agent::begin(&api, pace, None);
    agent.next().await;
    let watches = || {
        let requests = api.requests();
        requests.iter().filter(|target| target.starts_with("/api/v1/pods") && target.contains("watch=")).count()
    };
    const WATCHES: u32 = 5;
    let mut asked = api.shared().asked();
    let several = async {
        while watches() < WATCHES as usize {
            asked.changed().await.unwrap();
        }
    };
    crate::agent::soon("nobody watches", several).await;
    assert!(begun.elapsed() >= pace.first_retry * (WATCHES - 1), "{:?}", begun.elapsed());
    api.heal();
    api.put(PODS, pod("shop", "p-1", "10.0.0.2"));
    agent.until("the new pod", |snapshot| snapshot.workloads().count() == 2).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_list_that_expires_between_its_pages_begins_anew() {
    let api = Api::start().await;
    for number in 0..700 {
        api.put(PODS, pod("shop", &format!("p-{number}"), &format!("10.1.{}.{}", number / 250, number % 250 + 1)));
    }
    let mut expired = false;
    api.fail(move |target| {
        let first = target.contains("continue=") && !std::mem::replace(&mut expired, target.contains("continue="));
        first.then_some(Fault::Status(410))
    });
    let agent = Agent::start(&api).await;
    assert_eq!(agent.snapshots.load().workloads().count(), 700);
    assert_eq!(lists(&api), 2);
    agent.stop().await;
}

const FAULTS: [Fault; 10] = [
    Fault::Status(500),
    Fault::Status(429),
    Fault::Status(410),
    Fault::Status(503),
    Fault::Html,
    Fault::Hang,
    Fault::Cut(3),
    Fault::End(7),
    Fault::Expired(5),
    Fault::Trouble(2),
];

/// A change of something, or of a few things.
fn churn(state: &mut State, random: &mut StdRng, size: u32) {
    for _ in 0..random.random_range(1..20) {
        let (number, version) = (random.random_range(0..size), random.random_range(1..250_u32));
        let ip = format!("10.{}.{}.{}", version, number / 250, number % 250 + 1);
        let (app, space) = (number % 50, format!("ns-{}", number % 5));
        match random.random_range(0..20_u8) {
            0..9 => state.put(PODS, pod(&space, &format!("app{app}-{number}"), &ip)),
            9..13 => state.delete(PODS, &space, &format!("app{app}-{number}")),
            13 => state.put(SERVICES, service(&space, &format!("app{app}"), &format!("10.96.{version}.{app}"))),
            14 => state.delete(SERVICES, &space, &format!("app{app}")),
            15 => state.put(SLICES, slice(&space, &format!("app{app}"), Some(&ip))),
            16 => state.delete(SLICES, &space, &format!("app{app}-abcde")),
            17 => state.put(POLICIES, denial(&space, &format!("deny-{app}"), &format!("thief-{version}"))),
            18 => state.put(ROUTES, route(&space, &format!("app{app}"))),
            _ => state.put(NODES, node(&format!("node-{app}"), &format!("z{version}"))),
        }
    }
    if random.random_ratio(1, 30) {
        state.refuses = random.random();
        state.compact();
    }
    if random.random_ratio(1, 10) {
        state.cuts += 1;
    }
}

/// Lets an agent follow an API that fails one request in `odds` while `steps` changes are made to about `size` objects,
/// and then compares it with an agent that lists everything.
async fn follows_through(seed: u64, size: u32, steps: u32, odds: u32) {
    let api = Api::start().await;
    let mut random = StdRng::seed_from_u64(seed);
    api.with(|state| {
        state.bookmarks = Duration::from_millis(50);
        state.put(NAMESPACES, namespace("fixed"));
        state.put(PODS, pod("fixed", "fixed-0", "192.168.7.1"));
        state.put(POLICIES, denial("fixed", "fixed", "thief"));
        (0..5).for_each(|space| state.put(NAMESPACES, namespace(&format!("ns-{space}"))));
        (0..size / 10).for_each(|_| churn(state, &mut random, size));
    });
    let mut faults = StdRng::seed_from_u64(!seed);
    api.fail(move |_| faults.random_ratio(1, odds).then(|| FAULTS[faults.random_range(0..FAULTS.len())]));
    let pace = Pace { silence: Duration::from_millis(500), ..PACE };
    let mut agent = Agent::begin(&api, pace, None);
    agent.next().await;
    let assert_fixed = |snapshot: &Snapshot| {
        assert!(snapshot.workloads().any(|pod| &*pod.name == "fixed-0"), "seed {seed}");
        assert!(snapshot.policies.authorizations().any(|policy| &*policy.key.name == "fixed"), "seed {seed}");
    };
    for _ in 0..steps {
        api.with(|state| churn(state, &mut random, size));
        // Sometimes it is seen before the next change, sometimes not.
        let patience = Duration::from_millis(random.random_range(0..20));
        drop(timeout(patience, agent.snapshots.changed()).await);
        assert_fixed(&agent.snapshots.load());
    }
    api.heal();
    let fresh = Agent::start(&api).await;
    let expected = fresh.now();
    fresh.stop().await;
    agent
        .until(&format!("seed {seed}: what a fresh list says:\n{expected}"), |snapshot| {
            assert_fixed(snapshot);
            dump(snapshot) == expected
        })
        .await;
    agent.stop().await;
}

#[tokio::test]
async fn in_the_end_it_is_what_a_fresh_list_says_whatever_went_wrong() {
    for seed in 0..8 {
        follows_through(seed, 100, 60, 4).await;
    }
}

#[tokio::test]
async fn in_the_end_it_is_what_a_fresh_list_says_with_thousands_of_objects() {
    follows_through(1_000, 5_000, 200, 8).await;
}
