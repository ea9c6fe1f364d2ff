//! An API that is away: what it said last stays in force, and nobody begins without it.

use std::time::Duration;

use ambit_api::Severity;
use ambit_discovery::{Pace, Sync};

use crate::agent::{Agent, PACE};
use crate::api::{Api, Fault};
use crate::objects::{NAMESPACES, PODS, namespace, pod};

fn furnish(api: &Api) {
    api.put(NAMESPACES, namespace("shop"));
    api.put(PODS, pod("shop", "web-0", "10.0.0.1"));
}

fn is_away(reports: &[ambit_discovery::Report]) -> bool {
    reports.iter().any(|report| report.severity == Severity::Error && report.message.contains("does not answer"))
}

#[tokio::test]
async fn what_it_said_last_stays_in_force_until_it_is_back() {
    let mut api = Api::start().await;
    furnish(&api);
    let mut agent = Agent::start(&api).await;
    let before = agent.now();
    assert_eq!(agent.standing().sync, Sync::Synced);
    api.stop().await;
    agent.until_reported("it is away", is_away).await;
    assert_eq!((agent.now(), agent.standing().sync), (before.clone(), Sync::Stale));
    api.resume().await;
    // Nothing changes, and still it is noticed.
    agent.until_reported("it is back", |reports| !is_away(reports)).await;
    assert_eq!((agent.now(), agent.standing().sync), (before, Sync::Synced));
    api.put(PODS, pod("shop", "web-1", "10.0.0.2"));
    agent.until("the new pod", |snapshot| snapshot.workloads().count() == 2).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_changed_while_it_was_away_is_seen_afterwards() {
    let mut api = Api::start().await;
    furnish(&api);
    let mut agent = Agent::start(&api).await;
    api.stop().await;
    agent.until_reported("it is away", is_away).await;
    api.put(PODS, pod("shop", "web-1", "10.0.0.2"));
    api.delete(PODS, "shop", "web-0");
    api.resume().await;
    agent
        .until("the one and not the other", |snapshot| {
            let names: Vec<_> = snapshot.workloads().map(|pod| pod.name.to_string()).collect();
            names == ["web-1"]
        })
        .await;
    agent.stop().await;
}

#[tokio::test]
async fn nothing_is_published_before_everything_was_read() {
    let api = Api::start().await;
    furnish(&api);
    // Of all kinds, one cannot be had.
    api.fail(|target| target.contains("endpointslices").then_some(Fault::Status(503)));
    let mut agent = Agent::begin(&api, PACE, None);
    agent
        .until_reported("one kind is away", |reports| {
            reports.iter().any(|report| report.message.contains("for EndpointSlice: 503"))
        })
        .await;
    assert!(!agent.snapshots.is_synced());
    api.heal();
    agent.next().await;
    assert_eq!(agent.snapshots.load().workloads().count(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_given_up() {
    let api = Api::start().await;
    furnish(&api);
    api.with(|state| state.bookmarks = Duration::from_secs(3600));
    let pace = Pace { silence: Duration::from_millis(300), ..PACE };
    let mut agent = Agent::begin(&api, pace, None);
    agent.next().await;
    // From here on nobody answers: neither the watches that are open nor what is asked.
    api.fail(|_| Some(Fault::Hang));
    agent.until_reported("it is away", is_away).await;
    api.heal();
    api.put(PODS, pod("shop", "web-1", "10.0.0.2"));
    agent.until("the new pod", |snapshot| snapshot.workloads().count() == 2).await;
    agent.stop().await;
}
