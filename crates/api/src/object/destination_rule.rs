//! networking.istio.io DestinationRule, `v1`, `v1beta1` or `v1alpha3`, which read alike. Fields that are not known are
//! kept, by name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::ObjectMeta;
use super::policy::Selector;
use super::service_entry::Unknown;
use super::virtual_service::PortSelector;

/// networking.istio.io DestinationRule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DestinationRule {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: DestinationRuleSpec,
}

/// networking.istio.io DestinationRule `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// A name, short or whole, which may begin with `*.`.
    pub host: String,
    /// What holds for all of it.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Some of its endpoints, by name.
    pub subsets: Vec<Subset>,
    /// The namespaces that may see it: names, `.`, `*`.
    pub export_to: Vec<String>,
    /// The clients that it is for.
    pub workload_selector: Option<Selector>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io Subset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// What its endpoints are labelled with.
    pub labels: BTreeMap<String, String>,
    /// What holds for it.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io TrafficPolicy, and TrafficPolicy.PortTrafficPolicy, which has a `port` and no more than four others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// The port that it is for.
    pub port: Option<PortSelector>,
    /// How load is spread.
    pub load_balancer: Option<LoadBalancer>,
    /// How much there may be.
    pub connection_pool: Option<ConnectionPool>,
    /// Who is passed over.
    pub outlier_detection: Option<OutlierDetection>,
    /// How they are spoken to.
    pub tls: Option<ClientTls>,
    /// What holds for single ports.
    pub port_level_settings: Vec<TrafficPolicy>,
    /// By CONNECT or POST.
    pub tunnel: Option<Tunnel>,
    /// Who the client is, told first.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How many retries.
    pub retry_budget: Option<RetryBudget>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl TrafficPolicy {
    /// True if there is not one field in it, a port's number aside.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        let of_ports = self.load_balancer.is_none()
            && self.connection_pool.is_none()
            && self.outlier_detection.is_none()
            && self.tls.is_none();
        let of_all = self.port_level_settings.is_empty()
            && self.tunnel.is_none()
            && self.proxy_protocol.is_none()
            && self.retry_budget.is_none();
        of_ports && of_all && self.unknown.is_empty()
    }
}

/// networking.istio.io TrafficPolicy.TunnelSettings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tunnel {
    /// `CONNECT` or `POST`; empty for `CONNECT`.
    pub protocol: String,
    /// The host that it is asked for.
    pub target_host: String,
    /// The port that it is asked for.
    pub target_port: i64,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io TrafficPolicy.ProxyProtocol.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProxyProtocol {
    /// `V1` or `V2`.
    pub version: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io TrafficPolicy.RetryBudget.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetryBudget {
    /// Of a hundred requests.
    pub percent: Option<f64>,
    /// As many always.
    pub min_retry_concurrency: Option<i64>,
    /// How long requests count.
    pub budget_interval: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LoadBalancerSettings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancer {
    /// `ROUND_ROBIN`, `LEAST_REQUEST`, `RANDOM`, ...
    pub simple: Option<String>,
    /// By a hash.
    pub consistent_hash: Option<ConsistentHash>,
    /// By locality.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// By zone.
    pub zone_aware_lb_setting: Option<IgnoredAny>,
    /// How long endpoints are new; once.
    pub warmup_duration_secs: Option<String>,
    /// How endpoints come to their share.
    pub warmup: Option<Warmup>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LocalityLoadBalancerSetting.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalityLbSetting {
    /// Shares by place.
    pub distribute: Vec<LocalityDistribute>,
    /// By region, the next.
    pub failover: Vec<LocalityFailover>,
    /// Labels, `key` or `key=value`, that are compared.
    pub failover_priority: Vec<String>,
    /// At all.
    pub enabled: Option<bool>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LocalityLoadBalancerSetting.Distribute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LocalityDistribute {
    /// A place.
    pub from: String,
    /// Places, and of a hundred how many.
    pub to: BTreeMap<String, i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LocalityLoadBalancerSetting.Failover.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LocalityFailover {
    /// A region.
    pub from: String,
    /// The one that comes next.
    pub to: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LoadBalancerSettings.ConsistentHashLB.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsistentHash {
    /// Of a header field.
    pub http_header_name: Option<String>,
    /// Of a cookie.
    pub http_cookie: Option<Cookie>,
    /// Of the client's address.
    pub use_source_ip: Option<bool>,
    /// Of a query parameter.
    pub http_query_parameter_name: Option<String>,
    /// How large a ring; once.
    pub minimum_ring_size: Option<i64>,
    /// By a ring.
    pub ring_hash: Option<RingHash>,
    /// By a table.
    pub maglev: Option<Maglev>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LoadBalancerSettings.ConsistentHashLB.RingHash.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RingHash {
    /// How many places at least.
    pub minimum_ring_size: Option<i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LoadBalancerSettings.ConsistentHashLB.MagLev.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Maglev {
    /// How many places.
    pub table_size: Option<i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LoadBalancerSettings.ConsistentHashLB.HTTPCookie.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// How long it lives.
    pub ttl: Option<String>,
    /// What else it says.
    pub attributes: Vec<CookieAttribute>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CookieAttribute {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io WarmupConfiguration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Warmup {
    /// For how long.
    pub duration: Option<String>,
    /// From how much on, of a hundred.
    pub minimum_percent: Option<f64>,
    /// How soon.
    pub aggression: Option<f64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ConnectionPoolSettings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConnectionPool {
    /// Of connections.
    pub tcp: Option<TcpSettings>,
    /// Of requests.
    pub http: Option<HttpSettings>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ConnectionPoolSettings.TCPSettings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpSettings {
    /// How many at once.
    pub max_connections: i64,
    /// How long until there is one.
    pub connect_timeout: Option<String>,
    /// Probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long one lives.
    pub max_connection_duration: Option<String>,
    /// How long one is idle.
    pub idle_timeout: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ConnectionPoolSettings.TCPSettings.TcpKeepalive.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TcpKeepalive {
    /// How many.
    pub probes: i64,
    /// When first.
    pub time: Option<String>,
    /// How often.
    pub interval: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ConnectionPoolSettings.HTTPSettings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpSettings {
    /// How many wait.
    pub http1_max_pending_requests: i64,
    /// How many at once.
    pub http2_max_requests: i64,
    /// How many one after the other.
    pub max_requests_per_connection: i64,
    /// How many retries at once.
    pub max_retries: i64,
    /// How long without one.
    pub idle_timeout: Option<String>,
    /// `DEFAULT`, `DO_NOT_UPGRADE` or `UPGRADE`.
    pub h2_upgrade_policy: String,
    /// As the client speaks.
    pub use_client_protocol: bool,
    /// How many at once on one connection.
    pub max_concurrent_streams: i64,
    /// PING frames.
    pub http2_keep_alive: Option<Http2KeepAlive>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ConnectionPoolSettings.HTTPSettings.ConnectionKeepalive.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Http2KeepAlive {
    /// How often.
    pub interval: Option<String>,
    /// How long for an answer.
    pub timeout: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io OutlierDetection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OutlierDetection {
    /// After how many 502, 503 and 504; once.
    pub consecutive_errors: i64,
    /// After how many 502, 503 and 504.
    pub consecutive_gateway_errors: Option<i64>,
    /// After how many errors.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<i64>,
    /// After how many failures to reach it.
    pub consecutive_local_origin_failures: Option<i64>,
    /// These are not its own.
    pub split_external_local_origin_errors: bool,
    /// How often it is looked.
    pub interval: Option<String>,
    /// For how long.
    pub base_ejection_time: Option<String>,
    /// At most so many of a hundred.
    pub max_ejection_percent: Option<i64>,
    /// Not with fewer than so many of a hundred.
    pub min_health_percent: i64,
    /// The statuses that are errors.
    pub outlier_detection_http_error_codes: Vec<i64>,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// networking.istio.io ClientTLSSettings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientTls {
    /// `DISABLE`, `SIMPLE`, `MUTUAL` or `ISTIO_MUTUAL`.
    pub mode: String,
    /// A file.
    pub client_certificate: String,
    /// A file.
    pub private_key: String,
    /// A file.
    pub ca_certificates: String,
    /// A Secret.
    pub credential_name: String,
    /// Who servers may be.
    pub subject_alt_names: Vec<String>,
    /// Whom clients want to reach.
    pub sni: String,
    /// Whoever they are.
    pub insecure_skip_verify: Option<bool>,
    /// A file.
    pub ca_crl: String,
    /// Anything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}
