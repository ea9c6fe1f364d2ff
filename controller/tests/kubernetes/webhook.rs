//! The validating webhook, asked by a real API server on behalf of a real kubectl (R-02).

use std::process::{Command, Stdio};

use ambit_tests::until;
use serde_json::{Value, json};

use crate::roots::{plug_in, plugged_in};
use crate::support::{Controller, SOON, WEBHOOK, World};

/// The configuration as the chart has it, but that the webhook is reached by its address: there is no node here that would
/// carry Services.
fn configuration() -> Value {
    let selector = |requirement: Value| json!({"matchExpressions": [requirement]});
    let webhook = |name: &str, requirement: Value| {
        json!({
            "name": name,
            "clientConfig": {"url": format!("https://{WEBHOOK}/validate")},
            "rules": [{
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": ["security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io"],
                "apiVersions": ["*"],
                "resources": ["*"],
            }],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 10,
            "objectSelector": selector(requirement),
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            webhook("validation.ambit.dev", json!({"key": "istio.io/rev", "operator": "DoesNotExist"})),
            webhook("rev.validation.ambit.dev", json!({"key": "istio.io/rev", "operator": "In", "values": ["default"]})),
        ],
    })
}

const NAME: &str = "ambit-validator";

/// A cluster with the configuration installed, a namespace, and a controller that keeps it.
fn world(further: &[&str]) -> (World, Controller) {
    let world = World::new();
    world.namespace("shop");
    world.kubectl().apply(&[configuration()]).unwrap();
    let controller = start(&world, further);
    (world, controller)
}

fn start(world: &World, further: &[&str]) -> Controller {
    world.start_beside("one", &[&["--validation-webhook", NAME], further].concat())
}

/// Has `kubectl apply` write `manifest`: whether it was taken, and all that it said.
fn apply(world: &World, manifest: &Value) -> (bool, String) {
    kubectl(world, &["apply", "--validate=false", "-f", "-"], manifest)
}

/// Waits until `kubectl create` of `manifest` would be refused with `text`: nothing is made of it.
fn refused_soon(world: &World, manifest: &Value, text: &str) {
    let mut seen = String::new();
    let met = until(SOON, || {
        let create = ["create", "--dry-run=server", "--validate=false", "-f", "-"];
        seen = kubectl(world, &create, manifest).1;
        seen.contains(text)
    });
    met.unwrap_or_else(|_| panic!("it is not refused with {text:?}: {seen}"));
}

fn kubectl(world: &World, arguments: &[&str], manifest: &Value) -> (bool, String) {
    let mut command = world.kubectl().command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), manifest.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let group = if kind.contains("Auth") { "security" } else { "networking" };
    json!({
        "apiVersion": format!("{group}.istio.io/v1"),
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    })
}

/// What the webhooks of the configuration say of `field`.
fn webhooks(world: &World, field: &str) -> Vec<Value> {
    let found = world.kubectl().get(&["validatingwebhookconfiguration", NAME]).unwrap();
    found["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|webhook| webhook.pointer(field).cloned().unwrap_or_default())
        .collect()
}

/// Objects that the API server's own schemas take, and the field of each that the mesh cannot use.
fn unusable() -> Vec<(Value, &'static str)> {
    let route = json!([{"destination": {"host": "reviews"}}]);
    vec![
        (
            object(
                "AuthorizationPolicy",
                "bad",
                json!({"rules": [{"when": [{"key": "request.none", "values": ["x"]}]}]}),
            ),
            "spec.rules[0].when[0].key: ",
        ),
        (
            object("PeerAuthentication", "bad", json!({"portLevelMtls": {"80": {"mode": "STRICT"}}})),
            "spec.portLevelMtls: ",
        ),
        (
            object(
                "VirtualService",
                "bad",
                json!({"hosts": ["reviews"], "http": [{"match": [{"uri": {"regex": "("}}], "route": route}]}),
            ),
            "spec.http[0].match[0].uri.regex: ",
        ),
        (
            object("DestinationRule", "bad", json!({"host": "reviews", "subsets": [{"name": "v1"}, {"name": "v1"}]})),
            "spec.subsets[1].name: ",
        ),
        (
            object(
                "ServiceEntry",
                "bad",
                json!({"hosts": ["api.example.com"], "addresses": ["none"], "ports": [{"number": 80, "name": "http"}], "resolution": "STATIC"}),
            ),
            "spec.addresses[0]: ",
        ),
        (object("WorkloadEntry", "bad", json!({"address": "10.0.0.300"})), "spec.address: "),
    ]
}

#[test]
fn what_the_mesh_could_not_use_is_refused_by_its_path_and_the_rest_passes_with_warnings() {
    let (world, controller) = world(&[]);
    controller.process.wait_line("reviews arrive", SOON).unwrap();
    until(SOON, || webhooks(&world, "/failurePolicy") == ["Fail"; 2]).unwrap();
    assert!(webhooks(&world, "/clientConfig/caBundle").iter().all(Value::is_string));

    for (object, path) in unusable() {
        let (taken, said) = apply(&world, &object);
        let refused = !taken && said.contains("denied the request: ") && said.contains(path);
        assert!(refused, "{} is taken, or refused otherwise: {said}", object["kind"]);
    }
    // Everything that is wrong with one, at once.
    let twice = json!({"action": "DENY", "rules": [{"when": [{"key": "request.none", "values": ["x"]}, {"key": "none", "values": ["x"]}]}]});
    let (_, said) = apply(&world, &object("AuthorizationPolicy", "bad", twice));
    assert!(said.contains("spec.rules[0].when[0].key: ") && said.contains("spec.rules[0].when[1].key: "), "{said}");

    let at_pods = json!({"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]});
    let (taken, said) = apply(&world, &object("AuthorizationPolicy", "good", at_pods));
    let warned = taken && said.contains("Warning: spec.rules[0]: operation.methods cannot be seen at layer 4");
    assert!(warned, "{said}");
    let (taken, said) = apply(&world, &object("PeerAuthentication", "good", json!({"mtls": {"mode": "STRICT"}})));
    assert!(taken && !said.contains("Warning"), "{said}");

    // What is another revision's is another's to look at; what is ours is not.
    let (mut bad, path) = unusable().remove(1);
    bad["metadata"]["labels"] = json!({"istio.io/rev": "canary"});
    assert!(apply(&world, &bad).0);
    bad["metadata"]["labels"] = json!({"istio.io/rev": "default"});
    bad["metadata"]["name"] = json!("other");
    assert!(apply(&world, &bad).1.contains(path));
    // What got in all the same can be labelled, and is never kept from being deleted.
    let bad_one = ["peerauthentication", "bad", "-n", "shop"];
    world.kubectl().run(&[&["label"], &bad_one[..], &["istio.io/rev-"]].concat()).unwrap();
    let patch = ["--type=merge", "-p", r#"{"spec": {"portLevelMtls": {"81": {"mode": "STRICT"}}}}"#];
    let refused = world.kubectl().run(&[&["patch"], &bad_one[..], &patch].concat()).unwrap_err().to_string();
    assert!(refused.contains(path), "{refused}");
    world.kubectl().run(&[&["delete"], &bad_one[..]].concat()).unwrap();
}

#[test]
fn whom_to_believe_follows_the_root_and_what_nobody_reviews_is_refused() {
    let (world, controller) = world(&[]);
    controller.process.wait_line("reviews arrive", SOON).unwrap();
    let before = webhooks(&world, "/clientConfig/caBundle");
    let (bad, path) = unusable().remove(1);
    refused_soon(&world, &bad, path);

    plug_in(&world, &plugged_in(world.directory(), "plugged"));
    until(SOON, || webhooks(&world, "/clientConfig/caBundle") != before).expect("it is known by the old roots");
    refused_soon(&world, &bad, path);
    // Whoever spoils it has it mended.
    let spoil = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]).to_string();
    world.kubectl().run(&["patch", "validatingwebhookconfiguration", NAME, "--type=json", "-p", &spoil]).unwrap();
    until(SOON, || webhooks(&world, "/failurePolicy") == ["Fail"; 2]).expect("it stays spoilt");

    controller.process.kill().unwrap();
    let good = object("PeerAuthentication", "good", json!({"mtls": {"mode": "STRICT"}}));
    refused_soon(&world, &good, "failed calling webhook");
}

#[test]
fn what_was_written_while_the_webhook_was_away_is_said_in_its_status_and_does_no_harm() {
    let (world, controller) = world(&["--validation-failure-policy", "Ignore"]);
    let (bad, path) = unusable().remove(1);
    refused_soon(&world, &bad, path);
    assert_eq!(webhooks(&world, "/failurePolicy"), ["Ignore"; 2]);
    let good = object("PeerAuthentication", "good", json!({"mtls": {"mode": "STRICT"}}));
    assert!(apply(&world, &good).0);

    controller.process.stop(SOON).unwrap();
    assert!(apply(&world, &bad).0, "nobody is there to refuse it");
    let _controller = start(&world, &["--validation-failure-policy", "Ignore"]);
    let condition = |name: &str| {
        let object = world.kubectl().get(&["peerauthentication", name, "-n", "shop"]).unwrap();
        object["status"]["conditions"][0].clone()
    };
    until(SOON, || condition("bad")["reason"] == "Invalid").expect("it is not told of");
    assert!(condition("bad")["message"].as_str().unwrap().contains(path), "{}", condition("bad"));
    assert_eq!(condition("good"), Value::Null, "what is well is left alone");
    // It can be deleted, and not made again.
    world.kubectl().run(&["delete", "peerauthentication", "bad", "-n", "shop"]).unwrap();
    refused_soon(&world, &bad, path);
}

/// Who asks without being an API server learns nothing but what is wrong with his question.
#[test]
fn what_is_no_review_is_refused() {
    let (world, controller) = world(&[]);
    controller.process.wait_line("reviews arrive", SOON).unwrap();
    let netns = format!("--net=/proc/{}/ns/net", controller.process.pid());
    let url = format!("https://{WEBHOOK}/validate");
    let asked = Command::new("nsenter").args([&netns, "curl", "-sk", "--http1.1", "-d", "{}", &url]).output().unwrap();
    let said = String::from_utf8(asked.stdout).unwrap();
    assert!(said.contains("no AdmissionReview"), "{said} {}", String::from_utf8_lossy(&asked.stderr));
    drop(world);
}
