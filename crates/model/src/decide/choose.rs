//! Which of a service's endpoints a connection goes to: any of them, or of those as near to the client as the service
//! wants. Readiness is decided before, when endpoints are joined.

use super::behind;
use crate::distribution::{Distribution, Locality};
use crate::service::{Service, Target};
use crate::snapshot::Snapshot;
use crate::workload::Workload;

/// The one of `targets` that `draw` falls on, among those that `service` lets a connection of `source` go to.
pub(super) fn choose<'a>(
    snapshot: &Snapshot,
    source: &Workload,
    service: &Service,
    targets: &'a [Target],
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
    drawn(&candidates, draw).copied()
}

fn drawn<T>(candidates: &[T], draw: u64) -> Option<&T> {
    let count = u64::try_from(candidates.len()).ok()?;
    let place = usize::try_from(draw.checked_rem(count)?).ok()?;
    candidates.get(place)
}

/// Where an endpoint is: where its pod runs, or else where its EndpointSlice says. That names no region: its node's is.
fn locality<'a>(snapshot: &'a Snapshot, target: &'a Target) -> Locality<'a> {
    if let Some(workload) = behind(snapshot, target) {
        return workload.locality();
    }
    let Some(topology) = &target.topology else { return Locality::default() };
    let node = snapshot.node(&topology.node);
    let (region, zone) = node.map_or(("", ""), |node| (&*node.region, &*node.zone));
    Locality { region, zone: if topology.zone.is_empty() { zone } else { &topology.zone }, node: &topology.node }
}
