//! security.istio.io RequestAuthentication. Fields that are not known are kept, by name, as for the other policies.

use serde::Deserialize;

use super::meta::ObjectMeta;
use super::policy::{Selector, TargetRef, Unknown};

/// security.istio.io RequestAuthentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RequestAuthentication {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: RequestAuthenticationSpec,
}

/// security.istio.io RequestAuthentication `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestAuthenticationSpec {
    /// Which pods of gateways it is for; absent or empty for all of the namespace.
    pub selector: Option<Selector>,
    /// The one thing that it is for instead of pods.
    pub target_ref: Option<TargetRef>,
    /// The things that it is for instead of pods.
    pub target_refs: Vec<TargetRef>,
    /// Which tokens are taken.
    pub jwt_rules: Vec<JwtRule>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// security.istio.io JWTRule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JwtRule {
    /// Who must have issued a token.
    pub issuer: String,
    /// Whom it must be for; empty for anybody.
    pub audiences: Vec<String>,
    /// Where the issuer's keys are.
    pub jwks_uri: String,
    /// The same by its name in Protobuf, which is taken as well.
    #[serde(rename = "jwks_uri")]
    pub protobuf_jwks_uri: String,
    /// The issuer's keys.
    pub jwks: String,
    /// The header fields that a token may stand in.
    pub from_headers: Vec<JwtHeader>,
    /// The query parameters that it may stand in.
    pub from_params: Vec<String>,
    /// The cookies that it may stand in.
    pub from_cookies: Vec<String>,
    /// The field that its payload goes on in.
    pub output_payload_to_header: String,
    /// The fields that its claims go on in.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// It goes on with the request.
    pub forward_original_token: bool,
    /// How long fetching the keys may take.
    pub timeout: Option<String>,
    /// Claims that are lists, written with spaces between.
    pub space_delimited_claims: Vec<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// security.istio.io JWTHeader.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JwtHeader {
    /// The field's name.
    pub name: String,
    /// What stands before the token.
    pub prefix: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// security.istio.io ClaimToHeader.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimToHeader {
    /// The field's name.
    pub header: String,
    /// The claim's name, with dots before what is within it.
    pub claim: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}
