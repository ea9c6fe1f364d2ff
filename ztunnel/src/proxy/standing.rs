//! The connections that stand by leave of policy, and which of them are cut when policy changes its mind. Only those are
//! woken; all others are looked at, and only when policies or whom they are about have changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use ambit_discovery::Snapshots;
use ambit_model::policy::{self, Client};
use ambit_model::{Access, Connection, Reason, Snapshot, Upstream};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::failure::Failure;

/// As many are judged anew before others on the worker get their turn.
const BATCH: usize = 256;

/// The connections of one worker that stand by leave of policy. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Standing(Rc<RefCell<Register>>);

#[derive(Default)]
struct Register {
    last: u64,
    entries: BTreeMap<u64, Entry>,
}

struct Entry {
    access: Access,
    revoke: oneshot::Sender<Failure>,
}

/// The leave of one connection, which ends with this value.
pub(crate) struct Leave {
    standing: Standing,
    number: u64,
    revoked: oneshot::Receiver<Failure>,
}

impl Standing {
    /// Notes that `connection` goes to `to`, as has just been admitted.
    pub(crate) fn enter(&self, connection: &Connection, to: &Upstream) -> Leave {
        let (revoke, revoked) = oneshot::channel();
        let mut register = self.0.borrow_mut();
        register.last = register.last.wrapping_add(1);
        let number = register.last;
        if let Some(access) = Access::new(connection, to) {
            register.entries.insert(number, Entry { access, revoke });
        }
        Leave { standing: self.clone(), number, revoked }
    }

    /// Judges what stands by `now`, after `before`, and revokes the leave of what is refused.
    async fn review(&self, before: &Snapshot, now: &Snapshot) {
        let mut from = 0;
        while let Some(last) = self.review_batch(from, before, now) {
            from = last.wrapping_add(1);
            yield_now().await;
        }
    }

    /// The same for the next batch, beginning with number `from`; the last number in it.
    fn review_batch(&self, from: u64, before: &Snapshot, now: &Snapshot) -> Option<u64> {
        let mut register = self.0.borrow_mut();
        let batch = register.entries.range(from..).take(BATCH);
        let judged: Vec<_> = batch.map(|(number, entry)| (*number, refused(&entry.access, before, now))).collect();
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
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.standing.0.borrow_mut().entries.remove(&self.number);
    }
}

/// Follows the mesh: whatever a new snapshot refuses is cut.
pub(crate) async fn follow(mut snapshots: Snapshots, standing: Standing) {
    let mut before = snapshots.load();
    while let Some(now) = snapshots.changed().await {
        if !now.admits_as(&before) {
            standing.review(&before, &now).await;
        }
        before = now;
    }
}

/// Why `access` would be refused now. Who has left the mesh since is not refused for it: his connections end as his pod
/// does.
fn refused(access: &Access, before: &Snapshot, now: &Snapshot) -> Option<Failure> {
    let pod = now.workload(&access.pod)?;
    let left = match access.client {
        Client::Stranger(_) => false,
        Client::Pod(_) => access.client.workload(now).is_none(),
        Client::Proven(..) => now.policies.is_same(&before.policies) && access.client.workload(now).is_none(),
    };
    if left {
        return None;
    }
    let denial = policy::evaluate(now, pod, access).err()?;
    Some(Failure::new(Reason::PolicyChanged, format!("{}, {denial}", denial.reason.code())))
}

#[cfg(test)]
mod tests;
