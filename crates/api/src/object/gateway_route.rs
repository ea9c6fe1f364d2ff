//! gateway.networking.k8s.io HTTPRoute, GRPCRoute and ReferenceGrant, whose versions read alike. Fields that are not known
//! are kept, by name: a route that says more than is read must not be taken for one that says less.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::ObjectMeta;
use super::service_entry::Unknown;

mod filter;

pub use filter::{
    Cors, ExternalFilter, Filter, Fraction, Header, HeaderModifier, PathModifier, RequestMirror, RequestRedirect,
    UrlRewrite,
};

/// gateway.networking.k8s.io HTTPRoute.
pub type HttpRoute = Route<HttpRule>;

/// gateway.networking.k8s.io GRPCRoute.
pub type GrpcRoute = Route<GrpcRule>;

/// A route with rules of some kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "R: Deserialize<'de> + Default"))]
pub struct Route<R> {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: RouteSpec<R>,
}

/// gateway.networking.k8s.io HTTPRouteSpec, GRPCRouteSpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de> + Default"))]
pub struct RouteSpec<R> {
    /// What it is attached to.
    pub parent_refs: Vec<ParentReference>,
    /// The hosts that it is for at gateways.
    pub hostnames: Vec<String>,
    /// The rules.
    pub rules: Vec<R>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io ParentReference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentReference {
    /// The API group; `gateway.networking.k8s.io` if nothing is written.
    pub group: Option<String>,
    /// The kind; `Gateway` if nothing is written.
    pub kind: Option<String>,
    /// The namespace; none for the route's.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// A listener of a Gateway.
    pub section_name: Option<String>,
    /// The port.
    pub port: Option<i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPRouteRule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRule {
    /// What the access log calls it.
    pub name: Option<String>,
    /// Which requests it is for.
    pub matches: Vec<HttpMatch>,
    /// What is done to them.
    pub filters: Vec<Filter>,
    /// Where they go.
    pub backend_refs: Vec<BackendReference>,
    /// How long they may take.
    pub timeouts: Option<Timeouts>,
    /// When they are tried again.
    pub retry: Option<Retry>,
    /// That a client's requests stay together.
    pub session_persistence: Option<IgnoredAny>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io GRPCRouteRule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRule {
    /// What the access log calls it.
    pub name: Option<String>,
    /// Which calls it is for.
    pub matches: Vec<GrpcMatch>,
    /// What is done to them.
    pub filters: Vec<Filter>,
    /// Where they go.
    pub backend_refs: Vec<BackendReference>,
    /// That a client's calls stay together.
    pub session_persistence: Option<IgnoredAny>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPRouteMatch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// The path.
    pub path: Option<Typed>,
    /// Header fields.
    pub headers: Vec<Typed>,
    /// Query parameters.
    pub query_params: Vec<Typed>,
    /// The method.
    pub method: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPPathMatch (without a name), HTTPHeaderMatch, HTTPQueryParamMatch and GRPCHeaderMatch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    /// How the value is meant.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Of what.
    pub name: String,
    /// The value.
    pub value: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io GRPCRouteMatch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrpcMatch {
    /// The service and method.
    pub method: Option<GrpcMethod>,
    /// Header fields.
    pub headers: Vec<Typed>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io GRPCMethodMatch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrpcMethod {
    /// `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPBackendRef, GRPCBackendRef and BackendObjectReference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackendReference {
    /// The API group; the core's if nothing is written.
    pub group: Option<String>,
    /// The kind; `Service` if nothing is written.
    pub kind: Option<String>,
    /// The namespace; none for the route's.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The port.
    pub port: Option<i64>,
    /// Its share; 1 if nothing is written.
    pub weight: Option<i64>,
    /// What is done to what goes there.
    pub filters: Vec<Filter>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPRouteTimeouts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Timeouts {
    /// For the request with its retries.
    pub request: Option<String>,
    /// For every try.
    pub backend_request: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPRouteRetry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// After these statuses.
    pub codes: Vec<i64>,
    /// How often, after the first time.
    pub attempts: Option<i64>,
    /// After how long.
    pub backoff: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io ReferenceGrant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReferenceGrant {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: ReferenceGrantSpec,
}

/// gateway.networking.k8s.io ReferenceGrantSpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    /// Who may name something.
    pub from: Vec<GrantFrom>,
    /// What may be named.
    pub to: Vec<GrantTo>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io ReferenceGrantFrom.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrantFrom {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io ReferenceGrantTo.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrantTo {
    /// The API group; empty for the core's.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name; none for every one.
    pub name: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}
