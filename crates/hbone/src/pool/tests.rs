//! The pool against a naive model, and its promises one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const IDLE: Duration = Duration::from_secs(300);

fn pool(max_streams: usize) -> Pool<u8> {
    Pool::new(Settings { max_streams, max_idle: IDLE })
}

fn id(checkout: Checkout) -> TunnelId {
    let (Checkout::Use(id) | Checkout::Wait(id) | Checkout::Make(id)) = checkout;
    id
}

#[test]
fn a_burst_of_first_connections_makes_no_more_tunnels_than_it_needs() {
    let (mut pool, now) = (Pool::new(Settings::default()), Instant::now());
    let made = (0..5_000).filter(|_| matches!(pool.checkout(&1, now), Checkout::Make(_))).count();
    assert_eq!((made, pool.len()), (50, 50));
    assert!(matches!(pool.checkout(&2, now), Checkout::Make(_)), "another key has tunnels of its own");
}

#[test]
fn those_who_wait_for_a_tunnel_have_their_place_when_it_is_made() {
    let (mut pool, now) = (pool(3), Instant::now());
    let Checkout::Make(first) = pool.checkout(&1, now) else { panic!() };
    assert_eq!(pool.checkout(&1, now), Checkout::Wait(first));
    pool.made(first, now);
    assert_eq!(pool.checkout(&1, now), Checkout::Use(first));
    assert!(matches!(pool.checkout(&1, now), Checkout::Make(_)), "the fourth has none on the first");
    pool.release(first, now);
    assert_eq!(pool.checkout(&1, now), Checkout::Use(first));
}

#[test]
fn a_tunnel_is_closed_when_it_has_been_idle_for_long_enough_and_not_before() {
    let (mut pool, start) = (pool(100), Instant::now());
    let tunnel = id(pool.checkout(&1, start));
    assert_eq!(pool.expire(tunnel, start + 2 * IDLE), Idle::AskAt(start + 3 * IDLE), "not made yet");
    pool.made(tunnel, start);
    assert_eq!(pool.expire(tunnel, start + 2 * IDLE), Idle::AskAt(start + 3 * IDLE), "has a stream");
    let released = start + 2 * IDLE + Duration::from_secs(1);
    pool.release(tunnel, released);
    assert_eq!(pool.expire(tunnel, start + 3 * IDLE), Idle::AskAt(released + IDLE));
    assert_eq!(pool.expire(tunnel, released + IDLE), Idle::Close);
    assert_eq!(pool.expire(tunnel, released + IDLE), Idle::Gone);
    assert!(pool.is_empty());
}

#[test]
fn a_removed_tunnel_takes_no_new_streams_and_forgets_its_old_ones() {
    let (mut pool, now) = (pool(100), Instant::now());
    let gone = id(pool.checkout(&1, now));
    pool.made(gone, now);
    pool.remove(gone);
    let Checkout::Make(next) = pool.checkout(&1, now) else { panic!() };
    pool.release(gone, now);
    assert_eq!(pool.checkout(&1, now), Checkout::Wait(next));
}

#[test]
fn a_rush_leaves_no_memory_behind() {
    let (mut pool, now) = (Pool::new(Settings { max_streams: 1, max_idle: IDLE }), Instant::now());
    let ids: Vec<_> = (0..10_000_u32).map(|key| id(pool.checkout(&key, now))).collect();
    ids.into_iter().for_each(|id| pool.remove(id));
    assert!(pool.is_empty());
    assert!(pool.keys.capacity() <= 128 && pool.peers.capacity() <= 128, "{}", pool.keys.capacity());
}

/// What happens to a pool. Numbers choose among the tunnels that there are.
#[derive(Clone, Debug)]
enum Step {
    Checkout(u8),
    Made(usize),
    Limit(usize, usize),
    Release(usize),
    Remove(usize),
    Expire(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>();
    prop_oneof![
        6 => (0..3_u8).prop_map(Step::Checkout),
        3 => any.prop_map(Step::Made),
        1 => (any, 0..6_usize).prop_map(|(tunnel, most)| Step::Limit(tunnel, most)),
        4 => any.prop_map(Step::Release),
        1 => any.prop_map(Step::Remove),
        2 => any.prop_map(Step::Expire),
        2 => (1..400_u64).prop_map(Step::Pass),
    ]
}

/// A tunnel as anyone would write it down.
#[derive(Debug)]
struct Naive {
    key: u8,
    made: bool,
    streams: usize,
    most: usize,
    idle_since: Instant,
}

/// Where the model puts a stream: the oldest of the made ones with room, or of those being made.
fn place(model: &BTreeMap<TunnelId, Naive>, key: u8) -> Option<(TunnelId, bool)> {
    let room = |made| {
        let fits = |(_, t): &(&TunnelId, &Naive)| t.key == key && t.made == made && t.streams < t.most;
        model.iter().find(fits).map(|(id, _)| (*id, made))
    };
    room(true).or_else(|| room(false))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn does_what_the_naive_model_does(steps in proptest::collection::vec(step(), 1..200), max_streams in 1..5_usize) {
        let (mut pool, mut now) = (pool(max_streams), Instant::now());
        let mut model: BTreeMap<TunnelId, Naive> = BTreeMap::new();
        for step in steps {
            let nth = |n: usize| model.keys().nth(n % model.len().max(1)).copied();
            match step {
                Step::Checkout(key) => {
                    let checkout = pool.checkout(&key, now);
                    match (place(&model, key), checkout) {
                        (Some((expected, true)), Checkout::Use(id)) | (Some((expected, false)), Checkout::Wait(id)) => {
                            prop_assert_eq!(id, expected);
                            model.get_mut(&id).unwrap().streams += 1;
                        }
                        (None, Checkout::Make(id)) => {
                            let naive = Naive { key, made: false, streams: 1, most: max_streams, idle_since: now };
                            prop_assert!(model.insert(id, naive).is_none());
                        }
                        (expected, checkout) => prop_assert!(false, "{expected:?} {checkout:?}"),
                    }
                }
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
                Step::Made(n) => if let Some(id) = nth(n) {
                    pool.made(id, now);
                    let naive = model.get_mut(&id).unwrap();
                    (naive.made, naive.idle_since) = (true, now);
                },
                Step::Limit(n, most) => if let Some(id) = nth(n) {
                    pool.limit(id, most);
                    model.get_mut(&id).unwrap().most = most.min(max_streams);
                },
                Step::Release(n) => if let Some(id) = nth(n) {
                    let naive = model.get_mut(&id).unwrap();
                    if naive.streams > 0 {
                        pool.release(id, now);
                        (naive.streams, naive.idle_since) = (naive.streams - 1, now);
                    }
                },
                Step::Remove(n) => if let Some(id) = nth(n) {
                    pool.remove(id);
                    model.remove(&id);
                },
                Step::Expire(n) => if let Some(id) = nth(n) {
                    let naive = &model[&id];
                    let expired = naive.made && naive.streams == 0 && now >= naive.idle_since + IDLE;
                    match pool.expire(id, now) {
                        Idle::Close => {
                            prop_assert!(expired);
                            model.remove(&id);
                        }
                        Idle::AskAt(then) => {
                            prop_assert!(!expired && then > now);
                            let earliest = if naive.streams == 0 && naive.made { naive.idle_since } else { now } + IDLE;
                            prop_assert!(then <= earliest, "asked too late: {then:?} {earliest:?}");
                        }
                        Idle::Gone => prop_assert!(false, "{id:?} is there"),
                    }
                },
            }
            prop_assert_eq!(pool.len(), model.len());
        }
    }
}
