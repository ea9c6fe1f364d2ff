//! How much there may be, and who is passed over.

use std::collections::BTreeSet;
use std::time::Duration;

use ambit_model::destination::{ConnectionPool, HttpUpgrade, Keepalive, OutlierDetection, Ping};

use super::super::duration::{any, milliseconds, optional};
use super::super::written::refuse_unknown;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::destination_rule as written;

pub(super) fn connection_pool(pool: &written::ConnectionPool, path: &str, findings: &mut Findings) -> ConnectionPool {
    refuse_unknown(&pool.unknown, path, findings);
    let mut limits = ConnectionPool::default();
    if pool.tcp.is_none() && pool.http.is_none() {
        findings.error(path, "is empty: write tcp, http, or both");
    }
    if let Some(tcp) = &pool.tcp {
        of_connections(tcp, &format!("{path}.tcp"), &mut limits, findings);
    }
    if let Some(http) = &pool.http {
        of_requests(http, &format!("{path}.http"), &mut limits, findings);
    }
    limits
}

fn of_connections(tcp: &written::TcpSettings, path: &str, limits: &mut ConnectionPool, findings: &mut Findings) {
    refuse_unknown(&tcp.unknown, path, findings);
    limits.max_connections = limit(&format!("{path}.maxConnections"), tcp.max_connections, findings);
    let mut long = |field: &str, text: &Option<String>| duration(&format!("{path}.{field}"), text, findings);
    if let Some(timeout) = long("connectTimeout", &tcp.connect_timeout) {
        limits.connect_timeout = timeout;
    }
    limits.max_connection_duration = long("maxConnectionDuration", &tcp.max_connection_duration);
    if let Some(idle) = optional(format_args!("{path}.idleTimeout"), tcp.idle_timeout.as_ref(), any, findings) {
        limits.tcp_idle_timeout = Some(idle).filter(|idle| !idle.is_zero());
    }
    if let Some(probes) = &tcp.tcp_keepalive {
        let path = format!("{path}.tcpKeepalive");
        refuse_unknown(&probes.unknown, &path, findings);
        limits.keepalive = Some(Keepalive {
            probes: limit(&format!("{path}.probes"), probes.probes, findings),
            time: duration(&format!("{path}.time"), &probes.time, findings),
            interval: duration(&format!("{path}.interval"), &probes.interval, findings),
        });
    }
}

fn of_requests(http: &written::HttpSettings, path: &str, limits: &mut ConnectionPool, findings: &mut Findings) {
    refuse_unknown(&http.unknown, path, findings);
    let mut many = |field: &str, number: i64| limit(&format!("{path}.{field}"), number, findings);
    limits.max_pending_requests = many("http1MaxPendingRequests", http.http1_max_pending_requests);
    limits.max_requests = many("http2MaxRequests", http.http2_max_requests);
    limits.max_requests_per_connection = many("maxRequestsPerConnection", http.max_requests_per_connection);
    limits.max_retries = many("maxRetries", http.max_retries);
    limits.max_concurrent_streams = many("maxConcurrentStreams", http.max_concurrent_streams);
    if let Some(idle) = duration(&format!("{path}.idleTimeout"), &http.idle_timeout, findings) {
        limits.http_idle_timeout = idle;
    }
    limits.upgrade = match (http.h2_upgrade_policy.as_str(), http.use_client_protocol) {
        ("" | "DEFAULT", false) => HttpUpgrade::Mesh,
        ("DO_NOT_UPGRADE", false) => HttpUpgrade::Never,
        ("UPGRADE", false) => HttpUpgrade::Always,
        ("" | "DEFAULT" | "DO_NOT_UPGRADE", true) => HttpUpgrade::AsClient,
        ("UPGRADE", true) => {
            findings.error(format_args!("{path}.useClientProtocol"), "contradicts h2UpgradePolicy: write one of them");
            HttpUpgrade::AsClient
        }
        (other, _) => {
            let message = format!("{:?} is none of DEFAULT, DO_NOT_UPGRADE, UPGRADE", name::shortened(other));
            findings.error(format_args!("{path}.h2UpgradePolicy"), message);
            HttpUpgrade::Mesh
        }
    };
    limits.ping = http.http2_keep_alive.as_ref().and_then(|ping| {
        let path = format!("{path}.http2KeepAlive");
        refuse_unknown(&ping.unknown, &path, findings);
        let mut required = |field: &str, text: &Option<String>| {
            let path = format!("{path}.{field}");
            if text.is_none() {
                findings.error(&path, "is missing: write how long, such as 10s");
            }
            duration(&path, text, findings)
        };
        let (interval, timeout) = (required("interval", &ping.interval), required("timeout", &ping.timeout));
        Some(Ping { interval: interval?, timeout: timeout? })
    });
}

/// A number of something; 0 is no limit.
fn limit(path: &str, number: i64, findings: &mut Findings) -> Option<u32> {
    let read = u32::try_from(number).map_err(|_| format!("{number} is no limit: write 1 or more, or 0 for none"));
    findings.take(path, read).filter(|limit| *limit > 0)
}

fn duration(path: &str, text: &Option<String>, findings: &mut Findings) -> Option<Duration> {
    optional(path, text.as_ref(), milliseconds, findings)
}

pub(super) fn outliers(outliers: &written::OutlierDetection, path: &str, findings: &mut Findings) -> OutlierDetection {
    refuse_unknown(&outliers.unknown, path, findings);
    let usual = OutlierDetection::default();
    let mut many = |field: &str, number: Option<i64>| limit(&format!("{path}.{field}"), number.unwrap_or(0), findings);
    let gateway = many("consecutiveGatewayErrors", outliers.consecutive_gateway_errors);
    let once = many("consecutiveErrors", Some(outliers.consecutive_errors));
    let errors = many("consecutive5xxErrors", outliers.consecutive_5xx_errors);
    let local = many("consecutiveLocalOriginFailures", outliers.consecutive_local_origin_failures);
    let split = outliers.split_external_local_origin_errors;
    if local.is_some() && !split {
        let message = "takes splitExternalLocalOriginErrors: true, without which failures to connect are errors";
        findings.error(format_args!("{path}.consecutiveLocalOriginFailures"), message);
    }
    if outliers.consecutive_errors != 0 {
        let message = "is Istio's old word for consecutiveGatewayErrors: write that";
        findings.remark(Severity::Warning, format_args!("{path}.consecutiveErrors"), message);
    }
    let mut percent = |field: &str, number: i64| {
        let read = u8::try_from(number).ok().filter(|percent| *percent <= 100);
        findings.take(format_args!("{path}.{field}"), read.ok_or_else(|| format!("{number} is none of 0 to 100")))
    };
    // Zero is what is not written, as Protobuf has it.
    let most = outliers.max_ejection_percent.filter(|most| *most != 0);
    let max_ejection_percent = most.and_then(|most| percent("maxEjectionPercent", most));
    let min_health_percent = percent("minHealthPercent", outliers.min_health_percent);
    let mut error_codes = BTreeSet::new();
    for (place, code) in outliers.outlier_detection_http_error_codes.iter().enumerate() {
        let read = u16::try_from(*code).ok().filter(|code| (100..=599).contains(code));
        let read = read.ok_or_else(|| format!("{code} is no status: 100 to 599 are"));
        error_codes.extend(findings.take(format_args!("{path}.outlierDetectionHttpErrorCodes[{place}]"), read));
    }
    let interval = duration(&format!("{path}.interval"), &outliers.interval, findings);
    let base_ejection_time = duration(&format!("{path}.baseEjectionTime"), &outliers.base_ejection_time, findings);
    OutlierDetection {
        consecutive_5xx: if outliers.consecutive_5xx_errors.is_some() { errors } else { usual.consecutive_5xx },
        consecutive_gateway: gateway.or(once),
        consecutive_local: split.then(|| local.unwrap_or(5)),
        split_local: split,
        interval: interval.unwrap_or(usual.interval),
        base_ejection_time: base_ejection_time.unwrap_or(usual.base_ejection_time),
        max_ejection_percent: max_ejection_percent.unwrap_or(usual.max_ejection_percent),
        min_health_percent: min_health_percent.unwrap_or(usual.min_health_percent),
        error_codes,
    }
}
