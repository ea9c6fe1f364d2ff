//! A metric family: name, help, kind and samples, and how it is encoded. Knows nothing of what is measured.

use std::borrow::Cow;
use std::fmt;

use ambit_model::Identity;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Samples of one name, as a collector hands them over.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    head: Head,
    samples: Vec<(Vec<(&'static str, String)>, Value)>,
}

impl Family {
    /// A family of counters: exposed as `<name>_total`, so that `name` has no such ending.
    #[must_use]
    pub fn counter(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        let head = Head { name: name.into(), help: help.into(), kind: Kind::Counter };
        Self { head, samples: Vec::new() }
    }

    /// A family of gauges.
    #[must_use]
    pub fn gauge(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        let head = Head { name: name.into(), help: help.into(), kind: Kind::Gauge };
        Self { head, samples: Vec::new() }
    }

    /// With one more sample: a count, or a gauge's level if that is a whole number.
    #[must_use]
    pub fn count<const N: usize>(self, labels: [(&'static str, &str); N], count: u64) -> Self {
        self.with(labels, Value::Count(count))
    }

    /// With one more sample: a gauge's level.
    #[must_use]
    pub fn level<const N: usize>(self, labels: [(&'static str, &str); N], level: f64) -> Self {
        self.with(labels, Value::Level(level))
    }

    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let samples = self.samples.iter();
        let labels = |labels| Some(labels).filter(|labels: &&[_]| !labels.is_empty());
        self.head.encode(encoder, samples.map(|(named, value)| (labels(named.as_slice()), *value)))
    }

    fn with<const N: usize>(mut self, labels: [(&'static str, &str); N], value: Value) -> Self {
        self.samples.push((labels.map(|(name, text)| (name, text.to_owned())).into(), value));
        self
    }
}

/// The validity left of certificates, in seconds; negative once expired.
#[must_use]
pub fn certificates(left: impl IntoIterator<Item = (Identity, f64)>) -> Family {
    let family = Family::gauge("ambit_certificate_seconds_left", "Seconds until a workload's certificate expires");
    left.into_iter().fold(family, |family, (identity, seconds)| {
        family.level([("principal", identity.to_string().as_str())], seconds)
    })
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Count(u64),
    Level(f64),
}

/// How many observations fell into each bucket, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) sum: f64,
    /// By the buckets' upper bounds, ascending, the last infinite; each counts its own alone.
    pub(crate) buckets: Vec<(f64, u64)>,
}

/// Whether a family's samples only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

/// What stands above a family's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: Cow<'static, str>,
    pub(crate) help: Cow<'static, str>,
    pub(crate) kind: Kind,
}

impl Head {
    /// A family of counters, exposed as `<name>_total`.
    pub(crate) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), help: Cow::Borrowed(help), kind: Kind::Counter }
    }

    /// Encodes the family of `samples`, each with its labels if it has any; without samples it is left out.
    pub(crate) fn encode<S: EncodeLabelSet>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl Iterator<Item = (Option<S>, Value)>,
    ) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        encode_each(encoder, (&self.name, &self.help, None, kind), samples, |metric, (labels, value)| match labels {
            Some(labels) => self.encode_value(&mut metric.encode_family(&labels)?, value),
            None => self.encode_value(metric, value),
        })
    }

    fn encode_value(&self, sample: &mut MetricEncoder<'_>, value: Value) -> fmt::Result {
        match (self.kind, value) {
            (Kind::Counter, Value::Count(count)) => sample.encode_counter::<NoLabels, _, u64>(&count, None),
            (Kind::Counter, Value::Level(level)) => sample.encode_counter::<NoLabels, _, u64>(&level, None),
            (Kind::Gauge, Value::Count(count)) => sample.encode_gauge(&count),
            (Kind::Gauge, Value::Level(level)) => sample.encode_gauge(&level),
        }
    }
}

/// What stands above a family of histograms.
#[derive(Clone, Debug)]
pub(crate) struct HistogramHead {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// Added to the name.
    pub(crate) unit: Option<Unit>,
}

impl HistogramHead {
    /// Encodes the family of `samples`, each with its labels; without samples it is left out.
    pub(crate) fn encode<S: EncodeLabelSet>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl Iterator<Item = (S, Distribution)>,
    ) -> fmt::Result {
        let head = (self.name, self.help, self.unit.as_ref(), MetricType::Histogram);
        encode_each(encoder, head, samples, |metric, (labels, Distribution { sum, buckets })| {
            let count = buckets.iter().map(|(_, count)| count).sum();
            metric.encode_family(&labels)?.encode_histogram::<NoLabels>(sum, count, &buckets, None)
        })
    }
}

fn encode_each<T>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit, kind): (&str, &str, Option<&Unit>, MetricType),
    samples: impl Iterator<Item = T>,
    one: impl Fn(&mut MetricEncoder<'_>, T) -> fmt::Result,
) -> fmt::Result {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let help = format!("{help}.");
    let mut metric = encoder.encode_descriptor(name, &help, unit, kind)?;
    samples.try_for_each(|sample| one(&mut metric, sample))
}

type NoLabels = [(&'static str, &'static str); 0];
