//! Releases on a real API server, without nodes: what comes, who may do what, and that nothing stays.

use std::collections::BTreeSet;
use std::time::Duration;

use ambit_tests::cluster::{Cluster, Kubectl, Plan, Settings, crds};
use ambit_tests::until;
use serde_json::json;

use crate::helm::{ask, chart};

const SOON: Duration = Duration::from_secs(30);
const NAMESPACE: &str = "istio-system";

/// An API server without the mesh's own kinds.
fn cluster() -> Cluster {
    let cluster = Plan::new().settings(Settings { existing: None, ..Settings::from_environment() }).start().unwrap();
    let kinds: Vec<_> = crds::MESH.into_iter().filter(crds::Definition::is_of_chart).map(|kind| kind.name()).collect();
    let mut delete = vec!["delete", "crd"];
    delete.extend(kinds.iter().map(String::as_str));
    cluster.kubectl().run(&delete).unwrap();
    cluster
}

/// Everything that lasts: every object of every kind that can be listed, by kind, namespace and name.
fn everything(kubectl: &Kubectl) -> BTreeSet<String> {
    // Those come and go by themselves.
    const PASSING: [&str; 4] = ["events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io"];
    let mut kinds = Err(anyhow::anyhow!("nobody was asked"));
    // Kinds that have just been deleted are listed a moment longer than they are served.
    let told = until::until(SOON, || {
        kinds = kubectl.run(&["api-resources", "--verbs=list", "-o", "name"]);
        kinds.is_ok()
    });
    let kinds = told.and(Ok(kinds)).unwrap().unwrap();
    let kinds: Vec<_> = kinds.lines().filter(|kind| !PASSING.contains(kind)).collect();
    let columns = "-o=custom-columns=A:.kind,B:.metadata.namespace,C:.metadata.name";
    let listed = kubectl.run(&["get", &kinds.join(","), "--all-namespaces", "--no-headers", columns]).unwrap();
    listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn install(kubectl: &Kubectl, values: &serde_json::Value) {
    let mut values = values.clone();
    // There are none that anything could be taken out of.
    values["ztunnel"]["uninstallNodes"] = false.into();
    let request =
        json!({"do": "install", "chart": chart("ambit"), "values": values, "kubeconfig": kubectl.kubeconfig()});
    ask(&request).unwrap();
}

fn uninstall(kubectl: &Kubectl) {
    ask(&json!({"do": "uninstall", "kubeconfig": kubectl.kubeconfig()})).unwrap();
}

/// Does `verb` to the release `name` of the chart `gateway`.
fn gateway(kubectl: &Kubectl, verb: &str, name: &str, values: &serde_json::Value) {
    let kubeconfig = kubectl.kubeconfig();
    let request =
        json!({"do": verb, "chart": chart("gateway"), "name": name, "values": values, "kubeconfig": kubeconfig});
    ask(&request).unwrap();
}

/// Whether an account of the release's namespace may do `verb` to `what` in `namespace`.
fn may(kubectl: &Kubectl, account: &str, (verb, what, namespace): (&str, &str, &str)) -> bool {
    let person = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
    let place = format!("--namespace={namespace}");
    let mut arguments = vec!["auth", "can-i", verb, what, &person];
    if !namespace.is_empty() {
        arguments.push(&place);
    }
    // It fails where it says no.
    kubectl.run(&arguments).is_ok_and(|answer| answer.trim() == "yes")
}

#[test]
fn what_a_release_brings_goes_with_it_but_for_kinds_that_are_to_be_kept() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.run(&["create", "namespace", NAMESPACE]).unwrap();
    let mut before = BTreeSet::new();
    // What controllers make of a new namespace takes a moment.
    until::until(SOON, || {
        before = everything(kubectl);
        before.contains(&format!("ServiceAccount {NAMESPACE} default"))
    })
    .expect("the namespace has an account");

    install(kubectl, &json!({"crds": {"keep": false}, "networkPolicy": {"enabled": true}}));
    let there = everything(kubectl);
    for object in ["DaemonSet istio-system ztunnel", "Deployment istio-system ambit-controller"] {
        assert!(there.contains(object), "{object} is missing: {:?}", there.difference(&before));
    }
    let number = there.difference(&before).filter(|line| line.starts_with("CustomResourceDefinition ")).count();
    assert_eq!(number, crds::MESH.into_iter().filter(crds::Definition::is_of_chart).count());
    uninstall(kubectl);
    // What belongs to what was deleted is collected soon.
    let mut left = Vec::new();
    until::until(SOON, || {
        left = everything(kubectl).difference(&before).cloned().collect::<Vec<_>>();
        left.is_empty()
    })
    .unwrap_or_else(|_| panic!("{left:?}"));

    install(kubectl, &json!({}));
    kubectl.run(&["wait", "--for=condition=Established", "crd/virtualservices.networking.istio.io"]).unwrap();
    let route = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "kept", "namespace": "default"},
        "spec": {"hosts": ["a"]},
    });
    until::until(SOON, || kubectl.apply(std::slice::from_ref(&route)).is_ok()).expect("the kind is served");
    uninstall(kubectl);
    kubectl.get(&["virtualservice", "kept"]).expect("kinds that are kept keep their objects");
}

#[test]
fn accounts_may_do_what_they_need_and_no_more() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    install(kubectl, &json!({}));
    let (agent, controller) = ("ztunnel", "ambit-controller");
    for (account, verb, what, namespace, expected) in [
        (agent, "watch", "pods", "shop", true),
        (agent, "list", "authorizationpolicies.security.istio.io", "shop", true),
        (agent, "get", "secrets", "shop", false),
        (agent, "get", "secrets", NAMESPACE, false),
        (agent, "get", "configmaps", "shop", false),
        (agent, "patch", "pods", "shop", false),
        (agent, "create", "tokenreviews.authentication.k8s.io", "", false),
        (controller, "create", "tokenreviews.authentication.k8s.io", "", true),
        (controller, "watch", "pods", "shop", true),
        (controller, "patch", "deployments.apps", "shop", true),
        (controller, "create", "configmaps", "shop", true),
        (controller, "patch", "configmaps/istio-ca-root-cert", "shop", true),
        (controller, "patch", "configmaps/other", "shop", false),
        (controller, "watch", "secrets/ambit-ca", NAMESPACE, true),
        (controller, "get", "secrets/ambit-ca", NAMESPACE, false),
        (controller, "get", "secrets/other", NAMESPACE, false),
        (controller, "list", "secrets", NAMESPACE, false),
        (controller, "get", "secrets/ambit-ca", "shop", false),
        (controller, "update", "leases.coordination.k8s.io/ambit-controller", NAMESPACE, true),
        (controller, "create", "pods/exec", "shop", false),
        (controller, "patch", "clusterrolebindings.rbac.authorization.k8s.io/ambit-waypoints", "", true),
        (controller, "patch", "clusterrolebindings.rbac.authorization.k8s.io/other", "", false),
        (controller, "bind", "clusterroles.rbac.authorization.k8s.io/cluster-admin", "", false),
        (controller, "create", "gatewayclasses.gateway.networking.k8s.io", "", true),
        (controller, "patch", "virtualservices.networking.istio.io", "shop", false),
        (controller, "patch", "validatingwebhookconfigurations.admissionregistration.k8s.io/ambit-validator", "", true),
        (controller, "patch", "validatingwebhookconfigurations.admissionregistration.k8s.io/other", "", false),
        (controller, "create", "peerauthentications.security.istio.io", NAMESPACE, true),
        (controller, "create", "peerauthentications.security.istio.io", "shop", false),
    ] {
        let allowed = may(kubectl, account, (verb, what, namespace));
        assert_eq!(allowed, expected, "{account}: {verb} {what} in {namespace:?}");
    }
}

#[test]
fn a_gateway_comes_with_what_it_is_told_to_be_and_goes() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let values = json!({"deployment": {"spec": {"replicas": 2}}, "for": "all"});
    gateway(kubectl, "install", "waypoint", &values);
    let made = kubectl.get(&["gateways.gateway.networking.k8s.io", "waypoint", "-n", NAMESPACE]).unwrap();
    assert_eq!(made["spec"]["gatewayClassName"], "ambit-waypoint");
    assert_eq!(made["spec"]["listeners"][0]["protocol"], "HBONE");
    assert_eq!(made["metadata"]["labels"]["istio.io/waypoint-for"], "all");
    let parameters = &made["spec"]["infrastructure"]["parametersRef"];
    assert_eq!(*parameters, json!({"group": "", "kind": "ConfigMap", "name": "waypoint"}));
    let overlay = kubectl.get(&["configmap", "waypoint", "-n", NAMESPACE]).unwrap();
    assert_eq!(overlay["data"]["deployment"], "spec:\n  replicas: 2\n");
    gateway(kubectl, "uninstall", "waypoint", &values);
    for gone in ["gateways.gateway.networking.k8s.io", "configmap"] {
        assert!(kubectl.get(&[gone, "waypoint", "-n", NAMESPACE]).is_err(), "{gone}");
    }
}

#[test]
fn an_ingress_comes_with_the_rights_that_it_needs_and_goes() {
    const NAME: &str = "istio-ingressgateway";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    // The role is the mesh's.
    install(kubectl, &json!({}));
    let values = json!({"class": "ingress", "podDisruptionBudget": {"minAvailable": 1}});
    gateway(kubectl, "install", NAME, &values);
    let there = everything(kubectl);
    for kind in ["Deployment", "Service", "ServiceAccount", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Role"] {
        assert!(there.contains(&format!("{kind} {NAMESPACE} {NAME}")), "{kind} is missing");
    }
    let service = kubectl.get(&["service", NAME, "-n", NAMESPACE]).unwrap();
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    for (verb, what, namespace, expected) in [
        ("watch", "secrets", NAMESPACE, true),
        ("get", "secrets", "shop", false),
        ("create", "secrets", NAMESPACE, false),
        ("list", "pods", "shop", true),
        ("watch", "virtualservices.networking.istio.io", "shop", true),
        ("patch", "services", NAMESPACE, false),
    ] {
        assert_eq!(may(kubectl, NAME, (verb, what, namespace)), expected, "{verb} {what} in {namespace}");
    }
    gateway(kubectl, "uninstall", NAME, &values);
    // What belongs to what was deleted is collected soon.
    let mut left = Vec::new();
    until::until(SOON, || {
        left = everything(kubectl).into_iter().filter(|line| line.contains(NAME)).collect();
        left.is_empty()
    })
    .unwrap_or_else(|_| panic!("{left:?}"));
}
