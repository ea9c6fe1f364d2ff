//! What must hold of whatever the charts become.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ambit_tests::cluster::crds;
use serde_json::{Value, json};

use crate::golden::{PLATFORMS, ingress};
use crate::helm::{ask, chart, objects, rendered};

/// The oldest and the newest Kubernetes whose schemas are asked.
const VERSIONS: [&str; 2] = ["1.29", "1.37"];
/// What the chart leaves out for Kubernetes before 1.30, which takes an annotation instead; Helm's SDK renders for the newest.
const SINCE_1_30: &str = "            appArmorProfile:\n              type: Unconfined\n";
/// Kinds that Kubernetes has no schema of.
const FOREIGN: [&str; 2] = ["SecurityContextConstraints", "Gateway"];

fn values() -> Vec<Value> {
    let platforms = PLATFORMS.iter().map(|name| json!({"platform": name}));
    let more = [json!({}), json!({"networkPolicy": {"enabled": true}, "imagePullSecrets": ["pull"], "ipv6": false})];
    platforms.chain(more).collect()
}

#[test]
fn the_linter_finds_nothing() {
    let gateways = [json!({}), json!({"class": "ingress"}), ingress()].map(|values| ("gateway", values));
    for (name, values) in values().into_iter().map(|values| ("ambit", values)).chain(gateways) {
        let answer = ask(&json!({"do": "lint", "chart": chart(name), "values": values})).unwrap();
        assert_eq!(answer["errors"], json!([]), "{name} {values}");
        // 1 is a hint, such as that there is no icon.
        let messages = answer["messages"].as_array().unwrap();
        let loud: Vec<_> = messages.iter().filter(|message| message["severity"].as_i64() > Some(1)).collect();
        assert!(loud.is_empty(), "{name} {values}: {loud:?}");
    }
}

#[test]
fn kubernetes_schemas_take_every_object_for_every_platform() {
    let without = |values: Value| {
        let mut values = values;
        values["crds"] = json!({"enabled": false});
        ("ambit", values)
    };
    let waypoint = json!({"service": {"spec": {"type": "NodePort"}}});
    let gateways = [waypoint, json!({"class": "ingress"}), ingress()].map(|values| ("gateway", values));
    // The definitions, which are long, once.
    for (name, values) in values().into_iter().map(without).chain(gateways).chain([("ambit", json!({}))]) {
        let documents = rendered(name, &values).unwrap();
        // Between platforms only paths differ.
        let asked = if values.get("platform").is_some() { &VERSIONS[1..] } else { &VERSIONS[..] };
        for &version in asked {
            let shown = if version == "1.29" { documents.replace(SINCE_1_30, "") } else { documents.clone() };
            let request = json!({"do": "validate", "documents": shown, "version": version});
            let answers = ask(&request).unwrap();
            let answers = answers.as_object().unwrap();
            assert!(!answers.is_empty(), "{name} {values}");
            for (object, answer) in answers {
                let foreign = FOREIGN.iter().any(|kind| object.starts_with(&format!("{kind}/")));
                let expected = if foreign { Value::Null } else { json!("") };
                assert_eq!(*answer, expected, "{object} of {name} {values} in {version}");
            }
        }
    }
}

#[test]
fn a_value_that_is_misspelt_or_of_the_wrong_type_is_refused_by_its_name() {
    for (name, values, named) in [
        ("ambit", json!({"ztunel": {}}), "ztunel"),
        ("ambit", json!({"ztunnel": {"resource": {}}}), "resource"),
        ("ambit", json!({"controller": {"replicas": "two"}}), "replicas"),
        ("ambit", json!({"controller": {"replicas": 0}}), "replicas"),
        ("ambit", json!({"platform": "openshit"}), "platform"),
        ("ambit", json!({"global": {"platform": "k8s"}}), "platform"),
        ("ambit", json!({"caAddress": "https://ca.example"}), "caAddress"),
        ("gateway", json!({"class": "egress"}), "class"),
        ("gateway", json!({"listeners": [{"port": 80}]}), "listeners"),
        ("gateway", json!({"class": "ingress", "deployment": {"spec": {}}}), "deployment"),
        ("gateway", json!({"class": "ingress", "gatewayClassName": "ambit"}), "gatewayClassName"),
        ("gateway", json!({"class": "ingress", "service": {"spec": {"type": "NodePort"}}}), "spec"),
        ("gateway", json!({"class": "ingress", "service": {"type": "None"}}), "type"),
        ("gateway", json!({"class": "ingress", "service": {"ports": [{"port": 80}]}}), "name"),
        ("gateway", json!({"class": "ingress", "service": {"ports": [{"name": "a", "port": 0}]}}), "port"),
        ("gateway", json!({"class": "ingress", "autoscaling": {"min": 2}}), "min"),
        ("gateway", json!({"class": "ingress", "podDisruptionBudget": {"spec": {}}}), "spec"),
    ] {
        let error = rendered(name, &values).expect_err(named);
        assert!(error.contains(named), "{name} {values}: {error}");
    }
}

/// The flags that the program in `package` has, by its sources.
fn flags(package: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let own = ["src/settings.rs", "src/cni.rs"].map(|source| root.join(package).join(source));
    let sources = own.into_iter().filter(|source| source.exists()).chain([root.join("crates/process/src/source.rs")]);
    let text: String = sources.map(|source| fs::read_to_string(source).unwrap()).collect();
    let field = |line: &str| {
        let field = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        field.split_once(": ").map(|(name, _)| name.replace('_', "-"))
    };
    text.lines().filter(|line| line.trim_start().starts_with("pub")).filter_map(field).collect()
}

#[test]
fn every_argument_that_a_program_is_given_is_one_that_it_has() {
    for (chart, container, package) in
        [("ambit", "ztunnel", "ztunnel"), ("ambit", "controller", "controller"), ("gateway", "istio-proxy", "waypoint")]
    {
        let known = flags(package);
        let mut values = json!({"ipv6": false, "meshConfig": {"trustDomainAliases": ["a.example"]}});
        if chart == "gateway" {
            values["class"] = json!("ingress");
        }
        let all = objects(chart, &values);
        let containers = all.iter().filter_map(|object| object.pointer("/spec/template/spec/containers/0"));
        let own = containers.into_iter().find(|one| one["name"] == container).unwrap();
        let given: Vec<_> = own["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()).collect();
        assert!(given.len() > 5, "{given:?}");
        for argument in given {
            let name = argument.trim_start_matches("--").split('=').next().unwrap();
            assert!(known.contains(name), "{container} is given {argument}, and has {known:?}");
        }
    }
}

#[test]
fn accounts_have_the_rights_that_the_controllers_tests_run_it_with() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kubernetes/controller.yaml");
    let example = fs::read_to_string(example).unwrap();
    let tried = ask(&json!({"do": "parse", "documents": example})).unwrap().as_array().unwrap().clone();
    let rules = |objects: &[Value]| -> BTreeMap<String, Value> {
        let roles = objects.iter().filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")));
        roles.map(|role| (format!("{} {}", role["kind"], role["metadata"]["name"]), role["rules"].clone())).collect()
    };
    // What is there only while the release goes is tried by a release that goes.
    let lasts = |object: &Value| object.pointer("/metadata/annotations/helm.sh~1hook").is_none();
    let lasting: Vec<_> = objects("ambit", &json!({})).into_iter().filter(lasts).collect();
    let rules_of_chart = rules(&lasting);
    assert_eq!(rules_of_chart.len(), 3, "{:?}", rules_of_chart.keys());
    assert_eq!(rules_of_chart, rules(&tried));
}

/// What holds of every pod, whatever it is for.
fn assert_confined(pod: &Value) {
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert!(pod.get("hostPID").is_none() && pod.get("hostIPC").is_none());
}

/// What holds of one that needs nothing of its node.
pub(crate) fn assert_without_rights(pod: &Value) {
    assert_confined(pod);
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!((context["capabilities"].get("add"), pod.get("hostNetwork")), (None, None));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume.get("hostPath").is_none()), "{volumes:?}");
}

#[test]
fn the_agent_has_few_rights_over_its_node_and_the_controller_none() {
    for object in objects("ambit", &json!({})) {
        let Some(pod) = object.pointer("/spec/template/spec") else { continue };
        if object["kind"] != "DaemonSet" {
            assert_without_rights(pod);
            continue;
        }
        assert_confined(pod);
        let added = &pod["containers"][0]["securityContext"]["capabilities"]["add"];
        assert_eq!(*added, json!(["BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]));
        assert_eq!(pod["hostNetwork"], true);
    }
}

#[test]
fn the_meshs_kinds_come_with_the_release_or_not_as_told() {
    let names = |values: Value| {
        let all = objects("ambit", &values);
        let definitions = all.into_iter().filter(|object| object["kind"] == "CustomResourceDefinition");
        definitions
            .map(|one| {
                let kept = one.pointer("/metadata/annotations/helm.sh~1resource-policy") == Some(&json!("keep"));
                (one["metadata"]["name"].as_str().unwrap().to_owned(), kept)
            })
            .collect::<BTreeSet<_>>()
    };
    let every =
        |kept: bool| crds::MESH.into_iter().filter(crds::Definition::is_of_chart).map(move |kind| (kind.name(), kept));
    assert_eq!(names(json!({})), every(true).collect());
    assert_eq!(names(json!({"crds": {"keep": false}})), every(false).collect());
    assert_eq!(names(json!({"crds": {"enabled": false}})), BTreeSet::new());
}
