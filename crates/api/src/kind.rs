//! Which kinds of objects there are, in which API versions, and which of them the mesh acts on.

use std::fmt;
use std::sync::Arc;

use ambit_model::route::RouteKind;
use serde::{Serialize, Serializer};

/// A kind that the mesh acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// core Namespace
    Namespace,
    /// core Node
    Node,
    /// core ServiceAccount
    ServiceAccount,
    /// core Service
    Service,
    /// networking.istio.io ServiceEntry
    ServiceEntry,
    /// discovery.k8s.io EndpointSlice
    EndpointSlice,
    /// networking.istio.io WorkloadEntry
    WorkloadEntry,
    /// core Pod
    Pod,
    /// security.istio.io PeerAuthentication
    PeerAuthentication,
    /// security.istio.io AuthorizationPolicy
    AuthorizationPolicy,
    /// security.istio.io RequestAuthentication
    RequestAuthentication,
    /// networking.istio.io VirtualService
    VirtualService,
    /// networking.istio.io DestinationRule
    DestinationRule,
    /// gateway.networking.k8s.io Gateway
    Gateway,
    /// networking.istio.io Gateway
    IstioGateway,
    /// gateway.networking.k8s.io GatewayClass
    GatewayClass,
    /// gateway.networking.k8s.io HTTPRoute
    HttpRoute,
    /// gateway.networking.k8s.io GRPCRoute
    GrpcRoute,
    /// gateway.networking.k8s.io ReferenceGrant
    ReferenceGrant,
}

impl Kind {
    /// Every kind that the mesh acts on.
    pub const ALL: [Self; 19] = [
        Self::Namespace,
        Self::Node,
        Self::ServiceAccount,
        Self::Service,
        Self::ServiceEntry,
        Self::EndpointSlice,
        Self::WorkloadEntry,
        Self::Pod,
        Self::PeerAuthentication,
        Self::AuthorizationPolicy,
        Self::RequestAuthentication,
        Self::VirtualService,
        Self::DestinationRule,
        Self::Gateway,
        Self::IstioGateway,
        Self::GatewayClass,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::ReferenceGrant,
    ];

    /// The kind as `kind:` has it. Two have the same name, which their groups tell apart.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::ServiceEntry => "ServiceEntry",
            Self::EndpointSlice => "EndpointSlice",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::Pod => "Pod",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Gateway | Self::IstioGateway => "Gateway",
            Self::GatewayClass => "GatewayClass",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::ReferenceGrant => "ReferenceGrant",
        }
    }

    /// The kind as it is told apart from every other: Istio's Gateway has its group behind it, as kubectl takes it.
    #[must_use]
    pub const fn full_name(self) -> &'static str {
        match self {
            Self::IstioGateway => "Gateway.networking.istio.io",
            other => other.as_str(),
        }
    }

    /// The kind of a route.
    #[must_use]
    pub const fn of_route(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Grpc => Self::GrpcRoute,
            RouteKind::Http => Self::HttpRoute,
        }
    }

    /// True if its objects live in namespaces.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::GatewayClass)
    }

    /// Every `apiVersion` that Kubernetes serves or once served the kind under, the current one first.
    #[must_use]
    pub const fn versions(self) -> &'static [&'static str] {
        match self {
            Self::EndpointSlice => &["discovery.k8s.io/v1", "discovery.k8s.io/v1beta1", "discovery.k8s.io/v1alpha1"],
            Self::ServiceEntry
            | Self::WorkloadEntry
            | Self::VirtualService
            | Self::DestinationRule
            | Self::IstioGateway => {
                &["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"]
            }
            Self::PeerAuthentication | Self::AuthorizationPolicy | Self::RequestAuthentication => {
                &["security.istio.io/v1", "security.istio.io/v1beta1"]
            }
            Self::Gateway | Self::GatewayClass => {
                &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
            }
            Self::GrpcRoute => &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"],
            Self::HttpRoute | Self::ReferenceGrant => &[
                "gateway.networking.k8s.io/v1",
                "gateway.networking.k8s.io/v1beta1",
                "gateway.networking.k8s.io/v1alpha2",
            ],
            _ => &["v1"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full_name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.full_name())
    }
}

/// Which object: its kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for what lives in none.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// The object `name` of `kind` in `namespace`: `default` where that is empty, none where the kind has none.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = match (kind.is_namespaced(), namespace) {
            (false, _) => "",
            (true, "") => "default",
            (true, given) => given,
        };
        Self { kind, namespace: Arc::from(namespace), name: Arc::from(name) }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

impl Serialize for ObjectRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an `apiVersion` and `kind` mean to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// A kind that the mesh acts on.
    Known(Kind),
    /// Such a kind in a version that Kubernetes never served; the version to write is given.
    WrongVersion(&'static str),
    /// It configures a mesh, but this version of Ambit does not act on it.
    NotInEffect,
    /// Nothing that concerns a mesh.
    Foreign,
}

/// The API groups whose every kind configures a mesh.
const MESH_GROUPS: [&str; 5] = [
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "gateway.networking.k8s.io",
];

/// What `api_version` and `kind` mean to the mesh.
#[must_use]
pub fn recognise(api_version: &str, kind: &str) -> Recognised {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    // Gateway API and Istio have a Gateway each.
    let named = || Kind::ALL.into_iter().filter(|known| known.as_str() == kind);
    if let Some(known) = named().find(|known| known.versions().contains(&api_version)) {
        return Recognised::Known(known);
    }
    let of_group = |version: &&str| version.split_once('/').map_or("", |(group, _)| group) == group;
    let current = || named().filter_map(|known| known.versions().first().copied());
    match current().find(of_group).or_else(|| current().next().filter(|_| group.is_empty())) {
        Some(current) => Recognised::WrongVersion(current),
        None if MESH_GROUPS.contains(&group) || (group.is_empty() && kind == "Endpoints") => Recognised::NotInEffect,
        // Other groups have kinds of these names, such as Knative's `serving.knative.dev/v1` Service.
        None => Recognised::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn kinds_are_told_apart_by_group_and_version() {
        for (api_version, kind, expected) in [
            ("v1", "Pod", Recognised::Known(Kind::Pod)),
            ("v1", "Service", Recognised::Known(Kind::Service)),
            ("discovery.k8s.io/v1", "EndpointSlice", Recognised::Known(Kind::EndpointSlice)),
            ("discovery.k8s.io/v1beta1", "EndpointSlice", Recognised::Known(Kind::EndpointSlice)),
            ("discovery.k8s.io/v2", "EndpointSlice", Recognised::WrongVersion("discovery.k8s.io/v1")),
            ("v1", "EndpointSlice", Recognised::WrongVersion("discovery.k8s.io/v1")),
            ("v1beta1", "Pod", Recognised::WrongVersion("v1")),
            ("", "Pod", Recognised::WrongVersion("v1")),
            ("serving.knative.dev/v1", "Service", Recognised::Foreign),
            ("apps/v1", "Deployment", Recognised::Foreign),
            ("security.istio.io/v1", "AuthorizationPolicy", Recognised::Known(Kind::AuthorizationPolicy)),
            ("security.istio.io/v1beta1", "PeerAuthentication", Recognised::Known(Kind::PeerAuthentication)),
            ("security.istio.io/v1alpha1", "AuthorizationPolicy", Recognised::WrongVersion("security.istio.io/v1")),
            ("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", Recognised::Foreign),
            ("security.istio.io/v1", "RequestAuthentication", Recognised::Known(Kind::RequestAuthentication)),
            ("networking.istio.io/v1", "VirtualService", Recognised::Known(Kind::VirtualService)),
            ("networking.istio.io/v1alpha3", "DestinationRule", Recognised::Known(Kind::DestinationRule)),
            ("networking.istio.io/vlalpha", "VirtualService", Recognised::WrongVersion("networking.istio.io/v1")),
            ("networking.istio.io/v1", "Sidecar", Recognised::NotInEffect),
            ("networking.istio.io/v1", "Gateway", Recognised::Known(Kind::IstioGateway)),
            ("networking.istio.io/v1beta1", "Gateway", Recognised::Known(Kind::IstioGateway)),
            ("networking.istio.io/v1alpha3", "Gateway", Recognised::Known(Kind::IstioGateway)),
            ("networking.istio.io/v2", "Gateway", Recognised::WrongVersion("networking.istio.io/v1")),
            ("security.istio.io/v1", "Gateway", Recognised::NotInEffect),
            ("networking.example.com/v1", "Gateway", Recognised::Foreign),
            ("", "Gateway", Recognised::WrongVersion("gateway.networking.k8s.io/v1")),
            ("networking.istio.io/v1alpha3", "ServiceEntry", Recognised::Known(Kind::ServiceEntry)),
            ("networking.istio.io/v1beta1", "WorkloadEntry", Recognised::Known(Kind::WorkloadEntry)),
            ("networking.istio.io/v2", "ServiceEntry", Recognised::WrongVersion("networking.istio.io/v1")),
            ("gateway.networking.k8s.io/v1beta1", "HTTPRoute", Recognised::Known(Kind::HttpRoute)),
            ("gateway.networking.k8s.io/v1alpha2", "GRPCRoute", Recognised::Known(Kind::GrpcRoute)),
            (
                "gateway.networking.k8s.io/v1beta1",
                "GRPCRoute",
                Recognised::WrongVersion("gateway.networking.k8s.io/v1"),
            ),
            ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", Recognised::Known(Kind::ReferenceGrant)),
            ("gateway.networking.k8s.io/v1alpha2", "TCPRoute", Recognised::NotInEffect),
            ("gateway.networking.k8s.io/v1beta1", "Gateway", Recognised::Known(Kind::Gateway)),
            ("gateway.networking.k8s.io/v1", "GatewayClass", Recognised::Known(Kind::GatewayClass)),
            ("gateway.networking.k8s.io/v2", "Gateway", Recognised::WrongVersion("gateway.networking.k8s.io/v1")),
            ("v1", "Endpoints", Recognised::NotInEffect),
        ] {
            assert_eq!(recognise(api_version, kind), expected, "{api_version} {kind}");
        }
    }

    #[test]
    fn a_reference_has_the_namespace_that_kubernetes_would_give() {
        assert_eq!(ObjectRef::new(Kind::Pod, "", "web").to_string(), "Pod default/web");
        assert_eq!(ObjectRef::new(Kind::Node, "shop", "node-a").to_string(), "Node node-a");
    }

    #[test]
    fn no_two_kinds_are_shown_or_written_alike() {
        let shown: BTreeSet<String> = Kind::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), Kind::ALL.len());
        let written = |kind: &Kind| kind.versions().iter().map(|version| (*version, kind.as_str())).collect::<Vec<_>>();
        let all: Vec<_> = Kind::ALL.iter().flat_map(written).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        let [gateway, istios] =
            [Kind::Gateway, Kind::IstioGateway].map(|kind| ObjectRef::new(kind, "shop", "x").to_string());
        assert_eq!((&*gateway, &*istios), ("Gateway shop/x", "Gateway.networking.istio.io shop/x"));
    }
}
