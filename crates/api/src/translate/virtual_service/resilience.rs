//! What is done to requests on purpose, when they are tried again, and who gets copies of them.

use std::time::Duration;

use ambit_model::route::{Abort, Condition, Delay, Fault, Mirror, Percent, Retries, RetryOn, Status};

use super::super::duration::{milliseconds, optional};
use super::super::reach::Home;
use super::super::written::refuse_unknown;
use super::destination;
use crate::field::{Findings, Severity};
use crate::name;
use crate::object::virtual_service as written;

/// `retries`
pub(super) fn retries(retry: &written::Retry, path: &str, findings: &mut Findings) -> Retries {
    refuse_unknown(&retry.unknown, path, findings);
    let attempts = u32::try_from(retry.attempts).map_err(|_| format!("{} is no number of attempts", retry.attempts));
    let attempts = findings.take(format_args!("{path}.attempts"), attempts).unwrap_or_default();
    let says_more =
        retry.per_try_timeout.is_some() || !retry.retry_on.is_empty() || retry.retry_remote_localities.is_some();
    if retry.attempts == 0 && says_more {
        let message = "is 0, which turns retries off, and the rest says how they are made: write one of both";
        findings.error(format_args!("{path}.attempts"), message);
    }
    let retry_on = retry.retry_on.parse::<RetryOn>().map_err(|error| error.to_string());
    let retry_on = findings.take(format_args!("{path}.retryOn"), retry_on).unwrap_or_default();
    let without_effect = [
        (Condition::RetriableHeaders, "retriable-headers has no effect: nothing names the fields"),
        (Condition::Http3PostConnectFailure, "http3-post-connect-failure has no effect: HTTP/3 is not spoken"),
    ];
    for (_, message) in without_effect.iter().filter(|(word, _)| retry_on.conditions.contains(word)) {
        findings.remark(Severity::Warning, format_args!("{path}.retryOn"), *message);
    }
    let mut duration = |field: &str, text: &Option<String>| {
        optional(format_args!("{path}.{field}"), text.as_ref(), milliseconds, findings)
    };
    let per_try_timeout = duration("perTryTimeout", &retry.per_try_timeout);
    let backoff: Option<Duration> = duration("backoff", &retry.backoff);
    let mesh = Retries::default();
    Retries {
        attempts,
        per_try_timeout,
        retry_on,
        backoff: backoff.unwrap_or(mesh.backoff),
        ignore_previous_hosts: retry.retry_ignore_previous_hosts.unwrap_or(mesh.ignore_previous_hosts),
        remote_localities: retry.retry_remote_localities.unwrap_or(mesh.remote_localities),
    }
}

/// `fault`
pub(super) fn fault(fault: &written::Fault, path: &str, findings: &mut Findings) -> Fault {
    refuse_unknown(&fault.unknown, path, findings);
    if fault.delay.is_none() && fault.abort.is_none() {
        findings.error(path, "is empty: write a delay, an abort, or both");
    }
    let delay = fault.delay.as_ref().and_then(|delay| read_delay(delay, &format!("{path}.delay"), findings));
    let abort = fault.abort.as_ref().and_then(|abort| read_abort(abort, &format!("{path}.abort"), findings));
    Fault { delay, abort }
}

fn read_delay(delay: &written::Delay, path: &str, findings: &mut Findings) -> Option<Delay> {
    refuse_unknown(&delay.unknown, path, findings);
    if delay.exponential_delay.is_some() {
        findings.error(format_args!("{path}.exponentialDelay"), "is not supported, as by Istio: write fixedDelay");
    } else if delay.fixed_delay.is_none() {
        let message = "is missing, and nothing is held up: write how long, such as 5s";
        findings.remark(Severity::Warning, format_args!("{path}.fixedDelay"), message);
    }
    let by = optional(format_args!("{path}.fixedDelay"), delay.fixed_delay.as_ref(), milliseconds, findings);
    let share = share(delay.percentage.as_ref(), delay.percent, path, findings);
    Some(Delay { by: by?, share })
}

fn read_abort(abort: &written::Abort, path: &str, findings: &mut Findings) -> Option<Abort> {
    refuse_unknown(&abort.unknown, path, findings);
    if abort.http2_error.is_some() {
        findings.error(format_args!("{path}.http2Error"), "is not supported, as by Istio: write httpStatus");
    }
    let with = match (abort.http_status, &abort.grpc_status) {
        (Some(status), None) => {
            findings.take(format_args!("{path}.httpStatus"), status_in(status, 200)).map(Status::Http)
        }
        (None, Some(name)) => {
            let named = Status::grpc_named(name).ok_or_else(|| {
                format!("{:?} is no status of gRPC's: write its name, such as UNAVAILABLE", name::shortened(name))
            });
            findings.take(format_args!("{path}.grpcStatus"), named)
        }
        (None, None) => {
            if abort.http2_error.is_none() {
                let message = "is missing, and nothing is refused: write it, or grpcStatus";
                findings.remark(Severity::Warning, format_args!("{path}.httpStatus"), message);
            }
            None
        }
        (Some(_), Some(_)) => {
            findings.error(path, "says both httpStatus and grpcStatus: write one");
            None
        }
    };
    let share = share(abort.percentage.as_ref(), None, path, findings);
    Some(Abort { with: with?, share })
}

/// Of how many requests: of none where nothing is said, which is hardly meant.
fn share(percentage: Option<&written::Percent>, old: Option<f64>, path: &str, findings: &mut Findings) -> Percent {
    if percentage.is_none() && old.is_none() {
        let message = "is missing, which means no request: write percentage: {value: 100} for all";
        findings.remark(Severity::Warning, format_args!("{path}.percentage"), message);
    }
    let field = if percentage.is_some() { "percentage" } else { "percent" };
    percent(percentage, old, &format!("{path}.{field}"), findings).unwrap_or(Percent::NONE)
}

/// What is said in the one field or the other, if anything is: the one at `path`.
fn percent(
    percentage: Option<&written::Percent>,
    old: Option<f64>,
    path: &str,
    findings: &mut Findings,
) -> Option<Percent> {
    let value = match (percentage, old) {
        (Some(percentage), _) => {
            refuse_unknown(&percentage.unknown, path, findings);
            percentage.value
        }
        (None, old) => old?,
    };
    let read = Percent::new(value).ok_or_else(|| format!("{value} is no percentage: write 0, or 0.0001 to 100"));
    findings.take(path, read)
}

/// `mirror` and `mirrors`: of all requests where nothing is said.
pub(super) fn mirrors(route: &written::HttpRoute, path: &str, home: Home<'_>, findings: &mut Findings) -> Vec<Mirror> {
    if route.mirror.is_some() && !route.mirrors.is_empty() {
        findings.error(format_args!("{path}.mirror"), "stands beside mirrors: write mirrors alone");
    }
    let mut mirrors = Vec::new();
    if route.mirror_percent.is_some() {
        let message = "is Istio's old word: write mirrorPercentage: {value: ...}";
        findings.remark(Severity::Warning, format_args!("{path}.mirrorPercent"), message);
    }
    let field = if route.mirror_percentage.is_some() { "mirrorPercentage" } else { "mirrorPercent" };
    let share = percent(route.mirror_percentage.as_ref(), route.mirror_percent, &format!("{path}.{field}"), findings);
    if let Some(to) = &route.mirror {
        let destination = destination(to, &format!("{path}.mirror"), home, findings);
        mirrors.push(Mirror { destination, share: share.unwrap_or(Percent::WHOLE) });
    }
    for (place, mirror) in route.mirrors.iter().enumerate() {
        let path = format!("{path}.mirrors[{place}]");
        refuse_unknown(&mirror.unknown, &path, findings);
        let Some(to) = &mirror.destination else {
            findings.error(format_args!("{path}.destination"), "is missing: write who gets the copies");
            continue;
        };
        let share = percent(mirror.percentage.as_ref(), None, &format!("{path}.percentage"), findings);
        let destination = destination(to, &format!("{path}.destination"), home, findings);
        mirrors.push(Mirror { destination, share: share.unwrap_or(Percent::WHOLE) });
    }
    mirrors
}

/// A status from `least` to 599.
pub(super) fn status_in(status: i64, least: u16) -> Result<u16, String> {
    let read = u16::try_from(status).ok().filter(|status| (least..=599).contains(status));
    read.ok_or_else(|| format!("{status} is no status for this: write {least} to 599"))
}
