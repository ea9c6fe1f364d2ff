//! What an agent keeps on disk, and how it begins with that while the API is away.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ambit_api::Severity;
use ambit_discovery::{Pace, Report};

use crate::agent::{Agent, PACE};
use crate::api::{Api, Fault};
use crate::objects::{NAMESPACES, PODS, POLICIES, denial, namespace, pod};

fn furnish(api: &Api) {
    api.put(NAMESPACES, namespace("shop"));
    api.put(PODS, pod("shop", "web-0", "10.0.0.1"));
    api.put(PODS, pod("shop", "web-1", "10.0.0.2"));
    api.put(POLICIES, denial("shop", "deny", "thief"));
}

fn is_old(reports: &[Report]) -> bool {
    reports
        .iter()
        .any(|r| r.severity == Severity::Warning && r.stale && r.message.contains("before this process began"))
}

/// All that is kept, once it holds `text` (or does not).
async fn kept(directory: &Path, agent: &Agent, text: &str, holds: bool) -> String {
    let all = || {
        let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        files.filter_map(|path| fs::read_to_string(path).ok()).collect::<String>()
    };
    let written = async {
        while !directory.join("seal").exists() || all().contains(text) != holds {
            // Nobody tells of a write, and it is no promise when one comes.
            tokio::time::sleep(PACE.keep).await;
        }
    };
    crate::agent::soon(&format!("{text} kept: not {holds}; {:?}", agent.reported()), written).await;
    all()
}

#[tokio::test]
async fn an_agent_that_starts_while_the_api_is_away_begins_with_what_was_in_force() {
    let (mut api, cache) = (Api::start().await, tempfile::tempdir().unwrap());
    furnish(&api);
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    agent.next().await;
    api.delete(PODS, "shop", "web-1");
    agent.until("one pod", |snapshot| snapshot.workloads().count() == 1).await;
    let before = agent.now();
    kept(cache.path(), &agent, "web-1", false).await;
    agent.stop().await;
    api.stop().await;

    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    assert_eq!(agent.next().await, before);
    agent.until_reported("what is in force is old", is_old).await;
    // What happened meanwhile is found when it is back.
    api.put(PODS, pod("shop", "web-2", "10.0.0.3"));
    api.delete(PODS, "shop", "web-0");
    api.resume().await;
    agent
        .until("the one and not the other", |snapshot| {
            snapshot.workloads().map(|pod| pod.name.to_string()).collect::<Vec<_>>() == ["web-2"]
        })
        .await;
    agent.until_reported("nothing is old", |reports| !is_old(reports)).await;
    assert_eq!(agent.snapshots.load().policies.authorizations().count(), 1);
    kept(cache.path(), &agent, "web-2", true).await;
    agent.stop().await;
}

#[tokio::test]
async fn an_api_that_does_not_answer_in_time_is_not_waited_for() {
    let (api, cache) = (Api::start().await, tempfile::tempdir().unwrap());
    furnish(&api);
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    let before = agent.next().await;
    kept(cache.path(), &agent, "web-1", true).await;
    agent.stop().await;
    api.fail(|_| Some(Fault::Hang));
    let pace = Pace { patience: Duration::from_millis(100), silence: Duration::from_secs(3600), ..PACE };
    let mut agent = Agent::begin(&api, pace, Some(cache.path()));
    assert_eq!(agent.next().await, before);
    agent.until_reported("what is in force is old", is_old).await;
    agent.stop().await;
}

#[tokio::test]
async fn an_api_that_answers_is_believed_and_not_what_was_kept() {
    let (api, cache) = (Api::start().await, tempfile::tempdir().unwrap());
    furnish(&api);
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    agent.next().await;
    kept(cache.path(), &agent, "web-1", true).await;
    agent.stop().await;
    api.delete(PODS, "shop", "web-0");
    api.put(PODS, pod("shop", "web-1", "10.0.0.9"));
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    // The very first snapshot is the new one.
    agent.next().await;
    let pods: Vec<_> = agent.snapshots.load().workloads().map(|pod| pod.addresses[0].to_string()).collect();
    assert_eq!(pods, ["10.0.0.9"]);
    agent.stop().await;
}

#[tokio::test]
async fn neither_secrets_nor_what_nobody_reads_is_kept() {
    let (api, cache) = (Api::start().await, tempfile::tempdir().unwrap());
    furnish(&api);
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    agent.next().await;
    let all = kept(cache.path(), &agent, "web-0", true).await;
    for secret in ["hunter2", "PASSWORD", "env", "managedFields", "last-applied", "volumes", "image"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_is_damaged_is_not_used_and_made_anew() {
    let (mut api, cache) = (Api::start().await, tempfile::tempdir().unwrap());
    furnish(&api);
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    let before = agent.next().await;
    kept(cache.path(), &agent, "web-1", true).await;
    agent.stop().await;
    api.stop().await;
    // Of policies nothing is left: whoever began with that would let the thief in.
    fs::write(cache.path().join("AuthorizationPolicy"), "").unwrap();
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    agent.until_reported("it is damaged", |reports| reports.iter().any(|r| r.message.contains("damaged"))).await;
    assert!(!agent.snapshots.is_synced());
    api.resume().await;
    assert_eq!(agent.next().await, before);
    kept(cache.path(), &agent, "web-1", true).await;
    agent.until_reported("it is whole", |reports| !reports.iter().any(|r| r.message.contains("damaged"))).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_mistake_made_meanwhile_leaves_what_was_kept_in_force() {
    let (api, cache) = (Api::start().await, tempfile::tempdir().unwrap());
    furnish(&api);
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    let before = agent.next().await;
    kept(cache.path(), &agent, "web-1", true).await;
    agent.stop().await;
    let mut bad = denial("shop", "deny", "thief");
    bad["spec"]["action"] = serde_json::json!("DENNY");
    api.put(POLICIES, bad);
    let mut agent = Agent::begin(&api, PACE, Some(cache.path()));
    assert_eq!(agent.next().await, before);
    agent.until_reported("the mistake", |reports| reports.iter().any(|r| r.field == "spec.action")).await;
    agent.stop().await;
}
