//! Plans, as files to read: `golden/*.yaml`.

use ambit_discovery::read_yaml;

use super::*;
use crate::waypoints::tests::gateway;

fn shape() -> Shape {
    Shape {
        image: "ambit/waypoint:1".to_owned(),
        ca_address: "https://ambit-controller.istio-system.svc:15012".to_owned(),
        audience: "istio-ca".to_owned(),
        alike: vec![("--trust-domain", "cluster.local".to_owned()), ("--cluster", "Kubernetes".to_owned())],
    }
}

fn parsed(entries: &[(&str, &str)]) -> Result<Overlays, String> {
    overlays(&entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect())
}

/// That `planned` is what the file says, object by object.
fn assert_golden(planned: &[(Part, Value)], file: &str) {
    let planned: Vec<Value> = planned.iter().map(|(_, object)| object.clone()).collect();
    let golden: Vec<Value> = file.split("\n---\n").map(|document| read_yaml(document).unwrap()).collect();
    for (planned, golden) in planned.iter().zip(&golden) {
        assert_eq!(planned, golden, "{}", serde_json::to_string_pretty(planned).unwrap());
    }
    assert_eq!(planned.len(), golden.len());
}

#[test]
fn a_gateway_becomes_an_account_a_deployment_and_a_service() {
    assert_golden(&plan(&gateway(), &Overlays::new(), &shape()), include_str!("golden/plain.yaml"));
}

#[test]
fn its_parameters_shape_it_and_ask_for_what_scales_it() {
    let mut gateway = gateway();
    gateway.labels = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
    gateway.annotations = BTreeMap::from([("note".to_owned(), "ours".to_owned())]);
    gateway.deployment = "shop-waypoint".to_owned();
    gateway.service_type = Some("NodePort".to_owned());
    let overlays = parsed(&[
        ("deployment", include_str!("golden/overlay-deployment.yaml")),
        ("horizontalPodAutoscaler", "spec: {minReplicas: 2, maxReplicas: 5}"),
        ("podDisruptionBudget", "spec: {minAvailable: 1}"),
        ("service", "metadata: {annotations: {networking.istio.io/traffic-distribution: Any}}"),
        ("serviceAccount", "metadata: {annotations: {role: reader}}"),
    ]);
    assert_golden(&plan(&gateway, &overlays.unwrap(), &shape()), include_str!("golden/shaped.yaml"));
}

#[test]
fn an_account_of_somebody_else_is_run_as_and_not_made() {
    let gateway = Gateway { account: Some("theirs".to_owned()), ..gateway() };
    let planned = plan(&gateway, &Overlays::new(), &shape());
    assert_eq!(planned.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [Part::Deployment, Part::Service]);
    let pod = &planned[0].1["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "theirs");
    let args = pod["containers"][0]["args"].as_array().unwrap();
    assert!(args.windows(2).any(|pair| pair[0] == "--service-account" && pair[1] == "theirs"), "{args:?}");
}

#[test]
fn parameters_cannot_say_whose_an_object_is_what_it_is_called_or_as_whom_it_runs() {
    let overlay = "kind: Pod\nstatus: {}\nmetadata: {name: other, namespace: other, ownerReferences: [], \
                   labels: {gateway.networking.k8s.io/gateway-name: other}}";
    let overlays = parsed(&[("service", overlay)]).unwrap();
    let without = plan(&gateway(), &Overlays::new(), &shape());
    assert_eq!(plan(&gateway(), &overlays, &shape()), without);
    // Nor as whom it runs: that is the Gateway's to say.
    let overlays = parsed(&[("deployment", "spec: {template: {spec: {serviceAccountName: other}}}")]).unwrap();
    assert_eq!(plan(&gateway(), &overlays, &shape()), without);
    // Nor does what is no map where there is one break anything.
    for overlay in ["metadata: none", "metadata: {labels: [none]}", "spec: 1"] {
        let planned = plan(&gateway(), &parsed(&[("service", overlay)]).unwrap(), &shape());
        assert_eq!(planned[2].1["metadata"]["labels"][GATEWAY_NAME], "waypoint", "{overlay}");
    }
}

#[test]
fn parameters_that_cannot_be_used_are_refused_by_their_key() {
    for (key, text, said) in [
        ("deploymant", "", "\"deploymant\" is none of serviceAccount, deployment, service"),
        ("deployment", "[1]", "deployment: is no map"),
        ("service", "a: [", "service: line "),
    ] {
        let error = parsed(&[(key, text)]).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(parsed(&[("podDisruptionBudget", "")]).unwrap()[&Part::PodDisruptionBudget], json!({}));
}

#[test]
fn a_waypoint_has_no_right_that_it_does_not_need() {
    let planned = plan(&gateway(), &Overlays::new(), &shape());
    let pod = &planned[1].1["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let security = json!({
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(container["securityContext"], security);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}));
    let ports = container["ports"].as_array().unwrap();
    assert!(ports.iter().all(|port| port["containerPort"].as_u64().unwrap() > 1024), "{ports:?}");
    assert_eq!(pod["hostNetwork"], Value::Null);
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume["hostPath"].is_null() && volume["secret"].is_null()), "{volumes:?}");
}
