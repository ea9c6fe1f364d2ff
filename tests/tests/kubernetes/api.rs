//! The API server: what the mesh reads can be written there, and whoever watches hears of it; tokens are for whom they
//! were made.

use std::time::Duration;

use ambit_tests::cluster::{Cluster, Kubectl, crds};
use ambit_tests::{Process, topology, until};
use serde_json::{Value, json};

use crate::own;

const SOON: Duration = Duration::from_secs(30);

fn namespace(cluster: &Cluster, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    cluster.kubectl().apply(&[namespace]).unwrap();
}

/// An object of every kind that is defined, as far as a server asks for anything.
fn objects(namespace: &str, step: &str) -> Vec<Value> {
    let object = |kind: &crds::Definition| {
        let mut metadata = json!({"name": "one", "annotations": {"step": step}});
        if kind.namespaced {
            metadata["namespace"] = json!(namespace);
        }
        // Of what a kind does not know, nothing is kept.
        let spec = json!({"hosts": ["a.example"], "host": "a.example", "address": "192.0.2.1", "action": "DENY"});
        json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata, "spec": spec})
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "one", "namespace": namespace, "annotations": {"step": step}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.7"], "conditions": {"ready": true}, "nodeName": "node-1"}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    crds::MESH.iter().map(object).chain([slice]).collect()
}

fn watch(cluster: &Cluster, kind: &crds::Definition) -> Process {
    let version = kind.versions[0];
    let path = format!("/apis/{}/{version}/{}?watch=true", kind.group, kind.plural);
    cluster.start_kubectl(&format!("watch/{}", kind.kind), &["get", "--raw", &path]).unwrap()
}

#[test]
fn every_kind_that_the_mesh_reads_is_written_watched_and_deleted() {
    let cluster = own().start().unwrap();
    namespace(&cluster, "shop");
    let kinds = || crds::MESH.into_iter().chain([crds::ENDPOINT_SLICE]);
    let watches: Vec<_> = kinds().map(|kind| watch(&cluster, &kind)).collect();
    let all_hear = |event: &str, step: &str| {
        for watch in &watches {
            let heard = watch.wait_for(SOON, |lines| {
                let such = |text: &str| text.contains(&format!(r#""type":"{event}""#)) && text.contains(step);
                lines.iter().any(|line| such(&line.text)).then_some(())
            });
            assert!(heard.is_some(), "no {event} of {step}\n{}", watch.tail());
        }
    };
    cluster.kubectl().apply(&objects("shop", "first")).unwrap();
    all_hear("ADDED", "first");
    cluster.kubectl().apply(&objects("shop", "second")).unwrap();
    all_hear("MODIFIED", "second");

    // As each version that is served.
    for kind in crds::MESH {
        for version in kind.versions {
            let path = if kind.namespaced { "namespaces/shop/" } else { "" };
            let path = format!("/apis/{}/{version}/{path}{}/one", kind.group, kind.plural);
            let read = cluster.kubectl().get_path(&path).unwrap();
            assert_eq!(read["metadata"]["annotations"]["step"], "second", "{path}");
        }
    }
    let slice = cluster.kubectl().get_path("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/one").unwrap();
    assert_eq!(slice["endpoints"][0]["addresses"][0], "10.244.1.7");

    // Status is apart: who writes it changes nothing else.
    let status = json!({"spec": {"hosts": []}, "status": {"observedGeneration": 1}}).to_string();
    let path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/one";
    let mut whole = cluster.kubectl().get_path(path).unwrap();
    whole["spec"]["hosts"] = json!([]);
    whole["status"] = json!({"observedGeneration": 1});
    let replace = ["replace", "--raw", &format!("{path}/status"), "-f", "-"];
    cluster.kubectl().run_with(&replace, &whole.to_string()).unwrap_or_else(|error| panic!("{status}: {error}"));
    let read = cluster.kubectl().get_path(path).unwrap();
    assert_eq!((&read["status"]["observedGeneration"], &read["spec"]["hosts"][0]), (&json!(1), &json!("a.example")));

    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects("shop", "second")}).to_string();
    cluster.kubectl().run_with(&["delete", "--wait=false", "-f", "-"], &list).unwrap();
    all_hear("DELETED", "second");
}

#[test]
fn it_is_reached_from_another_network_namespace_by_a_kubeconfig_of_its_own() {
    let mut cluster = own().start().unwrap();
    let nodes = topology::Plan::new(&["a"]).build().unwrap();
    let place = nodes.node("a").unwrap().place();
    let kubeconfig = nodes.directory().join("kubeconfig");
    let address = cluster.open_to(&place, "127.0.0.1:0".parse().unwrap(), &kubeconfig).unwrap();
    assert_ne!(address.port(), 0);
    let kubectl = Kubectl::new(cluster.kubectl().program(), &kubeconfig, Some(nodes.directory()));
    let version = kubectl.command(&["get", "--raw", "/version"]);
    let asked = Process::start("a/kubectl", &place, nodes.launcher(), version).unwrap();
    let answer = asked.finish(SOON).unwrap().success().unwrap().stdout();
    assert!(answer.contains("gitVersion"), "{answer}");
    assert!(kubectl.get_path("/version").is_err(), "nothing listens there in this namespace");
}

#[test]
fn a_token_is_good_for_its_audience_alone_and_no_longer_than_its_pod() {
    let cluster = own().start().unwrap();
    let kubectl = cluster.kubectl();
    namespace(&cluster, "shop");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "shop"}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "somewhere"}});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "serviceAccountName": "web",
            "nodeName": "somewhere",
            "containers": [{"name": "web", "image": "localhost/none:1"}],
        },
    });
    kubectl.apply(&[account, node]).unwrap();
    // A pod is admitted once its account has what the controllers make of it.
    let mut applied = Ok(());
    let _ = until::until(SOON, || {
        applied = kubectl.apply(std::slice::from_ref(&pod));
        applied.is_ok()
    });
    applied.unwrap();
    let pod = kubectl.get(&["pod", "web", "-n", "shop"]).unwrap();
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": pod["metadata"]["uid"]});
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": ["istio-ca"], "expirationSeconds": 600, "boundObjectRef": bound},
    });
    let issued = kubectl.post("/api/v1/namespaces/shop/serviceaccounts/web/token", &request).unwrap();
    let token = issued["status"]["token"].as_str().unwrap().to_owned();
    let review = |audience: &str| {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        kubectl.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).unwrap()["status"].clone()
    };
    let good = review("istio-ca");
    assert_eq!(good["authenticated"], true, "{good}");
    assert_eq!(good["user"]["username"], "system:serviceaccount:shop:web");
    assert_eq!(good["user"]["extra"]["authentication.kubernetes.io/pod-name"][0], "web");
    let other = review("somebody-else");
    assert_ne!(other["authenticated"], true, "{other}");

    kubectl.run(&["delete", "pod", "web", "-n", "shop", "--grace-period=0", "--force"]).unwrap();
    // What was found good is believed for ten seconds.
    until::until(SOON, || review("istio-ca")["authenticated"] != true).expect("the token outlives its pod");
}
