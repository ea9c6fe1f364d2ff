//! What the streams of one tunnel share: why it ended, which of them hold bytes ahead of their readers, and which of
//! them wait for the tunnel to write.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::Waker;

use bytes::Bytes;
use h2::SendStream;

use crate::Error;
use crate::stream::Flow;
use crate::transport::{FAIR_SHARE, Meter};

/// After this many bytes from the peer the streams are swept. That bounds what small frames can cost until then: at
/// ten bytes a frame, 100,000 of them.
const SWEEP_EVERY: u64 = 1 << 20;

/// The HTTP/2 layer's budget for small frames, which ends the tunnel when used up. A frame of one byte is ten bytes
/// long and takes 255 of it, and a sweep gives everything back; so this is more than a peer can use between two
/// sweeps, one turn of the event loop included, and a sleeping reader never ends a tunnel.
pub(crate) const SMALL_FRAME_BUDGET: usize = ((SWEEP_EVERY + 2 * FAIR_SHARE) / 10 * 256) as usize;

/// How many pieces a stream may hand over before the tunnel has written them. However small they are, each costs the
/// HTTP/2 layer some hundred bytes until then.
pub(crate) const PIECES_AHEAD: u32 = 256;

/// The state of one tunnel.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Its transport.
    pub(crate) meter: Rc<Meter>,
    /// How often everything handed over has been written.
    written: Cell<u64>,
    /// Those who have handed over as many pieces as they may.
    writers: RefCell<Vec<Waker>>,
    /// Streams that end by a reset, which would take back what has not been written.
    resets: RefCell<Vec<(SendStream<Bytes>, h2::Reason)>>,
    swept_at: Cell<u64>,
    ended: RefCell<Option<Error>>,
    flows: RefCell<HashMap<u64, Weak<Flow>>>,
    next_key: Cell<u64>,
}

impl Shared {
    /// The streams of which at least one half is held here.
    pub(crate) fn held(&self) -> usize {
        self.flows.borrow().len()
    }

    /// Adds a stream; the key takes it out again.
    pub(crate) fn enter(&self, flow: impl FnOnce(u64) -> Rc<Flow>) -> Rc<Flow> {
        let key = self.next_key.get();
        self.next_key.set(key.wrapping_add(1));
        let flow = flow(key);
        self.flows.borrow_mut().insert(key, Rc::downgrade(&flow));
        flow
    }

    /// Takes a stream out.
    pub(crate) fn leave(&self, key: u64) {
        let mut flows = self.flows.borrow_mut();
        flows.remove(&key);
        if flows.capacity() > 64 && flows.len() * 4 < flows.capacity() {
            flows.shrink_to_fit();
        }
    }

    /// Says why the tunnel is over; the first to say so is right.
    pub(crate) fn end(&self, why: Error) {
        let why = match (why, self.meter.broke()) {
            (Error::Transport(_), Some(broke)) => Error::Transport(broke),
            (why, _) => why,
        };
        self.ended.borrow_mut().get_or_insert(why);
        self.resets.take();
        self.wake_writers();
    }

    /// Why the tunnel is over, if it is.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.ended.borrow().clone()
    }

    /// A number that changes when everything handed over has been written.
    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Has `writer` woken when that number changes.
    pub(crate) fn wait_until_written(&self, writer: &Waker) {
        self.writers.borrow_mut().push(writer.clone());
    }

    /// Resets `stream` with `code` when everything handed over has been written.
    pub(crate) fn reset_once_written(&self, stream: SendStream<Bytes>, code: h2::Reason) {
        self.resets.borrow_mut().push((stream, code));
    }

    /// Called by the driver when it has received and written what it could.
    pub(crate) fn end_turn(&self) {
        if !self.meter.is_blocked() {
            self.written.set(self.written.get().wrapping_add(1));
            for (mut stream, code) in self.resets.take() {
                stream.send_reset(code);
            }
            self.wake_writers();
        }
        let received = self.meter.received();
        if received.wrapping_sub(self.swept_at.get()) >= SWEEP_EVERY {
            self.swept_at.set(received);
            self.sweep();
        }
    }

    /// Moves what sleeping readers have left lying to where small pieces cost little.
    fn sweep(&self) {
        for flow in self.flows.borrow().values().filter_map(Weak::upgrade) {
            flow.stow();
        }
    }

    fn wake_writers(&self) {
        for writer in self.writers.take() {
            writer.wake();
        }
    }
}
