//! What stands by leave of policy or of a certificate, connections and tunnels, and which of it is cut when policy changes
//! its mind or the certificate is revoked. Only that is woken; all others are looked at, and only when something has changed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use ambit_discovery::Snapshots;
use ambit_identity::{Peer, TrustStore};
use ambit_model::policy::Client;
use ambit_model::{Access, Connection, Denial, Reason, Snapshot, Upstream, judge};
use ambit_transport::secured::revoked;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::failure::Failure;

/// For so long a connection goes on that is open when its destination is first told to have a waypoint: most requests end by then,
/// and no policy of the waypoint has been in force for longer.
const GRACE: Duration = Duration::from_millis(500);

/// As many are judged anew before others on the worker get their turn.
const BATCH: usize = 256;

/// What stands on one worker by somebody's leave. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Standing(Rc<RefCell<Register>>);

#[derive(Default)]
struct Register {
    last: u64,
    entries: BTreeMap<u64, Entry>,
}

struct Entry {
    /// What policy has admitted; nothing for a tunnel, which carries what policy looks at.
    access: Option<Access>,
    /// Who has proved himself by a certificate.
    peer: Option<Rc<Peer>>,
    revoke: oneshot::Sender<Failure>,
}

/// The leave of one connection or tunnel, which ends with this value.
pub(crate) struct Leave {
    standing: Standing,
    number: u64,
    revoked: oneshot::Receiver<Failure>,
}

impl Standing {
    /// Notes that `connection`, which `peer` carries here, goes to `to`, as has just been admitted.
    pub(crate) fn enter(&self, connection: &Connection, to: &Upstream, peer: Option<&Rc<Peer>>) -> Leave {
        self.insert(Access::new(connection, to), peer.cloned())
    }

    /// Notes a tunnel to or from `peer`.
    pub(crate) fn tunnel(&self, peer: Rc<Peer>) -> Leave {
        self.insert(None, Some(peer))
    }

    fn insert(&self, access: Option<Access>, peer: Option<Rc<Peer>>) -> Leave {
        let (revoke, revoked) = oneshot::channel();
        let mut register = self.0.borrow_mut();
        register.last = register.last.wrapping_add(1);
        let number = register.last;
        register.entries.insert(number, Entry { access, peer, revoke });
        Leave { standing: self.clone(), number, revoked }
    }

    /// Revokes the leave of everything that `judge` has something against.
    async fn review(&self, judge: impl Fn(&Entry) -> Option<Failure>) {
        let mut from = 0;
        while let Some(last) = self.review_batch(from, &judge) {
            from = last.wrapping_add(1);
            yield_now().await;
        }
    }

    /// The same for the next batch, beginning with number `from`; the last number in it.
    fn review_batch(&self, from: u64, judge: impl Fn(&Entry) -> Option<Failure>) -> Option<u64> {
        let mut register = self.0.borrow_mut();
        let batch = register.entries.range(from..).take(BATCH);
        let judged: Vec<_> = batch.map(|(number, entry)| (*number, judge(entry))).collect();
        let last = judged.last().map(|(number, _)| *number);
        for (number, why) in judged.into_iter().filter_map(|(number, why)| Some((number, why?))) {
            if let Some(entry) = register.entries.remove(&number) {
                // An error means that the connection has ended by itself.
                let _ = entry.revoke.send(why);
            }
        }
        last
    }
}

impl Leave {
    /// Resolves when the leave is revoked or `other` does.
    pub(crate) async fn or(mut self, other: impl Future<Output = Reason>) -> Failure {
        tokio::select! {
            biased;
            reason = other => reason.into(),
            Ok(why) = &mut self.revoked => why,
            else => std::future::pending().await,
        }
    }

    /// Resolves when the leave is revoked, with why.
    pub(crate) async fn revoked(&mut self) -> Failure {
        if !self.revoked.is_terminated()
            && let Ok(why) = (&mut self.revoked).await
        {
            return why;
        }
        std::future::pending().await
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.standing.0.borrow_mut().entries.remove(&self.number);
    }
}

/// Follows the mesh: whatever a new snapshot refuses is cut. Who had no need of a waypoint when he came has a moment to finish.
pub(crate) async fn follow(mut snapshots: Snapshots, standing: Standing) {
    let mut before = snapshots.load();
    let mut over: Option<Instant> = None;
    loop {
        let moment = async {
            match over {
                Some(over) => sleep_until(over).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            now = snapshots.changed() => {
                let Some(now) = now else { return };
                if !now.admits_as(&before) {
                    let waits = Cell::new(false);
                    let judge = |access: &Access| {
                        let denial = refused(access, &before, &now)?;
                        let is_new = denial.reason == Reason::WaypointRequired;
                        waits.set(waits.get() || is_new);
                        (!is_new).then(|| cut_by(&denial))
                    };
                    standing.review(|entry| entry.access.as_ref().and_then(judge)).await;
                    over = over.or_else(|| waits.get().then(|| Instant::now() + GRACE));
                }
                before = now;
            }
            () = moment => {
                over = None;
                let now = before.clone();
                let judge = |access: &Access| Some(cut_by(&refused(access, &now, &now)?));
                standing.review(|entry| entry.access.as_ref().and_then(judge)).await;
            }
        }
    }
}

/// Why somebody is cut whom `denial` refuses now.
fn cut_by(denial: &Denial) -> Failure {
    Failure::new(Reason::PolicyChanged, format!("{}, {denial}", denial.reason.code()))
}

/// Follows what is trusted: whoever has proved himself by a certificate that is revoked is cut.
pub(crate) async fn follow_revocations(store: TrustStore, standing: Standing) {
    let mut changes = store.changes();
    while changes.changed().await.is_ok() {
        standing.review(|entry| entry.peer.as_ref().filter(|peer| store.revokes(peer)).map(|peer| revoked(peer))).await;
    }
}

/// Why `access` would be refused now. Who has left the mesh since is not refused for it: his connections end as his pod
/// does.
fn refused(access: &Access, before: &Snapshot, now: &Snapshot) -> Option<Denial> {
    let pod = now.workload(&access.pod)?;
    let left = match access.client {
        Client::Stranger(_) | Client::Node(_) => false,
        Client::Pod(_) => access.client.workload(now).is_none(),
        Client::Proven(..) => now.policies.is_same(&before.policies) && access.client.workload(now).is_none(),
    };
    if left {
        return None;
    }
    judge(now, pod, access).err()
}

#[cfg(test)]
mod tests;
