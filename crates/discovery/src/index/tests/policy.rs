//! Policies in the index: whom they reach, and that a bad one leaves what was in force.

use std::path::PathBuf;

use ambit_model::policy::{Access, Client, evaluate};

use super::*;
use crate::source::catalog::Catalog;

const POD: &str = "---\n{apiVersion: v1, kind: Pod, metadata: {name: db, labels: {app: db}}, \
                   spec: {nodeName: node-a}, status: {podIPs: [{ip: 10.0.0.2}]}}\n";

fn deny(selector: &str, rule: &str) -> String {
    format!(
        "---\n{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{name: deny}}, \
         spec: {{action: DENY, selector: {{matchLabels: {{{selector}}}}}, rules: [{rule}]}}}}\n"
    )
}

const STRICT: &str = "---\n{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: strict}, \
                      spec: {mtls: {mode: STRICT}}}\n";

/// `ok`, or the code of the reason why `db` cannot be reached in clear.
fn reached(snapshot: &Snapshot) -> &'static str {
    let pod = WorkloadUid::pod("Kubernetes", "default", "db");
    let client = Client::Stranger("192.0.2.1".parse().unwrap());
    let access = Access { client, pod: pod.clone(), address: "10.0.0.2:80".parse().unwrap() };
    evaluate(snapshot, snapshot.workload(&pod).unwrap(), &access).map_or_else(|denial| denial.reason.code(), |()| "ok")
}

#[test]
fn policies_come_and_go_with_their_documents() {
    let mut index = joined(POD);
    assert_eq!(reached(&index.snapshot()), "ok");
    assert!(index.apply(upserts(STRICT)));
    assert_eq!(reached(&index.snapshot()), "mtls-required");
    assert!(!index.apply(upserts(STRICT)), "nothing has changed");
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::PeerAuthentication, "", "strict"))]));
    assert!(index.apply(upserts(&deny("app: db", "{}"))));
    assert_eq!(reached(&index.snapshot()), "policy-denied");
    // Selected no more: by the policy's change, and by the pod's.
    assert!(index.apply(upserts(&deny("app: web", "{}"))));
    assert_eq!(reached(&index.snapshot()), "ok");
    index.apply(upserts(&POD.replace("app: db", "app: web")));
    assert_eq!(reached(&index.snapshot()), "policy-denied");
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::AuthorizationPolicy, "", "deny"))]));
    assert_eq!(reached(&index.snapshot()), "ok");
}

#[test]
fn a_bad_policy_leaves_its_last_good_state_and_all_others_in_force() {
    let (mut catalog, mut index) = (Catalog::default(), index());
    let mut look = |yaml: &str| {
        let contents = contents::read(yaml.as_bytes(), &Mesh::default());
        index.apply(catalog.update(&[], vec![(PathBuf::from("all.yaml"), contents)]));
        (index.snapshot(), catalog.reports())
    };
    let (snapshot, reports) =
        look(&format!("{POD}{}", deny("app: db", "{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}")));
    assert_eq!(reached(&snapshot), "ok", "it never was good");
    assert_eq!(reports[0].field, "spec.rules[0].from[0].source.ipBlocks[0]");
    let (snapshot, reports) = look(&format!("{POD}{}", deny("app: db", "{}")));
    assert_eq!((reached(&snapshot), reports.len()), ("policy-denied", 0));
    let bad = deny("app: db", "{from: [{source: {principal: [web]}}]}");
    let (snapshot, reports) = look(&format!("{POD}{bad}{STRICT}"));
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(snapshot.policies.authorizations().count(), 1);
    assert_eq!(reached(&snapshot), "mtls-required", "the other one came into force");
    let (snapshot, _) = look(&format!("{POD}{bad}"));
    assert_eq!(reached(&snapshot), "policy-denied", "and went, while the last good state is still there");
}
