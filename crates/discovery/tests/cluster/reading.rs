//! What an agent reads of an API that works: everything, as it changes, and by object what cannot be used.

use std::collections::BTreeSet;

use ambit_api::{Kind, ObjectRef, Severity};
use ambit_model::{ServiceKey, Snapshot};
use serde_json::json;

use crate::agent::Agent;
use crate::api::Api;
use crate::objects::{
    NAMESPACES, NODES, PODS, POLICIES, ROUTES, SERVICES, SLICES, denial, namespace, node, pod, route, service, slice,
};

/// Something of most kinds.
fn furnish(api: &Api, slices: &str, routes: &str, policies: &str) {
    api.put(NAMESPACES, namespace("shop"));
    api.put(NODES, node("node-a", "z1"));
    api.put(PODS, pod("shop", "web-0", "10.0.0.1"));
    api.put(SERVICES, service("shop", "web", "10.96.0.1"));
    api.put(SERVICES, service("shop", "db", "10.96.0.2"));
    api.put(slices, slice("shop", "web", Some("10.0.0.1")));
    api.put(slices, slice("shop", "db", None));
    api.put(routes, route("shop", "web"));
    api.put(policies, denial("shop", "deny", "cluster.local/ns/shop/sa/thief"));
}

fn assert_furnished(snapshot: &Snapshot) {
    let web = snapshot.workloads().next().unwrap();
    assert_eq!((&*web.name, &*web.zone, web.is_enrolled()), ("web-0", "z1", true));
    let targets = |name| snapshot.service(&ServiceKey::new("shop", name)).unwrap().ports[0].targets.len();
    assert_eq!((targets("web"), targets("db")), (1, 0));
    assert_eq!(snapshot.routes.virtual_services().count(), 1);
    assert_eq!(snapshot.policies.authorizations().count(), 1);
    assert_eq!(snapshot.nodes().count(), 1);
}

#[tokio::test]
async fn the_first_snapshot_has_everything() {
    let api = Api::start().await;
    furnish(&api, SLICES, ROUTES, POLICIES);
    let agent = Agent::start(&api).await;
    assert_furnished(&agent.snapshots.load());
    agent.stop().await;
}

#[tokio::test]
async fn an_api_without_anything_has_a_first_snapshot() {
    let api = Api::start().await;
    let agent = Agent::start(&api).await;
    assert_eq!((agent.now(), agent.reported()), (String::new(), vec![]));
    agent.stop().await;
}

#[tokio::test]
async fn an_api_that_serves_only_older_versions_is_read_in_those() {
    let api = Api::start().await;
    api.with(|state| {
        state.serve_only("discovery.k8s.io", "v1beta1");
        state.serve_only("networking.istio.io", "v1alpha3");
        state.serve_only("security.istio.io", "v1beta1");
        state.serve_only("gateway.networking.k8s.io", "v1beta1");
        // Which never was v1beta1.
        state.serve("gateway.networking.k8s.io/v1alpha2/grpcroutes", Some("GRPCRoute"));
    });
    furnish(
        &api,
        "discovery.k8s.io/v1beta1/endpointslices",
        "networking.istio.io/v1alpha3/virtualservices",
        "security.istio.io/v1beta1/authorizationpolicies",
    );
    let agent = Agent::start(&api).await;
    assert_furnished(&agent.snapshots.load());
    assert_eq!(agent.reported().len(), 1, "{:?}", agent.reported());
    agent.stop().await;
}

#[tokio::test]
async fn kinds_of_the_same_name_are_told_apart_by_their_groups() {
    let api = Api::start().await;
    let listener = json!({"name": "mesh", "port": 15008, "protocol": "HBONE"});
    let server = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    let metadata = json!({"name": "front", "namespace": "shop"});
    let gateways = ["gateway.networking.k8s.io", "networking.istio.io"].map(|group| format!("{group}/v1/gateways"));
    let specs = [json!({"gatewayClassName": "ambit-waypoint", "listeners": [listener]}), json!({"servers": [server]})];
    for (gateways, spec) in gateways.iter().zip(specs) {
        api.put(gateways, json!({"metadata": metadata, "spec": spec}));
    }
    let mut agent = Agent::start(&api).await;
    let snapshot = agent.snapshots.load();
    assert_eq!((snapshot.waypoints().count(), snapshot.gateways.iter().count()), (1, 1));
    api.delete(&gateways[0], "shop", "front");
    agent.until("the waypoint is gone", |snapshot| snapshot.waypoints().count() == 0).await;
    assert_eq!(agent.snapshots.load().gateways.iter().count(), 1);
    api.delete(&gateways[1], "shop", "front");
    agent.until("the other, too", |snapshot| snapshot.gateways.iter().count() == 0).await;
    agent.stop().await;
}

#[tokio::test]
async fn lists_are_read_by_pages_and_watches_by_bookmarks() {
    let api = Api::start().await;
    api.put(NAMESPACES, namespace("shop"));
    for number in 0..1203 {
        api.put(PODS, pod("shop", &format!("p-{number}"), &format!("10.1.{}.{}", number / 250, number % 250 + 1)));
    }
    let agent = Agent::start(&api).await;
    assert_eq!(agent.snapshots.load().workloads().count(), 1203);
    let requests = api.requests();
    let lists: Vec<_> =
        requests.iter().filter(|target| target.starts_with("/api/v1/pods") && !target.contains("watch=")).collect();
    assert_eq!(lists.len(), 3, "{lists:?}");
    assert!(lists.iter().all(|target| target.contains("limit=500")), "{lists:?}");
    let asks_for_bookmarks = |target: &String| target.contains("allowWatchBookmarks=true");
    assert!(requests.iter().filter(|target| target.contains("watch=")).all(asks_for_bookmarks), "{requests:?}");
    agent.stop().await;
}

#[tokio::test]
async fn what_changes_is_published_and_what_changes_together_at_once() {
    let api = Api::start().await;
    furnish(&api, SLICES, ROUTES, POLICIES);
    let mut agent = Agent::start(&api).await;
    api.put(PODS, pod("shop", "web-1", "10.0.0.2"));
    agent.until("the new pod", |snapshot| snapshot.workloads().count() == 2).await;
    api.put(NAMESPACES, json!({"metadata": {"name": "shop"}}));
    agent.until("nobody is enrolled", |snapshot| snapshot.workloads().all(|pod| !pod.is_enrolled())).await;
    api.delete(PODS, "shop", "web-1");
    agent.until("the pod is gone", |snapshot| snapshot.workloads().count() == 1).await;

    // All pods move at once: whoever looks sees all of them here, or all of them there.
    let pods = |network: u8| {
        move |state: &mut crate::api::State| {
            for number in 1..=50 {
                state.put(PODS, pod("shop", &format!("many-{number}"), &format!("10.{network}.0.{number}")));
            }
        }
    };
    api.with(pods(1));
    agent.until("fifty more", |snapshot| snapshot.workloads().count() == 51).await;
    for network in 2..5 {
        api.with(pods(network));
        agent.next().await;
        let snapshot = agent.snapshots.load();
        let many = snapshot.workloads().filter(|pod| pod.name.starts_with("many"));
        let networks: BTreeSet<String> = many.map(|pod| pod.addresses[0].to_string()[..5].to_owned()).collect();
        assert_eq!(networks, BTreeSet::from([format!("10.{network}.")]));
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_mistake_is_reported_by_object_and_field_and_leaves_the_last_good_state() {
    let api = Api::start().await;
    furnish(&api, SLICES, ROUTES, POLICIES);
    let never = json!({"metadata": {"name": "never", "namespace": "shop"}, "spec": {"rules": "none"}});
    api.put(POLICIES, never);
    let mut agent = Agent::start(&api).await;
    assert_furnished(&agent.snapshots.load());
    let field_of = |reports: &[ambit_discovery::Report], kind, name| {
        let object = Some(ObjectRef::new(kind, "shop", name));
        let mut found = reports.iter().filter(|report| report.object == object && report.severity == Severity::Error);
        found.next().map(|report| report.field.clone())
    };
    agent
        .until_reported("the policy that never was right", |reports| {
            field_of(reports, Kind::AuthorizationPolicy, "never").as_deref() == Some("spec.rules")
        })
        .await;
    let before = agent.now();
    let mut bad = denial("shop", "deny", "x");
    bad["spec"]["action"] = json!("DENNY");
    api.put(POLICIES, bad);
    let mut bad = pod("shop", "web-0", "10.0.0.300");
    bad["spec"]["containers"] = json!({"not": "a list"});
    api.put(PODS, bad);
    agent
        .until_reported("both mistakes", |reports| {
            field_of(reports, Kind::AuthorizationPolicy, "deny").as_deref() == Some("spec.action")
                && field_of(reports, Kind::Pod, "web-0").as_deref() == Some("spec.containers")
        })
        .await;
    assert_eq!(agent.now(), before);
    api.put(PODS, pod("shop", "web-0", "10.0.0.9"));
    api.put(POLICIES, denial("shop", "deny", "other"));
    api.delete(POLICIES, "shop", "never");
    agent
        .until_reported("nothing is wrong any more", |reports| {
            reports.iter().all(|report| report.severity != Severity::Error)
        })
        .await;
    assert_ne!(agent.now(), before);
    agent.stop().await;
}
