//! What nobody may read, and what is not served: reported, taken up when it can be, and in nobody's way.

use ambit_api::Severity;

use crate::agent::{Agent, PACE};
use crate::api::Api;
use crate::objects::{NAMESPACES, PEERS, PODS, POLICIES, ROUTES, denial, namespace, pod, route};

fn furnish(api: &Api) {
    api.put(NAMESPACES, namespace("shop"));
    api.put(PODS, pod("shop", "web-0", "10.0.0.1"));
    api.put(POLICIES, denial("shop", "deny", "thief"));
    api.put(ROUTES, route("shop", "web"));
}

#[tokio::test]
async fn a_kind_that_nobody_may_read_is_reported_and_taken_up_when_rights_come() {
    let api = Api::start().await;
    furnish(&api);
    api.with(|state| state.denied.extend([ROUTES.to_owned()]));
    let mut agent = Agent::start(&api).await;
    let snapshot = agent.snapshots.load();
    assert_eq!((snapshot.workloads().count(), snapshot.routes.virtual_services().count()), (1, 0));
    agent
        .until_reported("the missing right", |reports| {
            reports.iter().any(|report| {
                let told = ["VirtualService", "is forbidden", "ClusterRole"];
                report.severity == Severity::Error && told.iter().all(|part| report.message.contains(part))
            })
        })
        .await;
    api.put(PODS, pod("shop", "web-1", "10.0.0.2"));
    agent.until("everything else works", |snapshot| snapshot.workloads().count() == 2).await;
    api.with(|state| state.denied.clear());
    agent.until("the route", |snapshot| snapshot.routes.virtual_services().count() == 1).await;
    agent.until_reported("nothing", |reports| reports.iter().all(|report| report.severity != Severity::Error)).await;
    agent.stop().await;
}

#[tokio::test]
async fn who_may_not_read_policies_begins_with_nothing_until_the_right_comes() {
    for policies in [POLICIES, PEERS] {
        let api = Api::start().await;
        furnish(&api);
        api.with(|state| state.denied.extend([policies.to_owned()]));
        let mut agent = Agent::begin(&api, PACE, None);
        agent
            .until_reported("the missing right", |reports| {
                reports.iter().any(|r| r.message.contains("no right to list"))
            })
            .await;
        assert!(!agent.snapshots.is_synced(), "{policies}");
        api.with(|state| state.denied.clear());
        // The very first snapshot has them.
        agent.next().await;
        assert_eq!(agent.snapshots.load().policies.authorizations().count(), 1, "{policies}");
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_right_that_is_taken_away_leaves_what_was_in_force() {
    let api = Api::start().await;
    furnish(&api);
    let mut agent = Agent::start(&api).await;
    api.with(|state| {
        state.denied.extend([POLICIES.to_owned()]);
        state.cuts += 1;
    });
    agent.until_reported("the right", |reports| reports.iter().any(|r| r.message.contains("no right to list"))).await;
    assert_eq!(agent.snapshots.load().policies.authorizations().count(), 1);
    // Granted again, with nothing else happening: whoever watches notices all the same.
    api.with(|state| state.denied.clear());
    agent.until_reported("nothing", |reports| !reports.iter().any(|r| r.message.contains("no right to list"))).await;
    api.delete(POLICIES, "shop", "deny");
    agent.until("it is gone", |snapshot| snapshot.policies.authorizations().count() == 0).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_kind_that_is_not_installed_is_said_once_and_taken_up_when_it_is() {
    let api = Api::start().await;
    furnish(&api);
    api.with(|state| state.serve(ROUTES, None));
    let mut agent = Agent::start(&api).await;
    assert_eq!(agent.snapshots.load().workloads().count(), 1);
    agent
        .until_reported("VirtualService is missing", |reports| {
            let missing = reports.iter().filter(|report| report.message.contains("is not served by this cluster"));
            let missing: Vec<_> = missing.collect();
            missing.len() == 1
                && missing[0].severity == Severity::Notice
                && missing[0].message.starts_with("VirtualService")
        })
        .await;
    api.with(|state| state.serve(ROUTES, Some("VirtualService")));
    api.put(ROUTES, route("shop", "web"));
    agent.until("the route", |snapshot| snapshot.routes.virtual_services().count() == 1).await;
    agent
        .until_reported("nothing is missing", |reports| !reports.iter().any(|r| r.message.contains("not served")))
        .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_kind_that_is_gone_for_a_moment_stays_in_force_and_one_that_stays_away_is_forgotten() {
    let api = Api::start().await;
    furnish(&api);
    let mut agent = Agent::start(&api).await;
    // An API server that has just begun does not know its CRDs yet.
    api.with(|state| {
        state.served.remove(POLICIES);
        state.cuts += 1;
    });
    agent.until_reported("it is missing", |reports| reports.iter().any(|r| r.message.contains("not served"))).await;
    assert_eq!(agent.snapshots.load().policies.authorizations().count(), 1);
    api.with(|state| state.serve(POLICIES, Some("AuthorizationPolicy")));
    agent.until_reported("it is back", |reports| !reports.iter().any(|r| r.message.contains("not served"))).await;
    assert_eq!(agent.snapshots.load().policies.authorizations().count(), 1);

    let begun = std::time::Instant::now();
    api.with(|state| state.serve(POLICIES, None));
    agent.until("it is forgotten", |snapshot| snapshot.policies.authorizations().count() == 0).await;
    assert!(begun.elapsed() >= PACE.forget, "{:?}", begun.elapsed());
    agent.stop().await;
}
