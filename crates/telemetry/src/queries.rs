//! What is counted of DNS queries, under the names that Istio's ztunnel gave them, and how that is exposed. Knows no
//! message.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ambit_model::Workload;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use crate::family::{Distribution, Head, HistogramHead, Value};

/// Upper bounds, in seconds, of the buckets of what passing a query on takes; the last is infinite.
const BOUNDS: [f64; 7] = [0.0005, 0.001, 0.01, 0.1, 1.0, 5.0, f64::INFINITY];

/// What tells one series of DNS queries from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuerySeries {
    /// The type asked for, in lower case, such as `aaaa`.
    pub kind: &'static str,
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    source: Option<(Arc<str>, Arc<str>)>,
}

impl QuerySeries {
    /// The series of queries of `source` for `kind` by `protocol`.
    #[must_use]
    pub fn new(kind: &'static str, protocol: &'static str, source: Option<&Workload>) -> Self {
        let source = source.map(|pod| (pod.canonical_name.clone(), pod.canonical_revision.clone()));
        Self { kind, protocol, source }
    }

    fn labels(&self) -> [(&'static str, &str); 4] {
        let (service, revision) =
            self.source.as_ref().map_or(("unknown", "unknown"), |(service, revision)| (service, revision));
        [
            ("request_query_type", self.kind),
            ("request_protocol", self.protocol),
            ("source_canonical_service", service),
            ("source_canonical_revision", revision),
        ]
    }
}

/// The counts of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryCounts {
    requests: u64,
    passed_on: u64,
    failed: u64,
    took: Duration,
    buckets: [u64; BOUNDS.len()],
}

impl QueryCounts {
    fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.requests, other.requests),
            (&mut self.passed_on, other.passed_on),
            (&mut self.failed, other.failed),
        ];
        for (sum, count) in sums.into_iter().chain(self.buckets.iter_mut().zip(other.buckets)) {
            *sum = sum.saturating_add(count);
        }
        self.took = self.took.saturating_add(other.took);
    }
}

/// DNS queries, by their series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queries(BTreeMap<QuerySeries, QueryCounts>);

impl Queries {
    /// Counts a query that the mesh answered itself.
    pub(crate) fn answered(&mut self, series: QuerySeries) {
        self.count(series, &QueryCounts { requests: 1, ..QueryCounts::default() });
    }

    /// Counts a query that was passed on, to be answered or to fail after `took`.
    pub(crate) fn passed_on(&mut self, series: QuerySeries, took: Duration, failed: bool) {
        let mut counts =
            QueryCounts { requests: 1, passed_on: 1, failed: u64::from(failed), took, ..QueryCounts::default() };
        let mut bounds = counts.buckets.iter_mut().zip(BOUNDS);
        if let Some((bucket, _)) = bounds.find(|(_, bound)| took.as_secs_f64() <= *bound) {
            *bucket = 1;
        }
        self.count(series, &counts);
    }

    /// Adds what another worker counted.
    pub(crate) fn merge(&mut self, other: Self) {
        for (series, counts) in other.0 {
            self.count(series, &counts);
        }
    }

    fn count(&mut self, series: QuerySeries, counts: &QueryCounts) {
        self.0.entry(series).or_default().add(counts);
    }

    /// Encodes every family; those without samples are left out.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let values = |value: fn(&QueryCounts) -> u64, least: u64| {
            let samples = self.0.iter().map(move |(series, counts)| (Some(series.labels()), value(counts)));
            samples.filter(move |(_, count)| *count >= least).map(|(labels, count)| (labels, Value::Count(count)))
        };
        REQUESTS.encode(encoder, values(|counts| counts.requests, 0))?;
        PASSED_ON.encode(encoder, values(|counts| counts.passed_on, 1))?;
        FAILED.encode(encoder, values(|counts| counts.failed, 1))?;
        let passed_on = self.0.iter().filter(|(_, counts)| counts.passed_on > 0);
        let durations = passed_on.map(|(series, counts)| {
            let buckets = BOUNDS.into_iter().zip(counts.buckets).collect();
            (series.labels(), Distribution { sum: counts.took.as_secs_f64(), buckets })
        });
        DURATION.encode(encoder, durations)
    }
}

const REQUESTS: Head = Head::counter("istio_dns_requests", "Total number of DNS requests (unstable)");
const PASSED_ON: Head =
    Head::counter("istio_dns_upstream_requests", "Total number of DNS requests forwarded to upstream (unstable)");
const FAILED: Head = Head::counter(
    "istio_dns_upstream_failures",
    "Total number of DNS requests that failed to forward upstream (unstable)",
);

const DURATION: HistogramHead = HistogramHead {
    name: "istio_dns_upstream_request_duration",
    help: "Total time in seconds Istio takes to get DNS response from upstream (unstable)",
    unit: Some(Unit::Seconds),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{access_log, silent_meter, workload};
    use crate::{Exposition, Meter};

    #[test]
    fn what_workers_counted_is_exposed_as_one() {
        let client = workload("productpage", "abc");
        let meters = [silent_meter(), silent_meter()];
        for meter in &meters {
            meter.query_answered(QuerySeries::new("a", "udp", Some(&client)));
            meter.query_passed_on(QuerySeries::new("a", "udp", Some(&client)), Duration::from_millis(2), false);
            meter.query_passed_on(QuerySeries::new("txt", "tcp", None), Duration::from_secs(60), true);
        }
        let page = Exposition::new("ztunnel", "1", access_log("off").0).text(meters.iter().map(Meter::values));
        let client = "source_canonical_service=\"productpage-app\",source_canonical_revision=\"v1\"";
        let stranger = "source_canonical_service=\"unknown\",source_canonical_revision=\"unknown\"";
        let (a, txt) = (
            format!("request_query_type=\"a\",request_protocol=\"udp\",{client}"),
            format!("request_query_type=\"txt\",request_protocol=\"tcp\",{stranger}"),
        );
        for line in [
            format!("istio_dns_requests_total{{{a}}} 4"),
            format!("istio_dns_requests_total{{{txt}}} 2"),
            format!("istio_dns_upstream_requests_total{{{a}}} 2"),
            format!("istio_dns_upstream_failures_total{{{txt}}} 2"),
            format!("istio_dns_upstream_request_duration_seconds_count{{{a}}} 2"),
            format!("istio_dns_upstream_request_duration_seconds_sum{{{txt}}} 120.0"),
            format!("istio_dns_upstream_request_duration_seconds_bucket{{le=\"0.001\",{a}}} 0"),
            format!("istio_dns_upstream_request_duration_seconds_bucket{{le=\"0.01\",{a}}} 2"),
            format!("istio_dns_upstream_request_duration_seconds_bucket{{le=\"5.0\",{txt}}} 0"),
            format!("istio_dns_upstream_request_duration_seconds_bucket{{le=\"+Inf\",{txt}}} 2"),
        ] {
            assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
        }
        assert!(!page.contains(&format!("istio_dns_upstream_failures_total{{{a}}}")), "{page}");
    }
}
