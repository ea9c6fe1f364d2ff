//! What has to have passed a waypoint before it may reach a pod.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Bound, WaypointKey, of_service, of_workload};
use crate::decide::behind;
use crate::identity::Identity;
use crate::policy::{Access, Client, Denial, PolicyKey};
use crate::reason::Reason;
use crate::service::{Service, ServicePort};
use crate::snapshot::{Snapshot, Waypoints};
use crate::workload::Workload;

/// The waypoints by one of which a pod's port is reached, those that cannot serve included. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand<'a>(Vec<&'a WaypointKey>);

/// By what `address` of `workload` has to be reached; none if by whatever way one likes: one of the services that it is an
/// endpoint of has no waypoint, or there is none, and the workload has none either.
#[must_use]
pub fn demanded<'a>(snapshot: &'a Snapshot, workload: &'a Workload, address: SocketAddr) -> Option<Demand<'a>> {
    if snapshot.mesh.waypoints == Waypoints::Preferred {
        return None;
    }
    let of_pod = workload.waypoint.as_ref().filter(|_| of_workload(snapshot, workload) != Bound::None);
    let mut keys: Vec<_> = of_pod.map(|wanted| &wanted.key).into_iter().collect();
    if snapshot.binds_services() {
        for service in snapshot.services_with(address) {
            match &service.waypoint {
                Some(wanted) if of_service(snapshot, service) != Bound::None => keys.push(&wanted.key),
                // Reached by no waypoint; but what the pod itself demands it demands of everybody.
                _ if of_pod.is_none() => return None,
                _ => {}
            }
        }
    }
    (!keys.is_empty()).then_some(Demand(keys))
}

/// Refuses who has not passed the waypoint by which `destination` is reached. The kubelet's probes need none.
pub(crate) fn passed(snapshot: &Snapshot, destination: &Workload, access: &Access) -> Result<(), Denial> {
    let Some(Demand(keys)) = demanded(snapshot, destination, access.address) else { return Ok(()) };
    let identity = proven(snapshot, &access.client);
    let is = |key: &&&WaypointKey| {
        snapshot.waypoint(key).zip(identity).is_some_and(|(waypoint, identity)| waypoint.is(snapshot, identity))
    };
    let Some(first) = keys.first() else { return Ok(()) };
    let goes_past = || {
        let bound = |service: &&Arc<Service>| of_service(snapshot, service) != Bound::None;
        access.client.workload(snapshot).is_some_and(|gateway| {
            let mut services = snapshot.services_with(access.address).filter(bound);
            of_workload(snapshot, destination) == Bound::None
                && services.all(|service| is_passed_by(snapshot, gateway, service))
        })
    };
    if keys.iter().any(|key| is(&key)) || access.client.is_probe() || goes_past() {
        return Ok(());
    }
    let policy = PolicyKey { namespace: first.namespace.clone(), name: first.name.clone() };
    // A waypoint's new pod may be quicker than the news of it.
    let early = identity.is_some() && access.client.workload(snapshot).is_none();
    let reason = Reason::WaypointRequired;
    Err(Denial { reason, kind: "Gateway", policy, rule: None, partial: false, early })
}

/// True if what comes through the pod `gateway` goes past the waypoint of `service`, as its labels say: the pod has to serve a
/// Gateway, to be no other pod of the mesh, and to be of the root namespace or of the service's own, where nobody can put one
/// who could not change the service as well. Labels alone would make anybody a gateway.
#[must_use]
fn is_passed_by(snapshot: &Snapshot, gateway: &Workload, service: &Service) -> bool {
    let trusted = [&snapshot.mesh.root_namespace, &service.key.namespace];
    service.waypoint.as_ref().is_some_and(|wanted| wanted.passed_by_gateways)
        && trusted.contains(&&gateway.namespace)
        && !gateway.is_enrolled()
        && snapshot.gateways.are_served_by(gateway)
}

/// True if the pod `gateway` goes past the waypoint of `service` on its way to `port`: nobody there asks for one all the same.
#[must_use]
pub fn goes_past(snapshot: &Snapshot, gateway: &Workload, service: &Service, port: &ServicePort) -> bool {
    let asks = |pod: &Arc<Workload>| of_workload(snapshot, pod) != Bound::None;
    is_passed_by(snapshot, gateway, service)
        && !port.members.iter().filter_map(|target| behind(snapshot, target)).any(asks)
}

/// Whom `client` has proved to be. An address proves nothing.
fn proven<'a>(snapshot: &'a Snapshot, client: &'a Client) -> Option<&'a Identity> {
    match client {
        Client::Pod(uid) => snapshot.workload(uid).map(|workload| &workload.identity),
        Client::Proven(_, identity) => Some(identity),
        Client::Stranger(_) | Client::Node(_) => None,
    }
}
