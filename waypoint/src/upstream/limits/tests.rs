//! Limits hold for all threads, and who waits is served in order.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ambit_model::route::Percent;
use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

fn pool(connections: u32, pending: Option<u32>) -> ConnectionPool {
    ConnectionPool {
        max_connections: Some(connections),
        max_pending_requests: pending,
        max_requests: Some(connections),
        max_retries: Some(connections),
        ..ConnectionPool::default()
    }
}

fn limits(connections: u32, pending: Option<u32>) -> Arc<Limits> {
    Limits::new(&pool(connections, pending), None, Instant::now())
}

fn overflows(limits: &Limits) -> [u64; 3] {
    let Overflows { connections, requests, retries } = limits.overflows();
    [connections, requests, retries].map(|counter| counter.load(Ordering::Relaxed))
}

#[test]
fn what_is_beyond_a_limit_is_refused_and_counted() {
    let limits = limits(2, Some(1));
    let now = Instant::now();
    let connections = [limits.connection().unwrap(), limits.connection().unwrap()];
    let requests = [limits.request(now).unwrap(), limits.request(now).unwrap()];
    let retries = [limits.retry(now).unwrap(), limits.retry(now).unwrap()];
    let pending = limits.pending().unwrap();
    assert_eq!(limits.active(), [2, 1, 2, 2]);
    assert_eq!(limits.connection().unwrap_err(), Overflow::Connections);
    assert_eq!(limits.request(now).unwrap_err(), Overflow::Requests);
    assert_eq!(limits.retry(now).unwrap_err(), Overflow::Retries);
    assert_eq!(limits.pending().unwrap_err(), Overflow::Pending);
    assert_eq!(overflows(&limits), [1, 2, 1]);
    drop((connections, requests, retries, pending));
    assert_eq!(limits.active(), [0; 4]);
    assert!(limits.connection().is_ok() && limits.request(now).is_ok() && limits.retry(now).is_ok());
}

#[test]
fn without_limits_nothing_is_refused() {
    let limits = Limits::new(&ConnectionPool::default(), None, Instant::now());
    let held: Vec<_> = (0..10_000)
        .map(|_| (limits.connection(), limits.pending(), limits.request(Instant::now()), limits.retry(Instant::now())))
        .collect();
    assert!(held.iter().all(|(a, b, c, d)| a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok()));
    assert_eq!(limits.active(), [10_000; 4]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_order_and_who_gives_up_waiting_is_not() {
    let limits = limits(1, None);
    let first = limits.connection().unwrap();
    let waits: Vec<_> = (0..3).map(|_| limits.pending().unwrap()).collect();
    let mut slots: Vec<_> = waits.iter().map(|wait| Box::pin(wait.slot())).collect();
    for slot in &mut slots {
        assert!(slot.as_mut().now_or_never().is_none());
    }
    // Bytes that wait for nobody do not come before those who wait.
    drop(slots.remove(1));
    drop(first);
    assert_eq!(limits.connection().unwrap_err(), Overflow::Connections);
    assert!(slots[1].as_mut().now_or_never().is_none(), "the first is before it");
    let second = slots[0].as_mut().now_or_never().expect("there is room");
    drop(second);
    tokio::time::timeout(Duration::from_secs(1), slots.remove(1)).await.expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn one_idle_connection_is_given_up_for_each_request_that_waits() {
    let limits = limits(2, None);
    let mut idle = vec![limits.connection().unwrap(), limits.connection().unwrap()];
    assert!(!limits.give_up(), "nobody waits");
    let called = limits.called();
    let (one, other) = (limits.pending().unwrap(), limits.pending().unwrap());
    let (mut one, mut other) = (Box::pin(one.slot()), Box::pin(other.slot()));
    assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
    called.await;
    assert_eq!(limits.wanted.load(Ordering::Relaxed), 2);
    // One that stops waiting wants nothing.
    drop(other);
    assert_eq!(limits.wanted.load(Ordering::Relaxed), 1);
    assert!(limits.give_up() && !limits.give_up());
    drop(idle.pop());
    one.await;
    assert_eq!((limits.wanted.load(Ordering::Relaxed), idle.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn room_that_becomes_free_by_itself_is_wanted_no_longer() {
    let limits = limits(1, None);
    let held = limits.connection().unwrap();
    let wait = limits.pending().unwrap();
    let mut slot = Box::pin(wait.slot());
    assert!(slot.as_mut().now_or_never().is_none());
    drop(held);
    let _slot = slot.await;
    assert!(!limits.give_up());
}

#[test]
fn as_many_are_given_up_as_there_are_beyond_a_lowered_limit() {
    let limits = limits(4, None);
    let mut held: Vec<_> = (0..4).map(|_| limits.connection().unwrap()).collect();
    let resize = |most| limits.update(&pool(most, None), None, Instant::now());
    assert!(!limits.give_up());
    resize(1);
    assert_eq!([(); 4].map(|()| limits.give_up()), [true, true, true, false]);
    // One that has ended is not asked for again, whichever it was.
    held.pop();
    assert!(!limits.give_up());
    // Up again: nobody has to go any more, and who has gone has left room.
    resize(4);
    assert!(!limits.give_up());
    drop(held);
    assert_eq!((0..5).map_while(|_| limits.connection().ok()).collect::<Vec<_>>().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_limit_may_change_while_connections_are_there() {
    let limits = limits(4, None);
    let mut held: Vec<_> = (0..3).map(|_| limits.connection().unwrap()).collect();
    let resize = |most| limits.update(&pool(most, None), None, Instant::now());
    resize(1);
    assert_eq!(limits.active()[0], 3);
    // Two have to end before there is one less than may be.
    for _ in 0..2 {
        held.pop();
        assert!(limits.connection().is_err());
    }
    held.pop();
    held.push(limits.connection().unwrap());
    let wait = limits.pending().unwrap();
    let mut slot = Box::pin(wait.slot());
    assert!(slot.as_mut().now_or_never().is_none());
    resize(2);
    let second = slot.await;
    assert_eq!(limits.active()[0], 2);
    // Down and up again, with more there than may be: what was owed is no longer.
    resize(1);
    resize(3);
    let third = limits.connection().unwrap();
    assert!(limits.connection().is_err());
    drop((held, second, third));
    assert_eq!(limits.active()[0], 0);
}

#[test]
fn a_budget_is_reckoned_from_requests_under_way_or_of_late() {
    let began = Instant::now();
    let budget = |seconds| RetryBudget {
        percent: Percent::new(20.0).unwrap(),
        min_retry_concurrency: 1,
        interval: Duration::from_secs(seconds),
    };
    let new = |seconds| Limits::new(&ConnectionPool::default(), Some(budget(seconds)), began);
    let limits = new(0);
    let held: Vec<_> = (0..10).map(|_| limits.request(began).unwrap()).collect();
    let retries = [limits.retry(began).unwrap(), limits.retry(began).unwrap()];
    assert_eq!(limits.retry(began).unwrap_err(), Overflow::Retries, "two are a fifth of ten");
    drop(held);
    assert!(limits.retry(began).is_err(), "two are more than one");
    drop(retries);
    assert!(limits.retry(began).is_ok(), "one may always be");

    // Of late: what is over counts, of requests and of retries.
    let limits = new(10);
    for _ in 0..10 {
        drop(limits.request(began));
    }
    let one = limits.retry(began).unwrap();
    drop(limits.retry(began).unwrap());
    assert_eq!(limits.retry(began).unwrap_err(), Overflow::Retries);
    drop(one);
    assert!(limits.retry(began).is_ok(), "one may always be");
    let later = began + Duration::from_secs(20);
    let _one = limits.retry(later).unwrap();
    assert!(limits.retry(later).is_err(), "no request came of late");
    assert_eq!(overflows(&limits)[2], 2);
}

#[test]
fn no_limit_is_ever_exceeded_by_any_thread() {
    const MOST: u32 = 5;
    let limits = Limits::new(
        &pool(MOST, Some(MOST)),
        Some(RetryBudget { percent: Percent::NONE, min_retry_concurrency: MOST, interval: Duration::ZERO }),
        Instant::now(),
    );
    let (inside, beyond, refused) = ([const { AtomicU32::new(0) }; 4], AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                fn hold<T>(slot: &Result<T, Overflow>, inside: &AtomicU32, beyond: &AtomicBool, refused: &AtomicU64) {
                    match slot {
                        Ok(_) if inside.fetch_add(1, Ordering::SeqCst) >= MOST => beyond.store(true, Ordering::SeqCst),
                        Ok(_) => {}
                        Err(_) => drop(refused.fetch_add(1, Ordering::SeqCst)),
                    }
                }
                for _ in 0..5_000 {
                    let [a, b, c, d] = &inside;
                    let slots = (
                        limits.connection(),
                        limits.pending(),
                        limits.request(Instant::now()),
                        limits.retry(Instant::now()),
                    );
                    hold(&slots.0, a, &beyond, &refused);
                    hold(&slots.1, b, &beyond, &refused);
                    hold(&slots.2, c, &beyond, &refused);
                    hold(&slots.3, d, &beyond, &refused);
                    std::thread::yield_now();
                    let held = [slots.0.is_ok(), slots.1.is_ok(), slots.2.is_ok(), slots.3.is_ok()];
                    for (counter, _) in inside.iter().zip(held).filter(|(_, held)| *held) {
                        counter.fetch_sub(1, Ordering::SeqCst);
                    }
                    drop(slots);
                }
            });
        }
    });
    assert!(!beyond.load(Ordering::SeqCst));
    assert_eq!(limits.active(), [0; 4]);
    assert_eq!(overflows(&limits).iter().sum::<u64>(), refused.load(Ordering::SeqCst));
}

#[test]
fn workers_that_wait_for_one_another_all_get_through() {
    let limits = limits(2, None);
    let most = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..500 {
                        let pending = limits.pending().unwrap();
                        let slot = pending.slot().await;
                        most.fetch_max(limits.active()[0], Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        drop(slot);
                    }
                });
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!((limits.active(), limits.wanted.load(Ordering::Relaxed)), ([0; 4], 0));
}

proptest! {
    /// Connections come and go, and the limit with them: never does one come when there are as many as there may be, and
    /// always when there are fewer.
    #[test]
    fn room_is_what_the_limit_leaves(steps in prop::collection::vec((0_u32..3, 1_u32..6), 1..60)) {
        let mut most = 3;
        let limits = limits(most, None);
        let mut held = Vec::new();
        for (step, to) in steps {
            match step {
                0 => {
                    let room = u32::try_from(held.len()).unwrap() < most;
                    let slot = limits.connection();
                    prop_assert_eq!(slot.is_ok(), room);
                    held.extend(slot);
                }
                1 => drop(held.pop()),
                _ => {
                    most = to;
                    limits.update(&pool(most, None), None, Instant::now());
                }
            }
            prop_assert_eq!(limits.active()[0], u32::try_from(held.len()).unwrap());
        }
    }
}
