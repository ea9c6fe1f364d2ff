//! What a route does to requests on their way (gateway.networking.k8s.io HTTPRouteFilter, GRPCRouteFilter).

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::service_entry::Unknown;
use super::BackendReference;

/// gateway.networking.k8s.io HTTPRouteFilter, and GRPCRouteFilter, which has fewer types.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Filter {
    /// Which of the others there is.
    #[serde(rename = "type")]
    pub kind: String,
    /// What becomes of the request's header fields.
    pub request_header_modifier: Option<HeaderModifier>,
    /// What becomes of the response's.
    pub response_header_modifier: Option<HeaderModifier>,
    /// Who gets a copy.
    pub request_mirror: Option<RequestMirror>,
    /// Where the client is told to go instead.
    pub request_redirect: Option<RequestRedirect>,
    /// What the path and the authority become.
    pub url_rewrite: Option<UrlRewrite>,
    /// Pages from elsewhere that may ask.
    pub cors: Option<Cors>,
    /// Somebody who is asked whether the client may.
    pub external_auth: Option<IgnoredAny>,
    /// Something of an implementation's own.
    pub extension_ref: Option<ExternalFilter>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPHeaderFilter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// They become this.
    pub set: Vec<Header>,
    /// They become this as well.
    pub add: Vec<Header>,
    /// They are no more.
    pub remove: Vec<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPHeader.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Header {
    /// The field's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPRequestMirrorFilter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestMirror {
    /// Who gets it.
    pub backend_ref: Option<BackendReference>,
    /// Of how many, of a hundred.
    pub percent: Option<i64>,
    /// Of how many.
    pub fraction: Option<Fraction>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io Fraction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fraction {
    /// So many
    pub numerator: i64,
    /// of these; 100 if nothing is written.
    pub denominator: Option<i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPRequestRedirectFilter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestRedirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
    /// The port.
    pub port: Option<i64>,
    /// The status; 302 if nothing is written.
    pub status_code: Option<i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPURLRewriteFilter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UrlRewrite {
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPPathModifier.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathModifier {
    /// Which of the others there is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The whole path.
    pub replace_full_path: Option<String>,
    /// What takes the place of the prefix that matched.
    pub replace_prefix_match: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io HTTPCORSFilter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cors {
    /// Pages.
    pub allow_origins: Vec<String>,
    /// With credentials.
    pub allow_credentials: Option<bool>,
    /// Methods.
    pub allow_methods: Vec<String>,
    /// Fields of requests.
    pub allow_headers: Vec<String>,
    /// Fields of responses.
    pub expose_headers: Vec<String>,
    /// How long this holds, in seconds; 5 if nothing is written.
    pub max_age: Option<i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// gateway.networking.k8s.io LocalObjectReference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExternalFilter {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}
