//! The parts of a VirtualService that say what is done to requests on their way: retries, faults, copies, CORS.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Destination, StringMatch, Unknown};

/// networking.istio.io HTTPRetry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Retry {
    /// How often.
    pub attempts: i64,
    /// How long each try may take.
    pub per_try_timeout: Option<String>,
    /// After what.
    pub retry_on: String,
    /// Elsewhere, too.
    pub retry_remote_localities: Option<bool>,
    /// Not where it was tried already.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// After how long.
    pub backoff: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPFaultInjection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// They wait.
    pub delay: Option<Delay>,
    /// They fail.
    pub abort: Option<Abort>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPFaultInjection.Delay.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Delay {
    /// Of how many, of a hundred; once.
    pub percent: Option<f64>,
    /// For how long.
    pub fixed_delay: Option<String>,
    /// Never implemented.
    pub exponential_delay: Option<IgnoredAny>,
    /// Of how many.
    pub percentage: Option<Percent>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPFaultInjection.Abort.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Abort {
    /// With this status.
    pub http_status: Option<i64>,
    /// With gRPC's status of this name.
    pub grpc_status: Option<String>,
    /// Never implemented.
    pub http2_error: Option<IgnoredAny>,
    /// Of how many.
    pub percentage: Option<Percent>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Percent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Percent {
    /// Of a hundred.
    pub value: f64,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io HTTPMirrorPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Mirror {
    /// Who gets it.
    pub destination: Option<Destination>,
    /// Of how many.
    pub percentage: Option<Percent>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io CorsPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Pages, each in full; once.
    pub allow_origin: Vec<String>,
    /// Pages.
    pub allow_origins: Vec<StringMatch>,
    /// Methods.
    pub allow_methods: Vec<String>,
    /// Fields of requests.
    pub allow_headers: Vec<String>,
    /// Fields of responses.
    pub expose_headers: Vec<String>,
    /// How long this holds.
    pub max_age: Option<String>,
    /// With credentials.
    pub allow_credentials: Option<bool>,
    /// `FORWARD` or `IGNORE`.
    pub unmatched_preflights: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}
