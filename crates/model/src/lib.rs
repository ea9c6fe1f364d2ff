//! What the mesh is: identities, workloads, services, the snapshot that holds them, and the one function that
//! decides where a connection goes. No I/O, no clock, no async, no Kubernetes client.
#![forbid(unsafe_code)]

pub mod cidr;
pub mod connection;
pub mod decide;
pub mod destination;
pub mod distribution;
#[cfg(test)]
mod fixtures;
pub mod gateway;
pub mod identity;
pub mod policy;
pub mod ports;
pub mod reason;
pub mod route;
pub mod service;
pub mod sidecar;
pub mod snapshot;
pub mod traffic;
pub mod waypoint;
pub mod workload;

pub use cidr::{Cidr, CidrError};
pub use connection::{Authority, Connection};
pub use decide::{Decision, Tried, Upstream, Way, decide, decide_again, judge};
pub use distribution::{Distribution, Locality, Scope};
pub use identity::{Identity, TrustDomain, TrustDomains};
pub use policy::{Access, Denial, Policies};
pub use reason::Reason;
pub use service::{Resolution, Service, ServiceKey, ServicePort, Target, Topology};
pub use sidecar::Sidecar;
pub use snapshot::{Mesh, Node, Resolved, SameNode, Snapshot, Waypoints};
pub use traffic::Traffic;
pub use waypoint::{UseWaypoint, Waypoint, WaypointKey};
pub use workload::{Enrolment, Excluded, NetworkMode, NoPodUid, Owner, PodUid, Workload, WorkloadUid};
