//! How many objects were reviewed, as Istio counts them (`galley_validation_passed`, `galley_validation_failed`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ambit_telemetry::Family;
use kube::core::{ApiResource, GroupVersionKind};

use super::review::{Counted, Verdict};

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<(Counted, Option<&'static str>), u64>>);

impl Tally {
    /// Counts a review. Kinds that the mesh does not know are not counted: whoever asks could make up any number.
    pub(super) fn note(&self, verdict: Verdict) {
        let key = match verdict {
            Verdict::Passed(counted) => (counted, None),
            Verdict::Failed(counted, reason) => (counted, Some(reason)),
            Verdict::Ignored => return,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(key).or_default() += 1;
    }

    /// The counts for Prometheus.
    pub(crate) fn families(&self) -> Vec<Family> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut passed = Family::counter("galley_validation_passed", "Objects that the webhook let pass");
        let mut failed = Family::counter("galley_validation_failed", "Objects that the webhook refused, by reason");
        for ((Counted { kind, version }, reason), count) in counts {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.as_str())).plural;
            let labels = [("group", group), ("resource", &resource), ("version", version)];
            match reason {
                None => passed = passed.count(labels, count),
                Some(reason) => {
                    let [group, resource, version] = labels;
                    failed = failed.count([group, ("reason", reason), resource, version], count);
                }
            }
        }
        vec![passed, failed]
    }
}

#[cfg(test)]
mod tests {
    use ambit_api::Kind;
    use ambit_telemetry::{Exposition, Logging};

    use super::*;

    #[test]
    fn reviews_are_counted_by_kind_and_reason() {
        let tally = Tally::default();
        let of = |kind, version| Counted { kind, version };
        let policy = of(Kind::AuthorizationPolicy, "security.istio.io/v1");
        for verdict in [
            Verdict::Passed(policy),
            Verdict::Passed(policy),
            Verdict::Failed(of(Kind::ServiceEntry, "networking.istio.io/v1beta1"), "invalid_resource"),
            Verdict::Ignored,
        ] {
            tally.note(verdict);
        }
        let logging = Logging::install(ambit_telemetry::Form::Text, "off", Box::new(std::io::sink())).unwrap();
        let mut exposition = Exposition::new("controller", "0", logging.access_log());
        exposition.register(move || tally.families());
        let page = exposition.text([]);
        for line in [
            "galley_validation_passed_total{group=\"security.istio.io\",resource=\"authorizationpolicies\",version=\"v1\"} 2",
            "galley_validation_failed_total{group=\"networking.istio.io\",reason=\"invalid_resource\",resource=\"serviceentries\",version=\"v1beta1\"} 1",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
