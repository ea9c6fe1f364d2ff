//! networking.istio.io VirtualService, `v1`, `v1beta1` or `v1alpha3`, which read alike. Fields that are not known are kept,
//! by name: a route that says more than is read must not be taken for one that says less.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::ObjectMeta;
use super::service_entry::Unknown;

mod resilience;

pub use resilience::{Abort, CorsPolicy, Delay, Fault, Mirror, Percent, Retry};

/// networking.istio.io VirtualService.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct VirtualService {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: VirtualServiceSpec,
}

/// networking.istio.io VirtualService `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// Names, short or whole, which may begin with `*.`; none for one that others delegate to.
    pub hosts: Vec<String>,
    /// `mesh`, and names of Gateways, with their namespace and a slash before them or without.
    pub gateways: Vec<String>,
    /// The rules for requests, in order.
    pub http: Vec<HttpRoute>,
    /// The rules for TLS connections, in order.
    pub tls: Vec<StreamRoute>,
    /// The rules for other connections, in order.
    pub tcp: Vec<StreamRoute>,
    /// The namespaces that may see it: names, `.`, `*`.
    pub export_to: Vec<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPRoute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    /// What the access log calls it.
    pub name: String,
    /// Which requests it is for.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Where they go.
    pub route: Vec<RouteDestination>,
    /// Where their clients are told to go instead.
    pub redirect: Option<Redirect>,
    /// What they are answered.
    pub direct_response: Option<DirectResponse>,
    /// Who says instead.
    pub delegate: Option<Delegate>,
    /// What their paths and authorities become.
    pub rewrite: Option<Rewrite>,
    /// How long they may take.
    pub timeout: Option<String>,
    /// When they are tried again.
    pub retries: Option<Retry>,
    /// What is done to them on purpose.
    pub fault: Option<Fault>,
    /// Who gets a copy.
    pub mirror: Option<Destination>,
    /// Who get copies.
    pub mirrors: Vec<Mirror>,
    /// Of how many requests, of a hundred; once.
    pub mirror_percent: Option<f64>,
    /// Of how many requests.
    pub mirror_percentage: Option<Percent>,
    /// Pages from elsewhere that may ask.
    pub cors_policy: Option<CorsPolicy>,
    /// What becomes of header fields.
    pub headers: Option<Headers>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPMatchRequest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMatch {
    /// What the access log calls it.
    pub name: String,
    /// The path.
    pub uri: Option<StringMatch>,
    /// The scheme.
    pub scheme: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
    /// The authority.
    pub authority: Option<StringMatch>,
    /// Header fields; null asks for presence.
    pub headers: BTreeMap<String, Option<StringMatch>>,
    /// The service's port.
    pub port: Option<i64>,
    /// The client's labels.
    pub source_labels: BTreeMap<String, String>,
    /// Where it applies.
    pub gateways: Vec<String>,
    /// Query parameters; null asks for presence.
    pub query_params: BTreeMap<String, Option<StringMatch>>,
    /// The case of the path makes no difference.
    pub ignore_uri_case: bool,
    /// What header fields are not; null asks for absence.
    pub without_headers: BTreeMap<String, Option<StringMatch>>,
    /// The client's namespace.
    pub source_namespace: String,
    /// What Envoy's own statistics call it.
    pub stat_prefix: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io StringMatch: one of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StringMatch {
    /// This text.
    pub exact: Option<String>,
    /// What begins so.
    pub prefix: Option<String>,
    /// What this RE2 expression describes.
    pub regex: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Destination.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// The service.
    pub host: String,
    /// Its subset.
    pub subset: String,
    /// Its port.
    pub port: Option<PortSelector>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io PortSelector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PortSelector {
    /// The port's number.
    pub number: i64,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPRouteDestination, and RouteDestination, which has no `headers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteDestination {
    /// Where to.
    pub destination: Option<Destination>,
    /// Its share.
    pub weight: i64,
    /// What becomes of header fields.
    pub headers: Option<Headers>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPRedirect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Redirect {
    /// The whole path.
    pub uri: String,
    /// What takes the place of the prefix.
    pub prefix_rewrite: String,
    /// The authority.
    pub authority: String,
    /// The port.
    pub port: Option<i64>,
    /// `FROM_PROTOCOL_DEFAULT` or `FROM_REQUEST_PORT`.
    pub derive_port: Option<String>,
    /// `http` or `https`.
    pub scheme: String,
    /// The status.
    pub redirect_code: i64,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPDirectResponse.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DirectResponse {
    /// The status.
    pub status: i64,
    /// The body.
    pub body: Option<Body>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPBody: one of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body {
    /// Text.
    pub string: Option<String>,
    /// Bytes, in base64.
    pub bytes: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Delegate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for the same.
    pub namespace: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPRewrite.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rewrite {
    /// What takes the place of the prefix, or of the path.
    pub uri: String,
    /// The authority.
    pub authority: String,
    /// What becomes of parts of the path.
    pub uri_regex_rewrite: Option<RegexRewrite>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io RegexRewrite.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RegexRewrite {
    /// The RE2 expression.
    #[serde(rename = "match")]
    pub matches: String,
    /// What takes the place of what it describes.
    pub rewrite: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Headers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Headers {
    /// Of requests.
    pub request: HeaderOperations,
    /// Of responses.
    pub response: HeaderOperations,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Headers.HeaderOperations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderOperations {
    /// They become this.
    pub set: BTreeMap<String, String>,
    /// They become this as well.
    pub add: BTreeMap<String, String>,
    /// They are no more.
    pub remove: Vec<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io TLSRoute and TCPRoute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamRoute {
    /// Which connections it is for.
    #[serde(rename = "match")]
    pub matches: Vec<StreamMatch>,
    /// Where they go.
    pub route: Vec<RouteDestination>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io TLSMatchAttributes and L4MatchAttributes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StreamMatch {
    /// What TLS clients want to reach.
    pub sni_hosts: Vec<String>,
    /// Where they go.
    pub destination_subnets: Vec<String>,
    /// Where they come from.
    pub source_subnet: String,
    /// The service's port.
    pub port: Option<i64>,
    /// The client's labels.
    pub source_labels: BTreeMap<String, String>,
    /// Where it applies.
    pub gateways: Vec<String>,
    /// The client's namespace.
    pub source_namespace: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}
