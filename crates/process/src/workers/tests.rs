use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::sync::mpsc;

use super::*;

const THREE: NonZeroUsize = NonZeroUsize::new(3).unwrap();

/// Three workers, each holding its number in a cell, and what is told of deaths.
async fn three() -> (Workers<Cell<usize>>, mpsc::Receiver<String>) {
    let (died, deaths) = mpsc::channel();
    let on_death: OnDeath = Arc::new(move |name: &str| died.send(name.to_owned()).unwrap());
    let setup = |context: WorkerContext| async move { Ok::<_, Infallible>(Cell::new(context.index)) };
    (Workers::start_watched(THREE, setup, on_death).await.unwrap(), deaths)
}

#[tokio::test]
async fn every_worker_answers_from_its_own_thread_in_order() {
    let (workers, _deaths) = three().await;
    assert_eq!(workers.count(), 3);
    let ask = |held: &Rc<Cell<usize>>| (held.get(), std::thread::current().name().unwrap().to_owned());
    let answers = workers.ask(ask).await.unwrap();
    let expected = [(0, "worker-0"), (1, "worker-1"), (2, "worker-2")].map(|(index, name)| (index, name.to_owned()));
    assert_eq!(answers, expected);
    workers.tell(|held| held.set(held.get() + 10));
    assert_eq!(workers.ask(|held| held.get()).await.unwrap(), [10, 11, 12]);
    assert_eq!(workers.ask_one(1, |held| held.get()).await.unwrap(), 11);
    assert!(matches!(workers.ask_one(3, |held| held.get()).await, Err(Error::NoAnswer { worker: 3 })));
}

#[tokio::test]
async fn a_question_may_spawn_tasks_that_live_on_the_worker() {
    let (workers, _deaths) = three().await;
    let (answer, answered) = oneshot::channel();
    let spawn = move |held: &Rc<Cell<usize>>| {
        let held = held.clone();
        tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            answer.send(held.get()).unwrap();
        });
    };
    workers.ask_one(2, spawn).await.unwrap();
    assert_eq!(answered.await.unwrap(), 2);
}

#[tokio::test]
async fn a_panicking_task_does_not_kill_its_worker() {
    let (workers, deaths) = three().await;
    let (ended, end) = oneshot::channel();
    workers
        .ask_one(0, |_| {
            let task = tokio::task::spawn_local(async { panic!("a task panics, as this test wants") });
            tokio::task::spawn_local(async move { ended.send(task.await.unwrap_err().is_panic()).unwrap() });
        })
        .await
        .unwrap();
    assert!(end.await.unwrap());
    assert_eq!(workers.ask(|held| held.get()).await.unwrap(), [0, 1, 2]);
    workers.stop();
    assert!(deaths.try_recv().is_err());
}

#[tokio::test]
async fn a_panicking_question_has_no_answer_and_the_worker_goes_on() {
    let (workers, deaths) = three().await;
    let answer = workers.ask(|held| assert_ne!(held.get(), 1, "a question panics, as this test wants")).await;
    assert!(matches!(answer, Err(Error::NoAnswer { worker: 1 })), "{answer:?}");
    assert_eq!(workers.ask(|held| held.get()).await.unwrap(), [0, 1, 2]);
    workers.stop();
    assert!(deaths.try_recv().is_err());
}

#[tokio::test]
async fn a_set_up_that_fails_says_which_and_why() {
    let setup = |context: WorkerContext| async move { if context.index == 1 { Err("no port left") } else { Ok(()) } };
    let error = Workers::start(THREE, setup).await.unwrap_err();
    assert_eq!(error.to_string(), "worker 1 cannot begin");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no port left");
}

#[tokio::test]
async fn a_thread_that_dies_is_told_by_name() {
    let (died, deaths) = mpsc::channel();
    let on_death: OnDeath = Arc::new(move |name: &str| died.send(name.to_owned()).unwrap());
    let setup = |context: WorkerContext| async move {
        assert_ne!(context.index, 2, "a set-up panics, as this test wants");
        Ok::<_, Infallible>(())
    };
    let started = Workers::start_watched(THREE, setup, on_death).await;
    assert!(matches!(started, Err(Error::NoAnswer { worker: 2 })));
    assert_eq!(deaths.recv().unwrap(), "worker-2");
}

#[tokio::test]
async fn a_process_whose_worker_dies_exits_loudly() {
    const MARK: &str = "AMBIT_TEST_WORKER_DIES";
    if std::env::var_os(MARK).is_some() {
        let setup = |_| async { panic!("a set-up panics, as this test wants") };
        let _ = Workers::<()>::start::<_, _, Infallible>(THREE, setup).await;
        std::future::pending::<()>().await;
    }
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "workers::tests::a_process_whose_worker_dies_exits_loudly", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(70), "{err}");
    assert!(err.contains("died: the process exits"), "{err}");
}

#[tokio::test]
async fn stopping_drops_what_the_workers_hold_and_their_tasks() {
    let token = Arc::new(());
    let given = token.clone();
    let setup = move |_| {
        let held = given.clone();
        async move {
            let kept = held.clone();
            tokio::task::spawn_local(async move {
                let _kept = kept;
                std::future::pending::<()>().await;
            });
            Ok::<_, Infallible>(RefCell::new(held))
        }
    };
    let workers = Workers::start(THREE, setup).await.unwrap();
    assert!(Arc::strong_count(&token) > 3);
    workers.stop();
    assert_eq!(Arc::strong_count(&token), 1);
}
