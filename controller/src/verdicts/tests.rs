//! What is said of the objects of a mesh, as files to read: of `golden/mesh.yaml` `golden/said.yaml`.

use ambit_api::{ObjectRef, Recognised, recognise};
use ambit_discovery::{Event, Index, read_yaml};
use ambit_model::Mesh as Wide;

use super::*;

/// The objects of the documents of `text`, each with its kind.
fn objects(text: &str) -> Vec<(Kind, DynamicObject)> {
    let read = |(place, document): (usize, &str)| {
        let mut value = read_yaml(document).unwrap();
        let text = |field: &str| value[field].as_str().unwrap().to_owned();
        let Recognised::Known(kind) = recognise(&text("apiVersion"), &text("kind")) else { panic!("{document}") };
        value["metadata"]["uid"] = json!(place.to_string());
        value["metadata"]["generation"] = json!(3);
        (kind, serde_json::from_value(value).unwrap())
    };
    text.split("\n---\n").enumerate().map(read).collect()
}

/// What `objects` are as a mesh: its snapshot, and what is wrong between them.
fn mesh(objects: &[(Kind, DynamicObject)]) -> (Snapshot, Vec<Report>) {
    let mut index = Index::new(Wide::default(), []);
    let read = objects.iter().filter_map(|(kind, object)| reading::read(*kind, object, &Wide::default()).ok());
    index.apply(read.map(|read| Event::Upsert(read.resource)).collect());
    (index.snapshot(), index.reports())
}

/// What is said of each of `objects` that something is said of.
fn said(objects: &[(Kind, DynamicObject)], now: &str) -> Vec<(String, Value)> {
    let (snapshot, reports) = mesh(objects);
    let view = View::new(&snapshot, &reports);
    let said = objects.iter().filter(|(kind, _)| KINDS.contains(kind)).filter_map(|(kind, object)| {
        let reading = Readings::default().of(*kind, object, &snapshot.mesh);
        let status = status(&Subject { kind: *kind, object, reading: &reading }, &view, now)?;
        let name = ObjectRef::new(*kind, &object.namespace().unwrap_or_default(), &object.name_any());
        (!is_said(at(&object.data, &["status"]), &status)).then(|| (name.to_string(), status))
    });
    said.collect()
}

const MESH: &str = include_str!("golden/mesh.yaml");

#[test]
fn of_every_object_it_is_said_what_becomes_of_it_and_of_what_is_well_nothing() {
    let golden = read_yaml(include_str!("golden/said.yaml")).unwrap();
    let said = said(&objects(MESH), "2026-01-01T00:00:00Z");
    for (name, status) in &said {
        let short = shortened(status);
        assert_eq!(short, golden[name.as_str()], "{name}: {}", serde_json::to_string_pretty(&short).unwrap());
    }
    let names: Vec<&String> = said.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), golden.as_object().unwrap().len(), "{names:?}");
    let conditions = said.iter().flat_map(|(_, status)| status["conditions"].as_array().into_iter().flatten());
    assert!(conditions.clone().count() > 10);
    for condition in conditions {
        assert_eq!(
            (&condition["observedGeneration"], &condition["lastTransitionTime"]),
            (&json!(3), &json!("2026-01-01T00:00:00Z"))
        );
    }
}

/// `status` with each condition as `TYPE STATUS REASON: MESSAGE`.
fn shortened(status: &Value) -> Value {
    let condition = |one: &Value| {
        let text = |field: &str| one[field].as_str().unwrap().to_owned();
        json!(format!("{} {} {}: {}", text("type"), text("status"), text("reason"), text("message")))
    };
    let all = |list: &Value| list.as_array().map(|list| list.iter().map(condition).collect::<Vec<_>>());
    let mut short = status.clone();
    if let Some(conditions) = all(&status["conditions"]) {
        short["conditions"] = json!(conditions);
    }
    for (place, parent) in status["parents"].as_array().into_iter().flatten().enumerate() {
        short["parents"][place]["conditions"] = json!(all(&parent["conditions"]));
    }
    short
}

#[test]
fn what_is_said_is_said_once_and_taken_back_when_it_is_no_longer_so() {
    let mut objects = objects(MESH);
    let first = said(&objects, "first");
    let put = |objects: &mut Vec<(Kind, DynamicObject)>, said: &[(String, Value)]| {
        for (kind, object) in objects {
            let name = ObjectRef::new(*kind, &object.namespace().unwrap_or_default(), &object.name_any()).to_string();
            let Some((_, status)) = said.iter().find(|(said, _)| *said == name) else { continue };
            for (field, value) in status.as_object().unwrap() {
                object.data["status"][field] = value.clone();
            }
        }
    };
    put(&mut objects, &first);
    assert_eq!(said(&objects, "later"), [], "nothing is written twice");

    // Nobody asks for a waypoint any more, and what was refused is mended.
    for (kind, object) in &mut objects {
        object.metadata.labels = None;
        if *kind == Kind::PeerAuthentication {
            object.data["spec"] = json!({"mtls": {"mode": "STRICT"}});
        }
    }
    let later = said(&objects, "later");
    let of = |name: &str| later.iter().find(|(said, _)| said == name).map(|(_, status)| status.clone());
    assert_eq!(of("Service shop/reviews"), Some(json!({"conditions": null})));
    assert_eq!(of("Namespace lost"), Some(json!({"conditions": null})));
    assert_eq!(of("PeerAuthentication shop/damaged"), Some(json!({"conditions": null, "validationMessages": null})));
    put(&mut objects, &later);
    assert_eq!(said(&objects, "latest"), []);
}

#[test]
fn what_others_say_of_a_route_stays() {
    let mut objects = objects(MESH);
    let theirs = json!({"parentRef": {"name": "ingress"}, "controllerName": "example.com/ingress", "conditions": []});
    let (_, route) = objects.iter_mut().find(|(_, object)| object.name_any() == "to-reviews").unwrap();
    route.data["status"] = json!({"parents": [theirs]});
    let said = said(&objects, "now");
    let (_, status) = said.iter().find(|(name, _)| name == "HTTPRoute shop/to-reviews").unwrap();
    assert_eq!((&status["parents"][0], status["parents"].as_array().unwrap().len()), (&theirs, 2));
}

#[test]
fn an_object_is_read_anew_when_it_has_changed_and_forgotten_when_it_is_gone() {
    let (kind, mut object) = objects(MESH).into_iter().find(|(kind, _)| *kind == Kind::PeerAuthentication).unwrap();
    object.metadata.resource_version = Some("1".to_owned());
    let mut readings = Readings::default();
    let first = readings.of(kind, &object, &Wide::default());
    assert!(first.is_err());
    assert!(Arc::ptr_eq(&first, &readings.of(kind, &object, &Wide::default())), "read once");
    object.metadata.resource_version = Some("2".to_owned());
    object.data["spec"] = json!({});
    assert!(readings.of(kind, &object, &Wide::default()).is_ok());
    readings.settle();
    readings.settle();
    assert_eq!(format!("{readings:?}").matches("PeerAuthentication").count(), 0);
}
