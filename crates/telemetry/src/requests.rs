//! What is counted of requests, under Istio's names, and how that is exposed. Knows no request.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use crate::ends::{Ends, Label};
use crate::family::{Distribution, Head, HistogramHead, Value};
use crate::flags::ResponseFlags;
use crate::request::{GrpcStatus, RequestRecord};

/// Upper bounds of the buckets, in milliseconds and in bytes: Envoy's default, which is Istio's; the last is infinite.
const BOUNDS: [f64; 20] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1e3,
    2.5e3,
    5e3,
    1e4,
    3e4,
    6e4,
    3e5,
    6e5,
    1.8e6,
    3.6e6,
    f64::INFINITY,
];

/// What tells the requests of one series apart: their protocol and how they were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    protocol: Protocol,
    code: u16,
    flags: ResponseFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Http,
    Grpc(Option<GrpcStatus>),
}

impl Class {
    fn of(record: &RequestRecord) -> Self {
        let protocol = record.grpc.map_or(Protocol::Http, |call| Protocol::Grpc(call.status));
        Self { protocol, code: record.answer.code, flags: record.answer.flags }
    }

    /// The labels of its own. As Istio writes it, the status of gRPC is empty where there is none.
    fn labels(self) -> [Label<'static>; 4] {
        let (protocol, status) = match self.protocol {
            Protocol::Http => ("http", None),
            Protocol::Grpc(status) => ("grpc", status),
        };
        [
            ("request_protocol", protocol.into()),
            ("response_code", self.code.to_string().into()),
            ("grpc_response_status", status.map(|status| status.code().to_string()).unwrap_or_default().into()),
            ("response_flags", self.flags.to_string().into()),
        ]
    }
}

/// The requests of one series, by their class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests(BTreeMap<Class, Box<RequestCounts>>);

/// The counts of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RequestCounts {
    duration: Histogram<1000>,
    received: Histogram<1>,
    sent: Histogram<1>,
    request_messages: u64,
    response_messages: u64,
}

/// How many values fell into each bucket, and the sum of the values in parts: `PARTS` of them make the unit of the
/// bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Histogram<const PARTS: u32> {
    sum: u64,
    buckets: [u64; BOUNDS.len()],
}

impl<const PARTS: u32> Histogram<PARTS> {
    fn observe(&mut self, value: u64) {
        self.sum = self.sum.saturating_add(value);
        let value = value as f64 / f64::from(PARTS);
        let index = BOUNDS.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket = bucket.saturating_add(1);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum = sum.saturating_add(count);
        }
    }

    fn shown(&self) -> Distribution {
        let sum = self.sum as f64 / f64::from(PARTS);
        Distribution { sum, buckets: BOUNDS.into_iter().zip(self.buckets).collect() }
    }
}

impl RequestCounts {
    fn merge(&mut self, other: &Self) {
        self.duration.merge(&other.duration);
        self.received.merge(&other.received);
        self.sent.merge(&other.sent);
        self.request_messages = self.request_messages.saturating_add(other.request_messages);
        self.response_messages = self.response_messages.saturating_add(other.response_messages);
    }

    /// The number of requests: each has a duration.
    fn total(&self) -> u64 {
        self.duration.buckets.iter().sum()
    }
}

impl Requests {
    /// Counts a request that has ended.
    pub(crate) fn count(&mut self, record: &RequestRecord) {
        let counts = self.0.entry(Class::of(record)).or_default();
        counts.duration.observe(u64::try_from(record.duration().as_micros()).unwrap_or(u64::MAX));
        counts.received.observe(record.received);
        counts.sent.observe(record.sent);
        if let Some(call) = record.grpc {
            counts.request_messages = counts.request_messages.saturating_add(call.requests);
            counts.response_messages = counts.response_messages.saturating_add(call.responses);
        }
    }

    /// Adds what another worker counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (class, counts) in &other.0 {
            self.0.entry(*class).or_default().merge(counts);
        }
    }
}

/// Encodes every family of requests, in the order of `series`; those without samples are left out.
pub(crate) fn encode<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    series: impl Iterator<Item = (&'a Ends, &'a Requests)>,
) -> fmt::Result {
    let rows: Vec<Row<'_>> = series
        .flat_map(|(ends, requests)| requests.0.iter().map(|(class, counts)| Row::new(ends, *class, counts)))
        .collect();
    let calls = || rows.iter().filter(|row| row.grpc);
    TOTAL.encode(encoder, rows.iter().map(|row| row.count(row.counts.total())))?;
    DURATION.encode(encoder, rows.iter().map(|row| (row.labels.as_slice(), row.counts.duration.shown())))?;
    RECEIVED.encode(encoder, rows.iter().map(|row| (row.labels.as_slice(), row.counts.received.shown())))?;
    SENT.encode(encoder, rows.iter().map(|row| (row.labels.as_slice(), row.counts.sent.shown())))?;
    REQUEST_MESSAGES.encode(encoder, calls().map(|row| row.count(row.counts.request_messages)))?;
    RESPONSE_MESSAGES.encode(encoder, calls().map(|row| row.count(row.counts.response_messages)))
}

/// A time series with its labels.
struct Row<'a> {
    labels: Vec<Label<'a>>,
    grpc: bool,
    counts: &'a RequestCounts,
}

impl<'a> Row<'a> {
    fn new(ends: &'a Ends, class: Class, counts: &'a RequestCounts) -> Self {
        let grpc = matches!(class.protocol, Protocol::Grpc(_));
        Self { labels: ends.request_labels(class.labels()), grpc, counts }
    }

    fn count(&self, count: u64) -> (Option<&[Label<'a>]>, Value) {
        (Some(&self.labels), Value::Count(count))
    }
}

const TOTAL: Head = Head::counter("istio_requests", "The total number of HTTP and gRPC requests");
const DURATION: HistogramHead =
    histogram("istio_request_duration_milliseconds", "How long requests took, in milliseconds");
const RECEIVED: HistogramHead = histogram("istio_request_bytes", "The size of the bodies of requests, in bytes");
const SENT: HistogramHead = histogram("istio_response_bytes", "The size of the bodies of answers, in bytes");
const REQUEST_MESSAGES: Head =
    Head::counter("istio_request_messages", "The total number of messages that clients sent in gRPC calls");
const RESPONSE_MESSAGES: Head =
    Head::counter("istio_response_messages", "The total number of messages that servers sent in gRPC calls");

const fn histogram(name: &'static str, help: &'static str) -> HistogramHead {
    HistogramHead { name, help, unit: None }
}

#[cfg(test)]
mod tests;
