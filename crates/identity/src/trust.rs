//! What peers are checked against, replaced while handshakes go on: the roots, and what was revoked. Reading never waits.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::revocation::{CertificateId, Revocations};
use ambit_model::Identity;

/// The roots and revocations in force. Clones are the same store.
#[derive(Clone, Debug)]
pub struct TrustStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    trusted: ArcSwap<Trusted>,
    changes: watch::Sender<()>,
}

/// Roots and revocations at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    pub(crate) roots: Bundle,
    pub(crate) revocations: Revocations,
}

impl TrustStore {
    /// Trusts `roots`; nothing is revoked.
    #[must_use]
    pub fn new(roots: Bundle) -> Self {
        let trusted = ArcSwap::from_pointee(Trusted { roots, revocations: Revocations::default() });
        Self(Arc::new(Inner { trusted, changes: watch::Sender::new(()) }))
    }

    /// Trusts `roots` from now on, and no others. Connections that are open stay so.
    pub fn replace_roots(&self, roots: Bundle) {
        self.change(|trusted| trusted.roots = roots.clone());
    }

    /// Refuses what `revocations` names from now on, and nothing else. For the connections that are open see
    /// [`revokes`](Self::revokes).
    pub fn replace_revocations(&self, revocations: Revocations) {
        self.change(|trusted| trusted.revocations = revocations.clone());
    }

    /// The roots.
    #[must_use]
    pub fn roots(&self) -> Bundle {
        self.0.trusted.load().roots.clone()
    }

    /// Whether a certificate by which `peer` proved who he is has been revoked since.
    #[must_use]
    pub fn revokes(&self, peer: &Peer) -> bool {
        self.load().revocations.revokes(&*peer.certificates)
    }

    /// Told of every change from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    pub(crate) fn load(&self) -> Guard<Arc<Trusted>> {
        self.0.trusted.load()
    }

    fn change(&self, change: impl Fn(&mut Trusted)) {
        self.0.trusted.rcu(|trusted| {
            let mut trusted = Trusted::clone(trusted);
            change(&mut trusted);
            trusted
        });
        self.0.changes.send_replace(());
    }
}

/// Who has proved to be at the other end, and by which certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's identity.
    pub identity: Identity,
    certificates: Arc<[CertificateId]>,
}

impl Peer {
    /// The holder of `identity`, by the certificates that were shown.
    pub(crate) fn new<'a>(identity: Identity, shown: impl IntoIterator<Item = &'a Certificate>) -> Self {
        Self { identity, certificates: shown.into_iter().map(|certificate| certificate.id.clone()).collect() }
    }
}
