//! The certificates in use: one key and leaf per identity, in memory, shared by all workers. Reading never waits;
//! obtaining and renewing happens aside, by the schedule of [`renewal`].

mod entry;
mod kept;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_model::{Identity, TrustDomains};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};

use crate::client::Issuer;
use crate::clock::{self, Clock};
use crate::csr;
use crate::error::Error;
use crate::renewal::{self, Action, Failures};
use crate::termination::Terminator;
use crate::tls;
use crate::trust::TrustStore;
use crate::verifier::{self, Expected, Verifier};
use entry::{Entry, Leaf};
use kept::Found;
pub use kept::Kept;
pub use summary::{CertificateFacts, CertificateKind, CertificateStatus, CertificateSummary};

/// How long the issuer may take for one certificate.
const SIGNING_LIMIT: Duration = Duration::from_secs(10);

/// How many requests go to the issuer at once: a slow one must not hold up all identities of a node.
const CONCURRENT_REQUESTS: usize = 8;

/// The longest the schedule sleeps: the wall clock may be set, or the machine be suspended, meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Every identity's certificate on this node, and the roots that peers are checked against. Clones are the same store.
pub struct Certificates<I> {
    issuer: Arc<I>,
    trust_store: TrustStore,
    clock: Clock,
    entries: Arc<ArcSwap<BTreeMap<Identity, Arc<Entry>>>>,
    changed: Arc<Notify>,
    kept: Option<Arc<Kept>>,
}

impl<I> Clone for Certificates<I> {
    fn clone(&self) -> Self {
        Self {
            issuer: self.issuer.clone(),
            trust_store: self.trust_store.clone(),
            clock: self.clock.clone(),
            entries: self.entries.clone(),
            changed: self.changed.clone(),
            kept: self.kept.clone(),
        }
    }
}

impl<I: Issuer> Certificates<I> {
    /// A store without certificates yet. They will be signed by `issuer`; peers are checked against `trust_store`.
    #[must_use]
    pub fn new(issuer: I, trust_store: TrustStore, clock: Clock) -> Self {
        let issuer = Arc::new(issuer);
        Self { issuer, trust_store, clock, entries: Arc::default(), changed: Arc::default(), kept: None }
    }

    /// The same, which begins with what is in `kept` and keeps there what it obtains.
    #[must_use]
    pub fn keeping(self, kept: Kept) -> Self {
        Self { kept: Some(Arc::new(kept)), ..self }
    }

    /// Makes sure that there is a valid certificate for `identity`, and that [`renew_loop`](Self::renew_loop) keeps it
    /// so until [`forget`](Self::forget). Of several calls at once, one asks the issuer. After a failure the issuer is
    /// asked again by the schedule, not at every call.
    ///
    /// # Errors
    /// Whatever the issuer answered, or [`Error::BackingOff`] with it while the next request is not due.
    pub async fn ensure(&self, identity: &Identity) -> Result<(), Error> {
        let entry = self.entry(identity);
        if entry.slot.leaf(identity, self.clock.now()).is_ok() {
            return Ok(());
        }
        let obtained = self.obtain(identity, &entry).await;
        self.changed.notify_one();
        obtained
    }

    /// The same for whoever can wait as long as `patience`: after a failure the issuer is asked again, if that is due by then.
    ///
    /// # Errors
    /// As [`ensure`](Self::ensure), of the last request; [`Error::TimedOut`] where that was not answered in time.
    pub async fn ensure_within(&self, identity: &Identity, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        loop {
            let error = match timeout_at(deadline, self.ensure(identity)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => return Err(Error::TimedOut { identity: identity.clone(), limit: patience }),
            };
            // Whoever asks next is told when the next request is due.
            if let Error::BackingOff { wait, .. } = error {
                let due = Instant::now() + wait;
                if due > deadline {
                    return Err(error);
                }
                sleep_until(due).await;
            }
        }
    }

    /// Drops `identity`'s key and certificate. Connections that are open stay so.
    pub fn forget(&self, identity: &Identity) {
        self.entries.rcu(|entries| {
            let mut entries = BTreeMap::clone(entries);
            entries.remove(identity);
            entries
        });
        if let Some(kept) = &self.kept {
            kept.remove(identity);
        }
    }

    /// Whose certificates are held or kept, ascending.
    #[must_use]
    pub fn identities(&self) -> BTreeSet<Identity> {
        let held = self.entries.load();
        let kept = self.kept.as_deref().map(Kept::identities).unwrap_or_default();
        held.keys().cloned().chain(kept).collect()
    }

    /// What peers are checked against.
    #[must_use]
    pub fn trust_store(&self) -> &TrustStore {
        &self.trust_store
    }

    /// How handshakes are accepted as `own`, from clients of any identity that `trust` accepts. Follows renewals and
    /// new roots by itself; cheap enough for every connection.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] before [`ensure`](Self::ensure), [`Error::Expired`] where renewal failed to the end.
    pub fn tls_server(&self, own: &Identity, trust: &TrustDomains) -> Result<Arc<ServerConfig>, Error> {
        let entry = self.usable(own)?;
        if let Some(config) = entry.server_for(trust) {
            return Ok(config);
        }
        let config = tls::server_config(entry.slot.clone(), self.verifier(trust, Expected::Anyone), &self.clock)?;
        entry.keep_server(trust, &config);
        Ok(config)
    }

    /// How a gateway ends TLS as `own`, for clients of the mesh (Istio's mode `ISTIO_MUTUAL`): those whose SPIFFE IDs are in
    /// `names`, or of any identity that `trust` accepts if there are none. Follows renewals and new roots by itself; cheap
    /// enough for every connection.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] before [`ensure`](Self::ensure), [`Error::Expired`] where renewal failed to the end.
    pub fn terminator(&self, own: &Identity, names: &[Arc<str>], trust: &TrustDomains) -> Result<Terminator, Error> {
        if names.is_empty() {
            return Ok(Terminator::of_mesh(self.tls_server(own, trust)?.as_ref()));
        }
        // What is no SPIFFE ID is nobody's of the mesh.
        let expected = names.iter().filter_map(|name| name.parse().ok()).collect();
        let verifier = self.verifier(trust, Expected::OneOf(expected));
        let config = tls::server_config(self.usable(own)?.slot.clone(), verifier, &self.clock)?;
        Ok(Terminator::of_mesh(&config))
    }

    /// How handshakes are made as `own`, with a server that is one of `expected` (aliases of the trust domain being
    /// as good as the domain); with nobody, if that is empty. Follows renewals and new roots by itself.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] before [`ensure`](Self::ensure), [`Error::Expired`] where renewal failed to the end.
    pub fn tls_client(
        &self,
        own: &Identity,
        expected: &[Identity],
        trust: &TrustDomains,
    ) -> Result<Arc<ClientConfig>, Error> {
        let entry = self.usable(own)?;
        let verifier = self.verifier(trust, Expected::OneOf(expected.to_vec()));
        tls::client_config(entry.slot.clone(), verifier, &self.clock)
    }

    /// Every certificate held: for each identity, ascending, its leaf, its intermediates and the roots.
    #[must_use]
    pub fn list(&self) -> Vec<CertificateSummary> {
        let (now, roots) = (self.clock.now(), self.trust_store.roots());
        self.entries.load().iter().flat_map(|(identity, entry)| summary::of(identity, entry, &roots, now)).collect()
    }

    /// For each identity, ascending, the seconds for which its certificate is still valid; 0 where there is none.
    #[must_use]
    pub fn seconds_left(&self) -> Vec<(Identity, u64)> {
        let now = self.clock.now();
        let left = |entry: &Entry| entry.slot.lifetime().map_or(0, |life| renewal::remaining(now, life).as_secs());
        self.entries.load().iter().map(|(identity, entry)| (identity.clone(), left(entry))).collect()
    }

    /// Keeps every certificate renewed until `shutdown` completes. Runs once, on any worker.
    pub async fn renew_loop(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut trust = self.trust_store.changes();
        loop {
            let (due, sleep) = self.due();
            let work = async {
                if due.is_empty() {
                    tokio::select! {
                        () = tokio::time::sleep(sleep) => {}
                        () = self.changed.notified() => {}
                        // One of ours may have been revoked. The store outlives this loop.
                        Ok(()) = trust.changed() => {}
                    }
                }
                let requests = due.iter().map(|(identity, entry)| async move {
                    // A failure is logged where it is found, and the schedule comes back to it.
                    let _ = self.obtain(identity, entry).await;
                });
                futures_util::stream::iter(requests).buffer_unordered(CONCURRENT_REQUESTS).collect::<()>().await;
            };
            tokio::select! {
                () = &mut shutdown => return,
                () = work => {}
            }
        }
    }

    /// What is to be renewed now; if nothing, for how long.
    fn due(&self) -> (Vec<(Identity, Arc<Entry>)>, Duration) {
        let (now, mut due, mut sleep) = (self.clock.now(), Vec::new(), LONGEST_SLEEP);
        for (identity, entry) in self.entries.load().iter() {
            match self.next(entry, now) {
                Action::Renew => due.push((identity.clone(), entry.clone())),
                Action::Wait(wait) => sleep = sleep.min(wait),
            }
        }
        (due, sleep)
    }

    /// Asks for a certificate if one is due, alone for this identity.
    async fn obtain(&self, identity: &Identity, entry: &Entry) -> Result<(), Error> {
        let _alone = entry.requesting.lock().await;
        let now = self.clock.now();
        if let Action::Wait(wait) = self.next(entry, now) {
            return entry.slot.leaf(identity, now).map(drop).map_err(|error| entry.slot.backing_off(error, wait));
        }
        if entry.slot.held().is_none()
            && let Some(leaf) = self.kept_leaf(identity, now)
        {
            let until = clock::rfc3339(leaf.lifetime.end);
            info!(%identity, serial = leaf.serial(), %until, "certificate taken up as the process before left it");
            entry.slot.obtained(leaf);
            return Ok(());
        }
        let mut unanswered = Unanswered { store: self, entry, identity, answered: false };
        let answer = self.request(identity).await;
        unanswered.answered = true;
        match answer {
            Ok(leaf) => {
                let until = clock::rfc3339(leaf.lifetime.end);
                info!(%identity, serial = leaf.serial(), %until, "certificate obtained");
                entry.slot.obtained(leaf);
                Ok(())
            }
            Err(cause) => {
                let failures = entry.slot.failed(self.clock.now(), &cause);
                self.report(identity, entry, failures, &cause);
                Err(cause)
            }
        }
    }

    /// What the schedule says; a certificate that was revoked counts as none.
    fn next(&self, entry: &Entry, now: SystemTime) -> Action {
        entry.slot.next(now, &self.trust_store.load().revocations)
    }

    async fn request(&self, identity: &Identity) -> Result<Leaf, Error> {
        let (key, csr) = csr::request(identity)?;
        let chain = tokio::time::timeout(SIGNING_LIMIT, self.issuer.sign(&csr, identity)).await;
        let chain = chain.map_err(|_| Error::TimedOut { identity: identity.clone(), limit: SIGNING_LIMIT })??;
        let since = self.clock.now();
        let leaf = Leaf::new(identity, key.clone_key(), chain.clone(), since)?;
        let leaf = self.unrevoked(identity, leaf)?;
        if let Some(kept) = &self.kept {
            kept.put(identity, &Found { key, chain, since });
        }
        Ok(leaf)
    }

    /// What the process before has left of `identity`, if it can be used still; else it is removed.
    fn kept_leaf(&self, identity: &Identity, now: SystemTime) -> Option<Leaf> {
        let kept = self.kept.as_ref()?;
        let leaf = kept.find(identity)?.and_then(|found| self.believed(identity, found, now));
        leaf.inspect_err(|cause| kept.discard(identity, cause)).ok()
    }

    /// The leaf of what was kept; an error says why it is not to be used.
    fn believed(&self, identity: &Identity, found: Found, now: SystemTime) -> Result<Leaf, String> {
        let Found { key, chain, since } = found;
        verifier::leads_to_a_root(&self.trust_store, &chain, now)?;
        let leaf = Leaf::new(identity, key, chain, now).and_then(|leaf| self.unrevoked(identity, leaf));
        leaf.map(|leaf| leaf.had_since(since.min(now))).map_err(|error| error.to_string())
    }

    /// `leaf`, unless it or what leads to it is revoked: asked again at once it would be signed by the same hand.
    fn unrevoked(&self, identity: &Identity, leaf: Leaf) -> Result<Leaf, Error> {
        if leaf.is_revoked(&self.trust_store.load().revocations) {
            let cause = format!("it, or what leads to it, is revoked: serial {}", leaf.serial());
            return Err(Error::BadChain { identity: identity.clone(), cause });
        }
        Ok(leaf)
    }

    fn entry(&self, identity: &Identity) -> Arc<Entry> {
        if let Some(entry) = self.entries.load().get(identity) {
            return entry.clone();
        }
        let new = Arc::new(Entry::default());
        let before = self.entries.rcu(|entries| {
            let mut entries = BTreeMap::clone(entries);
            entries.entry(identity.clone()).or_insert_with(|| new.clone());
            entries
        });
        before.get(identity).cloned().unwrap_or(new)
    }

    fn usable(&self, own: &Identity) -> Result<Arc<Entry>, Error> {
        let entry = self.entries.load().get(own).cloned().ok_or_else(|| Error::NoCertificate(own.clone()))?;
        entry.slot.leaf(own, self.clock.now())?;
        Ok(entry)
    }

    fn verifier(&self, trust: &TrustDomains, expected: Expected) -> Verifier {
        Verifier { store: self.trust_store.clone(), trust: trust.clone(), expected }
    }
}

impl<I> Certificates<I> {
    /// Quiet while there is time, louder as it runs out.
    fn report(&self, identity: &Identity, entry: &Entry, failures: Failures, cause: &Error) {
        let now = self.clock.now();
        let count = failures.count;
        match entry.slot.lifetime() {
            Some(life) if renewal::remaining(now, life).is_zero() => {
                error!(%identity, failures = count, "certificate has expired and cannot be renewed: {cause}");
            }
            Some(life) if renewal::is_late(now, life) => {
                let left = renewal::remaining(now, life).as_secs();
                warn!(%identity, failures = count, seconds_left = left, "certificate cannot be renewed: {cause}");
            }
            Some(_) => debug!(%identity, failures = count, "certificate not renewed yet: {cause}"),
            None => warn!(%identity, failures = count, "no certificate obtained: {cause}"),
        }
    }
}

/// A request under way. Who waited for it may give up before it is answered: that counts as a failure, and the schedule
/// asks again without being hurried.
struct Unanswered<'a, I> {
    store: &'a Certificates<I>,
    entry: &'a Entry,
    identity: &'a Identity,
    answered: bool,
}

impl<I> Drop for Unanswered<'_, I> {
    fn drop(&mut self) {
        if !self.answered {
            let cause = "nobody waited any longer for its answer".to_owned();
            let cause = Error::Refused { identity: self.identity.clone(), cause };
            let failures = self.entry.slot.failed(self.store.clock.now(), &cause);
            self.store.report(self.identity, self.entry, failures, &cause);
            self.store.changed.notify_one();
        }
    }
}

/// Names the identities, never a key.
impl<I> fmt::Debug for Certificates<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.load().keys().map(ToString::to_string)).finish()
    }
}

#[cfg(test)]
mod tests;
