//! Which of a service's endpoints a connection goes to: any of them, or of those as near to the client as the service
//! wants, in proportion to their weights. Readiness is decided before, when endpoints are joined.

use super::behind;
use crate::distribution::{Distribution, Locality};
use crate::service::{Service, Target, Topology};
use crate::snapshot::Snapshot;
use crate::workload::Workload;

/// The one of `targets` that `draw` falls on, among those that `service` lets a connection of `source` go to.
pub(super) fn choose<'a>(
    snapshot: &Snapshot,
    source: &Workload,
    service: &Service,
    targets: impl Iterator<Item = &'a Target> + Clone,
    draw: u64,
) -> Option<&'a Target> {
    let (narrowest, mut nearest) = match service.distribution {
        Distribution::Anywhere => return drawn(targets, draw),
        Distribution::Prefer(scope) => (scope, None),
        Distribution::Only(scope) => (scope, Some(scope)),
    };
    let here = source.locality();
    let mut candidates = Vec::new();
    for target in targets {
        let shared = here.shared(locality(snapshot, target)).min(Some(narrowest));
        if shared > nearest {
            nearest = shared;
            candidates.clear();
        }
        if shared == nearest {
            candidates.push(target);
        }
    }
    drawn(candidates.into_iter(), draw)
}

/// The candidate that `draw` falls on when they are laid side by side, each as broad as its weight.
fn drawn<'a>(mut candidates: impl Iterator<Item = &'a Target> + Clone, draw: u64) -> Option<&'a Target> {
    let weight = |target: &Target| u64::from(target.weight.get());
    let total = candidates.clone().map(weight).fold(0, u64::saturating_add);
    let mut left = draw.checked_rem(total)?;
    candidates.find(|target| match left.checked_sub(weight(target)) {
        Some(beyond) => {
            left = beyond;
            false
        }
        None => true,
    })
}

/// Where an endpoint is: where its pod runs, or else where it is said to be.
fn locality<'a>(snapshot: &'a Snapshot, target: &'a Target) -> Locality<'a> {
    if let Some(workload) = behind(snapshot, target) {
        return workload.locality();
    }
    target.topology.as_deref().map(|topology| place(snapshot, topology)).unwrap_or_default()
}

/// Where an endpoint is that is no pod: where its EndpointSlice or ServiceEntry says, and in what that leaves out as its node
/// is.
#[must_use]
pub fn place<'a>(snapshot: &'a Snapshot, topology: &'a Topology) -> Locality<'a> {
    let node = snapshot.node(&topology.node);
    let (region, zone, subzone) = node.map_or(("", "", ""), |node| (&*node.region, &*node.zone, &*node.subzone));
    let or = |said: &'a str, of_node: &'a str| if said.is_empty() { of_node } else { said };
    Locality {
        region: or(&topology.region, region),
        zone: or(&topology.zone, zone),
        subzone: or(&topology.subzone, subzone),
        node: &topology.node,
    }
}
