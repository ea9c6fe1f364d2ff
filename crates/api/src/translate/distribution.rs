//! How near to its clients a service wants its endpoints. Its spec comes before its annotation, as with Istio
//! (`GetTrafficDistribution`); its namespace's annotation counts where it has neither, which whoever joins them sees to.

use ambit_model::{Distribution, Scope};

use crate::field::{Findings, Severity};
use crate::labels;
use crate::object::{self, ObjectMeta};

/// What `service` itself asks for; none if it leaves that to its namespace.
pub(super) fn of_service(service: &object::Service, findings: &mut Findings) -> Option<Distribution> {
    let spec = &service.spec;
    let local = match spec.internal_traffic_policy.as_str() {
        "" | "Cluster" => None,
        "Local" => Some(Distribution::Only(Scope::Node)),
        other => {
            findings.error("spec.internalTrafficPolicy", format!("{other:?} is neither Cluster nor Local"));
            None
        }
    };
    let field = match spec.traffic_distribution.as_str() {
        "" => None,
        text => {
            let preferred = preferred(text);
            if preferred.is_none() {
                let message = format!("{text:?} is none of PreferSameZone, PreferSameNode, PreferClose");
                findings.error("spec.trafficDistribution", message);
            }
            preferred
        }
    };
    let annotated = annotated(&service.metadata, findings);
    local.or(field).or(annotated)
}

/// What the annotation of `metadata` asks for, in whatever case it is written. A value that nobody knows means what
/// `Any` does, and is remarked on.
pub(super) fn annotated(metadata: &ObjectMeta, findings: &mut Findings) -> Option<Distribution> {
    let text = metadata.annotations.get(labels::TRAFFIC_DISTRIBUTION).filter(|text| !text.is_empty())?;
    let names = ["PreferSameZone", "PreferSameNode", "PreferClose"];
    let known = names.into_iter().find(|name| name.eq_ignore_ascii_case(text)).and_then(preferred);
    if known.is_none() && !text.eq_ignore_ascii_case("Any") {
        let path = format!("metadata.annotations[{}]", labels::TRAFFIC_DISTRIBUTION);
        let quoted = text.chars().take(80).collect::<String>();
        let message = format!("{quoted:?} means Any: write PreferSameZone, PreferSameNode or Any");
        findings.remark(Severity::Warning, path, message);
    }
    Some(known.unwrap_or_default())
}

/// What a value of `spec.trafficDistribution` asks for (KEP-3015; `PreferClose` is the old name of `PreferSameZone`).
fn preferred(text: &str) -> Option<Distribution> {
    match text {
        "PreferSameZone" | "PreferClose" => Some(Distribution::Prefer(Scope::Zone)),
        "PreferSameNode" => Some(Distribution::Prefer(Scope::Node)),
        _ => None,
    }
}
