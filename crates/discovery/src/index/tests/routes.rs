//! VirtualServices and DestinationRules in the index: which of several counts, and that they come and go.

use std::path::PathBuf;

use ambit_api::Severity;
use ambit_model::destination::Asked;
use ambit_model::route::{Addressed, Client, Gateway};

use super::*;
use crate::source::catalog::Catalog;

const HOST: &str = "reviews.shop.svc.cluster.local";

/// A VirtualService for `reviews`, written in `namespace` at `created`.
fn service(namespace: &str, name: &str, created: &str, export_to: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {{name: {name}, \
         namespace: {namespace}, creationTimestamp: \"{created}\"}}, spec: {{hosts: [{HOST}], exportTo: [\"{export_to}\"], \
         http: [{{route: [{{destination: {{host: {HOST}}}}}]}}]}}}}\n"
    )
}

/// A DestinationRule for `reviews` of `shop` with the subset `subset`.
fn rule(name: &str, created: &str, balancer: &str, subset: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1beta1, kind: DestinationRule, metadata: {{name: {name}, \
         namespace: shop, creationTimestamp: \"{created}\"}}, spec: {{host: reviews, \
         trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}, subsets: [{{name: {subset}, labels: {{by: {name}}}}}]}}}}\n"
    )
}

/// The VirtualService that counts for `reviews` in the mesh.
fn counts(index: &Index, viewer: &str) -> Option<String> {
    let snapshot = index.snapshot();
    let addressed = Addressed { host: HOST, viewer, owner: None, from: None };
    let found = snapshot.routes.virtual_services_for(addressed, &Gateway::Mesh).next();
    found.map(|service| service.key.to_string())
}

#[test]
fn the_oldest_of_several_virtual_services_counts_and_the_next_when_it_goes() {
    let (young, old) = ("2025-01-01T00:00:00Z", "2024-01-01T00:00:00Z");
    let mut index = joined(&[service("a", "young", young, "*"), service("z", "old", old, "*")].concat());
    assert_eq!(counts(&index, "shop").as_deref(), Some("z/old"));
    assert!(!index.apply(upserts(&service("z", "old", old, "*"))), "nothing has changed");
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::VirtualService, "z", "old"))]));
    assert_eq!(counts(&index, "shop").as_deref(), Some("a/young"));
    // What a namespace keeps to itself counts there, and there alone.
    assert!(index.apply(upserts(&service("own", "private", young, "."))));
    assert_eq!(counts(&index, "own").as_deref(), Some("own/private"));
    assert_eq!(counts(&index, "shop").as_deref(), Some("a/young"));
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::VirtualService, "a", "young"))]));
    assert_eq!(counts(&index, "shop"), None);
}

#[test]
fn destination_rules_of_one_host_are_merged_the_oldest_first() {
    let rules = [
        rule("young", "2025-01-01T00:00:00Z", "RANDOM", "v1"),
        rule("old", "2024-01-01T00:00:00Z", "ROUND_ROBIN", "v1"),
        rule("more", "2026-01-01T00:00:00Z", "RANDOM", "v2"),
    ];
    let mut index = joined(&rules.concat());
    let by = |index: &Index, subset: &str| {
        let snapshot = index.snapshot();
        let merged = snapshot.destinations.find(Asked {
            host: HOST,
            service_namespace: "shop",
            viewer: "elsewhere",
            root_namespace: "istio-system",
            client: Client::default(),
        })?;
        let first = merged.rules.first()?.key.name.to_string();
        Some((first, merged.subsets.get(subset)?.labels.values().next()?.to_string()))
    };
    let pair = |first: &str, by: &str| Some((first.to_owned(), by.to_owned()));
    assert_eq!(by(&index, "v1"), pair("old", "old"));
    assert_eq!(by(&index, "v2"), pair("old", "more"));
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::DestinationRule, "shop", "old"))]));
    assert_eq!(by(&index, "v1"), pair("young", "young"));
    assert_eq!(by(&index, "v3"), None);
}

#[test]
fn a_bad_one_leaves_its_last_good_state() {
    let (mut catalog, mut index) = (Catalog::default(), index());
    let mut look = |yaml: &str| {
        let contents = contents::read(yaml.as_bytes(), &Mesh::default());
        index.apply(catalog.update(&[], vec![(PathBuf::from("all.yaml"), contents)]));
        (counts(&index, "shop"), catalog.reports())
    };
    let good = service("shop", "routes", "2024-01-01T00:00:00Z", "*");
    let (counting, reports) = look(&good);
    assert_eq!((counting.as_deref(), reports), (Some("shop/routes"), vec![]));
    let (counting, reports) = look(&good.replace("route:", "rout:"));
    assert_eq!(counting.as_deref(), Some("shop/routes"));
    assert!(reports.iter().all(|report| report.severity == Severity::Error));
    assert!(reports.iter().any(|report| report.field == "spec.http[0].rout"), "{reports:?}");
}
