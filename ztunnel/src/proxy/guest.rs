//! A pod as one worker serves it: its listeners, and the phases from its arrival to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ambit_model::{Reason, WorkloadUid};
use ambit_net::accept::Left;
use tokio::sync::{Notify, Semaphore, watch};

use super::pod::Pod;

/// How far a pod is on this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes new connections.
    Serving,
    /// Takes no new ones, which others do or nobody; what is open goes on.
    Leaving(Left),
    /// What is open is cut, for this reason.
    Cut(Reason),
}

/// A pod as one worker serves it.
pub(crate) struct Guest {
    /// The pod.
    pub(crate) pod: Arc<Pod>,
    /// What bounds the pod's DNS queries that are being forwarded.
    pub(crate) queries: Rc<Semaphore>,
    phase: watch::Sender<Phase>,
}

impl Guest {
    /// A pod that takes connections.
    pub(crate) fn new(pod: Arc<Pod>) -> Rc<Self> {
        let queries = Rc::new(Semaphore::new(QUERIES));
        Rc::new(Self { pod, queries, phase: watch::Sender::new(Phase::Serving) })
    }

    /// Moves on to `phase`; phases never go back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let onward = !matches!((&*now, phase), (Phase::Cut(_), _) | (_, Phase::Serving));
            let changed = onward && *now != phase;
            if changed {
                *now = phase;
            }
            changed
        });
    }

    /// Resolves once the pod takes no new connections, with how its listeners are left.
    pub(crate) fn leaving(&self) -> impl Future<Output = Left> + use<> {
        let mut phase = self.phase.subscribe();
        async move {
            // A dropped sender means that the worker is gone, which is the end as well.
            match phase.wait_for(|phase| *phase != Phase::Serving).await.map(|phase| *phase) {
                Ok(Phase::Leaving(left)) => left,
                _ => Left::Alone,
            }
        }
    }

    /// Resolves once what is open has to be cut, with why.
    pub(crate) fn cut(&self) -> impl Future<Output = Reason> + use<> {
        let mut phase = self.phase.subscribe();
        async move {
            match phase.wait_for(|phase| matches!(phase, Phase::Cut(_))).await.map(|phase| *phase) {
                Ok(Phase::Cut(reason)) => reason,
                _ => Reason::Draining,
            }
        }
    }
}

/// DNS queries of a pod that are forwarded at once; each has a socket.
const QUERIES: usize = 256;

/// The pods that one worker serves. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Guests(Rc<Inner>);

#[derive(Default)]
struct Inner {
    guests: RefCell<BTreeMap<WorkloadUid, Rc<Guest>>>,
    /// Those that are served no more: each lives on in what it still has open, which may have to be cut.
    former: RefCell<Vec<Weak<Guest>>>,
    arrived: Notify,
}

impl Guests {
    /// Adds `guest`; one that it takes the place of takes no new connections, whose listeners are left as `left` says if
    /// those of `guest` are in the same network namespace.
    pub(crate) fn insert(&self, guest: Rc<Guest>, left: Left) {
        let netns = guest.pod.netns.cookie();
        let before = self.0.guests.borrow_mut().insert(guest.pod.uid.clone(), guest);
        if let Some(before) = before {
            before.advance(Phase::Leaving(if before.pod.netns.cookie() == netns { left } else { Left::Alone }));
            self.0.former.borrow_mut().push(Rc::downgrade(&before));
        }
        self.0.arrived.notify_waiters();
    }

    /// Takes `guest` out of service, unless another has taken its place; true if it was in service.
    pub(crate) fn remove(&self, guest: &Rc<Guest>) -> bool {
        let mut guests = self.0.guests.borrow_mut();
        let serves = guests.get(&guest.pod.uid).is_some_and(|held| Rc::ptr_eq(held, guest));
        if serves {
            guests.remove(&guest.pod.uid);
            self.0.former.borrow_mut().push(Rc::downgrade(guest));
        }
        serves
    }

    /// The pod `uid`, if it is served here.
    pub(crate) fn find(&self, uid: &WorkloadUid) -> Option<Rc<Guest>> {
        self.0.guests.borrow().get(uid).cloned()
    }

    /// The pod `uid` with `address`, as soon as it is served here.
    pub(crate) async fn arrival(&self, uid: &WorkloadUid, address: IpAddr) -> Rc<Guest> {
        loop {
            let arrived = self.0.arrived.notified();
            if let Some(guest) = self.find(uid).filter(|guest| guest.pod.addresses.contains(&address)) {
                return guest;
            }
            arrived.await;
        }
    }

    /// Every pod that has something here: those served, and those that were and still have something open.
    pub(crate) fn all(&self) -> Vec<Rc<Guest>> {
        let mut former = self.0.former.borrow_mut();
        former.retain(|guest| guest.strong_count() > 0);
        let former = former.iter().filter_map(Weak::upgrade);
        self.0.guests.borrow().values().cloned().chain(former).collect()
    }

    /// Those of [`Guests::all`] in the network namespace `cookie`.
    pub(crate) fn within(&self, cookie: u64) -> Vec<Rc<Guest>> {
        self.all().into_iter().filter(|guest| guest.pod.netns.cookie() == cookie).collect()
    }
}

#[cfg(test)]
mod tests;
