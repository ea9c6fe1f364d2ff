//! A pod as one worker serves it: its listeners, and the phases from its arrival to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ambit_model::{Reason, WorkloadUid};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::warn;

use super::pod::Pod;

/// How far a pod is on this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes new connections.
    Serving,
    /// Takes no new ones; what is open goes on.
    Leaving,
    /// What is open is cut, for this reason.
    Cut(Reason),
}

/// A pod as one worker serves it.
pub(crate) struct Guest {
    /// The pod.
    pub(crate) pod: Arc<Pod>,
    phase: watch::Sender<Phase>,
}

impl Guest {
    /// A pod that takes connections.
    pub(crate) fn new(pod: Arc<Pod>) -> Rc<Self> {
        Rc::new(Self { pod, phase: watch::Sender::new(Phase::Serving) })
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

    /// Resolves once the pod takes no new connections.
    pub(crate) fn leaving(&self) -> impl Future<Output = ()> + use<> {
        let mut phase = self.phase.subscribe();
        async move {
            // A dropped sender means that the worker is gone, which is the end as well.
            let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
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

/// Accepts from `listener` and hands each connection to `serve`, until `guest` leaves; what the kernel has accepted
/// by then is still served.
pub(crate) async fn accept(guest: Rc<Guest>, listener: TcpListener, serve: impl Fn(TcpStream, SocketAddr)) {
    let leaving = guest.leaving();
    tokio::pin!(leaving);
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => serve(stream, peer),
                Err(error) => pause(&guest, &error).await,
            },
            () = &mut leaving => return,
        }
    }
}

/// A listener that fails is out of descriptors or memory: what was accepted must end before more can be.
async fn pause(guest: &Guest, error: &std::io::Error) {
    const PAUSE: Duration = Duration::from_millis(50);
    warn!(pod = %guest.pod.uid, "a connection cannot be accepted: {error}; raise the limit of open files if this goes on");
    let _ = timeout(PAUSE, guest.leaving()).await;
}

/// The pods that one worker serves. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Guests(Rc<Inner>);

#[derive(Default)]
struct Inner {
    guests: RefCell<BTreeMap<WorkloadUid, Rc<Guest>>>,
    arrived: Notify,
}

impl Guests {
    /// Adds `guest`, and answers the one that it takes the place of.
    pub(crate) fn insert(&self, guest: Rc<Guest>) -> Option<Rc<Guest>> {
        let before = self.0.guests.borrow_mut().insert(guest.pod.uid.clone(), guest);
        self.0.arrived.notify_waiters();
        before
    }

    /// Takes `guest` out, unless another has taken its place.
    pub(crate) fn remove(&self, guest: &Rc<Guest>) {
        let mut guests = self.0.guests.borrow_mut();
        if guests.get(&guest.pod.uid).is_some_and(|held| Rc::ptr_eq(held, guest)) {
            guests.remove(&guest.pod.uid);
        }
    }

    /// The pod `uid`, if it is served here.
    pub(crate) fn find(&self, uid: &WorkloadUid) -> Option<Rc<Guest>> {
        self.0.guests.borrow().get(uid).cloned()
    }

    /// The pod `uid`, waiting for up to `patience` until it is served here.
    pub(crate) async fn await_arrival(&self, uid: &WorkloadUid, patience: Duration) -> Option<Rc<Guest>> {
        let arrival = async {
            loop {
                let arrived = self.0.arrived.notified();
                if let Some(guest) = self.find(uid) {
                    return guest;
                }
                arrived.await;
            }
        };
        timeout(patience, arrival).await.ok()
    }

    /// Every pod served here.
    pub(crate) fn all(&self) -> Vec<Rc<Guest>> {
        self.0.guests.borrow().values().cloned().collect()
    }
}
