//! When an endpoint is passed over for a while (Istio `OutlierDetection`).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

/// When an endpoint is passed over, and for how long. A threshold of none is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`: after so many errors one after the other.
    pub consecutive_5xx: Option<u32>,
    /// `consecutiveGatewayErrors`: after so many that are 502, 503 or 504, or no answer.
    pub consecutive_gateway: Option<u32>,
    /// `consecutiveLocalOriginFailures`, if `splitExternalLocalOriginErrors`: after so many failures to reach it, which
    /// then are no errors of its own.
    pub consecutive_local: Option<u32>,
    /// `splitExternalLocalOriginErrors`
    pub split_local: bool,
    /// `interval`: how often it is looked at who may return.
    pub interval: Duration,
    /// `baseEjectionTime`: how long the first time; as often as it was, so many times as long.
    pub base_ejection_time: Duration,
    /// `maxEjectionPercent`: at most so many of a hundred; one always may be.
    pub max_ejection_percent: u8,
    /// `minHealthPercent`: with fewer of a hundred left, none is.
    pub min_health_percent: u8,
    /// `outlierDetectionHttpErrorCodes`: the statuses that are errors; empty for those from 500.
    pub error_codes: BTreeSet<u16>,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: Some(5),
            consecutive_gateway: None,
            consecutive_local: None,
            split_local: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
            error_codes: BTreeSet::new(),
        }
    }
}

impl OutlierDetection {
    /// True if an answer of `status` is an error.
    #[must_use]
    pub fn is_error(&self, status: u16) -> bool {
        if self.error_codes.is_empty() { (500..=599).contains(&status) } else { self.error_codes.contains(&status) }
    }

    /// How long an endpoint is passed over that has been so `times` times, this one included.
    #[must_use]
    pub fn ejection(&self, times: u32) -> Duration {
        self.base_ejection_time.saturating_mul(times.max(1))
    }

    /// True if one more of `endpoints` may be passed over when `ejected` are.
    #[must_use]
    pub fn may_eject(&self, endpoints: usize, ejected: usize) -> bool {
        let within = |many: usize, percent: u8| many.saturating_mul(100) <= endpoints.saturating_mul(percent.into());
        let left = endpoints.saturating_sub(ejected).saturating_sub(1);
        let healthy = self.min_health_percent == 0
            || left.saturating_mul(100) >= endpoints.saturating_mul(self.min_health_percent.into());
        healthy && (ejected == 0 || within(ejected.saturating_add(1), self.max_ejection_percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_from_500_or_those_that_are_listed() {
        let listed = OutlierDetection { error_codes: BTreeSet::from([401, 503]), ..OutlierDetection::default() };
        for (status, by_default, by_list) in
            [(200, false, false), (401, false, true), (499, false, false), (500, true, false), (503, true, true)]
        {
            assert_eq!(OutlierDetection::default().is_error(status), by_default, "{status}");
            assert_eq!(listed.is_error(status), by_list, "{status}");
        }
    }

    #[test]
    fn one_endpoint_always_may_be_passed_over_and_more_by_percent() {
        let of = |max_ejection_percent, min_health_percent| OutlierDetection {
            max_ejection_percent,
            min_health_percent,
            ..OutlierDetection::default()
        };
        for (most, least, endpoints, ejected, expected) in [
            (10, 0, 3, 0, true),
            (10, 0, 3, 1, false),
            (10, 0, 20, 1, true),
            (10, 0, 20, 2, false),
            (100, 0, 3, 2, true),
            (50, 0, 4, 1, true),
            (50, 0, 4, 2, false),
            // Never so many that too few are left.
            (100, 50, 4, 1, true),
            (100, 50, 4, 2, false),
            (100, 90, 3, 0, false),
        ] {
            let outliers = of(most, least);
            assert_eq!(outliers.may_eject(endpoints, ejected), expected, "{most} {least} {endpoints} {ejected}");
        }
        assert_eq!(of(10, 0).ejection(3), Duration::from_secs(90));
    }
}
