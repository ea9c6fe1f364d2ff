//! What has to have passed a waypoint before it may reach a pod.

use std::net::SocketAddr;

use super::{Bound, WaypointKey, of_service, of_workload};
use crate::identity::Identity;
use crate::policy::{Access, Client, Denial, PolicyKey};
use crate::reason::Reason;
use crate::snapshot::{Snapshot, Waypoints};
use crate::workload::Workload;

/// The waypoints by one of which a pod's port is reached, those that cannot serve included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand<'a> {
    /// Which. Never empty.
    keys: Vec<&'a WaypointKey>,
    /// Gateways go past them.
    passed_by_gateways: bool,
}

/// By what `address` of `workload` has to be reached; none if by whatever way one likes: one of the services that it is an
/// endpoint of has no waypoint, or there is none, and the workload has none either.
#[must_use]
pub fn demanded<'a>(snapshot: &'a Snapshot, workload: &'a Workload, address: SocketAddr) -> Option<Demand<'a>> {
    if snapshot.mesh.waypoints == Waypoints::Preferred {
        return None;
    }
    let of_pod = workload.waypoint.as_ref().filter(|_| of_workload(snapshot, workload) != Bound::None);
    let mut keys: Vec<_> = of_pod.map(|wanted| &wanted.key).into_iter().collect();
    let mut passed_by_gateways = false;
    if snapshot.binds_services() {
        for service in snapshot.services_with(address) {
            match &service.waypoint {
                Some(wanted) if of_service(snapshot, service) != Bound::None => {
                    keys.push(&wanted.key);
                    passed_by_gateways |= wanted.passed_by_gateways && of_pod.is_none();
                }
                // Reached by no waypoint; but what the pod itself demands it demands of everybody.
                _ if of_pod.is_none() => return None,
                _ => {}
            }
        }
    }
    (!keys.is_empty()).then_some(Demand { keys, passed_by_gateways })
}

/// Refuses who has not passed the waypoint by which `destination` is reached. The kubelet's probes need none.
pub(crate) fn passed(snapshot: &Snapshot, destination: &Workload, access: &Access) -> Result<(), Denial> {
    let Some(demand) = demanded(snapshot, destination, access.address) else { return Ok(()) };
    let Demand { keys, passed_by_gateways } = demand;
    let identity = proven(snapshot, &access.client);
    let is = |key: &&&WaypointKey| {
        snapshot.waypoint(key).zip(identity).is_some_and(|(waypoint, identity)| waypoint.is(snapshot, identity))
    };
    let Some(first) = keys.first() else { return Ok(()) };
    let is_gateway = || access.client.workload(snapshot).is_some_and(|client| snapshot.gateways.are_served_by(client));
    if keys.iter().any(|key| is(&key)) || access.client.is_probe() || (passed_by_gateways && is_gateway()) {
        return Ok(());
    }
    let policy = PolicyKey { namespace: first.namespace.clone(), name: first.name.clone() };
    // A waypoint's new pod may be quicker than the news of it.
    let early = identity.is_some() && access.client.workload(snapshot).is_none();
    let reason = Reason::WaypointRequired;
    Err(Denial { reason, kind: "Gateway", policy, rule: None, partial: false, early })
}

/// Whom `client` has proved to be. An address proves nothing.
fn proven<'a>(snapshot: &'a Snapshot, client: &'a Client) -> Option<&'a Identity> {
    match client {
        Client::Pod(uid) => snapshot.workload(uid).map(|workload| &workload.identity),
        Client::Proven(_, identity) => Some(identity),
        Client::Stranger(_) | Client::Node(_) => None,
    }
}
