//! What the streams of one tunnel share: why it ended, and which of them hold bytes ahead of their readers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::Error;
use crate::stream::Flow;
use crate::transport::{FAIR_SHARE, Meter};

/// After this many bytes from the peer the streams are swept. It bounds what small frames can cost until then: at
/// ten bytes a frame, 100,000 of them.
const SWEEP_EVERY: u64 = 1 << 20;

/// The HTTP/2 layer's budget for small frames, which ends the tunnel when used up. A frame of one byte is ten bytes
/// long and takes 255 of it, and a sweep gives everything back; so this is more than a peer can use between two
/// sweeps, one turn of the event loop included, and a sleeping reader never ends a tunnel.
pub(crate) const SMALL_FRAME_BUDGET: usize = ((SWEEP_EVERY + 2 * FAIR_SHARE) / 10 * 256) as usize;

/// The state of one tunnel.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// What its transport has received.
    pub(crate) meter: Rc<Meter>,
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
        self.ended.borrow_mut().get_or_insert(why);
    }

    /// Why the tunnel is over, if it is.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.ended.borrow().clone()
    }

    /// Moves what sleeping readers have left lying to where small pieces cost little, once enough has come for that
    /// to matter. Called by the driver after every turn.
    pub(crate) fn sweep(&self) {
        let received = self.meter.received();
        if received.wrapping_sub(self.swept_at.get()) < SWEEP_EVERY {
            return;
        }
        self.swept_at.set(received);
        for flow in self.flows.borrow().values().filter_map(Weak::upgrade) {
            flow.stow();
        }
    }
}
