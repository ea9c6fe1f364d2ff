//! What the charts become, beside what they became when somebody last looked at it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::helm::rendered;

/// The platforms that the chart knows; each has a file.
pub(crate) const PLATFORMS: [&str; 8] = ["eks", "gke", "k3d", "k3s", "kind", "microk8s", "minikube", "openshift"];

/// Where the golden files are, and where those go that differ.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/charts/golden");
const FOUND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/charts/golden");

/// Values that change most of what can be changed.
fn everything() -> Value {
    json!({
        "global": {"hub": "registry.example/mesh", "tag": "1.2.3", "variant": "debug", "multiCluster": {"clusterName": "east"}},
        "imagePullSecrets": ["pull"], "imagePullPolicy": "Always",
        "logLevel": "info,access=off", "logAsJson": true, "caAddress": "istio-csr.cert-manager.svc:443",
        "meshConfig": {"trustDomain": "example.org", "trustDomainAliases": ["old.example"], "rootNamespace": "mesh"},
        "clusterDomain": "cluster.example", "excludeNamespaces": ["kube-system", "infra"], "ipv6": false,
        "networkPolicy": {"enabled": true},
        "revision": "blue", "base": {"validationFailurePolicy": "Ignore", "validationURL": "https://mesh.example/validate"},
        "cgroup": "/sys/fs/cgroup/pods", "cni": {"confDir": "/conf", "binDir": "/bin"},
        "ztunnel": {
            "args": ["--same-node=tls"], "env": {"A": "1"}, "terminationGracePeriodSeconds": 60, "priorityClassName": "high",
            "podLabels": {"team": "net"}, "podAnnotations": {"note": "x"}, "nodeSelector": {"mesh": "yes"},
            "affinity": {"nodeAffinity": {}}, "resources": {"limits": {"memory": "1Gi"}}, "stateDir": "/data/ambit",
            "updateStrategy": {"type": "OnDelete", "rollingUpdate": null},
        },
        "controller": {"replicas": 3, "args": ["--certificate-ttl=3600"], "podDisruptionBudget": {"minAvailable": 2}},
    })
}

/// Likewise for an ingress.
pub(crate) fn ingress() -> Value {
    let ports = json!([
        {"name": "http2", "port": 80, "nodePort": 30080, "appProtocol": "http"},
        {"name": "https", "port": 443, "targetPort": 9443},
        {"name": "https-other", "port": 8443, "targetPort": 9443, "protocol": "TCP"},
    ]);
    let spread =
        json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}});
    json!({
        "class": "ingress", "name": "istio-ingressgateway",
        "global": {"hub": "registry.example/mesh", "tag": "1.2.3", "platform": "openshift", "istioNamespace": "mesh"},
        "imagePullSecrets": ["pull"], "imagePullPolicy": "Always", "variant": "debug",
        "meshConfig": {"trustDomain": "example.org", "trustDomainAliases": ["old.example"], "rootNamespace": "root"},
        "clusterName": "east", "clusterDomain": "cluster.example", "ipv6": false, "logLevel": "info,access=off", "logAsJson": true,
        "labels": {"istio": "ingress", "team": "net", "istio.io/dataplane-mode": "ambient"}, "annotations": {"note": "x"},
        "service": {
            "type": "NodePort", "annotations": {"balancer": "internal"}, "externalTrafficPolicy": "Local",
            "loadBalancerIP": "192.0.2.1", "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"],
            "ports": ports,
        },
        "serviceAccount": {"name": "edge", "annotations": {"role": "reader"}},
        "autoscaling": {"enabled": false}, "replicaCount": 3, "podDisruptionBudget": {"minAvailable": 2},
        "resources": {"limits": {"memory": "1Gi"}}, "terminationGracePeriodSeconds": 60, "priorityClassName": "high",
        "nodeSelector": {"edge": "yes"}, "affinity": {"nodeAffinity": {}}, "topologySpreadConstraints": [spread],
        "tolerations": [{"key": "edge", "operator": "Exists"}], "podAnnotations": {"prometheus.io/scrape": "false"},
        "args": ["--x-forwarded-for=replace"], "env": {"A": "1"},
        "volumes": [{"name": "files", "secret": {"secretName": "files"}}],
        "volumeMounts": [{"name": "files", "mountPath": "/etc/files", "readOnly": true}],
    })
}

/// `values` without the definitions, which have a check of their own.
fn without_definitions(mut values: Value) -> Value {
    values["crds"] = json!({"enabled": false});
    values
}

/// The lines that `new` has and `old` has not, and the other way round, in order.
fn difference(old: &str, new: &str) -> String {
    let missing = |sign: &str, from: &str, than: &str| {
        let mut left = BTreeMap::new();
        than.lines().for_each(|line| *left.entry(line).or_insert(0) += 1);
        let lines = from.lines().filter(|line| match left.get_mut(line) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        });
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    missing("-", old, new) + &missing("+", new, old)
}

fn cases() -> Vec<(String, String)> {
    let ambit = |values: Value| rendered("ambit", &without_definitions(values)).unwrap();
    let default = ambit(json!({}));
    let mut cases: Vec<_> = PLATFORMS
        .iter()
        .map(|name| (format!("ambit-{name}.diff"), difference(&default, &ambit(json!({"global": {"platform": name}})))))
        .collect();
    cases.push(("ambit-everything.diff".to_owned(), difference(&default, &ambit(everything()))));
    cases.push(("ambit.yaml".to_owned(), default));
    let gateway = |values: Value| rendered("gateway", &values).unwrap();
    let default = gateway(json!({"class": "ingress", "name": "istio-ingressgateway"}));
    cases.push(("gateway-ingress-everything.diff".to_owned(), difference(&default, &gateway(ingress()))));
    cases.push(("gateway-ingress.yaml".to_owned(), default));
    cases.push(("gateway.yaml".to_owned(), gateway(json!({}))));
    let shaped = json!({"deployment": {"spec": {"replicas": 2}}, "labels": {"team": "net"}, "for": "all"});
    cases.push(("gateway-waypoint.yaml".to_owned(), gateway(shaped)));
    cases
}

#[test]
fn the_charts_become_what_the_golden_files_say() {
    let _ = fs::remove_dir_all(FOUND);
    let mut different = Vec::new();
    for (name, found) in cases() {
        if fs::read_to_string(Path::new(GOLDEN).join(&name)).ok().as_ref() != Some(&found) {
            fs::create_dir_all(FOUND).unwrap();
            fs::write(Path::new(FOUND).join(&name), found).unwrap();
            different.push(name);
        }
    }
    let command = "cp target/charts/golden/* tests/tests/charts/golden/";
    assert!(different.is_empty(), "{different:?} differ; look at the difference, and if it is meant: {command}");
}

#[test]
fn every_platform_has_a_file_and_every_file_is_tried() {
    let directory = crate::helm::chart("ambit").join("files/platforms");
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned)).collect();
    names.sort();
    assert_eq!(names, PLATFORMS);
}
