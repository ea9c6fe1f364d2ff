//! What is told of pods, by what the snapshot and the node agent's status say.

use ambit_api::labels::DATAPLANE_MODE;
use ambit_model::Mesh;
use serde_json::{Value, json};

use super::*;
use crate::node::status::{Captured, Uncaptured};

const UID: &str = "11111111-2222-3333-4444-555555555555";
const OTHER: &str = "11111111-2222-3333-4444-666666666666";

/// The mesh with the pod `web` of node `a`, in a namespace that is in the mesh or not, and another of node `b`.
fn mesh(labels: &Value, containers: &[&str], namespace: Option<&str>) -> Snapshot {
    let mut index = ambit_discovery::Index::new(Mesh::default(), []);
    let read = |kind: ambit_api::Kind, object: Value| {
        ambit_discovery::Event::Upsert(
            ambit_discovery::read_object(kind, &object.to_string(), &Mesh::default()).unwrap().resource,
        )
    };
    let pod = |name: &str, node: &str, uid: &str| {
        let containers: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": uid, "labels": labels},
            "spec": {"nodeName": node, "containers": containers},
            "status": {"podIPs": [{"ip": "10.0.0.1"}]},
        })
    };
    let labels = namespace.map_or(json!({}), |mode| json!({DATAPLANE_MODE: mode}));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}});
    index.apply(vec![
        read(ambit_api::Kind::Namespace, namespace),
        read(ambit_api::Kind::Pod, pod("web", "a", UID)),
        read(ambit_api::Kind::Pod, pod("elsewhere", "b", OTHER)),
    ]);
    index.snapshot()
}

fn web() -> ambit_model::WorkloadUid {
    ambit_model::WorkloadUid::pod("Kubernetes", "shop", "web")
}

fn captured(uid: &str) -> Status {
    let captured = Captured { cookie: 1, pod: uid.parse().ok(), pre_mesh: Vec::new() };
    Status { captured: [(web(), captured)].into(), ..Status::default() }
}

fn hindered(mut status: Status, is_passing: bool) -> Status {
    status.uncaptured.insert(web(), Uncaptured { why: "no room".to_owned(), is_passing });
    status
}

/// What is told of the one pod of node `a`.
fn told(mesh: &Snapshot, status: &Status) -> Option<State> {
    let pods = standings(mesh, "a", status);
    assert_eq!(pods.keys().map(ToString::to_string).collect::<Vec<_>>(), [UID], "of this node's pods alone");
    pods.into_values().next().flatten().map(|standing| standing.report.state)
}

#[test]
fn a_pod_of_the_mesh_is_captured_or_it_is_said_why_not_or_nothing_yet() {
    let mesh = mesh(&Value::Null, &["web"], Some("ambient"));
    let failed = Some(State::Failed { obstacle: "no room".to_owned() });
    let as_before = Some(State::Captured { obstacle: Some("no room".to_owned()) });
    let in_order = Some(State::Captured { obstacle: None });
    for (status, expected) in [
        (Status::default(), None),
        (hindered(Status::default(), true), None),
        (hindered(Status::default(), false), failed),
        (captured(UID), in_order.clone()),
        (hindered(captured(UID), true), in_order),
        (hindered(captured(UID), false), as_before),
        (captured(OTHER), None),
    ] {
        assert_eq!(told(&mesh, &status), expected, "{status:?}");
    }
}

#[test]
fn a_pod_outside_is_outside_once_it_is_captured_no_longer() {
    for (labels, namespace) in [(Value::Null, None), (json!({DATAPLANE_MODE: "none"}), Some("ambient"))] {
        let mesh = mesh(&labels, &["web"], namespace);
        for (status, expected) in
            [(captured(UID), None), (Status::default(), Some(State::Outside)), (captured(OTHER), Some(State::Outside))]
        {
            assert_eq!(told(&mesh, &status), expected, "{labels} {namespace:?} {status:?}");
        }
    }
}

#[test]
fn a_pod_with_another_meshs_sidecar_is_told_of_if_its_labels_ask_for_this_one() {
    let (ambient, none) = (json!({DATAPLANE_MODE: "ambient"}), json!({DATAPLANE_MODE: "none"}));
    for container in ["linkerd-proxy", "istio-proxy"] {
        for (labels, namespace, expected) in [
            (&Value::Null, Some("ambient"), State::OtherMesh),
            (&ambient, None, State::OtherMesh),
            (&none, Some("ambient"), State::Outside),
            (&Value::Null, None, State::Outside),
        ] {
            let mesh = mesh(labels, &["web", container], namespace);
            assert_eq!(told(&mesh, &Status::default()), Some(expected), "{container} {labels} {namespace:?}");
        }
    }
}

#[test]
fn what_was_mended_is_told_with_how_often() {
    let mesh = mesh(&Value::Null, &["web"], Some("ambient"));
    let mended = Mended { times: 3, what: "what steers connections to it".to_owned() };
    let status = Status { mended: [(web(), mended)].into(), ..captured(UID) };
    let standing = standings(&mesh, "a", &status).into_values().next().flatten().unwrap();
    assert_eq!((standing.mended, standing.report.mended.as_deref()), (3, Some("what steers connections to it")));
    assert_eq!((standing.report.namespace.as_str(), standing.report.name.as_str()), ("shop", "web"));
}
