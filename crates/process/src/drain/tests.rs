use tokio::task::{LocalSet, spawn_local};

use super::*;

const GRACE: Duration = Duration::from_secs(10);

fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn with_nothing_open_it_is_over_at_once() {
    let (trigger, drain) = channel();
    let start = Instant::now();
    assert_eq!(drain.phase(), Phase::Running);
    assert_eq!(trigger.drain(GRACE).await, Drained::Gracefully);
    assert_eq!(seconds(start), 0);
}

#[tokio::test(start_paused = true)]
async fn what_finishes_within_the_grace_is_not_forced() {
    let (trigger, drain) = channel();
    let start = Instant::now();
    let (guard, watch) = (drain.guard(), drain.clone());
    let open = async move {
        watch.graceful().await;
        assert_eq!(watch.phase(), Phase::Graceful);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(watch.phase(), Phase::Graceful);
        drop(guard);
    };
    assert_eq!(tokio::join!(trigger.drain(GRACE), open).0, Drained::Gracefully);
    assert_eq!(seconds(start), 3);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_finish_is_forced_at_the_deadline() {
    let (trigger, drain) = channel();
    let start = Instant::now();
    let (guard, watch) = (drain.guard(), drain.clone());
    let open = async move {
        watch.forced().await;
        assert_eq!((watch.phase(), seconds(start)), (Phase::Forced, 10));
        drop(guard);
    };
    assert_eq!(tokio::join!(trigger.drain(GRACE), open).0, Drained::Forced);
    assert_eq!(seconds(start), 10);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_even_close_by_force_is_abandoned() {
    let (trigger, drain) = channel();
    let start = Instant::now();
    let guard = drain.guard();
    assert_eq!(trigger.drain(GRACE).await, Drained::Abandoned);
    assert_eq!(seconds(start), 11);
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn what_opens_while_it_drains_is_waited_for_too() {
    let (trigger, drain) = channel();
    let start = Instant::now();
    let (guard, watch) = (drain.guard(), drain.clone());
    let open = async move {
        watch.graceful().await;
        let late = watch.guard();
        drop(guard);
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(late);
    };
    assert_eq!(tokio::join!(trigger.drain(GRACE), open).0, Drained::Gracefully);
    assert_eq!(seconds(start), 2);
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_a_workers_own_follows_in_both_phases_and_is_waited_for() {
    let within = async {
        for (lasts, drained, ends) in [(4, Drained::Gracefully, 4), (60, Drained::Forced, 10)] {
            let (trigger, drain) = channel();
            let start = Instant::now();
            let own = drain.scoped();
            let (guard, watch) = (own.guard(), own.clone());
            let open = spawn_local(async move {
                watch.graceful().await;
                assert_eq!(seconds(start), 0);
                tokio::select! {
                    () = watch.forced() => {}
                    () = tokio::time::sleep(Duration::from_secs(lasts)) => {}
                }
                drop(guard);
            });
            assert_eq!(own.phase(), Phase::Running);
            tokio::task::yield_now().await;
            assert_eq!(trigger.drain(GRACE).await, drained);
            assert_eq!(seconds(start), ends);
            open.await.unwrap();
            // Those who guard nothing hear of the end as well.
            own.forced().await;
        }
    };
    LocalSet::new().run_until(within).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_nothing_open_does_not_hold_up_the_others() {
    let within = async {
        let (trigger, drain) = channel();
        let start = Instant::now();
        let _idle = [drain.scoped(), drain.scoped()];
        tokio::task::yield_now().await;
        assert_eq!(trigger.drain(GRACE).await, Drained::Gracefully);
        assert_eq!(seconds(start), 0);
    };
    LocalSet::new().run_until(within).await;
}
