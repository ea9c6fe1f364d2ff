//! PeerAuthentication: whether a pod's port takes connections in clear.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{PolicyKey, Scope};

/// Whether connections in clear are taken. Istio's DISABLE is `Permissive`: it cannot turn mutual TLS off between pods
/// of the mesh. UNSET, which inherits, is the absence of a mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Mtls {
    /// Both are taken.
    #[default]
    Permissive,
    /// Only peers that prove an identity.
    Strict,
}

/// A PeerAuthentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerAuthentication {
    /// Its namespace and name.
    pub key: PolicyKey,
    /// Which workloads it is for.
    pub scope: Scope,
    /// `metadata.creationTimestamp` (RFC 3339, UTC): of several for the same workloads the oldest counts, one
    /// without a date being older than all, and of several of one age the first by namespace and name.
    pub created: Option<Arc<str>>,
    /// `spec.mtls.mode`; none inherits.
    pub mode: Option<Mtls>,
    /// `spec.portLevelMtls`, by the pod's port; a port that is not there has `mode`.
    pub ports: BTreeMap<u16, Mtls>,
}

impl PeerAuthentication {
    /// What it says of `port`, if it says anything.
    #[must_use]
    pub fn mode_of(&self, port: u16) -> Option<Mtls> {
        self.ports.get(&port).copied().or(self.mode)
    }

    /// Its age and then its name, ascending from the one that counts.
    pub(super) fn seniority(&self) -> (Option<&str>, &PolicyKey) {
        (self.created.as_deref(), &self.key)
    }
}
