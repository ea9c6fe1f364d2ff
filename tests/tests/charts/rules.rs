//! The rules in CEL that definitions have, by an implementation that is not Kubernetes': the tests' API server is too old to
//! know them.

use std::fs;
use std::path::{Path, PathBuf};

use ambit_tests::cluster::crds;
use serde_json::{Value, json};

use crate::helm::ask;

/// What each of the objects in `documents` breaks; those of other kinds are passed over.
fn judge(documents: &str) -> Vec<Vec<String>> {
    let definitions: Vec<_> =
        crds::MESH.into_iter().filter(crds::Definition::is_of_chart).map(|kind| kind.file()).collect();
    let answer = ask(&json!({"do": "rules", "definitions": definitions, "documents": documents})).unwrap();
    serde_json::from_value(answer).unwrap()
}

/// Group, kind, `spec`, and what the one rule that it breaks begins with; nothing where it breaks none.
type Case = (&'static str, &'static str, Value, &'static str);

fn cases() -> Vec<Case> {
    let endpoints = json!([{"address": "192.0.2.1"}, {"address": "192.0.2.2"}]);
    let selector = json!({"matchLabels": {"app": "web"}});
    let route = |route: Value| json!({"hosts": ["a"], "http": [route]});
    let sources = |source: Value| json!({"rules": [{"from": [{"source": source}]}]});
    let server = |tls: Value| json!({"servers": [{"port": {}, "hosts": ["a"], "tls": tls}]});
    let entry = |more: Value| {
        let mut spec = json!({"hosts": ["a.example"], "resolution": "STATIC"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    vec![
        ("networking", "VirtualService", route(json!({"timeout": "0.5s"})), ""),
        ("networking", "VirtualService", route(json!({"timeout": "0s"})), "spec.http[0].timeout: must be a duration"),
        (
            "networking",
            "DestinationRule",
            json!({"host": "a", "workloadSelector": {"matchLabels": {"a": "*"}}}),
            "spec.workloadSelector.matchLabels.a: ",
        ),
        ("networking", "Gateway", server(json!({"credentialNames": ["a", "b"]})), ""),
        ("networking", "Gateway", server(json!({"credentialName": "a", "credentialNames": []})), "spec.servers[0]"),
        ("networking", "ServiceEntry", entry(json!({"endpoints": endpoints})), ""),
        (
            "networking",
            "ServiceEntry",
            entry(json!({"endpoints": endpoints, "workloadSelector": {}})),
            "spec: only one of",
        ),
        (
            "networking",
            "ServiceEntry",
            entry(json!({"resolution": "DNS", "addresses": ["10.0.0.0/8"]})),
            "spec: ranges of",
        ),
        (
            "networking",
            "ServiceEntry",
            entry(json!({"resolution": "NONE", "endpoints": endpoints})),
            "spec: the resolution NONE",
        ),
        (
            "networking",
            "ServiceEntry",
            entry(json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": endpoints})),
            "spec: the resolution DNS",
        ),
        ("networking", "ServiceEntry", entry(json!({"hosts": ["*"]})), "spec.hosts[0]: a host"),
        (
            "networking",
            "ServiceEntry",
            entry(json!({"ports": [{"number": 1, "name": "a"}, {"number": 1, "name": "b"}]})),
            "spec.ports: a port's",
        ),
        ("networking", "WorkloadEntry", json!({"network": "east"}), ""),
        ("networking", "WorkloadEntry", json!({"labels": {}}), "spec: an address is missing"),
        ("networking", "WorkloadEntry", json!({"address": "unix://etc"}), "spec.address: the path"),
        ("networking", "WorkloadEntry", json!({"address": "unix:///run/"}), "spec.address: a socket is no"),
        (
            "networking",
            "WorkloadEntry",
            json!({"address": "unix:///run/x", "ports": {"a": 1}}),
            "spec: a socket has no",
        ),
        ("networking", "WorkloadEntry", json!({"address": "a", "ports": {"a_b": 1}}), "spec.ports: the name"),
        (
            "security",
            "PeerAuthentication",
            json!({"selector": selector, "portLevelMtls": {"80": {"mode": "STRICT"}}}),
            "",
        ),
        ("security", "PeerAuthentication", json!({"portLevelMtls": {"80": {}}}), "spec: portLevelMtls is"),
        (
            "security",
            "PeerAuthentication",
            json!({"selector": selector, "portLevelMtls": {"0": {}}}),
            "spec.portLevelMtls: a port",
        ),
        (
            "security",
            "AuthorizationPolicy",
            json!({"selector": selector, "targetRefs": []}),
            "spec: only one of selector",
        ),
        (
            "security",
            "AuthorizationPolicy",
            json!({"targetRefs": [{"kind": "Service", "name": "a", "namespace": "b"}]}),
            "spec.targetRefs[0].namespace: ",
        ),
        ("security", "AuthorizationPolicy", sources(json!({"serviceAccounts": ["a"], "ipBlocks": ["10.0.0.0/8"]})), ""),
        (
            "security",
            "AuthorizationPolicy",
            sources(json!({"serviceAccounts": ["a"], "principals": ["b"]})),
            "spec.rules[0].from[0].source: ",
        ),
    ]
}

#[test]
fn what_contradicts_itself_breaks_the_rule_that_says_so() {
    let cases = cases();
    let object = |(group, kind, spec, _): &Case| {
        json!({"apiVersion": format!("{group}.istio.io/v1"), "kind": kind, "spec": spec}).to_string()
    };
    let broken = judge(&cases.iter().map(object).collect::<Vec<_>>().join("\n---\n"));
    assert_eq!(broken.len(), cases.len());
    for ((_, kind, spec, expected), broken) in cases.iter().zip(broken) {
        let as_expected = match broken.as_slice() {
            [] => expected.is_empty(),
            [one] => !expected.is_empty() && one.starts_with(expected),
            _ => false,
        };
        assert!(as_expected, "{kind} {spec}: {broken:?}, not {expected:?}");
    }
}

#[test]
fn no_manifest_of_the_project_breaks_a_rule() {
    fn files(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = [files(&root.join("../examples")), files(&root.join("scenarios"))].concat();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml") && !path.ends_with("scenario.yaml"));
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap()).filter(|text| text.contains("apiVersion:"));
    let broken = judge(&texts.collect::<Vec<_>>().join("\n---\n"));
    assert!(broken.len() > 70, "{} objects are judged", broken.len());
    let broken = broken.concat();
    assert!(broken.is_empty(), "{broken:?}");
}
