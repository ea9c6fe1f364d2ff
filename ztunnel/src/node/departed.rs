//! Pods that have left the mesh but not the node: what they have open goes on, and when nothing of it is left their
//! network namespace is given back as it was found.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ambit_net::diag;
use ambit_net::netns::NetNs;
use ambit_net::routes;
use ambit_process::workers::Workers;
use tracing::{debug, warn};

use crate::proxy::{Pod, Worker};

/// The pods that have left the mesh and may still have something open, by their network namespaces' cookies.
#[derive(Default)]
pub(crate) struct Departed(BTreeMap<u64, Arc<Pod>>);

impl Departed {
    /// Sees `pod` off from now on.
    pub(crate) fn add(&mut self, pod: Arc<Pod>) {
        self.0.insert(pod.netns.cookie(), pod);
    }

    /// The pod in the network namespace `cookie` is back in the mesh.
    pub(crate) fn returned(&mut self, cookie: u64) {
        self.0.remove(&cookie);
    }

    /// Looks after each of them: cuts what is open of those that are gone, and gives back the namespace of those of which
    /// nothing is left, if `in_charge`: else another agent may serve it again.
    pub(crate) async fn look(&mut self, workers: &Workers<Worker>, proc: &Path, in_charge: bool) {
        for (cookie, pod) in std::mem::take(&mut self.0) {
            if !pod.netns.is_at(&pod.path) {
                workers.tell(move |worker: &Rc<Worker>| worker.cut(cookie));
                continue;
            }
            let held = workers.ask(move |worker: &Rc<Worker>| worker.has(cookie)).await;
            // A worker that does not answer may hold something.
            let over = held.is_ok_and(|held| !held.contains(&true));
            if over && (!in_charge || has_been_given_back(&pod, proc)) {
                debug!(pod = %pod.uid, in_charge, "nothing of the pod is left; who is in charge gives its namespace back");
                continue;
            }
            self.0.insert(cookie, pod);
        }
    }
}

/// Gives the namespace of `pod` back, if nothing there needs what delivery has set up. False to be tried again.
fn has_been_given_back(pod: &Pod, proc: &Path) -> bool {
    match give_back(&pod.netns, proc) {
        Ok(given) => given,
        Err(error) => {
            // Nothing is captured by what is left of it.
            warn!(pod = %pod.uid, "the routes that delivery needed cannot be taken out of its namespace: {error}");
            true
        }
    }
}

/// Undoes in `netns` what delivery needs, unless something delivered is still open there: that would break. False then.
///
/// # Errors
/// The namespace may not be entered, read or changed.
pub(crate) fn give_back(netns: &NetNs, proc: &Path) -> io::Result<bool> {
    let own: BTreeSet<IpAddr> = netns.addresses()?.into_iter().collect();
    // The near end of a delivered connection has the address of its client. It stays here until the last byte has been
    // acknowledged, after whoever made it has let it go.
    let delivered = diag::connections(netns)?.into_iter().any(|connection| {
        let local = connection.local.ip();
        !local.is_loopback() && !own.contains(&local)
    });
    if delivered {
        return Ok(false);
    }
    routes::undo(netns, proc).map(|()| true)
}
