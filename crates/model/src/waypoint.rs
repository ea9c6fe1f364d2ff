//! Waypoints: which of them serves a service or a workload, what reaches a pod by way of one alone, and what a waypoint
//! may be asked for. Knows no bytes and no configuration of HTTP.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::connection::Authority;
use crate::decide::behind;
use crate::identity::Identity;
use crate::ports;
use crate::service::{Resolution, Service, ServicePort, Target};
use crate::snapshot::Snapshot;
use crate::workload::{Workload, WorkloadUid};

mod demand;

pub(crate) use demand::passed;
pub use demand::{Demand, demanded, goes_past};

/// Which waypoint: the namespace and name of its Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaypointKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl WaypointKey {
    /// The waypoint `name` of `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

impl fmt::Display for WaypointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for WaypointKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A waypoint: a Gateway of a waypoint's class (Gateway API `Gateway`; Istio `istio.io/waypoint-for`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waypoint {
    /// Which it is.
    pub key: WaypointKey,
    /// `spec.gatewayClassName`.
    pub class: Arc<str>,
    /// What it serves of what is bound to it.
    pub serves: Serves,
    /// Whom it serves.
    pub allowed: Allowed,
    /// Where it is reached.
    pub address: Address,
    /// What its pods take connections by.
    pub binding: Binding,
}

/// What a waypoint's pods take connections by (Istio `ambient.istio.io/waypoint-inbound-binding`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Binding {
    /// HBONE, on port 15008: as our own does.
    #[default]
    Hbone,
    /// TCP on this port. The pods are in the mesh as others are, and their agents take HBONE for them: each connection
    /// begins with a PROXY protocol header, version 2, that says who asks and for what.
    Proxy(u16),
    /// The same without a header, on this port or on the one that was dialled.
    Raw(Option<u16>),
}

/// What a waypoint serves (label `istio.io/waypoint-for`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Serves {
    /// What is addressed to services.
    #[default]
    Services,
    /// What is addressed to pods.
    Workloads,
    /// Both.
    All,
    /// Neither.
    Nothing,
}

impl Serves {
    /// True if it serves services.
    #[must_use]
    pub const fn services(self) -> bool {
        matches!(self, Self::Services | Self::All)
    }

    /// True if it serves workloads.
    #[must_use]
    pub const fn workloads(self) -> bool {
        matches!(self, Self::Workloads | Self::All)
    }
}

/// The namespaces whose services and workloads a waypoint serves (Gateway API `allowedRoutes.namespaces.from`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Allowed {
    /// Its own.
    #[default]
    Same,
    /// Every one.
    All,
    /// These: those that its selector selects.
    Selected(BTreeSet<Arc<str>>),
}

/// How a waypoint is reached: by the Service that stands in front of its pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Address {
    /// By the Service of this hostname.
    Hostname(Arc<str>),
    /// By the Service that has this address.
    Ip(IpAddr),
}

/// What the labels of a service or workload ask for (`istio.io/use-waypoint`, `istio.io/use-waypoint-namespace`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UseWaypoint {
    /// The waypoint, which may not exist.
    pub key: WaypointKey,
    /// Its namespace's labels ask for it, since it has none of its own.
    pub inherited: bool,
    /// What comes through a gateway goes past it (label `istio.io/ingress-use-waypoint: "false"`).
    pub passed_by_gateways: bool,
}

/// By which waypoint something is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    /// By none.
    None,
    /// By this one.
    Waypoint(&'a Arc<Waypoint>),
    /// By one that cannot serve it, so that nothing may reach it.
    Unavailable(Unavailable),
}

/// Why the waypoint that labels name cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unavailable {
    /// There is no such Gateway, or it is of no waypoint's class.
    Missing,
    /// It does not serve the namespace.
    AttachmentDenied,
}

impl Waypoint {
    /// True if it serves `namespace`.
    #[must_use]
    pub fn allows(&self, namespace: &str) -> bool {
        match &self.allowed {
            Allowed::Same => *self.key.namespace == *namespace,
            Allowed::All => true,
            Allowed::Selected(namespaces) => namespaces.contains(namespace),
        }
    }

    /// The Service in front of its pods, if there is one.
    #[must_use]
    pub fn service<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Arc<Service>> {
        match &self.address {
            Address::Hostname(hostname) => snapshot.service_named(hostname),
            Address::Ip(address) => snapshot.service_dialled(*address, &self.key.namespace),
        }
    }

    /// Its pods, those that take no new connections included: whom to believe that he is this waypoint.
    pub fn pods<'a>(&self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Workload>> {
        let port = self.service(snapshot).and_then(|service| self.port(service));
        port.into_iter().flat_map(|port| &port.members).filter_map(|target| self.pod(snapshot, target))
    }

    /// The port of its Service that its pods are behind.
    pub(crate) fn port<'a>(&self, service: &'a Service) -> Option<&'a ServicePort> {
        let other = match self.binding {
            Binding::Proxy(port) | Binding::Raw(Some(port)) => service.port(port),
            Binding::Hbone | Binding::Raw(None) => None,
        };
        service.port(ports::HBONE).or(other)
    }

    /// Its pod behind one of its Service's endpoints. One whose port 15008 is the mesh's own is none, unless that is how it
    /// takes connections.
    pub(crate) fn pod<'a>(&self, snapshot: &'a Snapshot, target: &Target) -> Option<&'a Arc<Workload>> {
        let enrolled = self.binding != Binding::Hbone;
        behind(snapshot, target).filter(|workload| workload.is_enrolled() == enrolled)
    }

    /// Where HBONE is taken for it by its pods that take new connections, from who has dialled `address`: with what stands
    /// there in its Service and the pod.
    pub fn endpoints<'a>(
        &self,
        snapshot: &'a Snapshot,
        address: IpAddr,
    ) -> impl Iterator<Item = (SocketAddr, &'a Target, &'a Arc<Workload>)> + Clone {
        let targets = self.service(snapshot).and_then(|service| Some(service.targets(self.port(service)?, address)));
        targets.into_iter().flatten().filter_map(|target| Some((self.at(target), target, self.pod(snapshot, target)?)))
    }

    /// Where HBONE is taken for it by the pod behind one of its Service's endpoints: by itself, or by its agent.
    pub(crate) fn at(&self, target: &Target) -> SocketAddr {
        let port = if self.binding == Binding::Hbone { target.address.port() } else { ports::HBONE };
        SocketAddr::new(target.address.ip(), port)
    }

    /// True if one of its pods has `identity`.
    #[must_use]
    pub fn is(&self, snapshot: &Snapshot, identity: &Identity) -> bool {
        self.pods(snapshot).any(|pod| snapshot.mesh.trust_domains.same(&pod.identity, identity))
    }
}

/// The waypoint that `pod` is a pod of and for which its agent takes HBONE, and that pod.
pub(crate) fn behind_agent<'a>(
    snapshot: &'a Snapshot,
    pod: &WorkloadUid,
) -> Option<(&'a Arc<Waypoint>, &'a Arc<Workload>)> {
    snapshot.waypoints_behind_agents().find_map(|waypoint| {
        let own = waypoint.pods(snapshot).find(|own| own.uid == *pod)?;
        Some((waypoint, own))
    })
}

/// By which waypoint `service` is reached. A waypoint's own Service is reached by none.
#[must_use]
pub fn of_service<'a>(snapshot: &'a Snapshot, service: &Service) -> Bound<'a> {
    let Some(wanted) = &service.waypoint else { return Bound::None };
    let is_own = |waypoint: &Arc<Waypoint>| waypoint.service(snapshot).is_some_and(|own| own.key == service.key);
    let namesake = WaypointKey { namespace: service.key.namespace.clone(), name: service.key.name.clone() };
    if [&wanted.key, &namesake].into_iter().filter_map(|key| snapshot.waypoint(key)).any(is_own) {
        return Bound::None;
    }
    match snapshot.waypoint(&wanted.key) {
        None => Bound::Unavailable(Unavailable::Missing),
        Some(waypoint) if !waypoint.serves.services() => Bound::None,
        Some(waypoint) => attached(waypoint, &service.key.namespace),
    }
}

/// By which waypoint `workload` is reached. A waypoint that is missing counts as one for services, which is what they are
/// unless a label says otherwise; but who names it himself can only mean one for workloads.
#[must_use]
pub fn of_workload<'a>(snapshot: &'a Snapshot, workload: &Workload) -> Bound<'a> {
    let Some(wanted) = &workload.waypoint else { return Bound::None };
    match snapshot.waypoint(&wanted.key) {
        None if wanted.inherited => Bound::None,
        None => Bound::Unavailable(Unavailable::Missing),
        Some(waypoint) if !waypoint.serves.workloads() => Bound::None,
        Some(waypoint) => attached(waypoint, &workload.namespace),
    }
}

/// By which waypoint the pod `workload` is reached when its own `address` is dialled: its own, or where it has none, that
/// of a headless service that has no other address to be reached by.
#[must_use]
pub fn of_address<'a>(snapshot: &'a Snapshot, workload: &Workload, address: SocketAddr) -> Bound<'a> {
    let own = of_workload(snapshot, workload);
    if own != Bound::None || demanded(snapshot, workload, address).is_none() {
        return own;
    }
    let headless = |service: &&Arc<Service>| service.vips.is_empty() && service.ranges.is_empty();
    let bound = snapshot.services_with(address).filter(headless).map(|service| of_service(snapshot, service));
    bound.into_iter().find(|bound| *bound != Bound::None).unwrap_or(Bound::None)
}

fn attached<'a>(waypoint: &'a Arc<Waypoint>, namespace: &str) -> Bound<'a> {
    match waypoint.allows(namespace) {
        true => Bound::Waypoint(waypoint),
        false => Bound::Unavailable(Unavailable::AttachmentDenied),
    }
}

/// True if the waypoint `key` is the one by which `service` is reached.
#[must_use]
pub fn serves(snapshot: &Snapshot, key: &WaypointKey, service: &Service) -> bool {
    is_key(of_service(snapshot, service), key)
}

fn is_key(bound: Bound<'_>, key: &WaypointKey) -> bool {
    matches!(bound, Bound::Waypoint(waypoint) if waypoint.key == *key)
}

/// What a waypoint is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// This port of a service.
    Service(&'a Arc<Service>, u16),
    /// A pod, at this address of its own.
    Workload(&'a Arc<Workload>, SocketAddr),
}

/// What a client of `namespace` asks the waypoint `key` for by `authority`; none if that is nothing that it serves.
#[must_use]
pub fn asked<'a>(
    snapshot: &'a Snapshot,
    key: &WaypointKey,
    namespace: &str,
    authority: &Authority,
) -> Option<Asked<'a>> {
    let (service, address) = match authority {
        Authority::Host(host, _) => (snapshot.named(namespace, host).next(), None),
        Authority::Address(address) => (snapshot.service_dialled(address.ip(), namespace), Some(*address)),
    };
    let port = authority.port();
    let has = |service: &&Arc<Service>| service.resolution == Resolution::AsDialled || service.port(port).is_some();
    if let Some(service) = service {
        return Some(service)
            .filter(has)
            .filter(|service| serves(snapshot, key, service))
            .map(|s| Asked::Service(s, port));
    }
    let address = SocketAddr::new(address?.ip().to_canonical(), port);
    let workload = snapshot.workload_at(address.ip())?;
    is_key(of_address(snapshot, workload, address), key).then_some(Asked::Workload(workload, address))
}

#[cfg(test)]
mod tests;
