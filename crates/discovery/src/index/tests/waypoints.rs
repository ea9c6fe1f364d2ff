//! Waypoints in the index: whose labels count, who is let in, what is not captured, and what is reported.

use ambit_model::waypoint::{Allowed, Bound, Serves, of_service, of_workload};

use super::*;

/// A Gateway of `namespace` whose listener lets in whom `allowed` says, with these labels.
fn gateway(namespace: &str, name: &str, labels: &str, allowed: &str) -> String {
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: {name}, \
         namespace: {namespace}, labels: {{{labels}}}}}, spec: {{gatewayClassName: istio-waypoint, listeners: \
         [{{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {{namespaces: {{{allowed}}}}}}}]}}}}\n"
    )
}

fn namespace(name: &str, labels: &str) -> String {
    format!("---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}\n")
}

/// The Service `web` of namespace `default`.
fn web(labels: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: web, labels: {{{labels}}}}}, \
         spec: {{clusterIP: 10.96.0.1, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}}}\n"
    )
}

fn told(bound: Bound<'_>) -> String {
    match bound {
        Bound::None => "-".to_owned(),
        Bound::Waypoint(waypoint) => waypoint.key.to_string(),
        Bound::Unavailable(why) => format!("{why:?}"),
    }
}

/// What the Service and the pod `web` are reached by.
fn bound(index: &Index) -> [String; 2] {
    let snapshot = index.snapshot();
    let service = snapshot.service(&ServiceKey::new("default", "web")).unwrap();
    let pod = workload(index, "web");
    [told(of_service(&snapshot, service)), told(of_workload(&snapshot, &pod))]
}

fn found(index: &Index) -> Vec<String> {
    index.findings().iter().map(|finding| format!("{} {}", finding.object, finding.field.message)).collect()
}

#[test]
fn an_objects_labels_come_before_its_namespaces() {
    let (a, b, none) = ("istio.io/use-waypoint: a", "istio.io/use-waypoint: b", "istio.io/use-waypoint: none");
    let elsewhere = "istio.io/use-waypoint: c, istio.io/use-waypoint-namespace: infra";
    for (of_namespace, own, expected) in [
        ("", "", "-"),
        ("", a, "default/a"),
        ("", none, "-"),
        (a, "", "default/a"),
        (a, b, "default/b"),
        (a, none, "-"),
        (none, "", "-"),
        (none, a, "default/a"),
        (a, elsewhere, "infra/c"),
        (elsewhere, "", "infra/c"),
        // The namespace's second label says nothing of an object's first.
        (elsewhere, b, "default/b"),
        (a, "istio.io/use-waypoint-namespace: infra", "default/a"),
    ] {
        let all = "istio.io/waypoint-for: all";
        let yaml = [
            gateway("default", "a", all, ""),
            gateway("default", "b", all, ""),
            gateway("infra", "c", all, "from: All"),
            namespace("default", of_namespace),
            web(own),
            ready_pod("web", own, &["10.0.0.1"]),
        ];
        assert_eq!(bound(&joined(&yaml.concat())), [expected, expected], "{of_namespace:?} {own:?}");
    }
}

#[test]
fn a_change_of_labels_or_gateways_is_seen_wherever_it_is_made() {
    let asking = "istio.io/use-waypoint: wp";
    let mut index = joined(&[web(""), ready_pod("web", "app: web", &["10.0.0.1"])].concat());
    let mut then = |yaml: &str| {
        index.apply(upserts(yaml));
        bound(&index)
    };
    assert_eq!(then(&namespace("default", asking)), ["Missing", "-"]);
    assert_eq!(then(&gateway("default", "wp", "", "")), ["default/wp", "-"]);
    assert_eq!(then(&gateway("default", "wp", "istio.io/waypoint-for: workload", "")), ["-", "default/wp"]);
    // The Gateway says nothing, its class does.
    let class = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: istio-waypoint, \
                 labels: {istio.io/waypoint-for: all}}}\n";
    assert_eq!(then(&[gateway("default", "wp", "", ""), class.to_owned()].concat()), ["default/wp", "default/wp"]);
    assert_eq!(then(&namespace("default", "")), ["-", "-"]);
    assert_eq!(then(&web(asking)), ["default/wp", "-"]);
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Gateway, "default", "wp"))]);
    assert_eq!(bound(&index), ["Missing", "-"]);
}

#[test]
fn whether_gateways_go_past_it_is_said_by_the_service_or_its_namespace() {
    let waypoint = "istio.io/use-waypoint: wp";
    let passed = |index: &Index| {
        let snapshot = index.snapshot();
        let service = snapshot.service(&ServiceKey::new("default", "web")).unwrap();
        service.waypoint.as_ref().map(|wanted| wanted.passed_by_gateways)
    };
    let (past, not_past) = ("istio.io/ingress-use-waypoint: 'false'", "istio.io/ingress-use-waypoint: 'true'");
    let mut index = joined(&[namespace("default", waypoint), web("")].concat());
    for (of_namespace, own, expected) in [
        ("", "", false),
        (past, "", true),
        (not_past, "", false),
        (past, not_past, false),
        (not_past, past, true),
        ("", past, true),
        ("", "istio.io/use-waypoint: other", false),
        (past, "istio.io/use-waypoint: other", true),
        ("", "", false),
    ] {
        let labels = |more: &str| format!("{waypoint}{}{more}", if more.is_empty() { "" } else { ", " });
        index.apply(upserts(&namespace("default", &labels(of_namespace))));
        index.apply(upserts(&web(own)));
        assert_eq!(passed(&index), Some(expected), "{of_namespace:?} {own:?}");
        let at_once = joined(&[web(own), namespace("default", &labels(of_namespace))].concat());
        assert_eq!(index.snapshot(), at_once.snapshot(), "{of_namespace:?} {own:?}");
    }
}

#[test]
fn a_gateway_lets_in_the_namespaces_that_it_selects() {
    let asking = "istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: infra";
    let selecting = |selector: &str| gateway("infra", "wp", "", &format!("from: Selector, selector: {{{selector}}}"));
    let base = [web(asking), ready_pod("web", "app: web", &["10.0.0.1"])].concat();
    for (selector, expected) in [
        ("matchLabels: {tier: front}", "infra/wp"),
        ("matchLabels: {tier: back}", "AttachmentDenied"),
        ("matchLabels: {kubernetes.io/metadata.name: default}", "infra/wp"),
        ("matchExpressions: [{key: tier, operator: In, values: [front, back]}]", "infra/wp"),
        ("matchExpressions: [{key: tier, operator: NotIn, values: [front]}]", "AttachmentDenied"),
        ("matchExpressions: [{key: tier, operator: Exists}, {key: old, operator: DoesNotExist}]", "infra/wp"),
        ("matchExpressions: [{key: tier, operator: DoesNotExist}]", "AttachmentDenied"),
    ] {
        let yaml = [selecting(selector), namespace("default", "tier: front"), base.clone()].concat();
        assert_eq!(bound(&joined(&yaml))[0], expected, "{selector}");
    }
    let mut index = joined(&[selecting("matchLabels: {tier: front}"), base].concat());
    // Nothing is known of the namespace's labels.
    assert_eq!(bound(&index)[0], "AttachmentDenied");
    assert!(index.apply(upserts(&namespace("default", "tier: front"))));
    assert_eq!(bound(&index)[0], "infra/wp");
    let snapshot = index.snapshot();
    let waypoint = snapshot.waypoints().next().unwrap();
    assert_eq!((&waypoint.allowed, waypoint.serves), (&Allowed::Selected(["default".into()].into()), Serves::Services));
}

#[test]
fn a_waypoints_pods_are_not_captured_and_reached_by_no_waypoint() {
    let wp = ready_pod("wp-0", "gateway.networking.k8s.io/gateway-name: wp", &["10.0.0.9"]);
    let labels = "istio.io/dataplane-mode: ambient, istio.io/use-waypoint: wp";
    let mut index = joined(&[namespace("default", labels), wp].concat());
    let seen = |index: &Index| {
        let pod = workload(index, "wp-0");
        (pod.enrolment, pod.waypoint.is_some())
    };
    // Without a Gateway the label is one like any other.
    assert_eq!(seen(&index), (Enrolment::Enrolled, true));
    index.apply(upserts(&gateway("default", "wp", "", "")));
    assert_eq!(seen(&index), (Enrolment::Outside(Excluded::Waypoint), false));
    // One that knows no HBONE has its agent take that for it.
    let annotated = "annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/80}, labels";
    index.apply(upserts(&gateway("default", "wp", "", "").replace("labels", annotated)));
    assert_eq!(seen(&index), (Enrolment::Enrolled, false));
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::Gateway, "default", "wp"))]);
    assert_eq!(seen(&index), (Enrolment::Enrolled, true));
    index.apply(upserts(&ready_pod("wp-0", "networking.istio.io/tunnel: http", &["10.0.0.9"])));
    assert_eq!(seen(&index).0, Enrolment::Outside(Excluded::SpeaksHbone));
}

#[test]
fn what_cannot_be_bound_is_reported_with_object_label_and_remedy() {
    let asking = "istio.io/use-waypoint: wp";
    let mut index = joined(&[web(asking), ready_pod("web", "", &["10.0.0.1"])].concat());
    let told = found(&index);
    assert!(told.len() == 1 && told[0].starts_with("Service default/web there is no waypoint default/wp"), "{told:?}");
    assert_eq!(index.findings()[0].field.path, "metadata.labels[istio.io/use-waypoint]");
    index.apply(upserts(&gateway("default", "wp", "istio.io/waypoint-for: workload", "")));
    let told = found(&index);
    assert!(told.len() == 1 && told[0].contains("UnsupportedTrafficType"), "{told:?}");
    index.apply(upserts(&gateway("default", "wp", "", "")));
    assert_eq!(found(&index), [""; 0]);
    let elsewhere = "istio.io/use-waypoint: far, istio.io/use-waypoint-namespace: infra";
    index.apply(upserts(&[gateway("infra", "far", "", ""), namespace("default", elsewhere)].concat()));
    let told = found(&index);
    assert!(
        told.len() == 1 && told[0].starts_with("Namespace default the waypoint infra/far does not let"),
        "{told:?}"
    );
    assert!(told[0].contains("AttachmentDenied"), "{told:?}");
}

#[test]
fn rules_for_traffic_that_no_waypoint_applies_are_reported() {
    let rules = "---\n{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v}, spec: {hosts: [web], \
                 http: [{route: [{destination: {host: web}}]}]}}\n---\n{apiVersion: networking.istio.io/v1, \
                 kind: DestinationRule, metadata: {name: d}, spec: {host: \"*.default.svc.cluster.local\"}}\n";
    let mut index = joined(&[web(""), rules.to_owned()].concat());
    let told = found(&index);
    assert!(told.len() == 2 && told.iter().all(|told| told.contains("no service of its hosts has one")), "{told:?}");
    index.apply(upserts(&[web("istio.io/use-waypoint: wp"), gateway("default", "wp", "", "")].concat()));
    assert_eq!(found(&index), [""; 0]);
    index.apply(upserts(&web("istio.io/use-waypoint: none")));
    assert_eq!(found(&index).len(), 2);
    let at_a_gateway = rules.replace("hosts: [web],", "hosts: [web], gateways: [front],");
    index.apply(upserts(&at_a_gateway));
    assert!(found(&index)[0].contains("there is no Gateway default/front"), "{:?}", found(&index));
}

#[test]
fn rules_from_a_namespace_that_has_no_say_are_reported() {
    let rules = "---\n{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: consumer}, \
                 spec: {hosts: [web.default.svc.cluster.local], http: [{route: [{destination: {host: \
                 web.default.svc.cluster.local}}]}]}}\n";
    let all = [web("istio.io/use-waypoint: wp"), gateway("default", "wp", "", ""), rules.to_owned()].concat();
    let mut index = joined(&all);
    let told = found(&index);
    assert!(told.len() == 1 && told[0].contains("services of other namespaces"), "{told:?}");
    index.apply(upserts(&rules.replace("namespace: consumer", "namespace: default")));
    index.apply(vec![Event::Delete(ObjectRef::new(Kind::VirtualService, "consumer", "v"))]);
    assert_eq!(found(&index), [""; 0]);
}
