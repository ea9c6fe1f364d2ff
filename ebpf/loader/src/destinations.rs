//! Tells where a captured connection wanted to go. It knows nothing of listeners and accepts.

use std::{net::SocketAddr, path::Path, sync::Arc};

use ambit_ebpf_abi::{Endpoint, FlowKey, maps};

use crate::{error::Error, table::Table};

/// The original destinations of captured connections that have not been accepted yet. Clones share one map.
#[derive(Clone)]
pub struct OriginalDestinations(Arc<Table<FlowKey, Endpoint>>);

impl OriginalDestinations {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        #[allow(unsafe_code, reason = "names the map's types")]
        // SAFETY: these are the types of the map of this name, whose sizes were checked when it was adopted.
        let table = unsafe { Table::open(directory, maps::FLOWS)? };
        Ok(Self(Arc::new(table)))
    }

    /// Where the connection from `source` inside the network namespace `cookie` wanted to go, once: a second call
    /// knows nothing of it. One system call. `None` for a connection that was not captured.
    ///
    /// `source` is the accepted socket's peer; a v4-mapped one is taken for IPv4.
    ///
    /// # Errors
    /// When the kernel refuses the call, which is a defect.
    pub fn take(&self, cookie: u64, source: SocketAddr) -> Result<Option<SocketAddr>, Error> {
        let wanted = self.0.take(&FlowKey::new(cookie, source.into()))?;
        Ok(wanted.map(SocketAddr::from))
    }
}
