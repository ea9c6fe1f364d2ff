//! Whose leave is revoked when the mesh changes, and whose is not.

use std::sync::Arc;
use std::time::Duration;

use ambit_discovery::publish;
use ambit_model::policy::{Action, Attribute, Policy, PolicyKey, Rule, Scope, Term, Values};
use ambit_model::{Authority, Mesh, Service, UseWaypoint, WaypointKey};
use tokio::time::{sleep, timeout};

use super::*;
use crate::proxy::fixtures::{identity, service, uid, workload};

/// `web` and `shop` dial `db`; `web` has the label given.
fn mesh(label: &str, policies: &[Policy]) -> Snapshot {
    let mut snapshot = Snapshot::new(Mesh::default());
    let mut web = workload("web", &["10.0.0.1"]);
    web.labels.insert("app".into(), label.into());
    for pod in [web, workload("shop", &["10.0.0.2"]), workload("db", &["10.0.0.3"])] {
        snapshot.insert_workload(Arc::new(pod));
    }
    for policy in policies {
        snapshot.policies.set_authorization(&policy.key, Some(Arc::new(policy.clone())));
    }
    snapshot
}

fn deny(attribute: Attribute, pattern: &str) -> Policy {
    let term = Term::Text(attribute, Values { any: vec![pattern.parse().unwrap()], none: vec![] });
    Policy {
        key: PolicyKey::new("shop", "deny"),
        scope: Scope::Namespace("shop".into()),
        action: Action::Deny,
        dry_run: false,
        rules: vec![Rule { when: vec![term], ..Rule::default() }],
    }
}

fn to_db(snapshot: &Snapshot) -> Upstream {
    let workload = snapshot.workload(&uid("db")).cloned();
    Upstream::new("10.0.0.3:5432".parse().unwrap(), workload, None)
}

/// A connection by HBONE, one within the node, and one in clear, of `client` at `address`.
fn connections(client: &str, address: &str) -> [Connection; 3] {
    let destination = "10.0.0.3:5432".parse().unwrap();
    let peer = format!("{address}:40000").parse().unwrap();
    let (identity, authority, pod) = (identity(client), Authority::Address(destination), uid("db"));
    [
        Connection::InboundHbone { pod: pod.clone(), peer, identity, authority },
        Connection::Outbound { source: uid(client), destination, draw: 0 },
        Connection::InboundPlaintext { pod, peer, destination, by_node: false },
    ]
}

fn enter(standing: &Standing, snapshot: &Snapshot, client: &str, address: &str) -> [Leave; 3] {
    connections(client, address).map(|connection| standing.enter(&connection, &to_db(snapshot), None))
}

async fn review(standing: &Standing, before: &Snapshot, now: &Snapshot) {
    let judge = |access: &Access| Some(cut_by(&refused(access, before, now)?));
    standing.review(|entry| entry.access.as_ref().and_then(judge)).await;
}

/// Whether each leave has been revoked, after `snapshot` has come into force.
async fn after(before: &Snapshot, snapshot: Snapshot, standing: &Standing, leaves: [Leave; 3]) -> [bool; 3] {
    let (publisher, snapshots) = publish(before.clone());
    let news = async move {
        yield_now().await;
        publisher.publish(snapshot);
    };
    tokio::join!(follow(snapshots, standing.clone()), news);
    leaves.map(|mut leave| leave.revoked.try_recv().is_ok())
}

#[tokio::test]
async fn exactly_those_are_cut_that_policy_refuses_now() {
    for (policy, cut) in [
        (deny(Attribute::ServiceAccount, "shop/web"), [true, true, false]),
        (deny(Attribute::Label("app".into()), "todoui"), [true, true, false]),
        (deny(Attribute::Namespace, "elsewhere"), [false; 3]),
        (Policy { dry_run: true, ..deny(Attribute::Principal, "*") }, [false; 3]),
        (Policy { action: Action::Allow, ..deny(Attribute::ServiceAccount, "shop/web") }, [false, false, true]),
    ] {
        let (before, standing) = (mesh("todoui", &[]), Standing::default());
        let web = enter(&standing, &before, "web", "10.0.0.1");
        let other = enter(&standing, &before, "shop", "10.0.0.2");
        let now = mesh("todoui", std::slice::from_ref(&policy));
        assert_eq!(after(&before, now, &standing, web).await, cut, "{policy:?}");
        let others = other.map(|mut leave| leave.revoked.try_recv().is_ok());
        let admits_one = policy.action == Action::Allow;
        assert_eq!(others, [admits_one; 3], "{policy:?}");
        assert!(standing.0.borrow().entries.is_empty(), "who has ended is forgotten");
    }
}

#[tokio::test]
async fn a_client_that_gets_another_label_is_judged_anew_and_one_that_leaves_is_not() {
    let policies = [Policy { action: Action::Allow, ..deny(Attribute::Label("app".into()), "todoui") }];
    let (before, standing) = (mesh("todoui", &policies), Standing::default());
    let leaves = enter(&standing, &before, "web", "10.0.0.1");
    assert_eq!(after(&before, mesh("other", &policies), &standing, leaves).await, [true; 3]);
    let mut gone = before.clone();
    gone.remove_workload(&uid("web"));
    let leaves = enter(&standing, &before, "web", "10.0.0.1");
    assert_eq!(after(&before, gone, &standing, leaves).await[..2], [false; 2]);
}

#[tokio::test]
async fn what_is_cut_says_why() {
    let (before, standing) = (mesh("todoui", &[]), Standing::default());
    let [hbone, ..] = enter(&standing, &before, "web", "10.0.0.1");
    let now = mesh("todoui", &[deny(Attribute::Principal, "*")]);
    review(&standing, &before, &now).await;
    let why = timeout(Duration::from_secs(1), hbone.or(std::future::pending())).await.unwrap();
    let told = why.told();
    assert_eq!(told.0, Reason::PolicyChanged);
    assert_eq!(told.1, "connection closed due to policy change: policy-denied, AuthorizationPolicy shop/deny, rule 0");
}

#[tokio::test]
async fn more_than_a_batch_is_judged_to_the_end() {
    let (before, standing) = (mesh("todoui", &[]), Standing::default());
    let mut leaves: Vec<Leave> = (0..BATCH).flat_map(|_| enter(&standing, &before, "web", "10.0.0.1")).collect();
    review(&standing, &before, &mesh("todoui", &[deny(Attribute::Principal, "*")])).await;
    let cut = leaves.iter_mut().map(|leave| leave.revoked.try_recv().is_ok()).filter(|cut| *cut).count();
    assert_eq!(cut, 2 * BATCH);
}

#[tokio::test(start_paused = true)]
async fn who_had_no_need_of_a_waypoint_has_a_moment_to_finish_and_no_longer() {
    let before = mesh("front", &[]);
    let mut now = before.clone();
    let key = WaypointKey::new("shop", "wp");
    let waypoint = Some(UseWaypoint { key, inherited: false, passed_by_gateways: false });
    now.insert_service(Arc::new(Service { waypoint, ..Service::clone(&service("db", "10.0.0.3:5432")) }));
    let standing = Standing::default();
    let mut leaves = enter(&standing, &before, "web", "10.0.0.1");
    let (publisher, snapshots) = publish(before.clone());
    let mut cut = || leaves.each_mut().map(|leave| leave.revoked.try_recv().is_ok());
    let watching = async {
        sleep(GRACE).await;
        let begun = Instant::now();
        publisher.publish(now.clone());
        sleep(GRACE / 2).await;
        assert_eq!(cut(), [false; 3]);
        // Other news does not make it longer.
        now.insert_workload(Arc::new(workload("other", &["10.0.0.9"])));
        publisher.publish(now);
        sleep(GRACE - Duration::from_millis(1) - begun.elapsed()).await;
        assert_eq!(cut(), [false; 3]);
        sleep(Duration::from_millis(2)).await;
        assert_eq!(cut(), [true; 3]);
    };
    tokio::select! {
        () = watching => {}
        () = follow(snapshots, standing.clone()) => unreachable!("there is somebody who writes"),
    }
}
