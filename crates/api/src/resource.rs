//! Objects after translation: validated, of the model's types, and still one by one. What depends on a second object
//! (the namespace's label, the node's zone, a service's pods) is joined by whoever holds all of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::destination::DestinationRule;
use ambit_model::gateway;
use ambit_model::policy::{PeerAuthentication, Policy, PolicyKey, RequestAuthentication};
use ambit_model::route::{VirtualService, Visibility};
use ambit_model::{Cidr, Distribution, Node, Resolution, ServiceKey, Sidecar, Topology, Workload, WorkloadUid};

use crate::kind::{Kind, ObjectRef};

mod entry;
mod route;
mod waypoint;

pub use entry::{ServiceEntry, WorkloadEntry, Written};
pub use route::{
    Backend, BackendRef, Granted, Grantee, Mirrored, ParentKind, ParentRef, ReferenceGrant, Route, RouteAction,
    RouteRule,
};
pub use waypoint::{AllowedNamespaces, Gateway, GatewayClass, Operator, Requirement, WaypointWish};

/// A validated object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A namespace.
    Namespace(Namespace),
    /// A node.
    Node(Arc<Node>),
    /// A pod that runs, or will.
    Pod(Arc<Pod>),
    /// A service with an address or endpoints of its own, or the alias of a name.
    Service(Arc<Service>),
    /// Endpoints that somebody wrote down.
    EndpointSlice(Arc<EndpointSlice>),
    /// Hosts that somebody declared.
    ServiceEntry(Arc<ServiceEntry>),
    /// A workload that is no pod.
    WorkloadEntry(Arc<WorkloadEntry>),
    /// Who takes connections in clear.
    PeerAuthentication(Arc<PeerAuthentication>),
    /// Who may talk to whom.
    AuthorizationPolicy(Arc<Policy>),
    /// Which tokens of end users are taken.
    RequestAuthentication(Arc<RequestAuthentication>),
    /// Where traffic goes.
    VirtualService(Arc<VirtualService>),
    /// How endpoints are reached.
    DestinationRule(Arc<DestinationRule>),
    /// A waypoint.
    Gateway(Arc<Gateway>),
    /// What is let in from outside.
    IstioGateway(Arc<gateway::Gateway>),
    /// A class of Gateways.
    GatewayClass(GatewayClass),
    /// A route that is attached to services.
    Route(Arc<Route>),
    /// Who may name what from other namespaces.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// An object that stands for nothing in the mesh: a finished pod, a service account.
    Inert(ObjectRef),
}

impl Resource {
    /// Which object it is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        let named = |kind, namespace: &Arc<str>, name: &Arc<str>| ObjectRef {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let of_policy = |kind, key: &PolicyKey| named(kind, &key.namespace, &key.name);
        match self {
            Self::Namespace(namespace) => named(Kind::Namespace, &Arc::default(), &namespace.name),
            Self::Node(node) => named(Kind::Node, &Arc::default(), &node.name),
            Self::Pod(pod) => named(Kind::Pod, &pod.workload.namespace, &pod.workload.name),
            Self::Service(service) => named(Kind::Service, &service.namespace, &service.name),
            Self::EndpointSlice(slice) => named(Kind::EndpointSlice, &slice.namespace, &slice.name),
            Self::ServiceEntry(entry) => named(Kind::ServiceEntry, &entry.namespace, &entry.name),
            Self::WorkloadEntry(entry) => named(Kind::WorkloadEntry, &entry.namespace, &entry.name),
            Self::PeerAuthentication(policy) => of_policy(Kind::PeerAuthentication, &policy.key),
            Self::AuthorizationPolicy(policy) => of_policy(Kind::AuthorizationPolicy, &policy.key),
            Self::RequestAuthentication(policy) => of_policy(Kind::RequestAuthentication, &policy.key),
            Self::VirtualService(service) => of_policy(Kind::VirtualService, &service.key),
            Self::DestinationRule(rule) => of_policy(Kind::DestinationRule, &rule.key),
            Self::Gateway(gateway) => named(Kind::Gateway, &gateway.key.namespace, &gateway.key.name),
            Self::IstioGateway(gateway) => of_policy(Kind::IstioGateway, &gateway.key),
            Self::GatewayClass(class) => named(Kind::GatewayClass, &Arc::default(), &class.name),
            Self::Route(route) => of_policy(Kind::of_route(route.id.kind), &route.id.key),
            Self::ReferenceGrant(grant) => of_policy(Kind::ReferenceGrant, &grant.key),
            Self::Inert(reference) => reference.clone(),
        }
    }
}

/// What `istio.io/dataplane-mode` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataplaneMode {
    /// Into the mesh.
    Ambient,
    /// Out of the mesh.
    None,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// What its label asks for, for the pods that have none of their own.
    pub mode: Option<DataplaneMode>,
    /// What its annotation asks for, for the services that ask for nothing.
    pub distribution: Option<Distribution>,
    /// What its labels ask for, for the services and pods that ask for nothing.
    pub waypoint: Option<WaypointWish>,
    /// Whether gateways go past the waypoints of the services that do not say so themselves.
    pub passed_by_gateways: Option<bool>,
    /// What selectors match, its name included.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The workload as far as the pod alone tells: without region and zone, enrolled as in a namespace without label.
    pub workload: Workload,
    /// What its own label asks for.
    pub mode: Option<DataplaneMode>,
    /// What another mesh carries its connections by.
    pub sidecar: Option<Sidecar>,
    /// What its own labels ask for.
    pub waypoint: Option<WaypointWish>,
    /// It is ready but for its termination, if it terminates.
    pub serving: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Its named TCP ports.
    pub ports: Vec<(Arc<str>, u16)>,
}

impl Pod {
    /// The number of its TCP port named `name`.
    #[must_use]
    pub fn port_named(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(known, _)| **known == *name).map(|(_, number)| *number)
    }
}

/// A service: a Service, or a host of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The host, in lower case, if it is one of a ServiceEntry.
    pub host: Option<Arc<str>>,
    /// `<name>.<namespace>.svc.<cluster domain>`, or the host.
    pub hostname: Arc<str>,
    /// Its addresses; empty for a headless service.
    pub vips: Vec<IpAddr>,
    /// The ranges of addresses that stand for it.
    pub ranges: Vec<Cidr>,
    /// It has no address and wants to be given some.
    pub allocates: bool,
    /// Where connections to its addresses go.
    pub resolution: Resolution,
    /// The DNS name that it is an alias of.
    pub alias: Option<Arc<str>>,
    /// Whose clients see it.
    pub visibility: Visibility,
    /// Which endpoints it can have.
    pub families: Families,
    /// The labels of its pods; empty if it selects none.
    pub selector: BTreeMap<Arc<str>, Arc<str>>,
    /// Endpoints that are written with it.
    pub endpoints: Vec<Written>,
    /// Its TCP ports, ascending.
    pub ports: Vec<Port>,
    /// Its pods take connections before they are ready, too.
    pub publish_not_ready: bool,
    /// Which of its endpoints its clients go to; none if it leaves that to its namespace.
    pub distribution: Option<Distribution>,
    /// What its own labels ask for.
    pub waypoint: Option<WaypointWish>,
    /// Whether gateways go past its waypoint; none if it leaves that to its namespace.
    pub passed_by_gateways: Option<bool>,
}

impl Service {
    /// Which it is.
    #[must_use]
    pub fn key(&self) -> ServiceKey {
        ServiceKey { host: self.host.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// The address families of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// True if `address` is of one of them.
    #[must_use]
    pub fn contain(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// What clients dial.
    pub number: u16,
    /// Its name; empty where it has none.
    pub name: Arc<str>,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// Where its pods listen.
    pub target: TargetPort,
}

/// Where the pods of a service listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// On this port.
    Number(u16),
    /// On the port that each of them gave this name.
    Name(Arc<str>),
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The service in that namespace whose endpoints it holds.
    pub service: Arc<str>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Where each of them listens for TCP: by the name of the service's port, empty where that has none.
    pub ports: Vec<(Arc<str>, u16)>,
}

/// An endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The pod behind it, where it names one.
    pub workload: Option<WorkloadUid>,
    /// Where it is, if it says so and names no pod.
    pub topology: Option<Arc<Topology>>,
    /// It takes new connections.
    pub ready: bool,
    /// It still takes them while it terminates, if nothing else does.
    pub draining: bool,
}
