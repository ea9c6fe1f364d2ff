//! How near a service wants its endpoints: tables of what is written and what it means.

use ambit_model::{Distribution, Scope};

use super::*;

const ANYWHERE: Option<Distribution> = Some(Distribution::Anywhere);
const ZONE: Option<Distribution> = Some(Distribution::Prefer(Scope::Zone));
const NODE: Option<Distribution> = Some(Distribution::Prefer(Scope::Node));
const LOCAL: Option<Distribution> = Some(Distribution::Only(Scope::Node));
const PATH: &str = "metadata.annotations[networking.istio.io/traffic-distribution]";

fn metadata(annotation: &str) -> Value {
    json!({"name": "web", "annotations": {"networking.istio.io/traffic-distribution": annotation}})
}

/// What a service asks for by `spec.trafficDistribution`, `spec.internalTrafficPolicy` and its annotation.
fn asked(field: &str, policy: &str, annotation: &str) -> (Option<Distribution>, Vec<(Severity, String)>) {
    let spec = json!({"clusterIP": "10.96.0.1", "trafficDistribution": field, "internalTrafficPolicy": policy});
    let Translated { resource, remarks } =
        read(Kind::Service, json!({"metadata": metadata(annotation), "spec": spec})).unwrap();
    let Resource::Service(service) = resource else { panic!("{resource:?}") };
    (service.distribution, remarks.into_iter().map(|remark| (remark.severity, remark.field.path)).collect())
}

#[test]
fn a_services_policy_comes_before_its_field_and_that_before_its_annotation() {
    for (field, policy, annotation, expected) in [
        ("", "", "", None),
        ("", "Cluster", "", None),
        ("PreferSameZone", "", "", ZONE),
        ("PreferClose", "", "", ZONE),
        ("PreferSameNode", "Cluster", "", NODE),
        ("", "Local", "", LOCAL),
        ("", "", "PreferSameZone", ZONE),
        ("", "", "PreferClose", ZONE),
        ("", "", "PreferSameNode", NODE),
        ("", "", "prefersamenode", NODE),
        // Out of what the namespace asks for.
        ("", "", "Any", ANYWHERE),
        ("PreferSameNode", "", "PreferSameZone", NODE),
        ("PreferSameZone", "", "Any", ZONE),
        ("PreferSameZone", "Local", "PreferSameZone", LOCAL),
    ] {
        assert_eq!(asked(field, policy, annotation), (expected, vec![]), "{field} {policy} {annotation}");
    }
}

#[test]
fn an_annotation_that_nobody_knows_means_any_and_is_remarked_on() {
    let warning = vec![(Severity::Warning, PATH.to_owned())];
    assert_eq!(asked("", "", "SameZone"), (ANYWHERE, warning.clone()));
    assert_eq!(asked("PreferSameNode", "", "SameZone"), (NODE, warning.clone()));
    assert_eq!(remarked(Kind::Namespace, json!({"metadata": metadata("SameZone")})), warning);
}

#[test]
fn a_namespaces_annotation_is_read_as_a_services_is() {
    for (annotation, expected) in
        [("", None), ("PreferSameZone", ZONE), ("PreferClose", ZONE), ("PREFERSAMENODE", NODE), ("Any", ANYWHERE)]
    {
        let Translated { resource, remarks } =
            read(Kind::Namespace, json!({"metadata": metadata(annotation)})).unwrap();
        let Resource::Namespace(namespace) = resource else { panic!("{resource:?}") };
        assert_eq!((namespace.distribution, remarks), (expected, vec![]), "{annotation}");
    }
    assert_eq!(remarked(Kind::Namespace, json!({"metadata": {"name": "web"}})), []);
}
