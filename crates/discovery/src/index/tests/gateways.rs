//! Gateways in the index: that they come and go, who serves them, and what is reported of the VirtualServices that name them.

use ambit_model::route::RuleKey;

use super::*;

/// A Gateway of these labels that lets in `hosts` by HTTP.
pub(super) fn gateway(name: &str, selector: &str, hosts: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: {name}}}, spec: {{selector: {{{selector}}}, \
         servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{hosts}]}}]}}}}\n"
    )
}

/// A VirtualService of these hosts and gateways that leads to `web`.
fn service(name: &str, hosts: &str, gateways: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1beta1, kind: VirtualService, metadata: {{name: {name}}}, spec: \
         {{hosts: [{hosts}], gateways: [{gateways}], http: [{{route: [{{destination: {{host: web}}}}]}}]}}}}\n"
    )
}

/// What is wrong: which object, which field, and whether nothing of it is in effect.
fn found(index: &Index) -> Vec<String> {
    let shown = |finding: &Finding| {
        assert!(!finding.field.message.is_empty() && finding.severity == ambit_api::Severity::Warning);
        format!("{} {} {}", finding.object, finding.field.path, finding.code.unwrap_or("-"))
    };
    index.findings().iter().map(shown).collect()
}

const INGRESS: &str = "istio: ingress";

fn ingress_pod() -> String {
    ready_pod("ingress-0", INGRESS, &["10.0.0.9"])
}

#[test]
fn a_gateway_comes_changes_and_goes() {
    let mut index = joined(&ingress_pod());
    let hosts = |index: &Index| {
        let snapshot = index.snapshot();
        let gateway = snapshot.gateways.get(&RuleKey::new("default", "front")).cloned();
        gateway.map(|gateway| gateway.servers[0].hosts.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(hosts(&index), None);
    assert!(index.apply(upserts(&gateway("front", INGRESS, "a.example"))));
    assert!(!index.apply(upserts(&gateway("front", INGRESS, "a.example"))), "the same again is no change");
    assert!(index.apply(upserts(&gateway("front", INGRESS, "b.example, ./c.example"))));
    assert_eq!(hosts(&index).unwrap(), ["b.example", "default/c.example"]);
    assert!(index.apply(vec![Event::Delete(ObjectRef::new(Kind::IstioGateway, "default", "front"))]));
    assert_eq!(hosts(&index), None);
}

#[test]
fn a_gateway_of_istio_and_one_of_the_gateway_api_of_the_same_name_are_two() {
    let waypoint = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: front}, spec: \
                    {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}}\n";
    let mut index = joined(&[ingress_pod(), gateway("front", INGRESS, "'*'"), waypoint.to_owned()].concat());
    let there = |index: &Index| (index.snapshot().gateways.iter().count(), index.snapshot().waypoints().count());
    assert_eq!(there(&index), (1, 1));
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Gateway, "default", "front"))]);
    assert_eq!(there(&index), (1, 0));
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::IstioGateway, "default", "front"))]);
    assert_eq!(there(&index), (0, 0));
}

#[test]
fn a_gateway_that_no_pod_serves_is_reported_with_the_labels_that_nobody_has() {
    let mut index = joined(&gateway("front", INGRESS, "'*'"));
    let unserved = "Gateway.networking.istio.io default/front spec.selector";
    assert_eq!(found(&index), [format!("{unserved}[istio] NotInEffect")]);
    assert!(index.findings()[0].field.message.contains("labelled istio=ingress (IST0101)"), "{:?}", index.findings());
    // Of whatever namespace.
    index.apply(upserts(&ingress_pod().replace("name: ingress-0,", "name: ingress-0, namespace: elsewhere,")));
    assert_eq!(found(&index), [""; 0]);
    index.apply(upserts(&gateway("front", "istio: ingress, tier: front", "'*'")));
    assert_eq!(found(&index), [format!("{unserved}[tier] NotInEffect")]);
    index.apply(upserts(&ready_pod("web", "tier: front", &["10.0.0.1"])));
    assert_eq!(found(&index), [format!("{unserved} NotInEffect")]);
    assert!(index.findings()[0].field.message.contains("istio=ingress and tier=front"), "{:?}", index.findings());
    index.apply(upserts(&gateway("front", "", "'*'")));
    assert_eq!(found(&index), [""; 0]);
}

#[test]
fn a_gateways_pods_are_missed_when_they_go() {
    let mut index = joined(&[gateway("front", INGRESS, "'*'"), ingress_pod()].concat());
    assert_eq!(found(&index), [""; 0]);
    assert!(index.apply(upserts(&ready_pod("ingress-0", "istio: egress", &["10.0.0.9"]))));
    assert_eq!(found(&index).len(), 1);
    index.apply(upserts(&ingress_pod()));
    assert_eq!(found(&index), [""; 0]);
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Pod, "default", "ingress-0"))]);
    assert_eq!(found(&index).len(), 1);
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::IstioGateway, "default", "front"))]);
    assert_eq!(found(&index), [""; 0]);
}

#[test]
fn what_a_virtual_service_says_of_gateways_is_held_against_them() {
    let base = [
        ingress_pod(),
        gateway("front", INGRESS, "a.example, '*.b.example', other/c.example"),
        gateway("back", INGRESS, "./d.example"),
        gateway("all", INGRESS, "'*/*'"),
    ];
    let (missing, foreign) = ("spec.gateways[0] NotInEffect", "spec.hosts[0] NotInEffect");
    for (hosts, gateways, expected) in [
        ("a.example", "front", &[][..]),
        ("A.Example", "default/front", &[]),
        ("x.b.example", "front", &[]),
        ("'*.x.b.example'", "front", &[]),
        // Some of it is let in.
        ("'*'", "front", &[]),
        ("'*.example'", "front", &[]),
        ("d.example", "back", &[]),
        ("x.example", "all", &[]),
        ("a.example", "none-such", &[missing]),
        ("a.example", "elsewhere/front", &[missing]),
        ("a.example", "front, none-such", &["spec.gateways[1] -"]),
        ("x.example", "front", &[foreign]),
        ("b.example", "front", &[foreign]),
        ("c.example", "front", &[foreign]),
        ("x.example, y.example", "front, back", &[foreign, "spec.hosts[1] NotInEffect"]),
        ("x.example, a.example", "front", &["spec.hosts[0] -"]),
        ("a.example, d.example", "front, back", &[]),
        ("a.example", "front, back", &["spec.gateways[1] -"]),
        // What no Gateway lets in may be for the mesh.
        ("web, a.example", "mesh, front", &["spec -"]),
        ("web", "mesh, front", &["spec.gateways[1] -", "spec NotInEffect"]),
        ("web", "mesh, none-such", &["spec.gateways[1] -", "spec NotInEffect"]),
    ] {
        let index = joined(&[&base.concat(), &service("v", hosts, gateways)].map(String::as_str).concat());
        let expected: Vec<_> = expected.iter().map(|found| format!("VirtualService default/v {found}")).collect();
        assert_eq!(found(&index), expected, "{hosts} {gateways}");
    }
}

#[test]
fn what_is_reported_says_what_to_do() {
    let base = [ingress_pod(), gateway("front", INGRESS, "a.example"), gateway("back", INGRESS, "b.example")].concat();
    for (hosts, gateways, parts) in [
        ("a.example", "none-such", ["there is no Gateway default/none-such (IST0101)", "write it"]),
        (
            "x.example",
            "front, back",
            ["of the Gateway default/front, nor of default/back lets x.example in", "(IST0132)"],
        ),
        ("a.example", "front, back", ["the Gateway default/back lets none of the hosts in", "(IST0132)"]),
        ("a.example", "mesh, front", ["is for the mesh as well", "take mesh from the gateways"]),
    ] {
        let index = joined(&[&*base, &service("v", hosts, gateways)].concat());
        let message = &index.findings()[0].field.message;
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn what_a_match_says_of_gateways_counts_as_well() {
    let matched = service("v", "web.example", "mesh").replace("http: [{", "http: [{match: [{gateways: [front]}], ");
    let index = joined(&[ingress_pod(), gateway("front", INGRESS, "web.example"), matched].concat());
    assert_eq!(found(&index), ["VirtualService default/v spec -"]);
}

#[test]
fn rules_for_where_a_gateways_routes_lead_are_in_effect() {
    let rule =
        "---\n{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: d}, spec: {host: web}}\n";
    let not = ["DestinationRule default/d spec NotInEffect"];
    let mut index = joined(&[rule, &ingress_pod(), &gateway("front", INGRESS, "a.example")].concat());
    assert_eq!(found(&index), not);
    index.apply(upserts(&service("v", "a.example", "front")));
    assert_eq!(found(&index), [""; 0]);
    index.apply(upserts(&service("v", "a.example", "front").replace("host: web", "host: db")));
    assert_eq!(found(&index), not);
    // A delegate is where its root is.
    let root =
        service("v", "a.example", "front").replace("route: [{destination: {host: web}}]", "delegate: {name: to}");
    let delegate = service("to", "", "");
    index.apply(upserts(&delegate));
    assert_eq!(found(&index), [["VirtualService default/to spec NotInEffect"], not].concat());
    index.apply(upserts(&root));
    assert_eq!(found(&index), [""; 0]);
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::IstioGateway, "default", "front"))]);
    assert_eq!(found(&index).len(), 3);
}
