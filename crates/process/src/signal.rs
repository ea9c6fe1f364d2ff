//! When to stop: SIGTERM, SIGINT or a request over the admin port; and that a second one means at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::drain::{Drained, Trigger};
use crate::error::Error;

/// What asked the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// [`Quit::now`].
    Quit,
}

/// What asks the process to stop, as it comes in.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quits: mpsc::Receiver<()>,
    // Keeps `quits` open when nobody else can ask.
    _quit: Quit,
}

/// Asks the process to stop, from within.
#[derive(Clone, Debug)]
pub struct Quit(mpsc::Sender<()>);

impl Quit {
    /// Asks, as SIGTERM would.
    pub fn now(&self) {
        // Full: the process has been asked already and not yet listened.
        let _ = self.0.try_send(());
    }
}

impl Signals {
    /// Begins to listen: from now on the signals do not end the process by themselves.
    pub fn listen() -> Result<(Self, Quit), Error> {
        let (asks, quits) = mpsc::channel(1);
        let quit = Quit(asks);
        let terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        Ok((Self { terminate, interrupt, quits, _quit: quit.clone() }, quit))
    }

    /// Waits for the next.
    pub async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.interrupt.recv() => Cause::Interrupt,
            _ = self.quits.recv() => Cause::Quit,
        }
    }
}

/// Waits to be asked to stop, then drains with `grace`; asked a second time, it answers `None` at once.
pub async fn drain_when_asked(mut signals: Signals, trigger: Trigger, grace: Duration) -> Option<Drained> {
    let cause = signals.next().await;
    tracing::info!(?cause, ?grace, "stopping: what is open may finish");
    tokio::select! {
        biased;
        again = signals.next() => {
            tracing::info!(cause = ?again, "asked again: stopping at once");
            None
        }
        drained = trigger.drain(grace) => Some(drained),
    }
}

#[cfg(test)]
mod tests;
