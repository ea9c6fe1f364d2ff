//! Tests of reading one file.

use super::*;

fn file(text: &str) -> Contents {
    read(text.as_bytes(), &Mesh::default())
}

/// Line, object, field and gravity of each finding.
fn findings(text: &str) -> Vec<(u32, String, String, Severity)> {
    let shown = |finding: Finding| {
        let object = finding.object.map(|object| object.to_string()).unwrap_or_default();
        (finding.line, object, finding.field.path, finding.severity)
    };
    file(text).findings.into_iter().map(shown).collect()
}

fn names(contents: &Contents) -> Vec<String> {
    contents.objects.keys().map(ToString::to_string).collect()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nstatus:\n  podIP: 10.0.0.1\n";
const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata:\n  name: node-a\n";

#[test]
fn a_mistake_stays_in_its_document() {
    for (bad, line) in [
        ("a: [1", 9),
        ("a: \"never closed", 9),
        ("{", 9),
        ("- not\n- a map", 9),
        ("just text", 9),
        ("kind: [Pod]", 9),
        ("a: 1\na: 1", 10),
        ("kind: List\nitems: 1", 10),
    ] {
        let contents = file(&format!("{POD}---\n# here\n{bad}\n---\n{NODE}"));
        assert_eq!(names(&contents), ["Node node-a", "Pod default/web"], "{bad}");
        assert!(contents.unrecognisable, "{bad}");
        let [finding] = &contents.findings[..] else { panic!("{:?}", contents.findings) };
        assert!((line - 1..=line + 1).contains(&finding.line), "{bad}: {finding:?}");
    }
}

#[test]
fn invalid_utf8_stays_in_its_document() {
    let mut bytes = format!("{POD}---\nkind: Pod\nmetadata: ").into_bytes();
    bytes.extend(b"\xff\n---\n");
    bytes.extend(NODE.as_bytes());
    let contents = read(&bytes, &Mesh::default());
    assert_eq!(names(&contents), ["Node node-a", "Pod default/web"]);
    assert_eq!(contents.findings[0].line, 9);
}

#[test]
fn a_wrong_value_is_found_by_line_object_and_field() {
    let error = Severity::Error;
    for (text, line, object, field) in [
        (POD.replace("10.0.0.1", "10.0.0"), 6, "Pod default/web", "status.podIP"),
        (POD.replace("10.0.0.1", "[1]"), 6, "Pod default/web", "status.podIP"),
        (
            POD.replace("name: web", "name: web\n  labels:\n    a.b/c: 1"),
            6,
            "Pod default/web",
            "metadata.labels[a.b/c]",
        ),
        (POD.replace("name: web", "name: 7"), 4, "", "metadata.name"),
        (POD.replace("  name: web", "  namespace: shop"), 3, "", "metadata.name"),
        (POD.replace("v1", "v2"), 1, "", "apiVersion"),
        (
            format!("{POD}spec:\n  containers:\n  - ports:\n    - containerPort: '80'\n"),
            10,
            "Pod default/web",
            "spec.containers[0].ports[0].containerPort",
        ),
    ] {
        assert_eq!(findings(&text), [(line, object.to_owned(), field.to_owned(), error)], "{text}");
        let contents = file(&text);
        assert!(contents.objects.is_empty());
        assert_eq!(contents.damaged.is_empty(), object.is_empty());
        assert_eq!(contents.unrecognisable, object.is_empty());
    }
}

#[test]
fn messages_say_what_to_write() {
    for (text, message) in [
        (POD.replace("name: web", "name: web\n  labels: {v: 1.10}"), "a number is no text: quote it"),
        (POD.replace("name: web", "name: web\n  labels: {v: 1}"), "the number 1 is no text: quote it"),
        (POD.replace("name: web", "name: web\n  labels: {v: yes}"), "true without quotes is no text: quote it"),
        (POD.replace("10.0.0.1", "{}"), "a map stands where a string is expected"),
        (POD.replace("podIP: 10.0.0.1", "conditions: 1"), "integer `1` stands where a sequence is expected"),
        (format!("{POD}spec: {{hostNetwork: 'yes'}}"), "the text \"yes\" stands where a boolean is expected"),
    ] {
        assert_eq!(file(&text).findings[0].field.message, message);
    }
}

#[test]
fn lists_are_opened() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata:\n    name: node-a\n\
                - apiVersion: v1\n  kind: Pod\n  metadata:\n    name: Bad\n";
    let contents = file(list);
    assert_eq!(names(&contents), ["Node node-a"]);
    assert_eq!((contents.findings[0].line, contents.findings[0].field.path.as_str()), (11, "metadata.name"));
    let json = r#"{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}"#;
    assert_eq!(names(&file(json)), ["Pod default/a", "Pod default/b"]);
}

#[test]
fn the_second_of_two_alike_is_reported() {
    let contents = file(&format!("{POD}---\n{}", POD.replace("10.0.0.1", "10.0.0.2")));
    assert_eq!(names(&contents), ["Pod default/web"]);
    assert_eq!(contents.objects.values().next().unwrap().line, 1);
    assert_eq!((contents.findings[0].line, contents.findings[0].severity), (8, Severity::Error));
    assert!(contents.findings[0].field.message.contains("line 1"));
}

#[test]
fn other_kinds_are_told_apart() {
    let other = |api_version: &str, kind: &str| {
        format!("---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n")
    };
    let text = [
        other("apps/v1", "Deployment"),
        other("apps/v1", "Deployment"),
        other("networking.istio.io/v1", "Sidecar"),
        other("v1", "Endpoints"),
    ];
    let contents = file(&text.concat());
    assert_eq!(contents.foreign, BTreeMap::from([("apps/v1 Deployment".to_owned(), 2)]));
    let warnings: Vec<_> = contents.findings.iter().map(|f| (f.line, f.severity, f.field.message.clone())).collect();
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings
            .iter()
            .all(|(_, severity, message)| *severity == Severity::Warning && message.contains("not in effect"))
    );
    assert!(!contents.unrecognisable);
}

#[test]
fn the_findings_of_a_file_are_bounded() {
    let contents = file(&"---\n[\n".repeat(100_000));
    assert_eq!(contents.findings.len(), MAX_FINDINGS + 1);
    assert!(contents.findings[MAX_FINDINGS].field.message.starts_with("99900 more"));
}
