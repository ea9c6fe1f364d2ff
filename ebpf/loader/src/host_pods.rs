//! Tells which connections pods with the node's own network have opened. It knows no policy.

use std::{net::SocketAddr, path::Path, sync::Arc};

use ambit_ebpf_abi::{ConnectionKey, maps};

use crate::{error::Error, table::Table};

/// The connections that pods with the node's own network have opened and nobody has asked for yet. Clones share one map.
#[derive(Clone)]
pub struct HostPods(Arc<Table<ConnectionKey, u32>>);

impl HostPods {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        #[allow(unsafe_code, reason = "names the map's types")]
        // SAFETY: these are the types of the map of this name, whose sizes were checked when it was adopted.
        let table = unsafe { Table::open(directory, maps::HOST_PODS)? };
        Ok(Self(Arc::new(table)))
    }

    /// True if such a pod opened the connection from `source` to `destination`, once: a second call knows nothing of it.
    /// One system call.
    ///
    /// # Errors
    /// When the kernel refuses the call, which is a defect.
    pub fn take(&self, source: SocketAddr, destination: SocketAddr) -> Result<bool, Error> {
        let key = ConnectionKey { source: source.into(), destination: destination.into() };
        Ok(self.0.take(&key)?.is_some())
    }
}
