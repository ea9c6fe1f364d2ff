//! What agents report of their pods' capture is found at the pods: an annotation and Events (B-09, B-11, B-12); and what is
//! said at namespaces that ask for sidecars (B-04).

use ambit_ca::{PodReport, Reporter, State};
use ambit_tests::until;
use serde_json::{Value, json};

use crate::support::{Controller, HOME, SOON, World};

const ANNOTATION: &str = "/metadata/annotations/ambient.istio.io~1redirection";

/// The agent of node `a`.
fn agent(world: &World, controller: &Controller) -> Reporter {
    world.reporter(controller, &world.token((HOME, "ztunnel"), Some("ztunnel-a"), "istio-ca"))
}

fn get(world: &World, pod: &str) -> Value {
    world.kubectl().get_path(&format!("/api/v1/namespaces/shop/pods/{pod}")).unwrap()
}

/// That the capture of the pod stands like this.
fn report(world: &World, pod: &str, state: State) -> PodReport {
    let uid = get(world, pod)["metadata"]["uid"].as_str().unwrap().parse().unwrap();
    PodReport { namespace: "shop".to_owned(), name: pod.to_owned(), uid, state, mended: None }
}

fn captured() -> State {
    State::Captured { obstacle: None }
}

/// Reports until it is taken: what the controller knows of the cluster may be a moment old.
async fn taken(reporter: &Reporter, report: &PodReport) {
    let begun = std::time::Instant::now();
    loop {
        let answered = reporter.report(std::slice::from_ref(report)).await;
        if answered.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        assert!(begun.elapsed() < SOON, "{answered:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The Events of a reason at an object of the namespace: type, message and how often.
fn events(world: &World, name: &str, reason: &str) -> Vec<(String, String, u64)> {
    let selector = format!("involvedObject.name={name},reason={reason}");
    let events = world.kubectl().get(&["events", "-n", "shop", "--field-selector", &selector]).unwrap();
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let read = |event: &Value| (text(event, "type"), text(event, "message"), event["count"].as_u64().unwrap());
    events["items"].as_array().unwrap().iter().map(read).collect()
}

#[tokio::test]
async fn a_captured_pod_is_annotated_and_an_event_tells_of_it_until_it_is_out_again() {
    let world = World::of_two_nodes();
    let (one, two) = (world.start("one", &[]), world.start("two", &[]));
    one.process.wait_line("this controller writes", SOON).unwrap();
    // Whichever replica is asked writes.
    let agent = agent(&world, &two);
    taken(&agent, &report(&world, "reviews", captured())).await;
    let pod = get(&world, "reviews");
    assert_eq!(pod.pointer(ANNOTATION), Some(&json!("enabled")));
    let [(kind, message, 1)] = &events(&world, "reviews", "EnteredMesh")[..] else { panic!("{pod:#}") };
    assert!(kind == "Normal" && message.contains("the agent of node a"), "{message}");
    let described = world.kubectl().run(&["describe", "pod", "reviews", "-n", "shop"]).unwrap();
    assert!(described.contains("ambient.istio.io/redirection: enabled"), "{described}");
    assert!(
        described.lines().any(|line| line.contains("EnteredMesh") && line.contains("ambit-controller")),
        "{described}"
    );
    let ours = |field: &&Value| field["manager"] == "ambit-controller-capture";
    let fields = pod["metadata"]["managedFields"].as_array().unwrap().iter().find(ours).unwrap();
    let expected = json!({"f:metadata": {"f:annotations": {"f:ambient.istio.io/redirection": {}}}});
    assert_eq!(fields["fieldsV1"], expected);

    // Said again, nothing is written.
    taken(&agent, &report(&world, "reviews", captured())).await;
    assert_eq!(get(&world, "reviews")["metadata"]["resourceVersion"], pod["metadata"]["resourceVersion"]);
    assert_eq!(events(&world, "reviews", "EnteredMesh").len(), 1);

    taken(&agent, &report(&world, "reviews", State::Outside)).await;
    assert_eq!(get(&world, "reviews").pointer(ANNOTATION), None);
    assert_eq!(events(&world, "reviews", "LeftMesh").len(), 1);
}

#[tokio::test]
async fn what_goes_wrong_is_told_by_a_warning_and_what_flaps_by_few_of_them() {
    let world = World::of_two_nodes();
    let controller = world.start("one", &[]);
    let agent = agent(&world, &controller);
    let failed = State::Failed { obstacle: "its network namespace is gone".to_owned() };
    taken(&agent, &report(&world, "reviews", failed.clone())).await;
    assert_eq!(get(&world, "reviews").pointer(ANNOTATION), None);
    let [(kind, message, 1)] = &events(&world, "reviews", "CaptureFailed")[..] else { panic!() };
    assert!(kind == "Warning" && message.ends_with(": its network namespace is gone"), "{message}");
    let mended = PodReport { mended: Some("its steering".to_owned()), ..report(&world, "reviews", captured()) };
    taken(&agent, &mended).await;
    let [(kind, message, 1)] = &events(&world, "reviews", "CaptureRepaired")[..] else { panic!() };
    assert!(kind == "Warning" && message.ends_with(": its steering"), "{message}");
    for _ in 0..20 {
        taken(&agent, &report(&world, "reviews", failed.clone())).await;
        taken(&agent, &report(&world, "reviews", captured())).await;
    }
    assert_eq!(get(&world, "reviews").pointer(ANNOTATION), Some(&json!("enabled")), "the last word");
    // A few are written at once; the others are counted, and told with the next one.
    for reason in ["CaptureFailed", "EnteredMesh"] {
        let [(_, _, 4)] = &events(&world, "reviews", reason)[..] else {
            panic!("{reason}: {:?}", events(&world, "reviews", reason))
        };
    }
}

#[tokio::test]
async fn a_pod_with_another_meshs_sidecar_is_told_by_which_container_and_what_to_do() {
    let world = World::of_two_nodes();
    let container = |name: &str| json!({"name": name, "image": "localhost/none:1"});
    let spec = json!({"nodeName": "a", "containers": [container("app"), container("istio-proxy")]});
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "injected", "namespace": "shop"}, "spec": spec});
    world.kubectl().apply(&[pod]).unwrap();
    let controller = world.start("one", &[]);
    taken(&agent(&world, &controller), &report(&world, "injected", State::OtherMesh)).await;
    let [(kind, message, 1)] = &events(&world, "injected", "OtherMeshSidecar")[..] else { panic!() };
    assert!(kind == "Warning" && message.contains("the container istio-proxy of Istio"), "{message}");
    assert_eq!(get(&world, "injected").pointer(ANNOTATION), None);
}

#[tokio::test]
async fn what_is_not_an_agents_to_say_is_not_written_and_agents_write_nothing_themselves() {
    let world = World::of_two_nodes();
    let controller = world.start("one", &[]);
    let agent = agent(&world, &controller);
    taken(&agent, &report(&world, "reviews", captured())).await;
    let elsewhere = agent.report(&[report(&world, "ratings", captured())]).await.unwrap();
    assert!(elsewhere[0].code == "not-on-node" && elsewhere[0].text.contains("shop/ratings"), "{elsewhere:?}");
    // The ID of a pod of its own does not help it to another's name.
    let uid = report(&world, "reviews", captured()).uid;
    let forged = agent.report(&[PodReport { uid, ..report(&world, "ratings", captured()) }]).await.unwrap();
    assert_eq!(forged[0].code, "not-on-node");
    assert_eq!(get(&world, "ratings").pointer(ANNOTATION), None);
    assert_eq!(events(&world, "ratings", "EnteredMesh"), []);
    let waypoint = world.reporter(&controller, &world.token(("shop", "reviews"), Some("reviews"), "istio-ca"));
    let error = waypoint.report(&[report(&world, "reviews", State::Outside)]).await.unwrap_err().to_string();
    assert!(error.contains("is no node's agent"), "{error}");
    assert_eq!(get(&world, "reviews").pointer(ANNOTATION), Some(&json!("enabled")));
    let may = |account: &str, verb: &str, what: &str| {
        let account = format!("--as=system:serviceaccount:{HOME}:{account}");
        let (what, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        let said = world.kubectl().run(&["auth", "can-i", verb, what, &part, "-n", "shop", &account]);
        said.is_ok_and(|said| said.trim() == "yes")
    };
    for (verb, what) in [("patch", "pods"), ("create", "events"), ("patch", "events")] {
        assert!(may("ambit-controller", verb, what) && !may("ztunnel", verb, what), "{verb} {what}");
    }
    for (verb, what) in
        [("update", "pods"), ("delete", "pods"), ("create", "pods"), ("patch", "pods/status"), ("list", "events")]
    {
        assert!(!may("ambit-controller", verb, what), "{verb} {what}");
    }
}

#[test]
fn a_namespace_that_asks_for_sidecars_is_told_once_that_there_are_none() {
    let world = World::of_two_nodes();
    let controller = world.start("one", &[]);
    let kubectl = world.kubectl();
    kubectl.run(&["label", "namespace", "shop", "istio-injection=enabled"]).unwrap();
    until(SOON, || !events(&world, "shop", "NoSidecarInjection").is_empty()).expect("nothing is told");
    let line = controller.process.wait_line("asks for sidecars, and this mesh is ambient", SOON).unwrap().text;
    assert!(line.contains("namespace=\"shop\"") && line.contains("istio.io/dataplane-mode=ambient"), "{line}");
    // Another namespace is told after it: by then this one would have been told again.
    kubectl.run(&["label", "namespace", "shop", "team=web"]).unwrap();
    kubectl.run(&["label", "namespace", "default", "istio.io/rev=stable"]).unwrap();
    controller.process.wait_line("the label istio.io/rev=stable asks for sidecars", SOON).unwrap();
    let told = events(&world, "shop", "NoSidecarInjection");
    let [(kind, message, 1)] = &told[..] else { panic!("{told:?}") };
    assert!(kind == "Warning" && message.contains("istio-injection=enabled asks for sidecars"), "{message}");
    println!("{}", kubectl.run(&["get", "events", "-n", "shop"]).unwrap());
}
