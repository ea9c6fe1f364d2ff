//! The page that Prometheus scrapes: what the workers counted and what collectors add, as OpenMetrics text with Istio's
//! names. Knows no worker and no server.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ambit_model::reason::Flag;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::access::AccessLog;
use crate::ends::{Ends, Label, Reporter};
use crate::family::{Family, Head, Kind, Value};
use crate::requests;
use crate::values::{Counts, Values};

type Collect = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

/// Makes the page from what workers counted and from collectors.
#[derive(Clone)]
pub struct Exposition {
    component: Cow<'static, str>,
    version: Cow<'static, str>,
    access: AccessLog,
    collectors: Vec<Collect>,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").field("collectors", &self.collectors.len()).finish_non_exhaustive()
    }
}

impl Exposition {
    /// The content type of the page where the scraper accepts it (OpenMetrics 1.0).
    pub const OPENMETRICS: &'static str = "application/openmetrics-text;charset=utf-8;version=1.0.0";
    /// The content type of the page where the scraper does not say that it accepts [`Self::OPENMETRICS`].
    pub const PLAIN: &'static str = "text/plain;charset=utf-8;version=0.0.4";

    /// A page for `component` (such as `ztunnel`) of `version`, both shown in `istio_build`.
    #[must_use]
    pub fn new(
        component: impl Into<Cow<'static, str>>,
        version: impl Into<Cow<'static, str>>,
        access: AccessLog,
    ) -> Self {
        Self { component: component.into(), version: version.into(), access, collectors: Vec::new() }
    }

    /// Adds what `collect` answers at each scrape.
    pub fn register(&mut self, collect: impl Fn() -> Vec<Family> + Send + Sync + 'static) {
        self.collectors.push(Arc::new(collect));
    }

    /// The page for what the workers counted.
    #[must_use]
    pub fn text(&self, workers: impl IntoIterator<Item = Values>) -> String {
        let mut families = vec![
            Family::gauge("istio_build", "Istio component build info")
                .count([("component", &self.component), ("tag", &self.version)], 1),
            Family::counter("ambit_access_log_dropped", "Access log lines dropped because the log could not keep up")
                .count([], self.access.dropped()),
            Family::counter("ambit_log_dropped", "Lines of the process's own log dropped because it could not keep up")
                .count([], self.access.dropped_lines()),
        ];
        families.extend(self.collectors.iter().flat_map(|collect| collect()));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Page { values: Values::merge(workers), families }));
        let mut page = String::new();
        match encode(&mut page, &registry) {
            Ok(()) => page,
            // Writing to a String cannot fail; a page without its end would be refused by the scraper anyway.
            Err(fmt::Error) => String::new(),
        }
    }
}

/// What one scrape shows.
#[derive(Debug)]
struct Page {
    values: Values,
    families: Vec<Family>,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows = rows(&self.values);
        let unflagged = |value: fn(&Counts) -> u64| {
            let connections = rows.iter().filter(|row| row.counts.opened > 0);
            connections.map(move |row| (Some(row.labels.as_slice()), Value::Count(value(row.counts))))
        };
        OPENED.encode(&mut encoder, unflagged(|counts| counts.opened))?;
        CLOSED.encode(&mut encoder, rows.iter().flat_map(Row::closed))?;
        RECEIVED.encode(&mut encoder, unflagged(|counts| counts.to_server))?;
        SENT.encode(&mut encoder, unflagged(|counts| counts.to_client))?;
        FAILED.encode(&mut encoder, rows.iter().flat_map(Row::failed))?;
        // A ztunnel always stands at both ends; a waypoint shows itself where one counts.
        let shown = |reporter: &Reporter| *reporter != Reporter::Waypoint || self.values.has(*reporter);
        let open = Reporter::ALL.into_iter().filter(shown);
        let open = open.map(|reporter| (Some([("reporter", reporter.as_str())]), self.values.live(reporter)));
        SOCKETS.encode(&mut encoder, open.map(|(labels, live)| (labels, Value::Count(live))))?;
        let reasons = self.values.reasons().map(|((reporter, reason), count)| {
            (Some([("reason", reason.code()), ("reporter", reporter.as_str())]), Value::Count(count))
        });
        REFUSED.encode(&mut encoder, reasons)?;
        requests::encode(&mut encoder, rows.iter().map(|row| (row.ends, &row.counts.requests)))?;
        self.values.queries.encode(&mut encoder)?;
        self.values.trials.encode(&mut encoder)?;
        self.families.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

const OPENED: Head = Head::counter("istio_tcp_connections_opened", "The total number of TCP connections opened");
const CLOSED: Head = Head::counter("istio_tcp_connections_closed", "The total number of TCP connections closed");
const RECEIVED: Head = Head::counter(
    "istio_tcp_received_bytes",
    "The size of total bytes received during request in case of a TCP connection",
);
const SENT: Head =
    Head::counter("istio_tcp_sent_bytes", "The size of total bytes sent during response in case of a TCP connection");
const FAILED: Head = Head::counter(
    "istio_tcp_connections_failed",
    "The total number of TCP connections that failed to establish (unstable)",
);
const SOCKETS: Head = Head {
    name: Cow::Borrowed("istio_tcp_sockets_open"),
    help: Cow::Borrowed("The current number of open TCP sockets (unstable)"),
    kind: Kind::Gauge,
};
const REFUSED: Head =
    Head::counter("ambit_refused", "Connections refused, or closed before their ends were done, by reason");

/// A time series with its labels.
struct Row<'a> {
    ends: &'a Ends,
    labels: Vec<Label<'a>>,
    counts: &'a Counts,
}

fn rows(values: &Values) -> Vec<Row<'_>> {
    let mut rows: Vec<_> =
        values.series().map(|(ends, counts)| Row { ends, labels: ends.labels(Flag::None), counts }).collect();
    rows.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    rows
}

impl<'a> Row<'a> {
    fn closed(&self) -> impl Iterator<Item = (Option<Vec<Label<'a>>>, Value)> {
        self.counts.closed.iter().map(|(flag, count)| (Some(self.ends.labels(*flag)), Value::Count(*count)))
    }

    fn failed(&self) -> impl Iterator<Item = (Option<Vec<Label<'a>>>, Value)> {
        let failed = self.counts.closed.iter().filter(|(flag, _)| **flag != Flag::None);
        failed.map(|(flag, count)| (Some(self.ends.labels(*flag)), Value::Count(*count)))
    }
}

#[cfg(test)]
pub(crate) mod strict;
#[cfg(test)]
mod tests;
