//! Takes the mesh out of a node whose agent has stopped: the capture out of the kernel, and out of the pods' network
//! namespaces what delivery needed there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ambit_ebpf_loader as ebpf;
use ambit_net::netns::NetNs;
use tracing::{info, warn};

use super::departed;

/// Removes `capture`; pods go uncaptured from then on. `proc` is where the node's processes are seen.
///
/// # Errors
/// The capture cannot be read or removed. A namespace that cannot be given back is reported in the log only: what is left
/// there concerns nothing but packets that only an agent marks.
pub(crate) fn uninstall(capture: ebpf::Capture, proc: &Path) -> Result<(), ebpf::Error> {
    let captured: BTreeSet<u64> = capture.enrolled()?.into_keys().collect();
    capture.remove()?;
    info!(pods = captured.len(), "the capture is out of the kernel");
    for (path, netns) in namespaces(proc).into_values().filter(|(_, netns)| captured.contains(&netns.cookie())) {
        let namespace = path.display();
        match departed::give_back(&netns, proc) {
            Ok(true) => info!(%namespace, "the namespace is as it was found"),
            Ok(false) => warn!(%namespace, "delivered connections are open: does the agent still run? Its routes stay"),
            Err(error) => warn!(%namespace, "the routes of delivery stay: {error}"),
        }
    }
    Ok(())
}

/// The network namespaces that have a name or a process, each with one of its paths, by device and inode.
fn namespaces(proc: &Path) -> BTreeMap<(u64, u64), (PathBuf, NetNs)> {
    let entries = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries(Path::new("/run/netns")).map(|entry| entry.path());
    let running = entries(proc).map(|entry| entry.path().join("ns/net"));
    let mut found = BTreeMap::new();
    for path in named.chain(running) {
        // What is no namespace, or has ended since, is none that has to be given back.
        let Ok(netns) = NetNs::open(&path) else { continue };
        let id = netns.id();
        found.entry((id.device, id.inode)).or_insert((path, netns));
    }
    found
}
