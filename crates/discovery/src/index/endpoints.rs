//! The endpoints of a service's ports, as Kubernetes' EndpointSlice controller and kube-proxy would choose them
//! (Kubernetes "EndpointSlices", conditions).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use ambit_api::resource::{Endpoint, EndpointSlice, Pod, Port, Service, TargetPort, WaypointWish, Written};
use ambit_model::{self as model, Distribution, ServicePort, Target, Topology, WorkloadUid};

use super::waypoints::wanted;

/// What may be an endpoint of a port.
pub(super) struct Candidate<'a> {
    addresses: &'a [IpAddr],
    port: u16,
    workload: Option<&'a WorkloadUid>,
    topology: Option<&'a Arc<Topology>>,
    weight: NonZeroU32,
    ready: bool,
    draining: bool,
}

impl<'a> Candidate<'a> {
    /// A selected pod, unless it has not got the port.
    pub(super) fn of_pod(pod: &'a Pod, port: &Port) -> Option<Self> {
        let number = match &port.target {
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => pod.port_named(name)?,
        };
        Some(Self {
            addresses: &pod.workload.addresses,
            port: number,
            workload: Some(&pod.workload.uid),
            topology: None,
            weight: NonZeroU32::MIN,
            ready: pod.workload.ready,
            draining: pod.serving && pod.terminating,
        })
    }

    /// An endpoint of a slice, unless the slice has not got the port.
    pub(super) fn of_slice(slice: &'a EndpointSlice, endpoint: &'a Endpoint, port: &Port) -> Option<Self> {
        let (_, number) = slice.ports.iter().find(|(name, _)| *name == port.name)?;
        Some(Self {
            addresses: &endpoint.addresses,
            port: *number,
            workload: endpoint.workload.as_ref(),
            topology: endpoint.topology.as_ref(),
            weight: NonZeroU32::MIN,
            ready: endpoint.ready,
            draining: endpoint.draining,
        })
    }

    /// An endpoint that is written down, unless it has not got the port.
    pub(super) fn of_written(endpoint: &'a Written, port: &Port) -> Option<Self> {
        Some(Self {
            addresses: std::slice::from_ref(&endpoint.address),
            port: endpoint.port(port)?,
            workload: None,
            topology: endpoint.topology.as_ref(),
            weight: endpoint.weight,
            ready: true,
            draining: false,
        })
    }
}

/// What a service takes from elsewhere.
pub(super) struct Surroundings {
    /// The addresses that it was given.
    pub(super) given: Vec<IpAddr>,
    /// Its namespace's distribution, where it has none of its own.
    pub(super) inherited: Option<Distribution>,
    /// Its namespace's waypoint, where its labels ask for nothing.
    pub(super) waypoint: Option<WaypointWish>,
    /// What its namespace says of gateways, where its label says nothing.
    pub(super) passed_by_gateways: Option<bool>,
}

/// `service` with the endpoints that `candidates` has for each of its ports.
pub(super) fn join<'a>(
    service: &Service,
    surroundings: Surroundings,
    candidates: impl Fn(&Port) -> Vec<Candidate<'a>>,
) -> model::Service {
    let passed_by_gateways = service.passed_by_gateways.or(surroundings.passed_by_gateways).unwrap_or_default();
    model::Service {
        key: service.key(),
        hostname: service.hostname.clone(),
        vips: [&service.vips[..], &surroundings.given].concat(),
        ranges: service.ranges.clone(),
        resolution: service.resolution,
        alias: service.alias.clone(),
        ports: service.ports.iter().map(|port| join_port(service, port, candidates(port))).collect(),
        visibility: service.visibility.clone(),
        distribution: service.distribution.or(surroundings.inherited).unwrap_or_default(),
        waypoint: wanted(service.waypoint.as_ref(), surroundings.waypoint.as_ref(), passed_by_gateways),
    }
}

fn join_port(service: &Service, port: &Port, candidates: Vec<Candidate<'_>>) -> ServicePort {
    let (mut members, mut ready, mut draining) = (Vec::new(), Vec::new(), Vec::new());
    for candidate in candidates {
        for address in candidate.addresses.iter().filter(|address| service.families.contain(**address)) {
            let address = SocketAddr::new(*address, candidate.port);
            let (workload, topology) = (candidate.workload.cloned(), candidate.topology.cloned());
            let target = Target { address, workload, topology, weight: candidate.weight };
            if candidate.ready || service.publish_not_ready {
                ready.push(target.clone());
            } else if candidate.draining {
                draining.push(target.clone());
            }
            members.push(target);
        }
    }
    ServicePort {
        port: port.number,
        name: port.name.clone(),
        app_protocol: port.app_protocol.clone(),
        targets: ascending(if ready.is_empty() { draining } else { ready }),
        members: ascending(members),
    }
}

fn ascending(mut targets: Vec<Target>) -> Vec<Target> {
    targets.sort_unstable();
    targets.dedup();
    targets
}
