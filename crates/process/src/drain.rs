//! Stopping in two phases: first gracefully (take nothing new, tell peers to go away, let what is open finish), then, at
//! a deadline, by force. Tells those who serve what phase it is and waits for them; knows nothing of what they serve.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

/// How far a process is with stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is not stopping.
    #[default]
    Running,
    /// Nothing new is taken, peers are told (GOAWAY), what is open may finish.
    Graceful,
    /// What is open is closed now.
    Forced,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything finished by itself.
    Gracefully,
    /// Something had to be closed by force, and was.
    Forced,
    /// Something did not even close by force within the grace; it is abandoned.
    Abandoned,
}

/// How long what is closed by force may take to say goodbye.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// A trigger and the handle that it drains.
#[must_use]
pub fn channel() -> (Trigger, Drain) {
    let (phase, watched) = watch::channel(Phase::Running);
    let (open, closed) = mpsc::channel(1);
    let drain = Drain { phase: watched, open: open.downgrade() };
    (Trigger { phase, open, closed }, drain)
}

/// Starts the phases and waits for the guards.
#[derive(Debug)]
pub struct Trigger {
    phase: watch::Sender<Phase>,
    open: mpsc::Sender<Infallible>,
    closed: mpsc::Receiver<Infallible>,
}

impl Trigger {
    /// Drains gracefully for at most `grace`, then by force. Answers when every guard is dropped, or a second after
    /// force began.
    pub async fn drain(self, grace: Duration) -> Drained {
        let Self { phase, open, mut closed } = self;
        drop(open);
        let deadline = Instant::now() + grace;
        phase.send_replace(Phase::Graceful);
        if timeout_at(deadline, closed.recv()).await.is_ok() {
            return Drained::Gracefully;
        }
        phase.send_replace(Phase::Forced);
        match timeout_at(deadline + LAST_GRACE, closed.recv()).await {
            Ok(_) => Drained::Forced,
            Err(_) => Drained::Abandoned,
        }
    }
}

/// Tells what phase it is. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Receiver<Phase>,
    open: mpsc::WeakSender<Infallible>,
}

impl Drain {
    /// The phase at the moment.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the process drains, gracefully or by force.
    pub async fn graceful(&self) {
        self.reached(Phase::Graceful).await;
    }

    /// Waits until what is open must close.
    pub async fn forced(&self) {
        self.reached(Phase::Forced).await;
    }

    /// Something open, that the drain waits for until the guard is dropped.
    #[must_use = "the drain waits for the guard only while it is held"]
    pub fn guard(&self) -> Guard {
        Guard { _open: self.open.upgrade() }
    }

    /// A drain of its own for the worker that this is called on (within a `LocalRuntime`), following this one: so that the
    /// connections of one worker share nothing with those of another.
    #[must_use]
    pub fn scoped(&self) -> Self {
        let (mut trigger, drain) = channel();
        let above = self.clone();
        tokio::task::spawn_local(async move {
            let open = above.guard();
            above.graceful().await;
            drop(trigger.open);
            trigger.phase.send_replace(Phase::Graceful);
            let forward = async {
                above.forced().await;
                trigger.phase.send_replace(Phase::Forced);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = trigger.closed.recv() => {}
                () = forward => {}
            }
            drop(open);
            // Those who hold the drain but guard nothing still have to hear of the end.
            above.forced().await;
            trigger.phase.send_replace(Phase::Forced);
        });
        drain
    }

    async fn reached(&self, phase: Phase) {
        let mut watched = self.phase.clone();
        // A trigger that is gone has ended its drain: the process is past every phase.
        let _ = watched.wait_for(|current| *current >= phase).await;
    }
}

/// Something open that a drain waits for.
#[derive(Debug)]
pub struct Guard {
    _open: Option<mpsc::Sender<Infallible>>,
}

#[cfg(test)]
mod tests;
