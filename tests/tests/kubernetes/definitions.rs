//! The definitions that the chart installs, as a real API server takes them: every manifest that the project has comes back
//! as it was written, what is wrong is refused with its path, and kubectl shows and calls the kinds as Istio's users know
//! them. Rules in CEL are not seen here: Kubernetes 1.20 has none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ambit_tests::cluster::{Cluster, crds};
use serde_json::{Value, json};

use crate::own;

/// What the project has manifests in, and how many objects of the chart's kinds there are at the least.
const MANIFESTS: [(&str, usize); 2] = [("../examples", 13), ("scenarios", 60)];

/// Every file of YAML below `directory`, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    entries.into_iter().flat_map(below).filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect()
}

/// The objects of the chart's kinds that are written in `file`, with the types that their scalars have.
fn objects(cluster: &Cluster, file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let of_chart = |document: &&str| {
        // Of a scenario one is in a version that there is not.
        let groups = ["networking.istio.io/v1", "security.istio.io/v1"];
        groups.iter().any(|group| document.contains(&format!("apiVersion: {group}")))
    };
    let documents: Vec<_> = text.split("\n---").map(|one| one.trim_start_matches("---")).filter(of_chart).collect();
    let read =
        |document: &str| cluster.kubectl().read(document).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    documents.into_iter().flat_map(read).collect()
}

/// Every field of `written` that is not in `kept`, or is there with another value. Null is as good as nothing.
fn lost(written: &Value, kept: &Value, path: &str) -> Vec<String> {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            let field = |(name, value): (&String, &Value)| {
                lost(value, kept.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"))
            };
            written.iter().flat_map(field).collect()
        }
        (Value::Array(written), Value::Array(kept)) if written.len() == kept.len() => {
            let entry =
                |(place, (written, kept)): (usize, (&Value, &Value))| lost(written, kept, &format!("{path}[{place}]"));
            written.iter().zip(kept).enumerate().flat_map(entry).collect()
        }
        (written, kept) if written == kept => Vec::new(),
        // Numbers are told apart by how they are written.
        (Value::Number(written), Value::Number(kept)) if written.as_f64() == kept.as_f64() => Vec::new(),
        _ => vec![format!("{path}: {written} has become {kept}")],
    }
}

/// `text` without the numbers of entries, `[0]`.
fn without_numbers(text: &str) -> String {
    (0..10).fold(text.to_owned(), |text, number| text.replace(&format!("[{number}]"), ""))
}

fn path_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = crds::MESH.into_iter().find(|kind| kind.is_of_chart() && kind.kind == text("/kind")).unwrap();
    format!("/apis/{}/namespaces/{}/{}", text("/apiVersion"), text("/metadata/namespace"), kind.plural)
}

#[test]
fn every_manifest_of_the_project_is_taken_and_comes_back_as_it_was_written() {
    let cluster = own().start().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut number = 0;
    for (directory, least) in MANIFESTS {
        let mut taken = 0;
        for file in files(&root.join(directory)) {
            for mut object in objects(&cluster, &file) {
                (number, taken) = (number + 1, taken + 1);
                // Of its own name and place, since files of several scenarios say the same ones.
                object["metadata"] = json!({"name": format!("object-{number}"), "namespace": "default"});
                let kept = cluster.kubectl().post(&path_of(&object), &object);
                let kept = kept.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let lost = lost(&object["spec"], &kept["spec"], "spec");
                assert!(lost.is_empty(), "{}, {}: {lost:?}", file.display(), object["kind"]);
            }
        }
        assert!(taken >= least, "{directory} has {taken} objects");
    }
}

#[test]
fn every_field_of_the_schemas_is_kept_in_every_version_and_others_are_not() {
    let cluster = own().start().unwrap();
    let (host, percentage) =
        (json!({"host": "a.example", "subset": "v1", "port": {"number": 80}}), json!({"value": 0.5}));
    let presence: BTreeMap<_, _> = [("x-a", json!({})), ("x-b", json!({"exact": "1"}))].into();
    let virtual_service = json!({
        "hosts": ["a.example"],
        "http": [{
            "match": [{"headers": presence, "sourceLabels": {"app": "web"}, "sourceNamespace": "shop"}],
            "route": [{"destination": host, "weight": 3}],
            "mirror": host, "mirror_percent": 4, "mirrorPercentage": percentage,
            "fault": {"delay": {"percent": 5, "fixedDelay": "1.5s"}, "abort": {"grpcStatus": "UNAVAILABLE"}},
        }],
    });
    let destination_rule = json!({
        "host": "a.example",
        "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"httpCookie": {"name": "user", "ttl": "0s"}, "ringHash": {"minimumRingSize": 5}}},
            "tunnel": {"protocol": "CONNECT", "targetHost": "b.example", "targetPort": 443},
            "portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "SIMPLE", "sni": "a.example"}}],
        },
    });
    for (kind, plural, spec) in [
        ("VirtualService", "virtualservices", virtual_service),
        ("DestinationRule", "destinationrules", destination_rule),
    ] {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let mut object = json!({
                "apiVersion": format!("networking.istio.io/{version}"),
                "kind": kind,
                "metadata": {"name": version, "namespace": "default"},
                "spec": spec,
            });
            let path = format!("/apis/networking.istio.io/{version}/namespaces/default/{plural}");
            object["spec"]["nobodyKnowsThis"] = json!(1);
            let kept = cluster.kubectl().post(&path, &object).unwrap();
            let lost = lost(&object["spec"], &kept["spec"], "spec");
            assert_eq!(lost, ["spec.nobodyKnowsThis: 1 has become null"], "{kind} {version}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_path() {
    let cluster = own().start().unwrap();
    let refused = |api_version: &str, kind: &str, spec: &Value, path: &str| {
        let metadata = json!({"name": "wrong", "namespace": "default"});
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
        let error = cluster.kubectl().post(&path_of(&object), &object).expect_err(path).to_string();
        // Old servers leave the numbers of entries out.
        let (error, path) = (without_numbers(&error), without_numbers(path));
        assert!(error.contains(&path), "{kind}: {error}");
    };
    let networking = "networking.istio.io/v1beta1";
    let route = |route: Value| json!({"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}, route]});
    for (spec, path) in [
        (route(json!({"route": [{"weight": 1}]})), "spec.http[1].route[0].destination"),
        (route(json!({"match": [{"uri": {"exact": "/", "prefix": "/"}}]})), "spec.http[1].match[0].uri"),
        (route(json!({"timeout": 5})), "spec.http[1].timeout"),
        (route(json!({"fault": {"abort": {"httpStatus": 500, "grpcStatus": "OK"}}})), "spec.http[1].fault.abort"),
        (route(json!({"redirect": {"derivePort": "FROM_NOWHERE"}})), "spec.http[1].redirect.derivePort"),
        (json!({"tls": [{"match": [{"port": 443}]}]}), "spec.tls[0].match[0].sniHosts"),
    ] {
        refused(networking, "VirtualService", &spec, path);
    }
    let balancer = json!({"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM", "consistentHash": {}}}});
    refused("networking.istio.io/v1alpha3", "DestinationRule", &balancer, "spec.trafficPolicy.loadBalancer");
    refused(networking, "DestinationRule", &json!({"subsets": []}), "spec.host");
    refused(networking, "ServiceEntry", &json!({"hosts": []}), "spec.hosts");
    let port = json!({"hosts": ["a"], "ports": [{"number": 70000, "name": "http"}]});
    refused(networking, "ServiceEntry", &port, "spec.ports[0].number");
    let security = "security.istio.io/v1";
    refused(security, "AuthorizationPolicy", &json!({"action": "REFUSE"}), "spec.action");
    refused(
        security,
        "AuthorizationPolicy",
        &json!({"rules": [{"when": [{"values": ["x"]}]}]}),
        "spec.rules[0].when[0].key",
    );
    refused(security, "PeerAuthentication", &json!({"mtls": {"mode": "STRICTLY"}}), "spec.mtls.mode");
}

#[test]
fn kubectl_calls_and_shows_the_kinds_as_istios_users_know_them() {
    let cluster = own().start().unwrap();
    let object = |group: &str, kind: &str, spec: &Value| {
        let metadata = json!({"name": "one", "namespace": "default"});
        json!({"apiVersion": format!("{group}.istio.io/v1"), "kind": kind, "metadata": metadata, "spec": spec})
    };
    let kinds = [
        (
            "vs",
            "VirtualService",
            json!({"hosts": ["a", "b"], "gateways": ["mesh"]}),
            "NAME GATEWAYS HOSTS AGE",
            r#"["mesh"]"#,
        ),
        ("dr", "DestinationRule", json!({"host": "reviews"}), "NAME HOST AGE", "reviews"),
        (
            "se",
            "ServiceEntry",
            json!({"hosts": ["a.example"], "location": "MESH_INTERNAL", "resolution": "STATIC"}),
            "NAME HOSTS LOCATION RESOLUTION AGE",
            "MESH_INTERNAL",
        ),
        ("we", "WorkloadEntry", json!({"address": "192.0.2.1"}), "NAME AGE ADDRESS", "192.0.2.1"),
        ("pa", "PeerAuthentication", json!({"mtls": {"mode": "STRICT"}}), "NAME MODE AGE", "STRICT"),
        ("ap", "AuthorizationPolicy", json!({"action": "DENY"}), "NAME ACTION AGE", "DENY"),
    ];
    for (short, kind, spec, headings, shown) in &kinds {
        let group = if ["pa", "ap"].contains(short) { "security" } else { "networking" };
        cluster.kubectl().apply(&[object(group, kind, spec)]).unwrap();
        let printed = cluster.kubectl().run(&["get", short, "one"]).unwrap();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<_> = printed.lines().map(words).collect();
        assert_eq!(lines[0].join(" "), *headings);
        assert!(lines[1].iter().any(|word| word.contains(shown)), "{printed}");
    }
    let all = cluster.kubectl().run(&["get", "istio-io", "-o", "name"]).unwrap();
    assert_eq!(all.lines().count(), kinds.len(), "{all}");
}
