//! How long a connection is held for what may only be late.

use std::net::SocketAddr;

use ambit_discovery::publish;
use ambit_model::policy::{Action, Attribute, Policy, PolicyKey, Rule, Scope, Term, Values};
use ambit_model::waypoint::{Address, Allowed, Binding, Serves};
use ambit_model::workload::Excluded;
use ambit_model::{Authority, Enrolment, Mesh, Service, UseWaypoint, Waypoint, WaypointKey, Workload};
use tokio::time::sleep;

use super::*;
use crate::proxy::fixtures::{identity, service, uid, workload};

const PATIENCE: Duration = Duration::from_secs(5);

fn mesh(pods: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::new(Mesh::default());
    pods.iter().for_each(|(name, address)| snapshot.insert_workload(Arc::new(workload(name, &[address]))));
    snapshot
}

fn outbound() -> Connection {
    let destination = SocketAddr::from(([192, 0, 2, 1], 80));
    Connection::Outbound { source: uid("web"), destination, draw: 0 }
}

fn inbound() -> Connection {
    Connection::InboundHbone {
        pod: uid("web"),
        peer: SocketAddr::from(([10, 0, 0, 2], 41000)),
        identity: identity("new"),
        authority: Authority::Address(SocketAddr::from(([10, 0, 0, 1], 80))),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_takes_no_time() {
    let (_publisher, snapshots) = publish(mesh(&[("web", "10.0.0.1")]));
    let begun = Instant::now();
    let verdict = of(&snapshots, PATIENCE, &outbound()).await;
    assert!(matches!(verdict.decision, Decision::Passthrough(_)), "{verdict:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_connection_a_millisecond_ahead_of_its_pod_is_held() {
    let (publisher, snapshots) = publish(mesh(&[]));
    publisher.publish(mesh(&[("other", "10.0.0.9")]));
    let news = async {
        sleep(Duration::from_millis(1)).await;
        publisher.publish(mesh(&[("web", "10.0.0.1")]));
    };
    let begun = Instant::now();
    let connection = outbound();
    let (verdict, ()) = tokio::join!(of(&snapshots, PATIENCE, &connection), news);
    assert!(matches!(verdict.decision, Decision::Passthrough(_)), "{verdict:?}");
    assert!(verdict.snapshot.workload(&uid("web")).is_some(), "the snapshot is the one that it was decided by");
    assert_eq!(begun.elapsed(), Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn patience_ends_though_the_mesh_changes() {
    let (publisher, snapshots) = publish(mesh(&[]));
    let connection = outbound();
    let begun = Instant::now();
    let news = async {
        loop {
            sleep(Duration::from_millis(700)).await;
            publisher.publish(mesh(&[("other", "10.0.0.9")]));
        }
    };
    let verdict = tokio::select! {
        verdict = of(&snapshots, PATIENCE, &connection) => verdict,
        () = news => unreachable!("it goes on for ever"),
    };
    assert_eq!(verdict.decision, Decision::Refuse(Reason::UnknownWorkload));
    assert_eq!(begun.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_changes_hands_is_waited_for_a_second() {
    let before = mesh(&[("web", "10.0.0.1"), ("old", "10.0.0.2")]);
    let (publisher, snapshots) = publish(before);
    let connection = inbound();
    let begun = Instant::now();
    let verdict = of(&snapshots, PATIENCE, &connection).await;
    assert_eq!(verdict.decision, Decision::Refuse(Reason::PeerIdentityMismatch));
    assert_eq!(begun.elapsed(), HANDOVER);
    publisher.publish(mesh(&[("web", "10.0.0.1"), ("new", "10.0.0.2")]));
    let verdict = of(&snapshots, PATIENCE, &connection).await;
    assert!(matches!(verdict.decision, Decision::Local(_)), "{verdict:?}");
}

/// `web` with an ALLOW for clients labelled `app: front`, and `new` with such a label or another, if there is one.
fn guarded(app: Option<&str>) -> Snapshot {
    let mut snapshot = mesh(&[("web", "10.0.0.1")]);
    let term = Term::Text(Attribute::Label("app".into()), Values { any: vec!["front".parse().unwrap()], none: vec![] });
    let key = PolicyKey::new("shop", "front");
    let (scope, rules) = (Scope::Namespace("shop".into()), vec![Rule { when: vec![term], ..Rule::default() }]);
    let policy = Policy { key: key.clone(), scope, action: Action::Allow, dry_run: false, rules };
    snapshot.policies.set_authorization(&key, Some(Arc::new(policy)));
    if let Some(app) = app {
        let mut new = workload("new", &["10.0.0.2"]);
        new.labels.insert("app".into(), app.into());
        snapshot.insert_workload(Arc::new(new));
    }
    snapshot
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_labels_are_on_their_way_is_held_until_they_admit_or_refuse() {
    for (app, admitted) in [("front", true), ("other", false)] {
        let (publisher, snapshots) = publish(guarded(None));
        let news = async {
            // Not all news is about this client.
            for _ in 0..3 {
                sleep(Duration::from_millis(500)).await;
                publisher.publish(guarded(None));
            }
            sleep(Duration::from_millis(500)).await;
            publisher.publish(guarded(Some(app)));
        };
        let begun = Instant::now();
        let connection = inbound();
        let (verdict, ()) = tokio::join!(of(&snapshots, PATIENCE, &connection), news);
        assert_eq!(matches!(verdict.decision, Decision::Local(_)), admitted, "{app}: {verdict:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(2), "{app}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_labels_never_come_is_refused_when_patience_ends() {
    let (_publisher, snapshots) = publish(guarded(None));
    let begun = Instant::now();
    let verdict = of(&snapshots, PATIENCE, &inbound()).await;
    let Decision::Deny(_, denial) = verdict.decision else { panic!("{:?}", verdict.decision) };
    assert_eq!((denial.reason, denial.early), (Reason::NoPolicyMatched, true));
    assert_eq!(begun.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let (publisher, snapshots) = publish(mesh(&[]));
    drop(publisher);
    let begun = Instant::now();
    let verdict = of(&snapshots, PATIENCE, &outbound()).await;
    assert_eq!(verdict.decision, Decision::Refuse(Reason::UnknownWorkload));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// `web` and `far`, with the service `far`, which is reached by a waypoint if that is `known` here.
fn far(known: bool) -> Snapshot {
    let mut snapshot = mesh(&[("web", "10.0.0.1")]);
    snapshot.insert_workload(Arc::new(Workload { node: "b".into(), ..workload("far", &["10.0.0.2"]) }));
    let enrolment = Enrolment::Outside(Excluded::Waypoint);
    snapshot.insert_workload(Arc::new(Workload { enrolment, ..workload("wp", &["10.0.0.3"]) }));
    let key = WaypointKey::new("shop", "wp");
    let address = Address::Hostname("wp.shop.svc.cluster.local".into());
    let (serves, allowed, binding) = (Serves::Services, Allowed::Same, Binding::Hbone);
    let class = "istio-waypoint".into();
    snapshot.insert_waypoint(Arc::new(Waypoint { key: key.clone(), class, serves, allowed, address, binding }));
    let mut front = Service::clone(&service("wp", "10.0.0.3:15008"));
    front.ports[0].port = 15008;
    snapshot.insert_service(Arc::new(front));
    let vips = vec!["192.0.2.1".parse().unwrap()];
    let waypoint = known.then_some(UseWaypoint { key, inherited: false, passed_by_gateways: false });
    snapshot.insert_service(Arc::new(Service { vips, waypoint, ..Service::clone(&service("far", "10.0.0.2:80")) }));
    snapshot
}

fn refusing(snapshot: &Snapshot) -> Upstream {
    let Decision::Tunnel(to) = decide(snapshot, &outbound()) else { panic!("it has to be a tunnel") };
    to
}

#[tokio::test(start_paused = true)]
async fn where_the_other_end_has_heard_first_of_a_waypoint_it_is_waited_for_the_news() {
    let (publisher, snapshots) = publish(far(false));
    let (connection, to) = (outbound(), refusing(&far(false)));
    let news = async {
        sleep(Duration::from_millis(100)).await;
        publisher.publish(far(true));
    };
    let begun = Instant::now();
    let (verdict, ()) = tokio::join!(settled(&snapshots, 1, &connection, &to), news);
    assert!(matches!(verdict.unwrap().decision, Decision::Waypoint { .. }));
    assert_eq!(begun.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn where_the_other_end_has_not_heard_that_there_is_no_waypoint_it_is_asked_again_for_a_while() {
    let (_publisher, snapshots) = publish(far(false));
    let (connection, to) = (outbound(), refusing(&far(false)));
    let begun = Instant::now();
    let verdict = settled(&snapshots, 1, &connection, &to).await;
    assert!(matches!(verdict.unwrap().decision, Decision::Tunnel(_)));
    assert_eq!(begun.elapsed(), MOMENT);
    assert!(settled(&snapshots, 2, &connection, &to).await.is_some());
    assert_eq!(begun.elapsed(), 3 * MOMENT);
    assert!(settled(&snapshots, MOMENTS, &connection, &to).await.is_none(), "the two will never agree");
    let mut preferred = far(false);
    preferred.mesh = Arc::new(Mesh { waypoints: Waypoints::Preferred, ..Mesh::default() });
    let ((_publisher, snapshots), begun) = (publish(preferred), Instant::now());
    assert!(settled(&snapshots, 1, &connection, &to).await.is_none(), "who prefers waypoints learns of no demand");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_knows_why_he_was_refused_does_not_wait() {
    let (_publisher, snapshots) = publish(far(true));
    // The pod's own address, past its service.
    let destination = SocketAddr::from(([10, 0, 0, 2], 80));
    let connection = Connection::Outbound { source: uid("web"), destination, draw: 0 };
    let begun = Instant::now();
    assert!(settled(&snapshots, 1, &connection, &refusing(&far(false))).await.is_none());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
