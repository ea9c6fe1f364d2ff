//! Tests of the catalog: which of the documents are in force, and what is reported.

use ambit_model::Mesh;

use super::*;
use crate::source::contents;

fn pod(name: &str, ip: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nstatus:\n  podIP: {ip}\n")
}

fn said(files: &[(&str, &str)]) -> Vec<(PathBuf, Contents)> {
    files.iter().map(|(path, text)| (PathBuf::from(path), contents::read(text.as_bytes(), &Mesh::default()))).collect()
}

fn gone(paths: &[&str]) -> Vec<PathBuf> {
    paths.iter().map(PathBuf::from).collect()
}

/// `+name ip` for what is in force now, `-name` for what is no more.
fn shown(events: Vec<Event>) -> Vec<String> {
    let shown = |event| match event {
        Event::Upsert(Resource::Pod(pod)) => format!("+{} {}", pod.workload.name, pod.workload.addresses[0]),
        Event::Upsert(other) => panic!("{other:?}"),
        Event::Delete(reference) => format!("-{}", reference.name),
    };
    events.into_iter().map(shown).collect()
}

fn reported(catalog: &Catalog) -> Vec<(String, u32, Severity)> {
    let shown = |report: Report| (report.file.display().to_string(), report.line, report.severity);
    catalog.reports().into_iter().map(shown).collect()
}

#[test]
fn only_what_changes_is_told() {
    let mut catalog = Catalog::default();
    let both = pod("a", "10.0.0.1") + &pod("b", "10.0.0.2");
    assert_eq!(shown(catalog.update(&[], said(&[("f.yaml", &both)]))), ["+a 10.0.0.1", "+b 10.0.0.2"]);
    assert_eq!(shown(catalog.update(&[], said(&[("f.yaml", &format!("# comment\n{both}"))]))), [""; 0]);
    let changed = pod("b", "10.0.0.3") + &pod("c", "10.0.0.4");
    assert_eq!(shown(catalog.update(&[], said(&[("f.yaml", &changed)]))), ["-a", "+b 10.0.0.3", "+c 10.0.0.4"]);
    assert_eq!(shown(catalog.update(&gone(&["f.yaml"]), vec![])), ["-b", "-c"]);
    assert!(catalog.files.is_empty() && catalog.claims.is_empty() && catalog.disputed.is_empty());
}

#[test]
fn a_damaged_object_stays_as_it_was_and_the_rest_goes_on() {
    let mut catalog = Catalog::default();
    catalog.update(&[], said(&[("f.yaml", &(pod("a", "10.0.0.1") + &pod("b", "10.0.0.2") + &pod("c", "10.0.0.3")))]));
    let damaged = pod("a", "nonsense") + &pod("b", "10.0.0.9");
    assert_eq!(shown(catalog.update(&[], said(&[("f.yaml", &damaged)]))), ["+b 10.0.0.9", "-c"]);
    assert_eq!(reported(&catalog), [("f.yaml".to_owned(), 7, Severity::Error)]);
    assert_eq!(shown(catalog.update(&[], said(&[("f.yaml", &pod("a", "10.0.0.5"))]))), ["+a 10.0.0.5", "-b"]);
    assert_eq!(reported(&catalog), []);
}

#[test]
fn what_cannot_be_recognised_may_be_any_object_of_the_file() {
    let mut catalog = Catalog::default();
    catalog.update(&[], said(&[("f.yaml", &(pod("a", "10.0.0.1") + &pod("b", "10.0.0.2")))]));
    let half_written = pod("a", "10.0.0.7") + "---\napiVersion: v1\nkind: Po";
    assert_eq!(shown(catalog.update(&[], said(&[("f.yaml", &(half_written + "d\nmetadata: {na"))]))), ["+a 10.0.0.7"]);
    // Damaged from the start, a document stands for nothing.
    assert_eq!(
        shown(catalog.update(&[], said(&[("g.yaml", &("{\n".to_owned() + &pod("c", "10.0.0.3")))]))),
        ["+c 10.0.0.3"]
    );
    assert_eq!(shown(catalog.update(&[], said(&[("f.yaml", &pod("a", "10.0.0.7"))]))), ["-b"]);
}

#[test]
fn of_two_files_the_first_to_define_an_object_is_in_force() {
    let mut catalog = Catalog::default();
    let (one, two) = (pod("a", "10.0.0.1"), pod("a", "10.0.0.2"));
    assert_eq!(shown(catalog.update(&[], said(&[("m.yaml", &one), ("n.yaml", &two)]))), ["+a 10.0.0.1"]);
    assert_eq!(reported(&catalog), [("n.yaml".to_owned(), 2, Severity::Error)]);
    // Neither a file that sorts before it nor a change of the other takes its place.
    assert_eq!(shown(catalog.update(&[], said(&[("a.yaml", &two), ("n.yaml", &pod("a", "10.0.0.3"))]))), [""; 0]);
    assert_eq!(reported(&catalog).len(), 2);
    assert_eq!(shown(catalog.update(&[], said(&[("m.yaml", &pod("a", "10.0.0.4"))]))), ["+a 10.0.0.4"]);
    assert_eq!(shown(catalog.update(&gone(&["m.yaml"]), vec![])), ["+a 10.0.0.3"]);
    assert_eq!(reported(&catalog), [("a.yaml".to_owned(), 2, Severity::Error)]);
    assert_eq!(shown(catalog.update(&gone(&["n.yaml", "a.yaml"]), vec![])), ["-a"]);
}

#[test]
fn an_object_can_move_between_files() {
    let (there, empty) = (pod("a", "10.0.0.1"), pod("x", "10.0.0.9"));
    for (from, to) in [("m.yaml", "n.yaml"), ("n.yaml", "m.yaml")] {
        let mut catalog = Catalog::default();
        catalog.update(&[], said(&[(from, &(there.clone() + &empty))]));
        let mut files = vec![(from, empty.as_str()), (to, there.as_str())];
        files.sort_unstable();
        assert_eq!(shown(catalog.update(&[], said(&files))), [""; 0]);
        assert_eq!(reported(&catalog), []);
        assert_eq!(shown(catalog.update(&gone(&[to]), said(&[("o.yaml", &there)]))), [""; 0]);
    }
}

#[test]
fn a_foreign_kind_is_reported_once() {
    let mut catalog = Catalog::default();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    catalog.update(&[], said(&[("b.yaml", deployment), ("a.yaml", &format!("# c\n{deployment}"))]));
    assert_eq!(reported(&catalog), [("a.yaml".to_owned(), 2, Severity::Notice)]);
}
