//! The labels that the ends of a connection or of a request give its metrics. Pure: knows no counter.
//!
//! Names and meaning are Istio's; the order is that of its ztunnel for connections (`CommonTrafficLabels`), and of its
//! proxy's `istio_stats` filter for requests.

use std::borrow::Cow;

use ambit_model::Identity;
use ambit_model::reason::Flag;

use super::{Ends, Facts, known};

/// A label's name and value.
pub(crate) type Label<'a> = (&'static str, Cow<'a, str>);

impl Ends {
    /// The labels of the series as one of TCP connections; what is not known is `unknown`.
    pub(crate) fn labels(&self, flag: Flag) -> Vec<Label<'_>> {
        let (source, destination) = (self.source.facts(), self.destination.facts());
        let mut labels = self.source_labels(&source).to_vec();
        labels.extend(self.service_labels());
        labels.extend(self.destination_labels(&destination));
        labels.extend([
            ("request_protocol", "tcp".into()),
            ("response_flags", flag.as_str().into()),
            self.security_label(),
            ("source_region", or_unknown(source.region)),
            ("source_zone", or_unknown(source.zone)),
            ("destination_region", or_unknown(destination.region)),
            ("destination_zone", or_unknown(destination.zone)),
        ]);
        labels
    }

    /// The labels of the series as one of requests, of which `own` are the request's own.
    pub(crate) fn request_labels<'a, const N: usize>(&'a self, own: [Label<'a>; N]) -> Vec<Label<'a>> {
        let mut labels = self.source_labels(&self.source.facts()).to_vec();
        let [service, service_namespace, service_name] = self.service_labels();
        let [workload, canonical, revision, namespace, principal, app, version, cluster] =
            self.destination_labels(&self.destination.facts());
        labels.extend([workload, namespace, principal, app, version, service, canonical, revision]);
        labels.extend([service_name, service_namespace, cluster]);
        labels.extend(own);
        labels.push(self.security_label());
        labels
    }

    fn source_labels<'a>(&'a self, facts: &Facts<'a>) -> [Label<'a>; 9] {
        [
            ("reporter", self.reporter.as_str().into()),
            ("source_workload", or_unknown(facts.workload)),
            ("source_canonical_service", or_unknown(facts.canonical)),
            ("source_canonical_revision", or_unknown(facts.revision)),
            ("source_workload_namespace", or_unknown(facts.namespace)),
            ("source_principal", principal(self.security.client())),
            ("source_app", or_unknown(facts.canonical)),
            ("source_version", or_unknown(facts.revision)),
            ("source_cluster", or_unknown(facts.cluster)),
        ]
    }

    fn service_labels(&self) -> [Label<'_>; 3] {
        let service = self.service.as_deref();
        [
            ("destination_service", or_unknown(service.and_then(|s| known(&s.hostname)))),
            ("destination_service_namespace", or_unknown(service.and_then(|s| known(&s.key.namespace)))),
            ("destination_service_name", or_unknown(service.and_then(|s| known(&s.key.name)))),
        ]
    }

    fn destination_labels<'a>(&'a self, facts: &Facts<'a>) -> [Label<'a>; 8] {
        [
            ("destination_workload", or_unknown(facts.workload)),
            ("destination_canonical_service", or_unknown(facts.canonical)),
            ("destination_canonical_revision", or_unknown(facts.revision)),
            ("destination_workload_namespace", or_unknown(facts.namespace)),
            ("destination_principal", principal(self.destination.principal())),
            ("destination_app", or_unknown(facts.canonical)),
            ("destination_version", or_unknown(facts.revision)),
            ("destination_cluster", or_unknown(facts.cluster)),
        ]
    }

    fn security_label(&self) -> Label<'_> {
        ("connection_security_policy", self.security.as_str().into())
    }
}

fn principal(identity: Option<&Identity>) -> Cow<'static, str> {
    identity.map_or("unknown".into(), |identity| Cow::Owned(identity.to_string()))
}

fn or_unknown(text: Option<&str>) -> Cow<'_, str> {
    Cow::Borrowed(text.unwrap_or("unknown"))
}
