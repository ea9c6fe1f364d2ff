//! Kubernetes objects, trimmed to the fields that are read. Other fields are ignored, absent ones are their defaults;
//! whether the values make sense is for [`mod@crate::translate`] to say.

pub mod destination_rule;
pub mod endpoint_slice;
pub mod gateway;
pub mod gateway_route;
pub mod istio_gateway;
pub mod meta;
pub mod pod;
pub mod policy;
pub mod request_authentication;
pub mod service;
pub mod service_entry;
pub mod virtual_service;
pub mod workload_entry;

use serde::Deserialize;

pub use destination_rule::DestinationRule;
pub use endpoint_slice::EndpointSlice;
pub use gateway::Gateway;
pub use gateway_route::{GrpcRoute, HttpRoute, ReferenceGrant};
pub use istio_gateway::IstioGateway;
pub use meta::ObjectMeta;
pub use pod::Pod;
pub use policy::{AuthorizationPolicy, PeerAuthentication};
pub use request_authentication::RequestAuthentication;
pub use service::Service;
pub use service_entry::ServiceEntry;
pub use virtual_service::VirtualService;
pub use workload_entry::WorkloadEntry;

use crate::kind::{Kind, ObjectRef};

/// An object of a kind that the mesh acts on.
#[derive(Clone, Debug)]
pub enum Object {
    /// core/v1 Namespace
    Namespace(Bare),
    /// core/v1 Node
    Node(Node),
    /// core/v1 Pod
    Pod(Box<Pod>),
    /// core/v1 Service
    Service(Box<Service>),
    /// core/v1 ServiceAccount
    ServiceAccount(Bare),
    /// discovery.k8s.io EndpointSlice
    EndpointSlice(EndpointSlice),
    /// networking.istio.io ServiceEntry
    ServiceEntry(Box<ServiceEntry>),
    /// networking.istio.io WorkloadEntry
    WorkloadEntry(Box<WorkloadEntry>),
    /// security.istio.io PeerAuthentication
    PeerAuthentication(Box<PeerAuthentication>),
    /// security.istio.io AuthorizationPolicy
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    /// security.istio.io RequestAuthentication
    RequestAuthentication(Box<RequestAuthentication>),
    /// networking.istio.io VirtualService
    VirtualService(Box<VirtualService>),
    /// networking.istio.io DestinationRule
    DestinationRule(Box<DestinationRule>),
    /// gateway.networking.k8s.io Gateway
    Gateway(Box<Gateway>),
    /// networking.istio.io Gateway
    IstioGateway(Box<IstioGateway>),
    /// gateway.networking.k8s.io GatewayClass
    GatewayClass(Bare),
    /// gateway.networking.k8s.io HTTPRoute
    HttpRoute(Box<HttpRoute>),
    /// gateway.networking.k8s.io GRPCRoute
    GrpcRoute(Box<GrpcRoute>),
    /// gateway.networking.k8s.io ReferenceGrant
    ReferenceGrant(Box<ReferenceGrant>),
}

impl Object {
    /// Reads an object of `kind`.
    ///
    /// # Errors
    /// The deserializer's, where a field has the wrong type.
    pub fn read<'de, D: serde::Deserializer<'de>>(kind: Kind, from: D) -> Result<Self, D::Error> {
        Ok(match kind {
            Kind::Namespace => Self::Namespace(Bare::deserialize(from)?),
            Kind::Node => Self::Node(Node::deserialize(from)?),
            Kind::Pod => Self::Pod(Box::deserialize(from)?),
            Kind::Service => Self::Service(Box::deserialize(from)?),
            Kind::ServiceAccount => Self::ServiceAccount(Bare::deserialize(from)?),
            Kind::EndpointSlice => Self::EndpointSlice(EndpointSlice::deserialize(from)?),
            Kind::ServiceEntry => Self::ServiceEntry(Box::deserialize(from)?),
            Kind::WorkloadEntry => Self::WorkloadEntry(Box::deserialize(from)?),
            Kind::PeerAuthentication => Self::PeerAuthentication(Box::deserialize(from)?),
            Kind::AuthorizationPolicy => Self::AuthorizationPolicy(Box::deserialize(from)?),
            Kind::RequestAuthentication => Self::RequestAuthentication(Box::deserialize(from)?),
            Kind::VirtualService => Self::VirtualService(Box::deserialize(from)?),
            Kind::DestinationRule => Self::DestinationRule(Box::deserialize(from)?),
            Kind::Gateway => Self::Gateway(Box::deserialize(from)?),
            Kind::IstioGateway => Self::IstioGateway(Box::deserialize(from)?),
            Kind::GatewayClass => Self::GatewayClass(Bare::deserialize(from)?),
            Kind::HttpRoute => Self::HttpRoute(Box::deserialize(from)?),
            Kind::GrpcRoute => Self::GrpcRoute(Box::deserialize(from)?),
            Kind::ReferenceGrant => Self::ReferenceGrant(Box::deserialize(from)?),
        })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::RequestAuthentication(_) => Kind::RequestAuthentication,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::Gateway(_) => Kind::Gateway,
            Self::IstioGateway(_) => Kind::IstioGateway,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(bare) | Self::ServiceAccount(bare) | Self::GatewayClass(bare) => &bare.metadata,
            Self::Node(node) => &node.metadata,
            Self::Pod(pod) => &pod.metadata,
            Self::Service(service) => &service.metadata,
            Self::EndpointSlice(slice) => &slice.metadata,
            Self::ServiceEntry(entry) => &entry.metadata,
            Self::WorkloadEntry(entry) => &entry.metadata,
            Self::PeerAuthentication(policy) => &policy.metadata,
            Self::AuthorizationPolicy(policy) => &policy.metadata,
            Self::RequestAuthentication(policy) => &policy.metadata,
            Self::VirtualService(service) => &service.metadata,
            Self::DestinationRule(rule) => &rule.metadata,
            Self::Gateway(gateway) => &gateway.metadata,
            Self::IstioGateway(gateway) => &gateway.metadata,
            Self::HttpRoute(route) => &route.metadata,
            Self::GrpcRoute(route) => &route.metadata,
            Self::ReferenceGrant(grant) => &grant.metadata,
        }
    }

    /// Which object it is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::new(self.kind(), &self.metadata().namespace, &self.metadata().name)
    }
}

/// An object of which only the metadata is read: a Namespace, ServiceAccount or GatewayClass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Bare {
    /// Standard metadata.
    pub metadata: ObjectMeta,
}

/// core/v1 Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What the node is known to be.
    pub status: NodeStatus,
}

/// core/v1 NodeStatus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// How it is reached.
    pub addresses: Vec<NodeAddress>,
}

/// core/v1 NodeAddress.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, `InternalDNS` or `ExternalDNS`.
    #[serde(rename = "type")]
    pub kind: String,
    /// An address or a name, as the type says.
    pub address: String,
}
