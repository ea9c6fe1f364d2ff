//! Waypoints for Gateways: made, shaped, mended, told of and taken away (G-01, G-08, P-01, P-05, P-06).

use ambit_tests::until;
use serde_json::{Value, json};

use crate::support::{Controller, SOON, World};

fn gateway(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "gatewayClassName": class,
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    })
}

/// A controller, and the namespace that the waypoints are in.
fn world() -> (World, Controller) {
    let world = World::new();
    world.namespace("shop");
    let controller = start(&world);
    (world, controller)
}

fn start(world: &World) -> Controller {
    let controller = world.start("one", &["--waypoint-image", "localhost/none:1"]);
    controller.process.wait_line("this controller writes", SOON).unwrap();
    controller
}

/// The ConfigMap `shape`.
fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shape", "namespace": "shop"}, "data": data})
}

fn get(world: &World, kind: &str, name: &str) -> Option<Value> {
    world.kubectl().get(&[kind, name, "-n", "shop"]).ok()
}

/// The object once `condition` holds of it.
fn once(world: &World, kind: &str, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let mut seen = None;
    let met = until(SOON, || {
        seen = get(world, kind, name);
        seen.as_ref().is_some_and(&condition)
    });
    met.unwrap_or_else(|_| panic!("{kind} {name} is {seen:#?}"));
    seen.unwrap()
}

fn gone(world: &World, kind: &str, name: &str) {
    until(SOON, || get(world, kind, name).is_none()).unwrap_or_else(|_| panic!("{kind} {name} stays"));
}

/// The condition of this type, as `status reason`.
fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind);
    found
        .map(|one| format!("{} {}", one["status"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .unwrap_or_default()
}

/// Has the pods of the waypoint be ready, as their node would.
fn make_ready(world: &World, name: &str) {
    let selector = format!("gateway.networking.k8s.io/gateway-name={name}");
    let pods = || world.kubectl().get(&["pods", "-n", "shop", "-l", &selector]).unwrap()["items"].clone();
    until(SOON, || !pods().as_array().unwrap().is_empty()).expect("no pod of the Deployment");
    for mut pod in pods().as_array().unwrap().clone() {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        pod["status"] = json!({"phase": "Running", "podIP": "10.244.9.9", "conditions": [ready]});
        let path = format!("/api/v1/namespaces/shop/pods/{name}/status");
        world.kubectl().run_with(&["replace", "--raw", &path, "-f", "-"], &pod.to_string()).unwrap();
    }
}

#[test]
fn a_gateway_gets_a_waypoint_is_told_of_it_and_takes_it_away_with_it() {
    let (world, _controller) = world();
    for class in ["ambit-waypoint", "istio-waypoint"] {
        let class = once(&world, "gatewayclass", class, |class| condition(class, "Accepted") == "True Accepted");
        assert_eq!(class["spec"]["controllerName"], "istio.io/mesh-controller");
    }
    world.kubectl().apply(&[gateway("waypoint", "istio-waypoint")]).unwrap();
    let pending = once(&world, "gateway", "waypoint", |it| condition(it, "Programmed") == "False Pending");
    assert_eq!(condition(&pending, "Accepted"), "True Accepted");
    let deployment = get(&world, "deployment", "waypoint").unwrap();
    assert_eq!(deployment["metadata"]["ownerReferences"][0]["uid"], pending["metadata"]["uid"]);
    let service = get(&world, "service", "waypoint").unwrap();
    let ports: Vec<_> = service["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].clone()).collect();
    assert_eq!((ports, &service["spec"]["type"]), (vec![json!(15021), json!(15008)], &json!("ClusterIP")));
    get(&world, "serviceaccount", "waypoint").unwrap();
    // It may read the mesh's configuration, and no more.
    let can = |verb: &str, what: &str| {
        let who = "--as=system:serviceaccount:shop:waypoint";
        world.kubectl().run(&["auth", "can-i", verb, what, "-A", who]).is_ok()
    };
    until(SOON, || can("list", "pods")).expect("it cannot read");
    assert!(!can("get", "secrets") && !can("create", "pods"));

    make_ready(&world, "waypoint");
    let programmed = once(&world, "gateway", "waypoint", |it| condition(it, "Programmed") == "True Programmed");
    let address = json!([{"type": "Hostname", "value": "waypoint.shop.svc.cluster.local"}]);
    assert_eq!(programmed["status"]["addresses"], address);
    let listener = &programmed["status"]["listeners"][0];
    assert_eq!((&listener["name"], &listener["attachedRoutes"]), (&json!("mesh"), &json!(0)));

    world.kubectl().run(&["delete", "gateway", "waypoint", "-n", "shop"]).unwrap();
    for kind in ["deployment", "service", "serviceaccount"] {
        gone(&world, kind, "waypoint");
    }
    until(SOON, || !can("list", "pods")).expect("it can still read");
}

#[test]
fn what_somebody_changes_is_mended_and_what_nobody_writes_is_at_rest() {
    let (world, controller) = world();
    // The API writes this in other words: 500m.
    let cpu = r#"spec: {template: {spec: {containers: [{name: istio-proxy, resources: {requests: {cpu: "0.5"}}}]}}}"#;
    let mut shaped = gateway("waypoint", "ambit-waypoint");
    shaped["spec"]["infrastructure"] = json!({"parametersRef": {"group": "", "kind": "ConfigMap", "name": "shape"}});
    world.kubectl().apply(&[map(json!({"deployment": cpu})), shaped]).unwrap();
    once(&world, "gateway", "waypoint", |it| condition(it, "Programmed") == "False Pending");
    make_ready(&world, "waypoint");
    once(&world, "gateway", "waypoint", |it| condition(it, "Programmed") == "True Programmed");
    // The number of pods is not ours to say.
    world.kubectl().run(&["scale", "deployment", "waypoint", "-n", "shop", "--replicas=2"]).unwrap();
    once(&world, "deployment", "waypoint", |it| it["status"]["replicas"] == 2);
    // By the time that all is done for another, all has been looked at; and once more for a third.
    let looked_at = |name: &str| {
        world.kubectl().apply(&[gateway(name, "ambit-waypoint")]).unwrap();
        once(&world, "gateway", name, |it| condition(it, "Programmed") == "False Pending");
    };
    looked_at("second");
    let mark = controller.process.mark();
    looked_at("third");
    let lines = controller.process.lines();
    let written = |of: &str| {
        let new = lines.iter().skip(mark).filter(|line| line.text.contains("written"));
        let is_of = |line: &&ambit_tests::process::Line| line.text.split(['=', ' ', '/', '"']).any(|word| word == of);
        new.filter(is_of).map(|line| line.text.clone()).collect::<Vec<_>>()
    };
    assert!(!written("third").is_empty(), "{lines:?}");
    assert_eq!(written("waypoint"), [""; 0], "something is written again and again");
    let deployment = get(&world, "deployment", "waypoint").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    let requests = &deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"];
    assert_eq!(requests["cpu"], "500m");

    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "istio-proxy", "image": "other"}]}}}});
    world.kubectl().run(&["patch", "deployment", "waypoint", "-n", "shop", "-p", &image.to_string()]).unwrap();
    let is_ours = |it: &Value| it["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/none:1";
    let mended = once(&world, "deployment", "waypoint", is_ours);
    assert_eq!(mended["spec"]["replicas"], 2, "what is not ours stays");
    world.kubectl().run(&["delete", "service", "waypoint", "-n", "shop"]).unwrap();
    once(&world, "service", "waypoint", |_| true);
}

#[test]
fn parameters_shape_a_waypoint_and_what_they_no_longer_ask_for_is_removed() {
    let (world, _controller) = world();
    let all = json!({
        "deployment": "spec: {replicas: 3}",
        "horizontalPodAutoscaler": "spec: {minReplicas: 2, maxReplicas: 4}",
        "podDisruptionBudget": "spec: {minAvailable: 1}",
    });
    let mut shaped = gateway("waypoint", "ambit-waypoint");
    let parameters = json!({"group": "", "kind": "ConfigMap", "name": "shape"});
    shaped["spec"]["infrastructure"] = json!({"labels": {"team": "shop"}, "parametersRef": parameters});
    world.kubectl().apply(&[shaped.clone()]).unwrap();
    let missing = once(&world, "gateway", "waypoint", |it| condition(it, "Accepted") == "False InvalidParameters");
    let said = missing["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(said.contains("the ConfigMap shape") && get(&world, "deployment", "waypoint").is_none(), "{said}");

    world.kubectl().apply(&[map(all)]).unwrap();
    // Any change of the Gateway has its parameters read anew; without one they are within half a minute.
    world.kubectl().run(&["annotate", "gateway", "waypoint", "-n", "shop", "touched=once"]).unwrap();
    let autoscaler = once(&world, "hpa", "waypoint", |it| it["spec"]["maxReplicas"] == 4);
    assert_eq!(autoscaler["spec"]["scaleTargetRef"]["name"], "waypoint");
    let budget = once(&world, "pdb", "waypoint", |it| it["spec"]["minAvailable"] == 1);
    assert_eq!(budget["metadata"]["labels"]["team"], "shop");
    assert!(get(&world, "deployment", "waypoint").is_some());

    world
        .kubectl()
        .run(&[
            "patch",
            "configmap",
            "shape",
            "-n",
            "shop",
            "--type=json",
            "-p",
            r#"[{"op": "remove", "path": "/data/podDisruptionBudget"}]"#,
        ])
        .unwrap();
    world.kubectl().run(&["annotate", "gateway", "waypoint", "-n", "shop", "touched=twice", "--overwrite"]).unwrap();
    gone(&world, "pdb", "waypoint");
    assert!(get(&world, "hpa", "waypoint").is_some());

    // A Gateway that becomes another controller's leaves nothing behind.
    shaped["spec"]["gatewayClassName"] = json!("nginx");
    world.kubectl().apply(&[shaped]).unwrap();
    for kind in ["deployment", "service", "serviceaccount", "hpa"] {
        gone(&world, kind, "waypoint");
    }
}

#[test]
fn what_somebody_else_has_made_is_left_alone_and_said() {
    let (world, _controller) = world();
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "waypoint", "namespace": "shop"},
        "spec": {"ports": [{"port": 80}]},
    });
    world.kubectl().apply(&[theirs]).unwrap();
    world.kubectl().apply(&[gateway("waypoint", "istio-waypoint"), gateway("other", "nginx")]).unwrap();
    let refused = once(&world, "gateway", "waypoint", |it| condition(it, "Programmed") == "False NameTaken");
    let said = refused["status"]["conditions"][1]["message"].as_str().unwrap();
    assert!(said.contains("Service shop/waypoint"), "{said}");
    assert!(get(&world, "deployment", "waypoint").is_none(), "nothing runs half of its own");
    let service = get(&world, "service", "waypoint").unwrap();
    assert_eq!(
        (service["spec"]["ports"][0]["port"].as_u64(), &service["metadata"]["ownerReferences"]),
        (Some(80), &Value::Null)
    );
    world.kubectl().run(&["delete", "service", "waypoint", "-n", "shop"]).unwrap();
    world.kubectl().run(&["annotate", "gateway", "waypoint", "-n", "shop", "touched=once"]).unwrap();
    once(&world, "gateway", "waypoint", |it| condition(it, "Programmed") == "False Pending");
    // Of a Gateway of another class nothing is said.
    let other = get(&world, "gateway", "other").unwrap();
    assert_eq!(other["status"], Value::Null);
    assert!(get(&world, "deployment", "other").is_none());
}

#[test]
fn what_another_controller_runs_for_a_class_of_its_own_is_left_alone() {
    let world = World::new();
    world.namespace("shop");
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "istio-waypoint"},
        "spec": {"controllerName": "example.com/another"},
    });
    world.kubectl().apply(&[class, gateway("theirs", "istio-waypoint")]).unwrap();
    let uid = get(&world, "gateway", "theirs").unwrap()["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "theirs", "uid": uid});
    let labels = json!({
        "gateway.networking.k8s.io/gateway-name": "theirs",
        "gateway.networking.k8s.io/gateway-class-name": "istio-waypoint",
    });
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "theirs", "namespace": "shop", "labels": labels, "ownerReferences": [owner]},
    });
    world.kubectl().apply(&[account]).unwrap();

    let _controller = start(&world);
    world.kubectl().apply(&[gateway("ours", "ambit-waypoint")]).unwrap();
    // What is no longer asked for is removed before accounts are let read.
    let can = || world.kubectl().run(&["auth", "can-i", "list", "pods", "-A", "--as=system:serviceaccount:shop:ours"]);
    until(SOON, || can().is_ok()).expect("it cannot read");
    let theirs = get(&world, "serviceaccount", "theirs").expect("it was removed");
    assert_eq!(theirs["metadata"]["deletionTimestamp"], Value::Null);
    assert_eq!(get(&world, "gateway", "theirs").unwrap()["status"], Value::Null);
}
