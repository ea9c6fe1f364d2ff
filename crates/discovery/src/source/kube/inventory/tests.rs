//! Tests of the inventory: what lists and watches change, and what is reported.

use ambit_model::Mesh;

use super::*;
use crate::source::reading::decode;
use crate::yaml::json;

fn read(name: &str, ip: &str, phase: &str) -> (ObjectRef, Read) {
    let text = format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "shop"}}, "status": {{"podIP": "{ip}", "phase": "{phase}"}}}}"#
    );
    let read = decode(&json(&text).unwrap(), Kind::Pod, &Mesh::default());
    (ObjectRef::new(Kind::Pod, "shop", name), read)
}

fn shown(changes: impl IntoIterator<Item = Changed>) -> Vec<String> {
    let shown = |changed: Changed| match changed.event {
        Event::Upsert(Resource::Pod(pod)) => {
            format!("+{} {} {}", pod.workload.name, pod.workload.addresses[0], changed.kept.unwrap_or_default())
        }
        Event::Upsert(other) => panic!("{other:?}"),
        Event::Delete(reference) => format!("-{}", reference.name),
    };
    changes.into_iter().map(shown).collect()
}

fn apply(inventory: &mut Inventory, name: &str, ip: &str) -> Vec<String> {
    let (reference, read) = read(name, ip, "Running");
    shown(inventory.apply(reference, read, || Some("kept".to_owned())))
}

/// What a list of these pods changes.
fn list(inventory: &mut Inventory, pods: &[(&str, &str)]) -> Vec<String> {
    inventory.begin(Kind::Pod);
    for (name, ip) in pods {
        let (reference, read) = read(name, ip, "Running");
        inventory.listed(reference, read, || Some("kept".to_owned()));
    }
    shown(inventory.finish(Kind::Pod))
}

fn reported(inventory: &Inventory) -> Vec<String> {
    inventory.reports().iter().map(ToString::to_string).collect()
}

#[test]
fn a_list_tells_what_came_what_changed_and_what_is_gone() {
    let mut inventory = Inventory::default();
    let first = list(&mut inventory, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    assert_eq!(first, ["+a 10.0.0.1 kept", "+b 10.0.0.2 kept"]);
    assert_eq!(list(&mut inventory, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]), [""; 0]);
    let changed = list(&mut inventory, &[("a", "10.0.0.9"), ("c", "10.0.0.3")]);
    assert_eq!(changed, ["+a 10.0.0.9 kept", "+c 10.0.0.3 kept", "-b"]);
    assert_eq!(list(&mut inventory, &[]), ["-a", "-c"]);
}

#[test]
fn a_list_that_fails_in_its_midst_changes_nothing() {
    let mut inventory = Inventory::default();
    list(&mut inventory, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    inventory.begin(Kind::Pod);
    let (reference, changed) = read("a", "10.0.0.9", "Running");
    inventory.listed(reference, changed, || None);
    assert_eq!(list(&mut inventory, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]), [""; 0]);
}

#[test]
fn what_is_watched_is_told_if_it_is_a_change() {
    let mut inventory = Inventory::default();
    assert_eq!(apply(&mut inventory, "a", "10.0.0.1"), ["+a 10.0.0.1 kept"]);
    assert_eq!(apply(&mut inventory, "a", "10.0.0.1"), [""; 0]);
    assert_eq!(apply(&mut inventory, "a", "10.0.0.2"), ["+a 10.0.0.2 kept"]);
    let gone = ObjectRef::new(Kind::Pod, "shop", "a");
    assert_eq!(shown(inventory.remove(gone.clone())), ["-a"]);
    assert_eq!(shown(inventory.remove(gone)), [""; 0]);
}

#[test]
fn what_is_told_again_shares_what_was_told() {
    let mut inventory = Inventory::default();
    let (reference, first) = read("a", "10.0.0.1", "Running");
    let Some(Changed { event: Event::Upsert(Resource::Pod(told)), .. }) = inventory.apply(reference, first, || None)
    else {
        panic!()
    };
    apply(&mut inventory, "a", "10.0.0.1");
    list(&mut inventory, &[("a", "10.0.0.1")]);
    assert_eq!(Arc::strong_count(&told), 2);
}

#[test]
fn a_mistake_leaves_what_was_in_force_and_is_reported_until_it_is_mended() {
    let mut inventory = Inventory::default();
    list(&mut inventory, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    assert_eq!(apply(&mut inventory, "a", "10.0.0.300"), [""; 0]);
    let reports = reported(&inventory);
    assert!(matches!(&reports[..], [one] if one.starts_with("Pod shop/a: status.podIP: ")), "{reports:?}");
    // A list says the same, of an object that never was right as well.
    assert_eq!(list(&mut inventory, &[("a", "10.0.0.300"), ("b", "10.0.0.2"), ("c", "x")]), [""; 0]);
    assert_eq!(reported(&inventory).len(), 2);
    assert_eq!(list(&mut inventory, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]), [""; 0]);
    assert_eq!(reported(&inventory), [""; 0]);
    apply(&mut inventory, "c", "x");
    inventory.remove(ObjectRef::new(Kind::Pod, "shop", "c"));
    assert_eq!(reported(&inventory), [""; 0]);
}

#[test]
fn a_finished_pod_is_a_pod_that_is_gone() {
    let mut inventory = Inventory::default();
    let apply = |inventory: &mut Inventory, phase| {
        let (reference, read) = read("job", "10.0.0.1", phase);
        shown(inventory.apply(reference, read, || None))
    };
    assert_eq!(apply(&mut inventory, "Succeeded"), [""; 0]);
    assert_eq!(apply(&mut inventory, "Running"), ["+job 10.0.0.1 "]);
    assert_eq!(apply(&mut inventory, "Failed"), ["-job"]);
    assert_eq!(inventory.shelves[&Kind::Pod].held.len(), 0);
}

#[test]
fn what_was_kept_is_confirmed_corrected_or_withdrawn_by_the_first_list() {
    let mut inventory = Inventory::default();
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        let (_, read) = read(name, ip, "Running");
        inventory.restore(read.unwrap().resource);
    }
    let changed = list(&mut inventory, &[("a", "10.0.0.1"), ("b", "10.0.0.9")]);
    assert_eq!(changed, ["+b 10.0.0.9 kept", "-c"]);
}

#[test]
fn a_kind_that_is_forgotten_is_gone() {
    let mut inventory = Inventory::default();
    list(&mut inventory, &[("a", "10.0.0.1"), ("b", "x")]);
    assert_eq!(shown(inventory.forget(Kind::Pod)), ["-a"]);
    assert_eq!((reported(&inventory), shown(inventory.forget(Kind::Pod))), (vec![], vec![]));
}

#[test]
fn of_very_many_mistakes_the_first_ones_are_reported() {
    let mut inventory = Inventory::default();
    for number in 0..MAX_REPORTS + 7 {
        apply(&mut inventory, &format!("p{number}"), "x");
    }
    let reports = reported(&inventory);
    assert_eq!(reports.len(), MAX_REPORTS + 1);
    assert!(reports.iter().any(|report| report.starts_with("7 more findings")), "{:?}", reports.last());
}
