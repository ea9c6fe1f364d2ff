//! What an agent has and does only while it is in charge of its node's kernel: the capture, and what pods are held back by.

use ambit_ebpf_loader as ebpf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::succession::Turn;

/// Being in charge of a node's kernel, or not.
pub(crate) struct Reign {
    /// The capture, as long as this agent is in charge.
    pub(super) capture: Option<ebpf::Capture>,
    /// Puts the capture in force anew, should this agent be in charge again.
    pub(super) open: Box<dyn Fn() -> Result<ebpf::Capture, ebpf::Error>>,
    /// Begins what is done besides: it ends when the result is dropped.
    pub(super) attend: Box<dyn Fn() -> JoinSet<()>>,
    /// What becomes of this agent.
    pub(super) turns: mpsc::Receiver<Turn>,
    pub(super) attending: Option<JoinSet<()>>,
    /// True if the capture is to be put in force anew as soon as that is possible.
    pub(super) returns: bool,
}

impl Reign {
    /// In charge, with `capture` in force. `open` puts it in force anew, after others have been in charge; `attend` begins what
    /// is done besides while this agent is, once it has looked at every pod, and what it has begun ends when the result is
    /// dropped. `turns` tell what becomes of the agent.
    pub(crate) fn new(
        capture: ebpf::Capture,
        open: impl Fn() -> Result<ebpf::Capture, ebpf::Error> + 'static,
        attend: impl Fn() -> JoinSet<()> + 'static,
        turns: mpsc::Receiver<Turn>,
    ) -> Self {
        let (open, attend) = (Box::new(open), Box::new(attend));
        Self { capture: Some(capture), open, attend, turns, attending: None, returns: false }
    }

    /// The agent has looked at every pod.
    pub(super) fn looked(&mut self) {
        if self.capture.is_some() && self.attending.is_none() {
            self.attending = Some((self.attend)());
        }
    }

    /// Ends it: what is in force in the kernel stays so.
    pub(super) fn end(&mut self) {
        (self.capture, self.attending, self.returns) = (None, None, false);
    }

    /// Takes no further turn: its place in the succession is free.
    pub(super) fn abdicate(&mut self) {
        self.turns.close();
    }

    /// The next turn; never if there is none any more.
    pub(super) async fn turn(&mut self) -> Turn {
        match self.turns.recv().await {
            Some(turn) => turn,
            None => std::future::pending().await,
        }
    }
}
