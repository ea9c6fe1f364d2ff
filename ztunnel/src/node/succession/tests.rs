//! Who is in charge, over real sockets.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(5);

/// An agent that is in charge until it is dropped.
struct Agent {
    turns: mpsc::Receiver<Turn>,
    _reigning: tokio::task::JoinSet<()>,
}

impl Agent {
    async fn start(path: &Path) -> (Self, bool) {
        let charge = Charge::take(path).await.unwrap();
        let succeeds = charge.predecessor.is_some();
        let ((sender, turns), (complete, completed)) = (mpsc::channel(1), oneshot::channel());
        complete.send(()).unwrap();
        let mut reigning = tokio::task::JoinSet::new();
        reigning.spawn_local(reign(Some(charge), completed, sender));
        (Self { turns, _reigning: reigning }, succeeds)
    }

    async fn next(&mut self) -> Turn {
        timeout(SOON, self.turns.recv()).await.unwrap().unwrap()
    }

    async fn steps_back(&mut self) {
        let Turn::StepBack(done) = self.next().await else { panic!("it is not asked to step back") };
        done.send(()).unwrap();
    }
}

async fn at_a_socket<F: Future<Output = ()>>(test: impl FnOnce(PathBuf) -> F) {
    let directory = TempDir::new().unwrap();
    LocalSet::new().run_until(test(directory.path().join("run/agent.sock"))).await;
}

#[tokio::test]
async fn the_newest_agent_is_in_charge_once_the_one_before_has_stepped_back() {
    at_a_socket(|path| async move {
        assert!(!is_taken(&path).await);
        let (mut first, succeeds) = Agent::start(&path).await;
        assert!(!succeeds && is_taken(&path).await);
        let mut second = Box::pin(Agent::start(&path));
        let turn = tokio::select! {
            turn = first.next() => turn,
            _ = &mut second => panic!("two are in charge"),
        };
        let Turn::StepBack(done) = turn else { panic!("it is not asked to step back") };
        assert!(timeout(Duration::from_millis(50), &mut second).await.is_err(), "the first has not stepped back yet");
        done.send(()).unwrap();
        let (_second, succeeds) = second.await;
        assert!(succeeds && is_taken(&path).await);
        assert!(matches!(first.next().await, Turn::Succeeded), "the second is complete");
    })
    .await;
}

#[tokio::test]
async fn whoever_stepped_back_is_in_charge_again_when_those_after_it_have_ended() {
    at_a_socket(|path| async move {
        let (mut first, _) = Agent::start(&path).await;
        let (second, ()) = tokio::join!(Agent::start(&path), first.steps_back());
        let mut second = second.0;
        assert!(matches!(first.next().await, Turn::Succeeded));
        let (third, ()) = tokio::join!(Agent::start(&path), second.steps_back());
        assert!(matches!(second.next().await, Turn::Succeeded));
        // The third is in charge whatever becomes of the second.
        drop(second);
        assert!(timeout(Duration::from_millis(50), first.turns.recv()).await.is_err());
        drop(third);
        assert!(matches!(first.next().await, Turn::Return));
        // As it was before: the next one asks it.
        let (fourth, ()) = tokio::join!(Agent::start(&path), first.steps_back());
        assert!(fourth.1);
    })
    .await;
}

#[tokio::test]
async fn whoever_ends_while_it_is_asked_is_not_waited_for() {
    at_a_socket(|path| async move {
        let (mut first, _) = Agent::start(&path).await;
        let ended = async {
            let turn = first.next().await;
            drop(first);
            drop(turn);
        };
        let (second, ()) = tokio::join!(timeout(SOON, Agent::start(&path)), ended);
        let (second, succeeds) = second.unwrap();
        assert!(!succeeds, "nobody serves but the second");
        // So does whoever only waits for the end.
        let (waited, ()) = tokio::join!(timeout(SOON, vacant(&path)), async {
            tokio::task::yield_now().await;
            drop(second);
        });
        waited.unwrap();
    })
    .await;
}

#[tokio::test]
async fn two_that_come_at_once_are_in_charge_one_after_the_other() {
    at_a_socket(|path| async move {
        // Whoever is first stays until the other has succeeded it.
        let come = async || {
            let (mut agent, succeeds) = Agent::start(&path).await;
            if !succeeds {
                agent.steps_back().await;
            }
            (agent, succeeds)
        };
        let ((_one, first), (_other, second)) = tokio::join!(come(), come());
        assert!(first != second, "{first} {second}");
    })
    .await;
}

#[tokio::test]
async fn whoever_stops_hands_the_charge_back_and_does_not_take_it_again() {
    at_a_socket(|path| async move {
        let (mut first, _) = Agent::start(&path).await;
        let (second, ()) = tokio::join!(Agent::start(&path), first.steps_back());
        let mut second = second.0;
        assert!(matches!(first.next().await, Turn::Succeeded));
        // The second stops, and goes on with what it has open.
        second.turns.close();
        assert!(matches!(first.next().await, Turn::Return));
        first.turns.close();
        let vacant = async {
            while is_taken(&path).await {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, vacant).await.unwrap();
        assert!(!Agent::start(&path).await.1, "there is nobody to ask");
        drop((first, second));
    })
    .await;
}
